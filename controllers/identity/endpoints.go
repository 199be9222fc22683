package identity

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// Endpoints says which of AWS's own endpoints are asked. They do not concern an identity that has an endpoint of its own.
type Endpoints struct {
	// FIPS asks those whose cryptography is validated by FIPS 140-3. Not every region has one, and nothing takes its place
	// there: STS cannot be reached.
	FIPS bool
	// DualStack asks those that have IPv6 addresses beside those of IPv4.
	DualStack bool
}

// GetUseFIPSEndpoint makes Endpoints a source of the SDK's configuration.
func (e Endpoints) GetUseFIPSEndpoint(context.Context) (aws.FIPSEndpointState, bool, error) {
	return aws.FIPSEndpointStateEnabled, e.FIPS, nil
}

// GetUseDualStackEndpoint makes Endpoints a source of the SDK's configuration.
func (e Endpoints) GetUseDualStackEndpoint(context.Context) (aws.DualStackEndpointState, bool, error) {
	return aws.DualStackEndpointStateEnabled, e.DualStack, nil
}

// of leaves out what the SDK refuses together with an endpoint.
func (e Endpoints) of(endpoint string) Endpoints {
	if endpoint != "" {
		return Endpoints{}
	}
	return e
}

// options have the SDK's own calls of STS go the same way. What is not set here, the environment may still set for them.
func (e Endpoints) options(o *config.LoadOptions) error {
	if e.FIPS {
		o.UseFIPSEndpoint = aws.FIPSEndpointStateEnabled
	}
	if e.DualStack {
		o.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled
	}
	return nil
}
