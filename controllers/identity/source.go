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
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
	"rolecredential.dev/operator/controllers/output"
)

// attemptTimeout bounds one attempt of a call, so that the SDK's retryer gets to try another connection.
const attemptTimeout = 10 * time.Second

// config returns all that the SDK needs to call STS with the source's own credentials, and the version of the Secret that it
// was made from.
func (r *Resolver[C]) config(ctx context.Context, found Object, from source) (aws.Config, string, *failure.Failure, error) {
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
	made := aws.Config{Region: settings.Region, HTTPClient: client, ConfigSources: []any{r.Endpoints.of(settings.Endpoint)}}
	switch {
	case from.secret != nil:
		keys, version, problem, err := r.accessKey(ctx, found, *from.secret)
		if problem != nil || err != nil {
			return aws.Config{}, "", problem, err
		}
		made.Credentials, secretVersion = keys, version
	case from.audience != "":
		r.Watch.Done(KeyOf(found))
		made.Credentials = aws.AnonymousCredentials{}
	case from.ambient:
		r.Watch.Done(KeyOf(found))
		if made.Credentials, problem = r.ambient(ctx, settings); problem != nil {
			return aws.Config{}, "", problem, nil
		}
	default:
		// The schema requires a source. One that a newer CRD accepted is lost in decoding.
		r.Watch.Done(KeyOf(found))
		return aws.Config{}, "", unready(v1alpha1.ReasonInvalidSourceCredentials, nil, "spec.source names no source of %s that this version of the operator knows. "+
			"Give it exactly one, or upgrade the operator if the CRDs are newer.", KeyOf(found).Kind), nil
	}
	made.Credentials = blamed{made.Credentials}
	if settings.Endpoint != "" {
		made.BaseEndpoint = &settings.Endpoint
	}
	return made, secretVersion, nil, nil
}

// ambient returns the credentials that the SDK finds in the operator's own pod. The environment says how to come by them, also at
// which STS if they are a role's, and nothing of where the identity's own calls go.
func (r *Resolver[C]) ambient(ctx context.Context, settings *v1alpha1.IdentitySettings) (aws.CredentialsProvider, *failure.Failure) {
	bundle := settings.CABundle
	if settings.Endpoint != "" {
		bundle = "" // it is for that server
	}
	client, problem := httpClient(bundle, 0) // of its own: the SDK adds to what it trusts
	if problem != nil {
		return nil, problem
	}
	found, err := config.LoadDefaultConfig(ctx, config.WithRegion(settings.Region), config.WithHTTPClient(client), r.Endpoints.options)
	if err != nil {
		problem := unready(v1alpha1.ReasonInvalidSourceCredentials, err,
			"The operator's own AWS configuration (environment, profile) cannot be read. The event holds the error.")
		problem.Retry = failure.After(failure.MaxWait) // its files are not watched
		return nil, problem
	}
	return found.Credentials, nil
}

// hopRequest is what a hop asks of STS. Its session has a name of its own.
func hopRequest(identity string, hop v1alpha1.Hop) credential.Request {
	return credential.Request{
		Call:              v1alpha1.CallAssumeRole,
		RoleARN:           hop.RoleARN,
		SessionName:       cmp.Or(hop.SessionName, credential.SessionName("rolecredential", identity, credential.MaxSessionName)),
		ExternalID:        hop.ExternalID,
		Tags:              credential.Tags(hop.Tags),
		TransitiveTagKeys: hop.TransitiveTagKeys,
	}
}

// accessKey reads an access key from a Secret, and enqueues the identity when the Secret changes.
func (r *Resolver[C]) accessKey(ctx context.Context, found Object, ref types.NamespacedName) (aws.CredentialsProvider, string, *failure.Failure, error) {
	secret := &corev1.Secret{}
	err := r.Secrets.Get(ctx, ref, secret)
	if apierrors.IsNotFound(err) {
		r.Watch.Await(KeyOf(found), ref, "")
		return nil, "", unready(v1alpha1.ReasonSecretNotFound, nil, "There is no Secret %s. Create it with the keys %s and %s.",
			ref, output.AccessKeyID, output.SecretAccessKey), nil
	}
	if apierrors.IsForbidden(err) {
		problem := unready(v1alpha1.ReasonSecretForbidden, err, "The operator may not read Secret %s. Have its RBAC allow get, list and watch of Secrets in namespace %s.", ref, ref.Namespace)
		problem.Retry = failure.After(failure.MaxWait) // RBAC is not watched
		return nil, "", problem, nil
	}
	if err != nil {
		return nil, "", nil, fmt.Errorf("reading Secret %s: %w", ref, err)
	}
	r.Watch.Await(KeyOf(found), ref, secret.ResourceVersion)
	// A line end at the end of a file is no part of the key.
	value := func(key string) string { return strings.TrimSpace(string(secret.Data[key])) }
	for _, key := range []string{output.AccessKeyID, output.SecretAccessKey} {
		if value(key) == "" {
			return nil, "", unready(v1alpha1.ReasonInvalidSecret, nil, "Secret %s has nothing under the key %s. Put an IAM user's access key into its keys %s and %s.",
				ref, key, output.AccessKeyID, output.SecretAccessKey), nil
		}
	}
	if problem := checkAccessKey(ref, value, found.Settings().Endpoint); problem != nil {
		return nil, "", problem, nil
	}
	keys := credentials.NewStaticCredentialsProvider(value(output.AccessKeyID), value(output.SecretAccessKey), value(output.SessionToken))
	return keys, secret.ResourceVersion, nil, nil
}

// httpClient returns a client that trusts the bundle's authorities, the system's if there is none, and keeps so many connections, or
// as many as the SDK has it if zero: a connection for each call would cost more than the call. No more are opened than there are
// workers who ask. (A transport that bounds them itself holds on to closed ones, in whose buffers stands what STS answered.)
func httpClient(caBundle string, connections int) (*awshttp.BuildableClient, *failure.Failure) {
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
		return nil, unready(v1alpha1.ReasonInvalidCABundle, nil, "spec.caBundle holds no certificate that can be read. Give one or more certificates in PEM.")
	}
	return client.WithTransportOptions(func(t *http.Transport) {
		if t.TLSClientConfig == nil {
			t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		t.TLSClientConfig.RootCAs = pool
	}), nil
}

// checkEndpoint holds what the schema's rules hold, for an object that was stored before them, and whose endpoints are taken.
func (r *Resolver[C]) checkEndpoint(found Object) *failure.Failure {
	endpoint := found.Settings().Endpoint
	if endpoint == "" {
		return nil
	}
	if _, namespaced := found.(*v1alpha1.Identity); namespaced && !r.AllowNamespacedEndpoints {
		return unready(v1alpha1.ReasonInvalidEndpoint, nil, "spec.endpoint is not taken from an Identity, since it would aim the operator's requests. "+
			"Leave it out, use a ClusterIdentity, or have the operator run with --allow-namespaced-endpoints.")
	}
	parsed, err := url.Parse(endpoint)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return unready(v1alpha1.ReasonInvalidEndpoint, err, "spec.endpoint is not the URL of a server. Give one such as https://sts.example.internal.")
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

// unready waits for a change of the identity or its Secret, which are watched.
func unready(reason string, cause error, format string, args ...any) *failure.Failure {
	return &failure.Failure{Condition: v1alpha1.ConditionReady, Reason: reason, Message: fmt.Sprintf(format, args...), Retry: failure.Never, Cause: cause}
}

// blamed names the source's errors as such, so that they are not taken for those of STS.
type blamed struct{ source aws.CredentialsProvider }

func (b blamed) Retrieve(ctx context.Context) (aws.Credentials, error) {
	keys, err := b.source.Retrieve(ctx)
	if err == nil && (!credential.Sendable(keys.AccessKeyID) || !credential.Sendable(keys.SessionToken)) {
		err = errNotSendable
	}
	if err != nil {
		return aws.Credentials{}, &failure.SourceError{Err: err}
	}
	return keys, nil
}

var errNotSendable = errors.New("the access key ID or the session token holds a control character, which no request can carry")
