package advice

import (
	"cmp"
	"fmt"
	"net"
	"net/url"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/shell"
)

// secretName is the credential's Secret, as the spec names it.
func (s Situation) secretName() string {
	if s.Credential == nil {
		return "NAME"
	}
	return cmp.Or(s.Credential.Common().Secret.Name, s.Credential.GetName())
}

func secretNotWritten(s Situation) answer {
	return answer{
		means: "STS issued a credential, which was dropped: the API server did not take the Secret, or the formats or data of spec.secret cannot hold it.",
		here: []Step{
			{Do: "Read what the API server said: it is in the last event.", Copy: s.events().Copy},
			{Do: "See whether a quota is used up.", Copy: kubectl("describe", "resourcequotas", "-n", s.namespace())},
			{Do: "See whether an admission policy or webhook refuses Secrets there.", Copy: "kubectl get validatingadmissionpolicies,validatingwebhookconfigurations,mutatingwebhookconfigurations"},
			{Do: "See whether the operator may write them.", Copy: s.operatorCan("create", "secrets")},
		},
	}
}

func secretConflict(s Situation) answer {
	name, namespace := s.secretName(), s.namespace()
	return answer{
		means: "The Secret cannot be this credential's: it is somebody else's, or it is immutable, or something keeps undoing it. The message says which.",
		here: []Step{
			{Do: "See whose it is, and what writes it.", Copy: kubectl("get", "secret", name, "-n", namespace, "--show-managed-fields", "-o", `jsonpath={.metadata.ownerReferences}{"\n"}{.metadata.managedFields[*].manager}{"\n"}`)},
			{Do: "Have the credential keep another Secret.", Copy: s.patch(`{"secret":{"name":"NAME"}}`)},
			{Do: "Or hand the Secret over: its other keys are then removed.", Copy: kubectl("annotate", "secret", name, "-n", namespace, v1alpha1.AdoptAnnotation+"="+s.kind()+"/"+s.name())},
			{Do: "Or delete it, if nobody needs it, or if it is immutable; a new one is made in its place.", Copy: kubectl("delete", "secret", name, "-n", namespace)},
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

func invalidTemplate(s Situation) answer {
	return answer{
		means: "A Secret cannot be written as spec.secret describes it. The message says what is wrong.",
		here:  []Step{{Do: "Correct spec.secret.", Copy: s.edit()}},
	}
}

func suspended(s Situation) answer {
	return answer{
		means: "spec.suspend is set: nothing is refreshed, and the Secret expires in its time.",
		here:  []Step{{Do: "Let it go on.", Copy: s.patch(`{"suspend":false}`)}},
	}
}

// source is the Secret of the identity's source.
func (s Situation) source() (namespace, name string) {
	if s.Identity == nil || s.Identity.SourceSecret == nil {
		return "NAMESPACE", "NAME"
	}
	return s.Identity.SourceSecret.Namespace, s.Identity.SourceSecret.Name
}

// fillSource is a command that puts an access key into the Secret of the identity's source.
func (s Situation) fillSource(how string) string {
	namespace, name := s.source()
	create := []string{"create", "secret", "generic", name, "-n", namespace, "--from-env-file=key.env"}
	if how == "apply" {
		return kubectl(append(create, "--dry-run=client", "-o", "yaml")...) + " | kubectl apply --server-side --force-conflicts -f -"
	}
	return kubectl(create...)
}

// keyFile says what is in the file that [Situation.fillSource] reads.
const keyFile = "with two lines in key.env, AWS_ACCESS_KEY_ID=... and AWS_SECRET_ACCESS_KEY=..."

func secretNotFound(s Situation) answer {
	return answer{
		means: "The Secret of the identity's source does not exist.",
		here:  []Step{{Do: "Create it, " + keyFile + ":", Copy: s.fillSource("create")}},
		aws:   []Step{{Do: "If there is no key yet, make one for the IAM user that the operator is to be.", Copy: "aws iam create-access-key --user-name NAME"}},
	}
}

func secretForbidden(s Situation) answer {
	namespace, name := s.source()
	return answer{
		means: "The operator's RBAC does not let it read the Secret of the identity's source.",
		here: []Step{
			{Do: "See what it may.", Copy: kubectl("auth", "can-i", "get", "secret/"+name, "-n", namespace, "--as="+operator)},
			{Do: fmt.Sprintf("Let it get, list and watch Secrets in %s, as the manifests do for the whole cluster.", namespace),
				Copy: lines(kubectl("create", "role", "rolecredential-source", "-n", namespace, "--verb=get,list,watch", "--resource=secrets"),
					kubectl("create", "rolebinding", "rolecredential-source", "-n", namespace, "--role=rolecredential-source", "--serviceaccount=rolecredential-system:rolecredential-manager"))},
		},
	}
}

func invalidSecret(s Situation) answer {
	return answer{
		means: "The Secret of the identity's source lacks a key, or a value of it cannot be an access key's. The message says which.",
		here:  []Step{{Do: "Fill it, " + keyFile + ":", Copy: s.fillSource("apply")}},
	}
}

func invalidCABundle(s Situation) answer {
	host := "HOST:443"
	if s.Identity != nil && s.Identity.Endpoint != "" {
		host = hostPort(s.Identity.Endpoint)
	}
	return answer{
		means: "caBundle of the identity holds no certificate that can be read.",
		here: []Step{
			{Do: "See which authority the endpoint's certificate is from.", Copy: shell.Command("openssl", "s_client", "-connect", host, "-showcerts") + " </dev/null"},
			{Do: "Put that authority's certificate into caBundle, in PEM, from -----BEGIN CERTIFICATE----- on.", Copy: s.editIdentity()},
		},
	}
}

// hostPort is what openssl connects to for a URL.
func hostPort(endpoint string) string {
	parsed, err := url.Parse(endpoint)
	if err != nil {
		return endpoint
	}
	return net.JoinHostPort(parsed.Hostname(), cmp.Or(parsed.Port(), "443"))
}

func invalidEndpoint(s Situation) answer {
	a := answer{
		means: "endpoint of the identity is not the URL of a server, or AWS's global endpoint with a region other than us-east-1; the message says which.",
		here:  []Step{{Do: "Give one such as https://sts.example.internal, or leave endpoint out for AWS's own.", Copy: s.editIdentity()}},
	}
	if s.Ref.Kind == v1alpha1.IdentityKindIdentity {
		a.means = "endpoint of the identity is not the URL of a server, or is not taken from an Identity, since it would aim the operator's requests; the message says which."
		a.here = append(a.here, Step{Do: "Or have those who run the operator start it with --allow-namespaced-endpoints, or make a ClusterIdentity with that endpoint."})
	}
	return a
}
