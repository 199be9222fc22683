// Command applyclient creates or changes the RoleCredential s3-reader in the namespace shop with server-side apply. It is an example of a
// program in a module of its own that uses the operator's API types and apply configurations.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	sts "rolecredential.dev/operator/api/applyconfiguration/api/v1alpha1"
	"rolecredential.dev/operator/api/v1alpha1"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "applyclient:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	cluster, err := config.GetConfig()
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	c, err := client.New(cluster, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	// Apply keeps the fields that this program does not name.
	credential := sts.RoleCredential("s3-reader", "shop").WithSpec(sts.RoleCredentialSpec().
		WithRoleARN("arn:aws:iam::123456789012:role/S3Reader").
		WithDuration(metav1.Duration{Duration: time.Hour}))
	return c.Apply(ctx, credential, client.FieldOwner("applyclient"))
}
