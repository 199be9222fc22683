package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/hack/program"
)

// objectSet contains the names of objects of all kinds that can be listed.
type objectSet map[string]bool

// objects lists all objects in the cluster except events, which outlive their objects, and the node's lease, which the kubelet creates at
// any time.
func (c *cluster) objects(ctx context.Context) (objectSet, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	if err != nil {
		return nil, err
	}
	discovered, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	lists, err := discovered.ServerPreferredResources()
	if err != nil {
		return nil, err
	}
	found := objectSet{}
	for _, list := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list"}}, lists) {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, resource := range list.APIResources {
			if resource.Name == "events" || resource.Name == "componentstatuses" {
				continue
			}
			all := &unstructured.UnstructuredList{}
			all.SetGroupVersionKind(version.WithKind(resource.Kind + "List"))
			if err := c.client.List(ctx, all); err != nil {
				return nil, fmt.Errorf("listing %s: %w", resource.Name, err)
			}
			for _, object := range all.Items {
				if object.GetNamespace() == corev1.NamespaceNodeLease {
					continue
				}
				found[strings.Join([]string{resource.Name, version.Group, client.ObjectKeyFromObject(&object).String()}, " ")] = true
			}
		}
	}
	return found, nil
}

// nothingIsLeft waits until the only objects are those from before the installation.
func (w *environment) nothingIsLeft(ctx context.Context) (string, error) {
	var now objectSet
	err := program.WaitUntil(ctx, settleTimeout, pollInterval, func(ctx context.Context) (err error) {
		if now, err = w.objects(ctx); err != nil {
			return err
		}
		left := maps.Clone(now)
		maps.DeleteFunc(left, func(name string, _ bool) bool { return w.before[name] })
		if len(left) > 0 {
			return fmt.Errorf("%d objects are left: %s", len(left), strings.Join(slices.Sorted(maps.Keys(left)), ", "))
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("the cluster has the same %d objects as before", len(now)), nil
}
