package cli

import (
	"context"
	"slices"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/rules"
	"rolecredential.dev/operator/controllers/access"
)

// judge evaluates an identity's rules on a credential, and says what could not be taken into account.
func judge(ctx context.Context, c *cluster.Cluster, by cluster.Credential, identity cluster.Identity) (rules.Verdict, error) {
	request := access.Request{
		Identity: identity.String(), Namespace: by.GetNamespace(), Call: by.Request.Call, RoleARN: by.Request.RoleARN,
		SessionName: by.Request.SessionName, NameField: by.Kind.NameField, DefaultSessionName: by.DefaultSessionName(),
		Duration: by.Request.Duration, Chain: identity.Roles(),
	}
	var err error
	if slices.ContainsFunc(identity.Rules, func(r v1alpha1.AllowRule) bool { return r.NamespaceSelector != nil }) {
		request.NamespaceLabels, err = c.NamespaceLabels(ctx, by.GetNamespace())
	}
	return rules.Judge(identity.Rules, request), err
}
