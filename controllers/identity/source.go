package identity

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/render"
	"rolecredential.dev/operator/controllers/request"
)

// attemptTimeout bounds one attempt of a call, so that the SDK's retryer can try another connection.
const attemptTimeout = 10 * time.Second

// config returns the SDK configuration for STS calls with the source's own credentials, and the resource version of
// the source's Secret.
func (r *Resolver) config(ctx context.Context, found Object, from source) (aws.Config, string, *reason.Error, error) {
	settings := found.Settings()
	client, problem := httpClient(settings.CABundle, r.Connections)
	if problem == nil {
		problem = r.checkEndpoint(found)
	}
	if problem == nil {
		problem = checkNames(settings)
	}
	if problem != nil {
		return aws.Config{}, "", problem, nil
	}
	var secretVersion string
	made := aws.Config{Region: settings.Region, HTTPClient: client, ConfigSources: []any{r.Endpoints.forEndpoint(settings.Endpoint)}}
	switch {
	case from.secret != nil:
		keys, version, problem, err := r.accessKey(ctx, found, *from.secret)
		if problem != nil || err != nil {
			return aws.Config{}, "", problem, err
		}
		made.Credentials, secretVersion = keys, version
	case from.audience != "":
		r.Watch.Unsubscribe(KeyOf(found))
		made.Credentials = aws.AnonymousCredentials{}
	case from.ambient:
		r.Watch.Unsubscribe(KeyOf(found))
		if made.Credentials, problem = r.ambient(ctx, settings); problem != nil {
			return aws.Config{}, "", problem, nil
		}
	default:
		// The schema requires a source. One that a newer CRD accepted is lost in decoding.
		r.Watch.Unsubscribe(KeyOf(found))
		return aws.Config{}, "", unready(v1alpha1.ReasonInvalidSourceCredentials, nil, "spec.source of %s has no source that this version of the operator supports. "+
			"Set exactly one source, or upgrade the operator if the CRDs are newer.", KeyOf(found).Kind), nil
	}
	made.Credentials = sourceErrorProvider{made.Credentials}
	if settings.Endpoint != "" {
		made.BaseEndpoint = &settings.Endpoint
	}
	return made, secretVersion, nil, nil
}

// ambient returns the credentials that the SDK finds in the operator's own pod. The environment configures how the
// SDK obtains them, including the STS endpoint for a role. It does not affect the identity's own calls.
func (r *Resolver) ambient(ctx context.Context, settings *v1alpha1.IdentitySettings) (aws.CredentialsProvider, *reason.Error) {
	bundle := settings.CABundle
	if settings.Endpoint != "" {
		bundle = "" // the bundle is for the identity's endpoint
	}
	client, problem := httpClient(bundle, 0) // a separate client: the SDK changes its trusted certificates
	if problem != nil {
		return nil, problem
	}
	found, err := config.LoadDefaultConfig(ctx, config.WithRegion(settings.Region), config.WithHTTPClient(client), r.Endpoints.options)
	if err != nil {
		problem := unready(v1alpha1.ReasonInvalidSourceCredentials, err,
			"The operator's own AWS configuration (environment, profile) is not readable. See the event for the error.")
		problem.Retry = reason.After(reason.MaxWait) // configuration files are not watched
		return nil, problem
	}
	return found.Credentials, nil
}

// hopRequest returns the STS request of a hop. Each identity has its own session name.
func hopRequest(identity string, hop v1alpha1.Hop) request.Request {
	return request.Request{
		Call:              v1alpha1.CallAssumeRole,
		RoleARN:           hop.RoleARN,
		SessionName:       cmp.Or(hop.SessionName, request.SessionName("rolecredential", identity, request.MaxSessionName)),
		ExternalID:        hop.ExternalID,
		Tags:              request.Tags(hop.Tags),
		TransitiveTagKeys: hop.TransitiveTagKeys,
	}
}

// accessKey reads an access key from a Secret, and enqueues the identity when the Secret changes.
func (r *Resolver) accessKey(ctx context.Context, found Object, ref types.NamespacedName) (aws.CredentialsProvider, string, *reason.Error, error) {
	secret := &corev1.Secret{}
	err := r.Secrets.Get(ctx, ref, secret)
	if apierrors.IsNotFound(err) {
		r.Watch.Subscribe(KeyOf(found), ref, "")
		return nil, "", unready(v1alpha1.ReasonSecretNotFound, nil, "There is no Secret %s. Create it with the keys %s and %s.",
			ref, render.AccessKeyID, render.SecretAccessKey), nil
	}
	if apierrors.IsForbidden(err) {
		problem := unready(v1alpha1.ReasonSecretForbidden, err, "The operator's RBAC does not allow it to read Secret %s. Grant it get, list and watch of Secrets in namespace %s.", ref, ref.Namespace)
		problem.Retry = reason.After(reason.MaxWait) // RBAC is not watched
		return nil, "", problem, nil
	}
	if err != nil {
		return nil, "", nil, fmt.Errorf("failed to read Secret %s: %w", ref, err)
	}
	r.Watch.Subscribe(KeyOf(found), ref, secret.ResourceVersion)
	// Files often end with a line break, which is not part of the key.
	value := func(key string) string { return strings.TrimSpace(string(secret.Data[key])) }
	for _, key := range []string{render.AccessKeyID, render.SecretAccessKey} {
		if value(key) == "" {
			return nil, "", unready(v1alpha1.ReasonInvalidSecret, nil, "Secret %s has no value under the key %s. Store an IAM user's access key under the keys %s and %s.",
				ref, key, render.AccessKeyID, render.SecretAccessKey), nil
		}
	}
	if problem := checkAccessKey(ref, value, found.Settings().Endpoint); problem != nil {
		return nil, "", problem, nil
	}
	keys := credentials.NewStaticCredentialsProvider(value(render.AccessKeyID), value(render.SecretAccessKey), value(render.SessionToken))
	return keys, secret.ResourceVersion, nil, nil
}

// httpClient returns a client that trusts the bundle's authorities, or the system's without a bundle. It keeps up to
// the given number of idle connections, or the SDK's default if zero: a new connection for each call would cost more
// than the call. The number of workers bounds the open connections. (A transport with MaxConnsPerHost keeps closed
// connections, whose buffers contain responses of STS.)
func httpClient(caBundle string, connections int) (*awshttp.BuildableClient, *reason.Error) {
	client := awshttp.NewBuildableClient().WithTimeout(attemptTimeout)
	if connections > 0 {
		client = client.WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConns, t.MaxIdleConnsPerHost = connections, connections
		})
	}
	if caBundle == "" {
		return client, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(caBundle)) {
		return nil, unready(v1alpha1.ReasonInvalidCABundle, nil, "spec.caBundle contains no valid certificate. Set one or more PEM certificates.")
	}
	return client.WithTransportOptions(func(t *http.Transport) {
		if t.TLSClientConfig == nil {
			t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		t.TLSClientConfig.RootCAs = pool
	}), nil
}

// checkEndpoint checks the schema's rules for objects that were stored before the rules, and whether an Identity may
// have an endpoint.
func (r *Resolver) checkEndpoint(found Object) *reason.Error {
	endpoint := found.Settings().Endpoint
	if endpoint == "" {
		return nil
	}
	if _, namespaced := found.(*v1alpha1.Identity); namespaced && !r.AllowNamespacedEndpoints {
		return unready(v1alpha1.ReasonInvalidEndpoint, nil, "spec.endpoint is not allowed in an Identity, because it directs the operator's requests. "+
			"Remove it, use a ClusterIdentity, or run the operator with --allow-namespaced-endpoints.")
	}
	parsed, err := url.Parse(endpoint)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return unready(v1alpha1.ReasonInvalidEndpoint, err, "spec.endpoint is not the URL of a server. Set a URL such as https://sts.example.internal.")
	}
	if region := found.Settings().Region; region != globalRegion && strings.TrimSuffix(strings.ToLower(parsed.Hostname()), ".") == globalEndpoint {
		return unready(v1alpha1.ReasonInvalidEndpoint, nil, "spec.endpoint is AWS's global endpoint, which accepts only signatures for the region %s, and spec.region is %s. "+
			"Remove spec.endpoint to call STS in %s, or set spec.region to %s.", globalRegion, region, region, globalRegion)
	}
	return nil
}

// The global endpoint of STS, and the region that requests to it are signed for (AWS SDKs and Tools Reference Guide, 'AWS STS
// Regional endpoints').
const (
	globalEndpoint = "sts.amazonaws.com"
	globalRegion   = "us-east-1"
)

// unready returns a failure of ConditionReady without a retry: the identity and its Secret are watched.
func unready(code string, cause error, format string, args ...any) *reason.Error {
	return &reason.Error{Condition: v1alpha1.ConditionReady, Reason: code, Message: fmt.Sprintf(format, args...), Retry: reason.Never, Cause: cause}
}

// sourceErrorProvider wraps the source's errors, so that they are not classified as errors of STS.
type sourceErrorProvider struct{ source aws.CredentialsProvider }

func (p sourceErrorProvider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	keys, err := p.source.Retrieve(ctx)
	if err == nil && (!request.Sendable(keys.AccessKeyID) || !request.Sendable(keys.SessionToken)) {
		err = errNotSendable
	}
	if err != nil {
		return aws.Credentials{}, &reason.SourceError{Err: err}
	}
	return keys, nil
}

var errNotSendable = errors.New("the access key ID or the session token contains a control character, which is not valid in a request")
