package docs_test

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	. "github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"
	"github.com/pquerna/otp/totp"
	"k8s.io/utils/clock"

	"rolecredential.dev/operator/hack/stsemulator"
)

// policy is a policy document (IAM User Guide, 'Grammar of the IAM JSON policy language').
type policy struct {
	Version   string
	ID        string `json:"Id"`
	Statement []statement
}

type statement struct {
	Sid       string
	Effect    string
	Principal map[string]list
	Action    list
	Resource  list
	Condition map[string]map[string]list
}

// list is a string or a list of strings.
type list []string

func (l *list) UnmarshalJSON(text []byte) error {
	if bytes.HasPrefix(text, []byte("[")) {
		return json.Unmarshal(text, (*[]string)(l))
	}
	*l = list{""}
	return json.Unmarshal(text, &(*l)[0])
}

// read rejects unknown keys.
func (p *policy) read(text string) error {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	return decoder.Decode(p)
}

const (
	arnPattern    = `^arn:aws[a-z-]*:[a-z0-9-]+:[a-z0-9-]*:([0-9]{12}|aws)?:[!-~]+$`
	actionPattern = `^(\*|[a-z0-9-]+:[A-Za-z*]+)$`
)

var (
	trustActions = []string{"sts:AssumeRole", "sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity"}
	// Actions of STS in permissions.
	stsActions = append([]string{"sts:GetFederationToken", "sts:GetCallerIdentity"}, trustActions...)
	// The operators of conditions, and their keys. A key that ends in a slash or colon is a prefix.
	conditionKeys = map[string][]string{
		"StringEquals": {"aws:RequestTag/", "aws:PrincipalTag/", "sts:ExternalId", "sts:RoleSessionName", "oidc.example.com/cluster:aud", "oidc.example.com/cluster:sub"},
		"StringLike":   {"aws:RequestTag/", "aws:PrincipalTag/", "sts:RoleSessionName", "aws:userid", "oidc.example.com/cluster:sub"},
		"Bool":         {"aws:MultiFactorAuthPresent"},
		"DateLessThan": {"aws:TokenIssueTime"}, "ArnEquals": {"aws:SourceArn"},
	}
)

func TestShownPoliciesFollowIAMGrammar(t *testing.T) {
	found := 0
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.language != "json" {
				continue
			}
			if b.has("log") {
				for line := range strings.Lines(b.text) {
					NewWithT(t).Expect(json.Valid([]byte(line))).To(BeTrue(), "%s:%d", p.path, b.line)
				}
				continue
			}
			found++
			t.Run(fmt.Sprintf("%s:%d", p.path, b.line), func(t *testing.T) {
				g := NewWithT(t)
				var document policy
				g.Expect(document.read(b.text)).To(Succeed())
				g.Expect(document.Version).To(Equal("2012-10-17"))
				g.Expect(document.Statement).NotTo(BeEmpty())
				for _, s := range document.Statement {
					g.Expect(s.Effect).To(BeElementOf("Allow", "Deny"))
					g.Expect(s.Action).NotTo(BeEmpty())
					g.Expect(s.Action).To(HaveEach(MatchRegexp(actionPattern)))
					checkCondition(g, s)
					if b.has("trust") {
						checkTrust(g, s)
						continue
					}
					g.Expect(s.Principal).To(BeEmpty(), "who has such a policy is not said in it")
					g.Expect(s.Resource).NotTo(BeEmpty())
					g.Expect(s.Resource).To(HaveEach(Or(Equal("*"), MatchRegexp(arnPattern))))
					for _, action := range s.Action {
						g.Expect(strings.HasPrefix(action, "sts:") && !slices.Contains(stsActions, action)).To(BeFalse(), action)
					}
				}
			})
		}
	}
	NewWithT(t).Expect(found).To(BeNumerically(">", 10))
}

func checkTrust(g *WithT, s statement) {
	g.Expect(s.Resource).To(BeEmpty(), "a trust policy is of the one role that has it")
	g.Expect(s.Action).To(HaveEach(BeElementOf(trustActions)))
	g.Expect(s.Principal).To(HaveLen(1))
	for kind, who := range s.Principal {
		want := map[string]gomegatypes.GomegaMatcher{
			"AWS":       MatchRegexp(`^arn:aws[a-z-]*:(iam::[0-9]{12}:(root|(user|role)/[!-~]+)|sts::[0-9]{12}:assumed-role/[!-~]+)$`),
			"Federated": MatchRegexp(`^arn:aws[a-z-]*:iam::[0-9]{12}:oidc-provider/[!-~]+$`),
			"Service":   MatchRegexp(`^[a-z0-9.-]+\.amazonaws\.com$`),
		}[kind]
		g.Expect(want).NotTo(BeNil(), kind)
		g.Expect(who).To(HaveEach(want))
		g.Expect(slices.Contains(s.Action, "sts:AssumeRoleWithWebIdentity")).To(Equal(kind == "Federated"))
	}
}

func checkCondition(g *WithT, s statement) {
	for operator, condition := range s.Condition {
		g.Expect(conditionKeys).To(HaveKey(operator))
		for key, values := range condition {
			g.Expect(slices.ContainsFunc(conditionKeys[operator], func(known string) bool {
				return key == known || strings.HasSuffix(known, "/") && strings.HasPrefix(key, known)
			})).To(BeTrue(), "%s on %s", operator, key)
			g.Expect(values).NotTo(BeEmpty())
			if operator == "DateLessThan" {
				_, err := time.Parse(time.RFC3339, values[0])
				g.Expect(err).NotTo(HaveOccurred())
			}
		}
	}
}

// attempt is a call for a role with a page's trust policy.
type attempt struct {
	// by is the caller: operator, hub (a session of the role Hub), or the subject of a ServiceAccount's token.
	by string
	// named is the session name, shop.s3-reader if empty.
	named, externalID string
	tags              map[string]string
	mfa               bool
	denied            bool
}

const reader, otherReader = "system:serviceaccount:shop:reader", "system:serviceaccount:lab:reader"

// attempts are the calls for each trust policy in the documentation, by page and heading. Policies that trust an AWS service are not
// included, since the emulator has none.
var attempts = map[string]map[string]attempt{
	"docs/aws.md#in-aws": {
		"the operator":       {by: "operator"},
		"with tags":          {by: "operator", tags: map[string]string{"Team": "shop"}, denied: true},
		"a session":          {by: "hub", denied: true},
		"a service account":  {by: reader, denied: true},
		"some external id":   {by: "operator", externalID: "any"},
		"some session":       {by: "operator", named: "nightly"},
		"with an MFA device": {by: "operator", mfa: true},
	},
	"docs/aws.md#irsa": {
		"the operator's service account":       {by: "system:serviceaccount:rolecredential-system:rolecredential-manager"},
		"another service account":              {by: reader, denied: true},
		"one of its name in another namespace": {by: "system:serviceaccount:lab:rolecredential-manager", denied: true},
	},
	"docs/aws.md#for-one-namespace-only": {
		"the namespace":     {by: "operator", named: "shop.s3-reader"},
		"another namespace": {by: "operator", named: "shop-2.s3-reader", denied: true},
		"another name":      {by: "operator", named: "nightly", denied: true},
	},
	"docs/aws.md#by-session-tags": {
		"the namespace": {by: "operator", tags: map[string]string{"kubernetes-cluster": "prod-eu", "kubernetes-namespace": "shop", "kubernetes-name": "s3-reader"}},
		"another one":   {by: "operator", tags: map[string]string{"kubernetes-cluster": "prod-eu", "kubernetes-namespace": "lab"}, denied: true},
		"another cluster": {
			by: "operator", tags: map[string]string{"kubernetes-cluster": "test", "kubernetes-namespace": "shop"}, denied: true,
		},
		"no tags": {by: "operator", denied: true},
	},
	"docs/aws.md#with-an-external-id": {
		"with the id":                     {by: "operator", externalID: "shop-7f3a"},
		"another of the account, with it": {by: "hub", externalID: "shop-7f3a"},
		"with another":                    {by: "operator", externalID: "lab-7f3a", denied: true},
		"without":                         {by: "operator", denied: true},
	},
	"docs/aws.md#with-mfa": {
		"with a code":    {by: "operator", mfa: true},
		"without a code": {by: "operator", denied: true},
	},
	"docs/aws.md#for-a-service-account": {
		"a service account of the namespace": {by: reader},
		"one of another":                     {by: otherReader, denied: true},
		"the operator":                       {by: "operator", denied: true},
	},
	"docs/aws.md#by-way-of-a-hub": {
		"the hub":           {by: "hub"},
		"the hub with tags": {by: "hub", tags: map[string]string{"Team": "shop"}},
		"the operator":      {by: "operator", denied: true},
	},
}

func TestTrustPoliciesAllowTheirCallers(t *testing.T) {
	g := NewWithT(t)
	left := len(attempts)
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if !b.has("trust") {
				continue
			}
			var document policy
			g.Expect(document.read(b.text)).To(Succeed())
			if document.Statement[0].Principal["Service"] != nil {
				continue
			}
			where := p.path + "#" + b.under
			g.Expect(attempts).To(HaveKey(where))
			left--
			for name, a := range attempts[where] {
				t.Run(where+" "+name, func(t *testing.T) { try(t, document, a) })
			}
		}
	}
	g.Expect(left).To(BeZero(), "each of attempts is of a policy that is shown")
}

const (
	issuerURL = "https://oidc.example.com/cluster"
	device    = "arn:aws:iam::210987654321:mfa/operator"
	seed      = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
)

// try gives a role a trust policy, in an emulator of its own, and calls STS for it.
func try(t *testing.T, document policy, a attempt) {
	t.Helper()
	g := NewWithT(t)
	world, err := stsemulator.DefaultConfig()
	g.Expect(err).NotTo(HaveOccurred())
	server, err := stsemulator.New(world, stsemulator.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	endpoint, err := server.Start("")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(endpoint.Close()).To(Succeed()) })
	account := "123456789012"
	role := stsemulator.Role{Name: "Tried"}
	for _, s := range document.Statement {
		role.Trust = append(role.Trust, trustsOf(g, s)...)
		if s.Principal["Federated"] != nil { // it must be of the role's own account
			account = strings.Split(s.Principal["Federated"][0], ":")[4]
		}
	}
	g.Expect(server.PutRole(account, role)).To(Succeed())
	err = a.assume(t, server, account, awssts.Options{BaseEndpoint: &endpoint.URL, Region: "eu-west-1", Retryer: aws.NopRetryer{}})
	if !a.denied {
		g.Expect(err).NotTo(HaveOccurred())
		return
	}
	answer, ok := errors.AsType[smithy.APIError](err)
	g.Expect(ok).To(BeTrue(), "%v", err)
	g.Expect(answer.ErrorCode()).To(Equal("AccessDenied"))
}

// trustsOf converts a statement of a trust policy to the emulator's form.
func trustsOf(g *WithT, s statement) (trusts []stsemulator.Trust) {
	like := stsemulator.Trust{Actions: s.Action, StringEquals: map[string][]string{}, StringLike: map[string][]string{}}
	for operator, condition := range s.Condition {
		for key, values := range condition {
			switch {
			case key == "sts:ExternalId":
				like.ExternalID = values[0]
			case key == "aws:MultiFactorAuthPresent":
				like.RequireMFA = values[0] == "true"
			case operator == "StringEquals":
				like.StringEquals[key] = values
			case operator == "StringLike":
				like.StringLike[key] = values
			default:
				g.Expect(key).To(BeEmpty(), "the emulator knows no condition %s on it", operator)
			}
		}
	}
	for _, principal := range s.Principal["AWS"] {
		like.Principal = principal
		trusts = append(trusts, like)
	}
	for _, provider := range s.Principal["Federated"] {
		like.Federated = provider
		trusts = append(trusts, like)
	}
	g.Expect(trusts).NotTo(BeEmpty())
	return trusts
}

// assume calls STS for the role Tried of an account.
func (a attempt) assume(t *testing.T, server *stsemulator.Server, account string, options awssts.Options) error {
	t.Helper()
	g := NewWithT(t)
	role, name := "arn:aws:iam::"+account+":role/Tried", cmp.Or(a.named, "shop.s3-reader")
	if strings.HasPrefix(a.by, "system:") {
		keys, token := tokenOf(t, a.by)
		_, err := server.PutOIDCProvider(account, stsemulator.OIDCProvider{Issuer: issuerURL, ClientIDs: []string{"sts.amazonaws.com"}, JWKS: keys})
		g.Expect(err).NotTo(HaveOccurred())
		_, err = awssts.New(options).AssumeRoleWithWebIdentity(t.Context(), &awssts.AssumeRoleWithWebIdentityInput{RoleArn: &role, RoleSessionName: &name, WebIdentityToken: &token})
		return err
	}
	key := server.AccessKeys("arn:aws:iam::210987654321:user/operator")[0]
	options.Credentials = credentials.NewStaticCredentialsProvider(key.ID, key.Secret, "")
	if a.by == "hub" {
		hop, err := awssts.New(options).AssumeRole(t.Context(), &awssts.AssumeRoleInput{RoleArn: new("arn:aws:iam::210987654321:role/Hub"), RoleSessionName: new("rolecredential.hub")})
		g.Expect(err).NotTo(HaveOccurred())
		options.Credentials = credentials.NewStaticCredentialsProvider(*hop.Credentials.AccessKeyId, *hop.Credentials.SecretAccessKey, *hop.Credentials.SessionToken)
	}
	in := &awssts.AssumeRoleInput{RoleArn: &role, RoleSessionName: &name}
	if a.externalID != "" {
		in.ExternalId = &a.externalID
	}
	for key, value := range a.tags {
		in.Tags = append(in.Tags, types.Tag{Key: &key, Value: &value})
	}
	if a.mfa {
		code, err := totp.GenerateCode(seed, clock.RealClock{}.Now())
		g.Expect(err).NotTo(HaveOccurred())
		in.SerialNumber, in.TokenCode = new(device), &code
	}
	_, err := awssts.New(options).AssumeRole(t.Context(), in)
	return err
}

// tokenOf returns a token of a ServiceAccount for an hour, and the issuer's key set.
func tokenOf(t *testing.T, subject string) (keys json.RawMessage, token string) {
	t.Helper()
	g := NewWithT(t)
	encode := base64.RawURLEncoding.EncodeToString
	part := func(v any) string {
		text, err := json.Marshal(v)
		g.Expect(err).NotTo(HaveOccurred())
		return encode(text)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	g.Expect(err).NotTo(HaveOccurred())
	now := clock.RealClock{}.Now()
	signed := part(map[string]string{"alg": "RS256", "kid": "key"}) + "." + part(map[string]any{
		"iss": issuerURL, "sub": subject, "aud": []string{"sts.amazonaws.com"}, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	g.Expect(err).NotTo(HaveOccurred())
	keys, err = json.Marshal(map[string]any{"keys": []map[string]string{
		{"use": "sig", "kty": "RSA", "kid": "key", "alg": "RS256", "n": encode(key.N.Bytes()), "e": encode(big.NewInt(int64(key.E)).Bytes())},
	}})
	g.Expect(err).NotTo(HaveOccurred())
	return keys, signed + "." + encode(signature)
}
