package cli

import (
	"context"
	"slices"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/rules"
	"rolecredential.dev/operator/controllers/authz"
)

// evaluate evaluates an identity's rules on a credential. If the namespace's labels cannot be read, it returns an error besides the
// verdict. Rules with a namespaceSelector do not match then.
func evaluate(ctx context.Context, c *cluster.Cluster, of cluster.Credential, identity cluster.Identity) (rules.Verdict, error) {
	request := authz.Request{
		Identity: identity.String(), Namespace: of.GetNamespace(), Call: authz.CallToAuthorize(identity.Call(of.Request.Call)), RoleARN: of.Request.RoleARN,
		SessionName: of.Request.SessionName, NameField: of.Kind.NameField, DefaultSessionName: of.DefaultSessionName(),
		Duration: of.Request.Duration, Chain: identity.Roles(),
	}
	var err error
	if slices.ContainsFunc(identity.Rules, func(r v1alpha1.AllowRule) bool { return r.NamespaceSelector != nil }) {
		request.NamespaceLabels, err = c.NamespaceLabels(ctx, of.GetNamespace())
	}
	return rules.Evaluate(identity.Rules, request), err
}
