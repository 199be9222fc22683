package advice

import (
	"cmp"
	"net"
	"net/url"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/shell"
	"rolecredential.dev/operator/controllers/request"
)

// secretName returns the name of the credential's Secret in the spec.
func (s Situation) secretName() string {
	if s.Credential == nil {
		return "NAME"
	}
	return request.SecretName(s.Credential.Object)
}

func secretNotWritten(s Situation) guidance {
	return guidance{
		means: "STS issued session credentials, but the operator could not store them. The API server rejected the Secret, or the formats or data of spec.secret cannot hold them.",
		cluster: []Step{
			{Do: "Read the answer of the API server in the last event.", Copy: s.events().Copy},
			{Do: "Check whether a quota is used up.", Copy: kubectl("describe", "resourcequotas", "-n", s.namespace())},
			{Do: "Check whether an admission policy or webhook rejects Secrets in the namespace.", Copy: "kubectl get validatingadmissionpolicies,validatingwebhookconfigurations,mutatingwebhookconfigurations"},
			{Do: "Check whether the operator may create Secrets.", Copy: s.operatorCan("create", "secrets")},
		},
	}
}

func secretConflict(s Situation) guidance {
	name, namespace := s.secretName(), s.namespace()
	return guidance{
		means: "The operator cannot write the Secret: it is foreign, it is immutable, or another writer keeps undoing the changes. The message says which.",
		cluster: []Step{
			{Do: "Find the Secret's owner and its field managers.", Copy: kubectl("get", "secret", name, "-n", namespace, "--show-managed-fields", "-o", `jsonpath={.metadata.ownerReferences}{"\n"}{.metadata.managedFields[*].manager}{"\n"}`)},
			{Do: "Set another name in spec.secret.", Copy: s.patch(`{"secret":{"name":"NAME"}}`)},
			{Do: "Or let the operator adopt the Secret. This removes its other keys.", Copy: kubectl("annotate", "secret", name, "-n", namespace, v1alpha1.AdoptAnnotation+"="+s.kind()+"/"+s.name())},
			{Do: "Or delete the Secret, if it is immutable or not needed. The operator creates a new one.", Copy: kubectl("delete", "secret", name, "-n", namespace)},
		},
	}
}

func (s Situation) kind() string {
	if s.Credential == nil {
		return "KIND"
	}
	return s.Credential.Kind.Name
}

func (s Situation) name() string {
	if s.Credential == nil {
		return "NAME"
	}
	return s.Credential.GetName()
}

func invalidTemplate(s Situation) guidance {
	return guidance{
		means:   "spec.secret is not valid. The message says what is wrong.",
		cluster: []Step{{Do: "Correct spec.secret.", Copy: s.edit()}},
	}
}

func suspended(s Situation) guidance {
	return guidance{
		means:   "spec.suspend is set. The operator keeps the Secret but does not refresh it, so its credentials expire.",
		cluster: []Step{{Do: "Resume refreshes.", Copy: s.patch(`{"suspend":false}`)}},
	}
}

func invalidCABundle(s Situation) guidance {
	host := "HOST:443"
	if s.Identity != nil && s.Identity.Endpoint != "" {
		host = hostPort(s.Identity.Endpoint)
	}
	return guidance{
		means: "caBundle of the identity contains no valid certificate.",
		cluster: []Step{
			{Do: "Find the CA that issued the endpoint's certificate.", Copy: shell.Command("openssl", "s_client", "-connect", host, "-showcerts") + " </dev/null"},
			{Do: "Set caBundle to that CA's certificate, in PEM, starting with -----BEGIN CERTIFICATE-----.", Copy: s.editIdentity()},
		},
	}
}

// hostPort returns HOST:PORT of a URL.
func hostPort(endpoint string) string {
	parsed, err := url.Parse(endpoint)
	if err != nil {
		return endpoint
	}
	return net.JoinHostPort(parsed.Hostname(), cmp.Or(parsed.Port(), "443"))
}

func invalidEndpoint(s Situation) guidance {
	a := guidance{
		means:   "endpoint of the identity is not a valid URL, or is AWS's global endpoint with a region other than us-east-1. The message says which.",
		cluster: []Step{{Do: "Set a URL such as https://sts.example.internal, or remove endpoint to use AWS's default.", Copy: s.editIdentity()}},
	}
	if s.Ref.Kind == v1alpha1.IdentityKindIdentity {
		a.means = "endpoint of the identity is not a valid URL, or the operator does not accept endpoints of Identities. The message says which."
		a.cluster = append(a.cluster, Step{Do: "Or ask the cluster admin to start the operator with --allow-namespaced-endpoints, or to create a ClusterIdentity with that endpoint."})
	}
	return a
}
