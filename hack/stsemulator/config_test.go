package stsemulator_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/hack/stsemulator"
)

func TestInvalidConfigurationsAreRejected(t *testing.T) {
	for name, tc := range map[string]struct{ yaml, want string }{
		"an unknown field":                   {`{accounts: [{id: "123456789012", rolls: []}]}`, `unknown field "rolls"`},
		"an account's id too short":          {`{accounts: [{id: "1234"}]}`, `account "1234": id must be twelve digits`},
		"an account twice":                   {`{accounts: [{id: "123456789012"}, {id: "123456789012"}]}`, `account "123456789012" is there twice`},
		"a partition that AWS does not have": {`{accounts: [{id: "123456789012", partition: moon}]}`, `partition "moon" is none of AWS's`},
		"a user without a name":              {`{accounts: [{id: "123456789012", users: [{}]}]}`, `user "": name must be 1 to 64 of [\w+=,.@-]`},
		"a user twice":                       {`{accounts: [{id: "123456789012", users: [{name: a}, {name: a}]}]}`, `user "a" is there twice`},
		"a key without a secret":             {`{accounts: [{id: "123456789012", users: [{name: a, accessKeys: [{id: AKIAXXXXXXXXXXXXXXXX}]}]}]}`, `an access key needs an id`},
		"a key that two users have": {
			`{accounts: [{id: "123456789012", users: [{name: a, accessKeys: [{id: AKIAXXXXXXXXXXXXXXXX, secret: s}]}, {name: b, accessKeys: [{id: AKIAXXXXXXXXXXXXXXXX, secret: s}]}]}]}`,
			`access key "AKIAXXXXXXXXXXXXXXXX" is there twice`,
		},
		"a role without a name":                    {`{accounts: [{id: "123456789012", roles: [{name: ""}]}]}`, `role "": name must be 1 to 64`},
		"a role twice, if by another path":         {`{accounts: [{id: "123456789012", roles: [{name: a}, {name: b/a}]}]}`, `role "a" is there twice`},
		"a role's sessions too short":              {`{accounts: [{id: "123456789012", roles: [{name: a, maxSessionDuration: 3599}]}]}`, `maxSessionDuration must be 3600 to 43200 seconds`},
		"a role's sessions too long":               {`{accounts: [{id: "123456789012", roles: [{name: a, maxSessionDuration: 43201}]}]}`, `maxSessionDuration must be 3600 to 43200 seconds`},
		"a trust without a principal":              {`{accounts: [{id: "123456789012", roles: [{name: a, trust: [{}]}]}]}`, `trust: principal "" is neither`},
		"a trust in a group":                       {`{accounts: [{id: "123456789012", roles: [{name: a, trust: [{principal: "arn:aws:iam::123456789012:group/g"}]}]}]}`, `is neither an account`},
		"a trust for an action of another service": {`{accounts: [{id: "123456789012", roles: [{name: a, trust: [{principal: "*", actions: ["s3:GetObject"]}]}]}]}`, `trust: action "s3:GetObject"`},
		"a device without a seed":                  {`{accounts: [{id: "123456789012", users: [{name: a, mfaDevices: [{name: d}]}]}]}`, `MFA device "d": seed must be at least 16 characters of base32`},
		"a device without a name":                  {`{accounts: [{id: "123456789012", users: [{name: a, mfaDevices: [{seed: JBSWY3DPEHPK3PXP}]}]}]}`, `MFA device "": name must be`},
		"a device that two users have": {
			`{accounts: [{id: "123456789012", users: [{name: a, mfaDevices: [{name: d, seed: JBSWY3DPEHPK3PXP}]}, {name: b, mfaDevices: [{name: d, seed: JBSWY3DPEHPK3PXP}]}]}]}`,
			`MFA device "d" is there twice`,
		},
		"an issuer without TLS":                     {`{accounts: [{id: "123456789012", oidcProviders: [{issuer: "http://a", clientIDs: [b]}]}]}`, `OIDC provider "http://a": issuer must be an https URL`},
		"an issuer twice":                           {`{accounts: [{id: "123456789012", oidcProviders: [{issuer: "https://a", clientIDs: [b]}, {issuer: "https://a", clientIDs: [b]}]}]}`, `OIDC provider "https://a" is there twice`},
		"a provider without an audience":            {`{accounts: [{id: "123456789012", oidcProviders: [{issuer: "https://a"}]}]}`, `clientIDs must not be empty`},
		"a provider's keys from two sides":          {`{accounts: [{id: "123456789012", oidcProviders: [{issuer: "https://a", clientIDs: [b], jwks: {keys: []}, jwksURL: "https://c"}]}]}`, `jwks and jwksURL exclude each other`},
		"a provider's keys that are none":           {`{accounts: [{id: "123456789012", oidcProviders: [{issuer: "https://a", clientIDs: [b], jwks: [1]}]}]}`, `jwks: json: cannot unmarshal`},
		"a provider's CA that is none":              {`{accounts: [{id: "123456789012", oidcProviders: [{issuer: "https://a", clientIDs: [b], caBundle: x}]}]}`, `caBundle holds no certificate`},
		"a trust in a provider and a user":          {`{accounts: [{id: "123456789012", roles: [{name: a, trust: [{principal: "*", federated: "arn:aws:iam::123456789012:oidc-provider/a"}]}]}]}`, `a federated principal has no principal`},
		"a trust in a provider of nothing":          {`{accounts: [{id: "123456789012", roles: [{name: a, trust: [{federated: "arn:aws:iam::123456789012:saml-provider/a"}]}]}]}`, `is not the ARN of an OpenID Connect provider`},
		"a condition on a user's subject":           {`{accounts: [{id: "123456789012", roles: [{name: a, trust: [{principal: "*", stringLike: {"a:sub": ["*"]}}]}]}]}`, `a condition on "a:sub" is not of a principal that is not federated`},
		"a trust in another service":                {`{accounts: [{id: "123456789012", roles: [{name: a, trust: [{service: ec2.amazonaws.com}]}]}]}`, `service "ec2.amazonaws.com" is not rolesanywhere.amazonaws.com`},
		"a trust in a service and a user":           {`{accounts: [{id: "123456789012", roles: [{name: a, trust: [{service: rolesanywhere.amazonaws.com, principal: "*"}]}]}]}`, `a service has no principal`},
		"a condition on a service's request tag":    {`{accounts: [{id: "123456789012", roles: [{name: a, trust: [{service: rolesanywhere.amazonaws.com, stringLike: {"aws:RequestTag/a": ["*"]}}]}]}]}`, `a condition on "aws:RequestTag/a" is not of a service`},
		"a profile twice":                           {`{accounts: [{id: "123456789012", profiles: [{arn: "arn:aws:rolesanywhere:eu-west-1:123456789012:profile/a"}, {arn: "arn:aws:rolesanywhere:eu-west-1:123456789012:profile/a"}]}]}`, `profile "arn:aws:rolesanywhere:eu-west-1:123456789012:profile/a" is there twice`},
		"a profile of another account":              {`{accounts: [{id: "123456789012", profiles: [{arn: "arn:aws:rolesanywhere:eu-west-1:210987654321:profile/a"}]}]}`, `arn must be of a profile of the account`},
		"a profile of another partition":            {`{accounts: [{id: "123456789012", profiles: [{arn: "arn:aws-cn:rolesanywhere:cn-north-1:123456789012:profile/a"}]}]}`, `arn must be of a profile of the account`},
		"a trust anchor without a certificate":      {`{accounts: [{id: "123456789012", trustAnchors: [{arn: "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/a"}]}]}`, `certificates must hold a certificate in PEM`},
		"text that is no YAML at all, but a number": {`42`, `cannot unmarshal number`},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			file := filepath.Join(t.TempDir(), "config.yaml")
			g.Expect(os.WriteFile(file, []byte(tc.yaml), 0o600)).To(Succeed())
			_, err := stsemulator.LoadConfig(file)
			g.Expect(err).To(MatchError(ContainSubstring(tc.want)))
			g.Expect(err).To(MatchError(HavePrefix(file)))
		})
	}
}

func TestInvalidOptionsAreRejected(t *testing.T) {
	for name, opts := range map[string]stsemulator.Options{
		"more than 1":           {LifetimeFraction: 1.01},
		"less than nothing":     {LifetimeFraction: -0.5},
		"a token too short":     {SessionTokenSize: 15},
		"a token too long":      {SessionTokenSize: 2049},
		"a region with a slash": {Region: "moon/1"},
		"a flavour unknown":     {Flavour: "vanilla"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := stsemulator.New(stsemulator.Config{}, opts)
			NewWithT(t).Expect(err).To(HaveOccurred())
		})
	}
}

func TestSessionTokensHaveTheConfiguredSize(t *testing.T) {
	for _, size := range []int{16, 500, 2048} {
		e := serve(t, stsemulator.Options{SessionTokenSize: size})
		creds, _ := e.assume(t, operatorKey, input(readerARN))
		g := NewWithT(t)
		g.Expect(creds.SessionToken).To(HaveLen(size))
		_, err := e.client(creds).GetCallerIdentity(t.Context(), nil)
		g.Expect(err).NotTo(HaveOccurred())
	}
}

func TestCommentedExamplesInDefaultYAMLAreValid(t *testing.T) {
	g := NewWithT(t)
	data, err := os.ReadFile("default.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	_, examples, found := strings.Cut(string(data), "  # - name: ServiceAccount\n")
	g.Expect(found).To(BeTrue())
	examples, _, found = strings.Cut("  # - name: ServiceAccount\n"+examples, "  #   caBundle")
	g.Expect(found).To(BeTrue())
	cfg, err := stsemulator.ParseConfig([]byte("accounts:\n- id: \"123456789012\"\n  roles:\n" + strings.ReplaceAll(examples, "  # ", "  ")))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cfg.Accounts[0].OIDCProviders).To(HaveLen(1))
	g.Expect(cfg.Accounts[0].Roles[0].Trust[0].StringLike).To(HaveLen(1))
}
