package main

import (
	"context"
	"fmt"
	"io"
	"net"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"rolecredential.dev/operator/api/v1alpha1"
)

// metadataOnly is the media type in which the operator watches metadata.
const metadataOnly = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

// watchAsOperator holds the watches that the operator holds, as its ServiceAccount, for as long as the context lives. It reads and drops the
// events. Like the operator's, the watches have a connection of their own.
func (w *world) watchAsOperator(ctx context.Context) error {
	config := rest.CopyConfig(w.managerConfig)
	config.Dial = (&net.Dialer{}).DialContext
	own, err := newClients(config)
	if err != nil {
		return err
	}
	core := own.clientset.CoreV1().RESTClient()
	ours := &metav1.ListOptions{Watch: true, LabelSelector: v1alpha1.ManagedByLabel + "=" + v1alpha1.ManagedByValue}
	all := &metav1.ListOptions{Watch: true}
	watches := map[string]*rest.Request{
		"secrets":    core.Get().Resource("secrets").VersionedParams(ours, metav1.ParameterCodec).SetHeader("Accept", metadataOnly),
		"namespaces": core.Get().Resource("namespaces").VersionedParams(all, metav1.ParameterCodec).SetHeader("Accept", metadataOnly),
	}
	for _, resource := range []string{"rolecredentials", "sessioncredentials", "federatedcredentials", "clusteridentities", "identities"} {
		watches[resource] = own.extensions.Get().Resource(resource).VersionedParams(all, metav1.ParameterCodec)
	}
	for resource, request := range watches {
		events, err := request.Stream(ctx)
		if err != nil {
			return fmt.Errorf("watching %s: %w", resource, err)
		}
		go func() {
			for err == nil { // the API server ends a watch now and then
				_, _ = io.Copy(io.Discard, events)
				_ = events.Close()
				events, err = request.Stream(ctx)
			}
		}()
	}
	return nil
}
