package identity

import (
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/rolesanywhere"
)

// certificate is a certificate for IAM Roles Anywhere, in a Secret that cert-manager or another tool renews.
type certificate struct {
	secret types.NamespacedName
	v1alpha1.RolesAnywhereSettings
}

// String names all that the result of a call depends on.
func (s certificate) String() string {
	parts := []string{"x509 " + s.secret.String(), s.TrustAnchorARN, s.ProfileARN}
	if s.Endpoint != "" {
		parts = append(parts, s.Endpoint)
	}
	if s.AcceptRoleSessionName {
		parts = append(parts, "with session names")
	}
	return strings.Join(parts, ", ")
}

func (s certificate) secretRef() *types.NamespacedName { return &s.secret }

func (s certificate) open(_ context.Context, _ *Resolver, _ *v1alpha1.IdentitySettings, secret *corev1.Secret) (authenticator, *reason.Error) {
	if secret == nil {
		return authenticator{}, unready(v1alpha1.ReasonSecretNotFound, nil, "There is no Secret %s. Have cert-manager or another tool store a certificate there, with the keys %s and %s.",
			s.secret, rolesanywhere.CertificateKey, rolesanywhere.PrivateKeyKey)
	}
	parsed, err := rolesanywhere.Parse(secret.Data[rolesanywhere.CertificateKey], secret.Data[rolesanywhere.PrivateKeyKey])
	if err != nil {
		return authenticator{}, unready(v1alpha1.ReasonInvalidSecret, nil, "Secret %s is not usable: %s.", s.secret, err)
	}
	anchor, _ := arn.Parse(s.TrustAnchorARN) // the schema accepts an ARN only
	return authenticator{keys: aws.AnonymousCredentials{}, expires: parsed.NotAfter, rolesAnywhere: &rolesanywhere.Source{
		Certificate: parsed, TrustAnchorARN: s.TrustAnchorARN, ProfileARN: s.ProfileARN, Region: anchor.Region,
		Endpoint: s.Endpoint, SendsSessionName: s.AcceptRoleSessionName,
	}}, nil
}

// checkValidity returns a failure of ConditionReady if a certificate is not valid at a time. A clock that is wrong may be set at any
// time, which nothing reports, so it is checked again after a while.
func checkValidity(parsed *rolesanywhere.Certificate, secret types.NamespacedName, now time.Time) *reason.Error {
	var problem *reason.Error
	switch {
	case now.After(parsed.NotAfter):
		problem = unready(v1alpha1.ReasonCertificateExpired, nil, "The certificate in Secret %s, or one of its intermediates, has expired. Renew it: the operator uses a changed Secret at once. "+
			"If it has not expired, set the clock of the operator's node.", secret)
	case now.Before(parsed.NotBefore):
		problem = unready(v1alpha1.ReasonCertificateNotYetValid, nil, "The certificate in Secret %s, or one of its intermediates, is not valid yet. The operator uses it when it becomes valid. "+
			"If it is valid already, set the clock of the operator's node.", secret)
	default:
		return nil
	}
	problem.Retry = reason.After(reason.MaxWait)
	if wait := parsed.NotBefore.Sub(now); wait > 0 && wait < reason.MaxWait {
		problem.Retry = reason.After(max(wait, time.Second))
	}
	return problem
}
