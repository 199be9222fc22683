package advice

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
)

// source returns the type of the identity's source, empty if the identity is not known.
func (s Situation) source() cluster.SourceType {
	if s.Identity == nil {
		return ""
	}
	return s.Identity.SourceType
}

// sourceSecret returns the Secret of the identity's source.
func (s Situation) sourceSecret() (namespace, name string) {
	if s.Identity == nil || s.Identity.SourceSecret == nil {
		return "NAMESPACE", "NAME"
	}
	return s.Identity.SourceSecret.Namespace, s.Identity.SourceSecret.Name
}

// sourceKey returns the key of that Secret that the source reads.
func (s Situation) sourceKey() string {
	if s.Identity == nil {
		return "KEY"
	}
	return cmp.Or(s.Identity.SourceKey, "KEY")
}

// storeSource returns the step that writes the Secret of the identity's source, whether it exists or not.
func (s Situation) storeSource(do string) Step {
	kind, options := "generic", []string{"--from-file=" + s.sourceKey() + "=FILE"}
	var content string
	switch s.source() {
	case cluster.SourceX509:
		kind, options = "tls", []string{"--cert=tls.crt", "--key=tls.key"}
		content = "the certificate and then its intermediates in tls.crt, and its RSA or ECDSA key in tls.key"
	case cluster.SourceOIDC:
		content = "the client's secret in FILE"
	case cluster.SourceWebIdentityToken:
		content = "the token in FILE"
	default:
		options = []string{"--from-env-file=key.env"}
		content = "two lines in key.env, AWS_ACCESS_KEY_ID=... and AWS_SECRET_ACCESS_KEY=..."
	}
	namespace, name := s.sourceSecret()
	create := append([]string{"create", "secret", kind, name, "-n", namespace}, options...)
	return Step{
		Do:   do + ", with " + content + ":",
		Copy: kubectl(append(create, "--dry-run=client", "-o", "yaml")...) + " | kubectl apply --server-side --force-conflicts -f -",
	}
}

// checkWriter returns the step that checks the tool which writes the Secret of the identity's source.
func (s Situation) checkWriter() []Step {
	namespace, name := s.sourceSecret()
	switch s.source() {
	case cluster.SourceX509:
		return []Step{{Do: fmt.Sprintf("If cert-manager writes the Secret, check the Certificate whose spec.secretName is %s.", name), Copy: kubectl("describe", "certificates.cert-manager.io", "-n", namespace)}}
	case cluster.SourceWebIdentityToken:
		return []Step{{Do: "Check the tool that writes the token to the Secret. These are the Secret's field managers:",
			Copy: kubectl("get", "secret", name, "-n", namespace, "--show-managed-fields", "-o", `jsonpath={.metadata.managedFields[*].manager}{"\n"}`)}}
	default:
		return nil // the other Secrets are usually written by hand
	}
}

func secretNotFound(s Situation) guidance {
	a := guidance{means: "The Secret of the identity's source does not exist."}
	a.cluster = append(s.checkWriter(), s.storeSource("Create it"))
	if s.source() == cluster.SourceAccessKey {
		a.aws = []Step{{Do: "If there is no key yet, create one for the IAM user that the identity uses.", Copy: "aws iam create-access-key --user-name NAME"}}
	}
	return a
}

func secretForbidden(s Situation) guidance {
	namespace, name := s.sourceSecret()
	return guidance{
		means: "The operator's RBAC does not let it read the Secret of the identity's source.",
		cluster: []Step{
			{Do: "Check the operator's permission.", Copy: kubectl("auth", "can-i", "get", "secret/"+name, "-n", namespace, "--as="+operator)},
			{Do: fmt.Sprintf("Allow the operator to get, list and watch Secrets in %s. The manifests allow it in the whole cluster.", namespace),
				Copy: lines(kubectl("create", "role", "rolecredential-source", "-n", namespace, "--verb=get,list,watch", "--resource=secrets"),
					kubectl("create", "rolebinding", "rolecredential-source", "-n", namespace, "--role=rolecredential-source", "--serviceaccount=rolecredential-system:rolecredential-manager"))},
		},
	}
}

func invalidSecret(s Situation) guidance {
	switch s.source() {
	case cluster.SourceX509:
		return guidance{
			means: "The Secret of the identity's source holds no certificate and private key that the operator can use with IAM Roles Anywhere. The message says why.",
			cluster: append(s.checkWriter(),
				Step{Do: "IAM Roles Anywhere accepts a certificate with the key usage digital signature, which is no authority. In a Certificate of cert-manager, set spec.usages to [digital signature, client auth], and spec.isCA to false."},
				s.storeSource("Or write a certificate to the Secret")),
		}
	case cluster.SourceOIDC:
		return guidance{
			means:   fmt.Sprintf("The Secret of the identity's source has no value under the key %s, which must hold the secret of the OIDC client.", s.sourceKey()),
			cluster: []Step{s.storeSource("Write the client's secret to it")},
		}
	case cluster.SourceWebIdentityToken:
		return guidance{
			means: fmt.Sprintf("The Secret of the identity's source has no usable JSON Web Token under the key %s. The message says why.", s.sourceKey()),
			cluster: append(s.checkWriter(),
				Step{Do: "If the token has an audience of the API server, have it issued for another audience, which the OIDC provider in IAM lists as a client ID."},
				s.storeSource("Or write a token to the Secret")),
		}
	default:
		return guidance{
			means:   "The Secret of the identity's source lacks a key, or has a value that is not valid in an access key. The message says which.",
			cluster: []Step{s.storeSource("Write the access key")},
		}
	}
}

// wrongTime returns guidance for a certificate that is not valid now.
func wrongTime(means string) func(Situation) guidance {
	return func(Situation) guidance {
		return guidance{means: means, cluster: []Step{
			{Do: "Have cert-manager, or the tool that writes the Secret, renew the certificate. The operator uses a changed Secret at once."},
			{Do: "If the certificate is valid, set the clock of the operator's node."},
		}}
	}
}

func unsupportedField(s Situation) guidance {
	var call v1alpha1.Call
	var fields []string
	if s.Identity != nil && s.Credential != nil {
		call, fields = s.Identity.Call(s.Credential.Request.Call), s.FieldsWithoutParameter()
	}
	a := guidance{means: "The identity's source replaces AssumeRole with a call that does not support a field of the spec. The operator did not call STS."}
	switch call {
	case v1alpha1.CallCreateSession:
		a.means = "The identity calls CreateSession of IAM Roles Anywhere with a certificate. That call does not support a field of the spec. The operator did not call it."
	case v1alpha1.CallAssumeRoleWithWebIdentity:
		a.means = "The identity calls AssumeRoleWithWebIdentity with " + s.token() + ". That call does not support a field of the spec. The operator did not call STS."
	}
	remove := cmp.Or(strings.Join(fields, ", "), "the field that the message names")
	a.cluster = []Step{{Do: "Remove " + remove + ".", Copy: s.edit()}}
	if s.Credential != nil && slices.Contains(fields, s.Credential.Kind.NameField) {
		a.cluster = append(a.cluster, Step{Do: "Or, if the profile has acceptRoleSessionName, set acceptRoleSessionName in source.x509 of the identity.", Copy: s.editIdentity()})
	}
	a.cluster = append(a.cluster, s.otherIdentity(" with another source or with a chain"))
	return a
}

// FieldsWithoutParameter returns the fields of the spec that the identity's call has no parameter for. Both are known.
func (s Situation) FieldsWithoutParameter() []string {
	r, nameField := s.Credential.Request, ""
	if s.Identity.RolesAnywhere != nil && !s.Identity.RolesAnywhere.AcceptRoleSessionName && r.SessionName != s.Credential.DefaultSessionName() {
		nameField = s.Credential.Kind.NameField
	}
	return r.FieldsWithoutParameter(s.Identity.Call(r.Call), nameField)
}
