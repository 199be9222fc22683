package identity

import (
	"fmt"
	"net/url"
	"strings"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
)

// unready returns a failure of ConditionReady without a retry: the identity and its Secret are watched.
func unready(code string, cause error, format string, args ...any) *reason.Error {
	return &reason.Error{Condition: v1alpha1.ConditionReady, Reason: code, Message: fmt.Sprintf(format, args...), Retry: reason.Never, Cause: cause}
}

// validate returns a failure if a spec cannot work. The CRDs' validation rules reject most of these specs, but not those
// of objects that were stored before the rules.
func (r *Resolver) validate(found Object) *reason.Error {
	for _, check := range []func(Object) *reason.Error{r.checkURLs, checkEndpoint, checkNames, checkTags} {
		if problem := check(found); problem != nil {
			return problem
		}
	}
	return nil
}

// The global endpoint of STS, and the region that requests to it are signed for (AWS SDKs and Tools Reference Guide, 'AWS
// STS Regional endpoints').
const (
	globalEndpoint = "sts.amazonaws.com"
	globalRegion   = "us-east-1"
)

// serverURL is a field that directs the operator's requests.
type serverURL struct{ field, value, example string }

func serverURLs(found Object) []serverURL {
	urls := []serverURL{{"spec.endpoint", found.Settings().Endpoint, "https://sts.example.internal"}}
	switch source := sourceOf(found).(type) {
	case certificate:
		urls = append(urls, serverURL{"spec.source.x509.endpoint", source.Endpoint, "https://rolesanywhere.example.internal"})
	case oidcClient:
		urls = append(urls,
			serverURL{"spec.source.oidc.issuer", source.Issuer, "https://id.example.internal/realms/prod"},
			serverURL{"spec.source.oidc.tokenURL", source.TokenURL, "https://id.example.internal/oauth2/token"})
	}
	return urls
}

func (r *Resolver) checkURLs(found Object) *reason.Error {
	_, namespaced := found.(*v1alpha1.Identity)
	for _, u := range serverURLs(found) {
		if u.value == "" {
			continue
		}
		if namespaced && !r.AllowNamespacedEndpoints {
			return unready(v1alpha1.ReasonInvalidEndpoint, nil, "%s is not allowed in an Identity, because it directs the operator's requests. "+
				"Remove it, use a ClusterIdentity, or run the operator with --allow-namespaced-endpoints.", u.field)
		}
		parsed, err := url.Parse(u.value)
		if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
			return unready(v1alpha1.ReasonInvalidEndpoint, err, "%s is not the URL of a server. Set a URL such as %s.", u.field, u.example)
		}
	}
	return nil
}

// checkEndpoint rejects AWS's global endpoint for another region than its own.
func checkEndpoint(found Object) *reason.Error {
	parsed, err := url.Parse(found.Settings().Endpoint) // checkURLs rejects another than a URL
	if region := found.Settings().Region; err == nil && region != globalRegion && strings.TrimSuffix(strings.ToLower(parsed.Hostname()), ".") == globalEndpoint {
		return unready(v1alpha1.ReasonInvalidEndpoint, nil, "spec.endpoint is AWS's global endpoint, which accepts only signatures for the region %s, and spec.region is %s. "+
			"Remove spec.endpoint to call STS in %s, or set spec.region to %s.", globalRegion, region, region, globalRegion)
	}
	return nil
}

// checkNames checks the form and partition of AWS's names. With an endpoint, the server decides instead.
func checkNames(found Object) *reason.Error {
	settings := found.Settings()
	if settings.Endpoint != "" {
		return nil
	}
	if err := request.CheckRegion(settings.Region); err != nil {
		return unready(v1alpha1.ReasonInvalidRequest, nil, "spec.region: %s. Correct it, or set spec.endpoint to the server that uses this region.", err)
	}
	if x509, ok := sourceOf(found).(certificate); ok {
		if err := request.CheckPartition(settings.Region, x509.TrustAnchorARN); err != nil {
			return unready(v1alpha1.ReasonWrongPartition, nil, "spec.source.x509.trustAnchorARN: %s. Use a region and a source of one partition.", err)
		}
		if err := request.CheckPartition(settings.Region, x509.ProfileARN); err != nil {
			return unready(v1alpha1.ReasonWrongPartition, nil, "spec.source.x509.profileARN: %s. Use a region and a source of one partition.", err)
		}
	}
	for i, hop := range settings.Chain {
		if err := request.CheckRole(hop.RoleARN); err != nil {
			return unready(v1alpha1.ReasonInvalidRequest, nil, "spec.chain[%d].roleARN: %s. Correct it, or set spec.endpoint to the server of this role.", i, err)
		}
		if err := request.CheckPartition(settings.Region, hop.RoleARN); err != nil {
			return unready(v1alpha1.ReasonWrongPartition, nil, "spec.chain[%d].roleARN: %s. Use a region, a source and hops of one partition.", i, err)
		}
	}
	return nil
}

// checkTags rejects session tags that AWS policies could not rely on. A namespace can present a token of its service
// accounts to AWS itself, with any tags; it does not hold the token of a ClusterIdentity's other sources. The owner of an
// Identity is such a namespace too, so its hops may not set the tags that the operator sets for credentials.
func checkTags(found Object) *reason.Error {
	settings := found.Settings()
	if cluster, ok := found.(*v1alpha1.ClusterIdentity); ok && settings.SessionTags != nil && cluster.Spec.Source.ServiceAccount != nil {
		return unready(v1alpha1.ReasonInvalidRequest, nil, "spec.sessionTags does not work with source.serviceAccount: a namespace can call STS with its own token and any tags. "+
			"Remove spec.sessionTags and let trust policies check the token's sub, or use another source.")
	}
	if _, ok := found.(*v1alpha1.Identity); !ok {
		return nil
	}
	for i, hop := range settings.Chain {
		if err := hopRequest(KeyOf(found), hop).OverridesReservedTag(request.ReservedTags); err != nil {
			return unready(v1alpha1.ReasonInvalidTags, nil, "spec.chain[%d].tags is invalid: %s.", i, err)
		}
	}
	return nil
}
