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

// watchAsOperator opens the operator's watches as its ServiceAccount, until the context ends, and drops the events. Like the operator's,
// the watches have a connection of their own.
func (e *environment) watchAsOperator(ctx context.Context) error {
	config := rest.CopyConfig(e.managerConfig)
	config.Dial = (&net.Dialer{}).DialContext
	own, err := newClients(config)
	if err != nil {
		return err
	}
	core := own.clientset.CoreV1().RESTClient()
	managed := &metav1.ListOptions{Watch: true, LabelSelector: v1alpha1.ManagedByLabel + "=" + v1alpha1.ManagedByValue}
	all := &metav1.ListOptions{Watch: true}
	watches := map[string]*rest.Request{
		"secrets":    core.Get().Resource("secrets").VersionedParams(managed, metav1.ParameterCodec).SetHeader("Accept", metadataOnly),
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
			for err == nil { // the API server ends watches regularly
				_, _ = io.Copy(io.Discard, events)
				_ = events.Close()
				events, err = request.Stream(ctx)
			}
		}()
	}
	return nil
}
