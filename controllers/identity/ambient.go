package identity

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/config"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
)

// ambient is the SDK's default credential chain in the operator's own pod. Only a ClusterIdentity can select it.
type ambient struct{}

func (ambient) String() string                   { return "ambient" }
func (ambient) secretRef() *types.NamespacedName { return nil }

// open reads the environment, which configures how the SDK obtains the credentials, including the STS endpoint for a role.
// The environment does not affect the identity's own calls.
func (ambient) open(ctx context.Context, r *Resolver, settings *v1alpha1.IdentitySettings, _ *corev1.Secret) (authenticator, *reason.Error) {
	bundle := settings.CABundle
	if settings.Endpoint != "" {
		bundle = "" // the bundle is for the identity's endpoint
	}
	client, problem := httpClient("spec.caBundle", bundle, 0) // a separate client: the SDK changes its trusted certificates
	if problem != nil {
		return authenticator{}, problem
	}
	found, err := config.LoadDefaultConfig(ctx, config.WithRegion(settings.Region), config.WithHTTPClient(client),
		config.WithUseFIPSEndpoint(r.Endpoints.UseFIPSEndpoint), config.WithUseDualStackEndpoint(r.Endpoints.UseDualStackEndpoint))
	if err != nil {
		problem := unready(v1alpha1.ReasonInvalidSourceCredentials, err,
			"The operator's own AWS configuration (environment, profile) is not readable. See the event for the error.")
		problem.Retry = reason.After(reason.MaxWait) // configuration files are not watched
		return authenticator{}, problem
	}
	return authenticator{keys: found.Credentials}, nil
}
