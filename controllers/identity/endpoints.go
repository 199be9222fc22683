package identity

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// Endpoints selects AWS's FIPS or dual-stack endpoints. Identities with an endpoint of their own ignore it.
type Endpoints struct {
	// FIPS selects endpoints with FIPS 140-3 validated cryptography. In a region without one, STS is unreachable.
	FIPS bool
	// DualStack selects endpoints that support IPv6 as well as IPv4.
	DualStack bool
}

// GetUseFIPSEndpoint implements a configuration source of the SDK.
func (e Endpoints) GetUseFIPSEndpoint(context.Context) (aws.FIPSEndpointState, bool, error) {
	return aws.FIPSEndpointStateEnabled, e.FIPS, nil
}

// GetUseDualStackEndpoint implements a configuration source of the SDK.
func (e Endpoints) GetUseDualStackEndpoint(context.Context) (aws.DualStackEndpointState, bool, error) {
	return aws.DualStackEndpointStateEnabled, e.DualStack, nil
}

// forEndpoint returns no selection for an identity with an endpoint: the SDK rejects the combination.
func (e Endpoints) forEndpoint(endpoint string) Endpoints {
	if endpoint != "" {
		return Endpoints{}
	}
	return e
}

// options applies the selection to the SDK's own STS calls. The environment may set what is not set here.
func (e Endpoints) options(o *config.LoadOptions) error {
	if e.FIPS {
		o.UseFIPSEndpoint = aws.FIPSEndpointStateEnabled
	}
	if e.DualStack {
		o.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled
	}
	return nil
}
