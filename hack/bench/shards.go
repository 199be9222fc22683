package main

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers"
)

// shards is the result of two managers that share credentials by a label.
type shards struct {
	N         int     `json:"n"`
	PerSecond float64 `json:"perSecond"`
	// Each is the number of credentials that each manager issued.
	Each  []int `json:"issuedByEach"`
	Calls int   `json:"stsCalls"`
}

// measureShards measures two managers with different selectors, which share n credentials.
func measureShards(ctx context.Context, e *environment, n int) (shards, error) {
	result := shards{N: n}
	if _, err := e.createCredentials(ctx, "shards", n, func(i int, c *v1alpha1.RoleCredential) {
		if i%2 == 0 { // the other manager's selector matches credentials without the label
			c.Labels = map[string]string{"shard": "a"}
		}
	}); err != nil {
		return result, err
	}
	o, err := e.observe(ctx)
	if err != nil {
		return result, err
	}
	selectors := []string{"shard=a", "shard!=a"}
	// The chart grants a manager access to the lease of its selector.
	leases := rbacv1.PolicyRule{APIGroups: []string{coordinationv1.GroupName}, Resources: []string{"leases"}, Verbs: []string{"get", "update"}}
	for _, selector := range selectors {
		leases.ResourceNames = append(leases.ResourceNames, controllers.LeaseName(selector))
	}
	if err := e.grant(ctx, "shards", leases); err != nil {
		return result, err
	}
	var managers []*manager
	for _, selector := range selectors {
		m, err := e.startManager("--selector=" + selector)
		if err != nil {
			return result, err
		}
		managers = append(managers, m)
	}
	end, err := o.await(ctx, longTimeout, n)
	if err != nil {
		return result, err
	}
	calls, err := e.sts.issues(ctx)
	if err != nil {
		return result, err
	}
	for _, m := range managers {
		found, err := m.scrape(ctx)
		if err != nil {
			return result, err
		}
		issued := found.sum("rolecredential_sts_calls_total", func(labels map[string]string) bool {
			return labels["kind"] == "RoleCredential" && labels["reason"] == v1alpha1.ReasonIssued
		})
		result.Each = append(result.Each, int(issued))
	}
	result.Calls, result.PerSecond = len(calls), float64(n)/end.Sub(first(calls)).Seconds()
	return result, nil
}
