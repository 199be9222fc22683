package integration_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"strings"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
)

const defaultDuration = time.Hour

// Escalations that the API server rejects, by RBAC or by the schema.
var apiServerRejects = map[string]func(*attack){
	"a credential, an Identity or a Secret in another namespace": func(a *attack) {
		for _, object := range []client.Object{
			&v1alpha1.RoleCredential{Spec: v1alpha1.RoleCredentialSpec{RoleARN: bankRole}}, &v1alpha1.SessionCredential{}, &v1alpha1.FederatedCredential{Spec: v1alpha1.FederatedCredentialSpec{Policy: "{}"}},
			&v1alpha1.Identity{}, &corev1.Secret{}, &corev1.ServiceAccount{},
		} {
			object.SetNamespace(a.bank)
			object.SetName("planted")
			a.expectForbidden(a.tenant.Create(a.ctx, object))
		}
		victim := a.createVictim("there")
		a.expectForbidden(a.tenant.Delete(a.ctx, victim))
		for _, namespace := range []string{a.bank, operatorNamespace} {
			a.expectForbidden(a.tenant.List(a.ctx, &corev1.SecretList{}, client.InNamespace(namespace)))
		}
	},
	"a ClusterIdentity, or a rule in one": func(a *attack) {
		a.expectForbidden(a.tenant.Create(a.ctx, &v1alpha1.ClusterIdentity{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, Spec: a.by.Spec}))
		a.expectForbidden(a.tenant.Patch(a.ctx, a.by.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"allow":[]}}`))))
		a.expectForbidden(a.tenant.Get(a.ctx, client.ObjectKeyFromObject(a.by), &v1alpha1.ClusterIdentity{}))
	},
	"a forged status": func(a *attack) {
		forged := []byte(`{"status":{"principalARN":"arn:aws:sts::123456789012:assumed-role/bench-bank/x","conditions":[{"type":"Authorized","status":"True","reason":"Allowed","message":"","lastTransitionTime":"2026-11-24T12:00:00Z"}]}}`)
		created := a.create("forged-status", func(c *v1alpha1.RoleCredential) {
			c.Spec.RoleARN = bankRole
			a.Expect(json.Unmarshal(forged, c)).To(Succeed())
		})
		a.eventually(created, "Authorized", "False NotAllowed")
		a.Expect(created.Status.PrincipalARN).To(BeEmpty())
		a.expectForbidden(a.tenant.Status().Patch(a.ctx, created.DeepCopy(), client.RawPatch(types.MergePatchType, forged)))
		own := &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Namespace: a.shop, Name: "forged-status"}}
		a.expectForbidden(a.tenant.Status().Patch(a.ctx, own, client.RawPatch(types.MergePatchType, forged)))
		// Even a forged status that an administrator writes has no effect.
		a.Expect(admin.Status().Patch(a.ctx, created.DeepCopy(), client.RawPatch(types.MergePatchType, forged))).To(Succeed())
		a.refresh(created, "1")
		a.eventually(created, "Authorized", "False NotAllowed")
		a.expectNoCalls()
	},
	"the operator's own credentials as the source of an Identity": func(a *attack) {
		a.expectRejected(a.manifest("Identity", "ambient", `{region: eu-west-1, source: {ambient: {}}}`), `unknown field "spec.source.ambient"`)
		for _, source := range []string{`{ambient: {}}`, `{}`, `{accessKey: null}`} { // as a client without strict validation sends them
			err := a.tenant.Create(a.ctx, a.manifest("Identity", "ambient", `{region: eu-west-1, source: `+source+`}`), client.FieldValidation("Ignore"))
			a.Expect(err).To(MatchError(ContainSubstring("source must have exactly one of accessKey, serviceAccount, x509, oidc and webIdentityToken")))
		}
	},
	"a name that is a path to another namespace's object": func(a *attack) {
		for _, path := range []string{"../" + a.bank + "/own", a.bank + "/own", "../../" + a.bank + "/secrets/own", a.bank + ":own", "..", "own%2f..", "system:serviceaccount:" + a.bank + ":own"} {
			role := "roleARN: " + shopRole
			a.expectRejected(a.manifest("RoleCredential", "by-path", fmt.Sprintf(`{%s, identityRef: {kind: Identity, name: %q}}`, role, path)), "identityRef.name must be a valid identity name")
			a.expectRejected(a.manifest("RoleCredential", "by-path", fmt.Sprintf(`{%s, serviceAccountName: %q}`, role, path)), "serviceAccountName must be a valid service account name")
			a.expectRejected(a.manifest("RoleCredential", "by-path", fmt.Sprintf(`{%s, secret: {name: %q}}`, role, path)), "secret.name must be a valid Secret name")
			a.expectRejected(a.manifest("RoleCredential", "by-path", fmt.Sprintf(`{%s, rollout: {targets: [{kind: Deployment, name: %q}]}}`, role, path)), "name must be a valid workload name")
			a.expectRejected(a.manifest("SessionCredential", "by-path", fmt.Sprintf(`{mfa: {serialNumber: GAHT12345, totpSecretRef: {name: %q, key: seed}}}`, path)), "name must be a valid Secret name")
			a.expectRejected(a.manifest("Identity", "by-path", fmt.Sprintf(`{region: eu-west-1, source: {accessKey: {secretRef: {name: %q}}}}`, path)), "secretRef.name must be a valid Secret name")
		}
	},
	"a namespace in a reference that has none": func(a *attack) {
		a.expectRejected(a.manifest("RoleCredential", "elsewhere", fmt.Sprintf(`{roleARN: %q, identityRef: {kind: Identity, name: own, namespace: %s}}`, shopRole, a.bank)), `unknown field "spec.identityRef.namespace"`)
		a.expectRejected(a.manifest("RoleCredential", "elsewhere", fmt.Sprintf(`{roleARN: %q, secret: {namespace: %s}}`, shopRole, a.bank)), `unknown field "spec.secret.namespace"`)
		a.expectRejected(a.manifest("RoleCredential", "elsewhere", fmt.Sprintf(`{roleARN: %q, rollout: {targets: [{kind: Deployment, name: web, namespace: %s}]}}`, shopRole, a.bank)), `unknown field "spec.rollout.targets[0].namespace"`)
		own := a.manifest("Identity", "elsewhere", fmt.Sprintf(`{region: eu-west-1, source: {accessKey: {secretRef: {name: own-key, namespace: %s}}}}`, a.bank))
		a.expectRejected(own.DeepCopy(), `unknown field "spec.source.accessKey.secretRef.namespace"`)

		// Without strict validation, the API server drops the field, and the name refers to the credential's own namespace.
		a.putKeyIn(a.bank, "own-key", a.sts.AccessKeys(operatorARN)[0])
		a.Expect(a.tenant.Create(a.ctx, own, client.FieldValidation("Ignore"))).To(Succeed())
		a.eventually(&v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Namespace: a.shop, Name: "elsewhere"}}, "Ready", "False SecretNotFound")
		a.expectNoCalls()
	},
	"a duration of another unit or sign": func(a *attack) {
		for _, duration := range []string{"1d", "1.5h", "-1h", "+1h", "3600000ms", "1H", "1h 1s", "3600", "", "0x1h", "٣h"} {
			a.expectRejected(a.manifest("RoleCredential", "long", fmt.Sprintf(`{roleARN: %q, duration: %q}`, shopRole, duration)), "spec.duration")
		}
		for i, duration := range []string{"3601s", "1h1s", "60m1s", "61m", "59m61s", "0h3601s"} {
			object := a.manifest("RoleCredential", fmt.Sprintf("long-%d", i), fmt.Sprintf(`{roleARN: %q, duration: %q, identityRef: {name: %s}}`, shopRole, duration, a.by.Name))
			a.Expect(a.tenant.Create(a.ctx, object)).To(Succeed())
			a.eventually(&v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: a.shop, Name: object.GetName()}}, "Authorized", "False DurationNotAllowed")
		}
		a.expectNoCalls()
	},
	"reserved annotations and labels, or owners, of the Secret": func(a *attack) {
		for _, key := range []string{"sts.rolecredential.dev/expiration", "sts.rolecredential.dev/seal", "sts.rolecredential.dev/refresh-request", v1alpha1.AdoptAnnotation} {
			a.expectRejected(a.manifest("RoleCredential", "reserved", fmt.Sprintf(`{roleARN: %q, secret: {annotations: {%q: x}}}`, shopRole, key)), "are reserved for the operator")
		}
		for _, key := range []string{v1alpha1.ManagedByLabel, "sts.rolecredential.dev/x"} {
			a.expectRejected(a.manifest("RoleCredential", "reserved", fmt.Sprintf(`{roleARN: %q, secret: {labels: {%q: x}}}`, shopRole, key)), "are reserved for the operator")
		}
		a.expectRejected(a.manifest("RoleCredential", "reserved", fmt.Sprintf(`{roleARN: %q, secret: {ownerReferences: []}}`, shopRole)), `unknown field "spec.secret.ownerReferences"`)
	},
	"a label on the tenant's namespace": func(a *attack) {
		shop := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: a.shop}}
		a.expectForbidden(a.tenant.Patch(a.ctx, shop, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"aws":"yes"}}}`))))
	},
}

// Escalations that the operator denies before it calls STS.
var operatorDenies = map[string]func(*attack){
	"a role with a similar name": func(a *attack) {
		for i, role := range []string{
			bankRole, shopRole + "s", "arn:aws:iam::123456789012:role/bench-sho", "arn:aws:iam::123456789012:role/x/bench-shop", "arn:aws:iam::123456789012:role/bench-shop/x",
			"arn:aws:iam::123456789012:role/Bench-Shop", "arn:aws:iam::123456789013:role/bench-shop", "arn:aws:iam:::role/bench-shop", "arn:aws-cn:iam::123456789012:role/bench-shop",
			"arn:aws:iam::123456789012:role/*", "arn:aws:iam::123456789012:role/bench-shop*", "arn:aws:iam::123456789012:role/" + shopRole,
			"arn:aws:iam::*:role/bench-shop", "arn:*:iam::123456789012:role/bench-shop", "arn:aws:iam::role/bench-shop", "urn:aws:iam::123456789012:role/bench-shop",
		} {
			created := a.create(fmt.Sprintf("like-%d", i), func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = role })
			a.eventually(created, "Authorized", "False NotAllowed")
		}
		a.expectRejected(a.manifest("RoleCredential", "star", `{roleARN: "*"}`), "spec.roleARN")
		a.expectNoCalls()
	},
	"a namespace with a similar name": func(a *attack) {
		for _, name := range []string{a.shop + "s", "x" + a.shop, a.shop + "-" + a.shop, a.shop[:len(a.shop)-1]} {
			a.Expect(admin.Create(a.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})).To(Succeed())
			created := a.credential(name, "like", a.by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = shopRole })
			a.eventually(created, "Authorized", "False NotAllowed")
			a.removeNamespace(name)
		}
		a.expectNoCalls()
	},
	"a name of another namespace's session": func(a *attack) {
		by := a.identity(func(i *v1alpha1.ClusterIdentity) {
			i.Name, i.Spec.Allow = "names", &[]v1alpha1.AllowRule{{
				Namespaces: []string{a.shop}, RoleARNs: []string{shopRole}, SessionNames: []string{"ci-*"}, Calls: []v1alpha1.Call{v1alpha1.CallAssumeRole, v1alpha1.CallGetFederationToken},
			}}
		})
		long := strings.Repeat("long-", 20)
		for i, name := range []string{a.bank + ".reader", a.shop + ".another", a.shop + ".forged", "xci-1", "CI-1", ""} {
			user := &v1alpha1.FederatedCredential{ObjectMeta: metav1.ObjectMeta{Namespace: a.shop, Name: fmt.Sprintf("forged-%d", i)}}
			user.Spec.Policy, user.Spec.IdentityRef.Name = "{}", by.Name
			user.Spec.UserName = cmp.Or(name, request.SessionName(a.bank, long, request.MaxUserName))
			role := roleCredential(a.shop, fmt.Sprintf("forged-%d", i), by.Name)
			role.Spec.RoleARN = shopRole
			role.Spec.SessionName = cmp.Or(name, request.SessionName(a.bank, long, request.MaxSessionName))
			a.expectDenied("Authorized", "False NotAllowed", user, role)
		}
	},
	"a tag that names another namespace": func(a *attack) {
		tagging := a.identity(func(i *v1alpha1.ClusterIdentity) {
			i.Name, i.Spec.Allow, i.Spec.SessionTags = "tagging", a.by.Spec.Allow, &v1alpha1.SessionTags{ClusterName: "prod-eu"}
		})
		for _, by := range []string{a.by.Name, tagging.Name} { // both have the same caller, and only the second sets session tags
			for i, key := range []string{"kubernetes-namespace", "Kubernetes-Namespace", "KUBERNETES-NAMESPACE", "kubernetes-cluster", "kubernetes-name", "kubernetes-uid", "kubernetes-kind"} {
				created := roleCredential(a.shop, fmt.Sprintf("tagged-%d-%s", i, by), by)
				created.Spec.RoleARN, created.Spec.Tags, created.Spec.TransitiveTagKeys = shopRole, []v1alpha1.Tag{{Key: key, Value: &a.bank}}, []string{key}
				a.expectDenied("Issued", "False InvalidTags", created)
			}
		}
	},
	"a tag that replaces a transitive tag of a chain": func(a *attack) {
		by := a.createChain(func(i *v1alpha1.ClusterIdentity) {
			i.Name = "tagged-chain"
			threeHops(i)
		})
		created := roleCredential(a.shop, "retagged", by.Name)
		created.Spec.RoleARN, created.Spec.Tags = lastARN, []v1alpha1.Tag{{Key: "Team", Value: new("shop")}}
		a.Expect(a.tenant.Create(a.ctx, created)).To(Succeed())
		a.eventually(created, "Issued", "False InvalidRequest") // STS accepts no other value for a transitive tag
		a.Expect(a.secret(a.shop, "retagged")).To(BeNil())
	},
	"a role of the identity's own chain": func(a *attack) {
		by := a.createChain(func(i *v1alpha1.ClusterIdentity) {
			i.Name = "chain"
			threeHops(i)
		})
		a.eventually(by, "Ready", "True Verified")
		a.calls = len(a.sts.Calls()) // the hops, and GetCallerIdentity
		for i, hop := range by.Spec.Chain {
			created := roleCredential(a.shop, fmt.Sprintf("hop-%d", i), by.Name)
			created.Spec.RoleARN = hop.RoleARN
			a.expectDenied("Authorized", "False NotAllowed", created)
		}
		a.Expect(a.tenant.Create(a.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: a.shop, Name: "device"}, StringData: map[string]string{"seed": "JBSWY3DPEHPK3PXP"}})).To(Succeed())
		created := roleCredential(a.shop, "hop-mfa", by.Name)
		created.Spec.RoleARN, created.Spec.MFA = lastARN, mfaDevice("device")
		a.expectDenied("Issued", "False WrongSourceType", created) // a chain's session has no MFA device
	},
	"the user's own permissions, where a rule allows roles": func(a *attack) {
		session := &v1alpha1.SessionCredential{ObjectMeta: metav1.ObjectMeta{Namespace: a.shop, Name: "own-rights"}}
		user := &v1alpha1.FederatedCredential{ObjectMeta: metav1.ObjectMeta{Namespace: a.shop, Name: "federated"}}
		session.Spec.IdentityRef.Name, user.Spec.IdentityRef.Name, user.Spec.Policy = a.by.Name, a.by.Name, `{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
		a.expectDenied("Authorized", "False NotAllowed", session, user)
	},
	"another namespace's Identity": func(a *attack) {
		a.putKeyIn(a.bank, "own-key", a.sts.AccessKeys(operatorARN)[0])
		own := &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Namespace: a.bank, Name: "own"}}
		own.Spec.Region, own.Spec.Endpoint = "eu-west-1", a.endpoint.URL
		own.Spec.Source.AccessKey = &v1alpha1.LocalAccessKeySource{SecretRef: v1alpha1.LocalSecretReference{Name: "own-key"}}
		a.Expect(admin.Create(a.ctx, own)).To(Succeed())
		created := roleCredential(a.shop, "borrowed", "own")
		created.Spec.IdentityRef.Kind = v1alpha1.IdentityKindIdentity
		a.expectDenied("Authorized", "False IdentityNotFound", created)
	},
	"another namespace's service account": func(a *attack) {
		by := a.identity(useTokens, func(i *v1alpha1.ClusterIdentity) { i.Name, i.Spec.Allow = "tokens", a.by.Spec.Allow })
		a.serviceAccount(a.bank, "deployer")
		created := roleCredential(a.shop, "as-deployer", by.Name)
		created.Spec.RoleARN, created.Spec.ServiceAccountName = shopRole, "deployer"
		a.expectDenied("Issued", "False TokenNotIssued", created)
	},
	"a token for the API server": func(a *attack) {
		text, err := kubectl("get", "--raw", "/.well-known/openid-configuration")
		a.Expect(err).NotTo(HaveOccurred())
		var discovery struct{ Issuer string }
		a.Expect(json.Unmarshal([]byte(text), &discovery)).To(Succeed())
		a.serviceAccount(a.shop, "default")
		own := &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Namespace: a.shop, Name: "api"}}
		own.Spec.Region, own.Spec.Source.ServiceAccount = "eu-west-1", &v1alpha1.ServiceAccountSource{Audience: discovery.Issuer}
		a.Expect(a.tenant.Create(a.ctx, own)).To(Succeed())
		created := roleCredential(a.shop, "api-token", "api")
		created.Spec.IdentityRef.Kind = v1alpha1.IdentityKindIdentity
		a.expectDenied("Issued", "False TokenNotIssued", created)
		a.Expect(message(created, "Issued")).To(ContainSubstring("is the Kubernetes API server's own"))
		a.expectRejected(a.manifest("Identity", "api-2", `{region: eu-west-1, source: {serviceAccount: {audience: "https://kubernetes.default.svc"}}}`), "must not be that of the Kubernetes API server")
	},
	"an endpoint that the tenant chooses": func(a *attack) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		a.Expect(err).NotTo(HaveOccurred())
		defer func() { _ = listener.Close() }()
		a.putKeyIn(a.shop, "own-key", a.sts.AccessKeys(operatorARN)[0])
		own := &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Namespace: a.shop, Name: "aimed"}}
		own.Spec.Region, own.Spec.Endpoint = "eu-west-1", "http://"+listener.Addr().String()
		own.Spec.Source.AccessKey = &v1alpha1.LocalAccessKeySource{SecretRef: v1alpha1.LocalSecretReference{Name: "own-key"}}
		created := roleCredential(a.shop, "aimed", "aimed")
		created.Spec.IdentityRef.Kind = v1alpha1.IdentityKindIdentity
		a.expectDenied("Ready", "False InvalidEndpoint", own)
		a.expectDenied("Authorized", "False IdentityNotReady", created)
		a.Expect(listener.(*net.TCPListener).SetDeadline(time.Unix(1, 0))).To(Succeed())
		_, err = listener.Accept()
		a.Expect(err).To(MatchError(ContainSubstring("i/o timeout")), "the operator called the endpoint")
	},
	"another namespace's seed of an MFA device": func(a *attack) {
		by := a.identity(func(i *v1alpha1.ClusterIdentity) {
			i.Name, i.Spec.Allow = "devices", &[]v1alpha1.AllowRule{{Namespaces: []string{a.shop}, Calls: []v1alpha1.Call{v1alpha1.CallGetSessionToken}}}
		})
		seed := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: a.bank, Name: "banks-device"}, StringData: map[string]string{"seed": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"}}
		a.Expect(admin.Create(a.ctx, seed)).To(Succeed())
		created := &v1alpha1.SessionCredential{ObjectMeta: metav1.ObjectMeta{Namespace: a.shop, Name: "with-device"}}
		created.Spec.IdentityRef.Name, created.Spec.MFA = by.Name, mfaDevice("banks-device")
		a.expectDenied("Issued", "False InvalidMFA", created)
	},
	"a credential whose rule was removed": func(a *attack) {
		by := a.identity(func(i *v1alpha1.ClusterIdentity) { i.Name, i.Spec.Allow = "taken-away", a.by.Spec.Allow })
		created := a.createReady("left", func(c *v1alpha1.RoleCredential) { c.Spec.IdentityRef.Name = by.Name })
		before := a.secret(a.shop, "left")
		update(a.harness, by, func(i *v1alpha1.ClusterIdentity) { *i.Spec.Allow = (*i.Spec.Allow)[1:] })
		a.eventually(created, "Authorized", "False NotAllowed")
		// A refresh request, a changed spec or a deleted Secret cause no call. The issued credentials stay until they expire.
		a.Expect(a.tenant.Patch(a.ctx, created, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"now"}},"spec":{"externalID":"other"}}`, v1alpha1.RefreshAnnotation)))).To(Succeed())
		a.eventually(created, "Ready", "False Outdated")
		a.Expect(a.secret(a.shop, "left")).To(Equal(before))
		a.Expect(a.tenant.Delete(a.ctx, before.DeepCopy())).To(Succeed())
		a.eventually(created, "Ready", "False NotIssued")
		a.expectNoCalls()
	},
	"a namespace that lost the label of a rule": func(a *attack) {
		by := a.identity(func(i *v1alpha1.ClusterIdentity) {
			i.Name, i.Spec.Allow = "labels", &[]v1alpha1.AllowRule{{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"aws": "yes"}}, RoleARNs: []string{shopRole}}}
		})
		shop := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: a.shop}}
		update(a.harness, shop, func(n *corev1.Namespace) { n.Labels["aws"] = "yes" })
		created := a.createReady("labelled", func(c *v1alpha1.RoleCredential) { c.Spec.IdentityRef.Name = by.Name })
		update(a.harness, shop, func(n *corev1.Namespace) { delete(n.Labels, "aws") })
		a.eventually(created, "Authorized", "False NotAllowed")
		a.refresh(created, "1")
		a.expectDenied("Authorized", "False NotAllowed", changed(roleCredential(a.shop, "unlabelled", by.Name), func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = shopRole }))
	},
	"a new namespace with the name of a deleted one": func(a *attack) {
		by := a.identity(func(i *v1alpha1.ClusterIdentity) {
			i.Name, i.Spec.Allow = "owners", &[]v1alpha1.AllowRule{{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"owner": "alice"}}, RoleARNs: []string{shopRole}}}
		})
		name := a.shop + "-inherited"
		for _, owner := range []string{"alice", "bob"} {
			if owner == "bob" {
				a.removeNamespace(name)
			}
			a.Expect(admin.Create(a.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"owner": owner}}})).To(Succeed())
			created := a.credential(name, "inherited", by, func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = shopRole })
			a.eventually(created, "Authorized", map[string]string{"alice": "True Allowed", "bob": "False NotAllowed"}[owner])
			a.eventually(created, "Ready", map[string]string{"alice": "True Issued", "bob": "False NotIssued"}[owner])
		}
		a.Expect(a.issueCalls()).To(HaveLen(1))
		a.removeNamespace(name)
	},
}

// mfaDevice returns the operator's MFA device with its seed in a Secret.
func mfaDevice(secret string) *v1alpha1.MFA {
	return &v1alpha1.MFA{SerialNumber: "arn:aws:iam::210987654321:mfa/operator", TOTPSecretRef: v1alpha1.SecretKeyReference{Name: secret, Key: "seed"}}
}

// removeNamespace deletes a namespace with its credentials and Secrets, since no namespace controller runs here.
func (a *attack) removeNamespace(name string) {
	a.t.Helper()
	a.Expect(admin.DeleteAllOf(a.ctx, &v1alpha1.RoleCredential{}, client.InNamespace(name))).To(Succeed())
	a.Expect(admin.DeleteAllOf(a.ctx, &corev1.Secret{}, client.InNamespace(name))).To(Succeed())
	old := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	a.Expect(admin.Delete(a.ctx, old)).To(Succeed())
	a.Expect(admin.Get(a.ctx, client.ObjectKeyFromObject(old), old)).To(Succeed())
	old.Spec.Finalizers = nil
	a.Expect(admin.SubResource("finalize").Update(a.ctx, old)).To(Succeed())
}

// Escalations through Secrets, which the tenant may write, that have no effect.
var operatorIgnores = map[string]func(*attack){
	"the Secret of another credential": func(a *attack) {
		a.createReady("first")
		before := a.secret(a.shop, "first")
		second := a.create("second", func(c *v1alpha1.RoleCredential) { c.Spec.Secret.Name = "first" })
		a.eventually(second, "Ready", "False SecretConflict")
		update(a.harness, before.DeepCopy(), func(s *corev1.Secret) { // the first credential controls it, so the annotation has no effect
			s.Annotations[v1alpha1.AdoptAnnotation] = "RoleCredential/second"
		})
		a.refresh(second, "1")
		a.Consistently(func() string { return string(a.secret(a.shop, "first").OwnerReferences[0].UID) }).Should(BeEquivalentTo(before.OwnerReferences[0].UID))
		a.eventually(second, "Ready", "False SecretConflict")
		a.Expect(a.secret(a.shop, "first").Data).To(Equal(before.Data))
		a.expectNoCalls()
	},
	"the Secret of another kind with the same name": func(a *attack) {
		by := a.identity(func(i *v1alpha1.ClusterIdentity) {
			i.Name, i.Spec.Allow = "twins", &[]v1alpha1.AllowRule{{Namespaces: []string{a.shop}, RoleARNs: []string{"*"}, Calls: []v1alpha1.Call{v1alpha1.CallAssumeRole, v1alpha1.CallGetSessionToken}}}
		})
		a.createReady("twin", func(c *v1alpha1.RoleCredential) { c.Spec.IdentityRef.Name = by.Name })
		before := a.secret(a.shop, "twin")
		other := &v1alpha1.SessionCredential{ObjectMeta: metav1.ObjectMeta{Namespace: a.shop, Name: "twin"}}
		other.Spec.IdentityRef.Name = by.Name
		a.Expect(a.tenant.Create(a.ctx, other)).To(Succeed())
		a.eventually(other, "Ready", "False SecretConflict")
		a.Expect(a.secret(a.shop, "twin")).To(Equal(before))
		a.expectNoCalls()
	},
	"a Secret that imitates one of the operator's": func(a *attack) {
		a.createReady("pattern")
		forged := copyOf(a.shop, "copied", a.secret(a.shop, "pattern"))
		a.Expect(a.tenant.Create(a.ctx, forged)).To(Succeed())
		before := a.secret(a.shop, "copied")
		created := a.create("copied")
		a.eventually(created, "Ready", "False SecretConflict")
		a.Expect(a.secret(a.shop, "copied")).To(Equal(before))
		a.expectNoCalls()
	},
	"a Secret that claims to be of a former credential": func(a *attack) {
		a.createReady("source")
		successor := a.create("successor", func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = bankRole })
		a.eventually(successor, "Authorized", "False NotAllowed")
		forged := copyOf(a.shop, "successor", a.secret(a.shop, "source"))
		record, ok := reissue.ParseRecord(forged.Annotations)
		a.Expect(ok).To(BeTrue())
		record.Credential = "RoleCredential/successor"
		maps.Copy(forged.Annotations, record.WithChecksum(forged.Data).Annotations())
		a.Expect(a.tenant.Create(a.ctx, forged)).To(Succeed())
		a.eventually(successor, "Ready", "False Outdated")
		a.Expect(metav1.IsControlledBy(a.secret(a.shop, "successor"), successor)).To(BeTrue())
		a.Expect(a.secret(a.shop, "successor").Data).To(Equal(forged.Data))
		a.expectNoCalls()
	},
	"annotations of a Secret that claim what was not issued": func(a *attack) {
		a.createReady("allowed")
		// A Secret of a denied credential with the record of the allowed credential and a valid checksum.
		denied := a.create("claims", func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = bankRole })
		a.eventually(denied, "Authorized", "False NotAllowed")
		forged := copyOf(a.shop, "claims", a.secret(a.shop, "allowed"))
		forged.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(denied, v1alpha1.GroupVersion.WithKind("RoleCredential"))}
		forged.OwnerReferences[0].BlockOwnerDeletion = nil
		a.Expect(a.tenant.Create(a.ctx, forged)).To(Succeed())
		a.eventually(denied, "Ready", "False Outdated")
		a.expectNoCalls()

		// A forged expiration causes a reissue, which records the expiration of STS.
		update(a.harness, a.secret(a.shop, "allowed"), func(s *corev1.Secret) { s.Annotations["sts.rolecredential.dev/expiration"] = "2999-01-01T00:00:00Z" })
		a.Eventually(func() string { return a.secret(a.shop, "allowed").Annotations["sts.rolecredential.dev/expiration"] }).WithTimeout(waitLimit).ShouldNot(HavePrefix("2999"))
		a.Expect(a.issueCalls()).To(HaveLen(1))
	},
	"an owner that is another namespace's credential": func(a *attack) {
		victim := a.createVictim("victim")
		before := a.secret(a.bank, "victim")
		forged := copyOf(a.shop, "victim", before)
		forged.OwnerReferences = before.OwnerReferences
		forged.Data = map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("mallory's")}
		a.Expect(a.tenant.Create(a.ctx, forged)).To(Succeed())
		planted := a.secret(a.shop, "victim")
		a.refresh(victim, "1")
		a.Eventually(func() string { a.state(victim, "Ready")(); return victim.Status.LastHandledRefreshRequest }).WithTimeout(waitLimit).Should(Equal("1"))
		update(a.harness, victim, func(c *v1alpha1.RoleCredential) { c.Spec.Secret.Name = "moved" })
		a.Eventually(func() *corev1.Secret { return a.secret(a.bank, "victim") }).WithTimeout(waitLimit).Should(BeNil()) // of the former name
		a.Expect(a.secret(a.bank, "moved").Data).NotTo(HaveKeyWithValue("AWS_ACCESS_KEY_ID", []byte("mallory's")))
		a.Expect(a.secret(a.shop, "victim")).To(Equal(planted))
	},
	"another namespace's Secret with the adopt annotation": func(a *attack) {
		foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: a.bank, Name: "loot", Annotations: map[string]string{v1alpha1.AdoptAnnotation: "RoleCredential/loot"}}}
		a.Expect(admin.Create(a.ctx, foreign)).To(Succeed())
		before := a.secret(a.bank, "loot")
		a.createReady("loot")
		a.Expect(a.secret(a.bank, "loot")).To(Equal(before))
	},
	"a template that repeats, grows or reads more than the credential": func(a *attack) {
		for i, text := range []string{
			`{{printf "%999999999d" 1}}`, `{{range .}}x{{end}}`, `{{define "x"}}{{template "x"}}{{end}}{{template "x"}}`, `{{$x := .AccessKeyID}}{{$x}}`,
			`{{.Namespace}}`, `{{.AccessKeyID.Len}}`, `{{env "AWS_SECRET_ACCESS_KEY"}}`, `{{call .AccessKeyID}}`, strings.Repeat(`{{json (json (json (json .SessionToken)))}}`, 50),
		} {
			created := roleCredential(a.shop, fmt.Sprintf("template-%d", i), a.by.Name)
			created.Spec.RoleARN, created.Spec.Secret.Data = shopRole, map[string]v1alpha1.DataTemplate{"loot": v1alpha1.DataTemplate(text)}
			a.expectDenied("Ready", "False InvalidTemplate", created)
		}
	},
	"a flood of refresh requests": func(a *attack) {
		const requests = 100
		flooding, victim := a.createReady("flooding"), a.createVictim("unaffected")
		for i := range requests {
			patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"%d"}}}`, v1alpha1.RefreshAnnotation, i)
			a.Expect(a.tenant.Patch(a.ctx, flooding, client.RawPatch(types.MergePatchType, patch))).To(Succeed())
		}
		a.refresh(victim, "1")
		a.Eventually(func() string { a.state(victim, "Ready")(); return victim.Status.LastHandledRefreshRequest }).WithTimeout(waitLimit).Should(Equal("1"))
		a.Eventually(func() string { a.state(flooding, "Ready")(); return flooding.Status.LastHandledRefreshRequest }).WithTimeout(waitLimit).Should(Equal(fmt.Sprint(requests - 1)))
		a.Expect(len(a.issueCalls())).To(BeNumerically("<=", requests+1))
		a.t.Logf("%d refresh requests caused %d calls", requests, len(a.issueCalls())-1)
	},
}

func changed[T any](object T, change func(T)) T {
	change(object)
	return object
}

// message returns a condition's message.
func message(object *v1alpha1.RoleCredential, conditionType string) string {
	var messages []string
	for _, c := range object.Status.Conditions {
		if c.Type == conditionType {
			messages = append(messages, c.Message)
		}
	}
	return strings.Join(messages, "")
}
