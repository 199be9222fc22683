// Package iam builds IAM policies: those that STS needs to issue a credential, and those that revoke its sessions. It is pure.
package iam

import (
	"cmp"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/request"
)

// Policy is an IAM policy document (IAM User Guide, 'IAM JSON policy elements reference').
type Policy struct {
	Version   string
	Statement []Statement
}

// Statement of a [Policy].
type Statement struct {
	Effect    string
	Principal map[string]string `json:",omitempty"`
	Action    []string
	Resource  string                       `json:",omitempty"`
	Condition map[string]map[string]string `json:",omitempty"`
}

// String returns the policy as indented JSON.
func (p Policy) String() string { return encode(p, "  ") }

// Compact returns the policy as JSON on one line.
func (p Policy) Compact() string { return encode(p, "") }

func policy(s Statement) Policy { return Policy{Version: "2012-10-17", Statement: []Statement{s}} }

// Partition returns the partition of an ARN, aws if the text is not an ARN.
func Partition(text string) string {
	parsed, _ := arn.Parse(text)
	return cmp.Or(parsed.Partition, "aws")
}

// Principal returns the ARN that names a caller in a trust policy. For a role session it is the role's ARN, without the role's path, which
// the session's ARN does not contain.
func Principal(caller string) string {
	parsed, err := arn.Parse(caller)
	if err != nil {
		return caller
	}
	session, ok := strings.CutPrefix(parsed.Resource, "assumed-role/")
	if !ok {
		return caller
	}
	role, _, _ := strings.Cut(session, "/")
	parsed.Service, parsed.Resource = "iam", "role/"+role
	return parsed.String()
}

// TrustPolicy returns a trust policy that allows a caller to make a request. Set tagged if the identity adds session tags to
// those of the request.
func TrustPolicy(caller string, r request.Request, tagged bool) Policy {
	statement := Statement{Effect: "Allow", Principal: map[string]string{"AWS": Principal(caller)}, Action: actions(r, tagged)}
	if r.ExternalID != "" {
		statement.Condition = map[string]map[string]string{"StringEquals": {"sts:ExternalId": r.ExternalID}}
	}
	return policy(statement)
}

// WebIdentityTrustPolicy returns a trust policy that allows a service account token (IAM User Guide, 'Create a role
// for OpenID Connect federation'). The issuer has no scheme.
func WebIdentityTrustPolicy(roleARN, issuer, audience, subject string) Policy {
	provider := arn.ARN{Partition: Partition(roleARN), Service: "iam", AccountID: "ACCOUNT", Resource: "oidc-provider/" + issuer}
	if parsed, err := arn.Parse(roleARN); err == nil {
		provider.AccountID = parsed.AccountID
	}
	return policy(Statement{
		Effect: "Allow", Principal: map[string]string{"Federated": provider.String()}, Action: []string{"sts:" + string(v1alpha1.CallAssumeRoleWithWebIdentity)},
		Condition: map[string]map[string]string{"StringEquals": {issuer + ":aud": audience, issuer + ":sub": subject}},
	})
}

// CertificateTrustPolicy returns a trust policy that allows the holders of certificates of a trust anchor (IAM Roles Anywhere User Guide, 'The
// IAM Roles Anywhere trust model'). With a common name it allows only certificates whose subject has it.
func CertificateTrustPolicy(trustAnchorARN, commonName string) Policy {
	statement := Statement{
		Effect: "Allow", Principal: map[string]string{"Service": "rolesanywhere.amazonaws.com"},
		Action:    []string{"sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"},
		Condition: map[string]map[string]string{"ArnEquals": {"aws:SourceArn": trustAnchorARN}},
	}
	if commonName != "" {
		statement.Condition["StringEquals"] = map[string]string{"aws:PrincipalTag/x509Subject/CN": commonName}
	}
	return policy(statement)
}

// CallerPolicy returns the identity-based policy that the caller needs for a request.
func CallerPolicy(caller string, r request.Request, tagged bool) Policy {
	return policy(Statement{Effect: "Allow", Action: actions(r, tagged), Resource: resource(caller, r)})
}

// actions returns the actions that a request needs (IAM User Guide, 'Pass session tags in AWS STS' and 'Monitor and control actions taken with
// assumed roles').
func actions(r request.Request, tagged bool) []string {
	needed := []string{"sts:" + string(r.Call)}
	if tagged || len(r.Tags) > 0 {
		needed = append(needed, "sts:TagSession")
	}
	if r.SourceIdentity != "" {
		needed = append(needed, "sts:SetSourceIdentity")
	}
	return needed
}

func resource(caller string, r request.Request) string {
	switch r.Call {
	case v1alpha1.CallAssumeRole:
		return r.RoleARN
	case v1alpha1.CallGetFederationToken:
		account := "*"
		if parsed, err := arn.Parse(caller); err == nil {
			account = parsed.AccountID
		}
		return arn.ARN{Partition: Partition(caller), Service: "sts", AccountID: account, Resource: "federated-user/" + r.SessionName}.String()
	default:
		return "*"
	}
}

// Revocation denies everything to sessions that were issued before a time.
type Revocation struct {
	// Policy is the inline policy of the role or user.
	Policy Policy
	// Put and Remove are AWS CLI commands, as arguments.
	Put, Remove []string
	// Target is the role or user that gets the policy, such as "role S3Reader".
	Target string
}

// Revoke returns the revocation of a request's sessions that were issued before a time. It uses an inline policy of the role, or of
// the user that called STS (IAM User Guide, 'Revoke IAM role temporary security credentials' and 'Disable permissions for
// temporary security credentials'). Unless all is set, it denies only sessions with the request's session name. The caller may be empty.
func Revoke(r request.Request, caller string, before time.Time, all bool) Revocation {
	condition := map[string]map[string]string{"DateLessThan": {"aws:TokenIssueTime": before.UTC().Format(time.RFC3339)}}
	name := "RevokeOlderSessions"
	if r.SessionName != "" && !all {
		condition["StringLike"] = map[string]string{"aws:userid": "*:" + r.SessionName}
		name = "RevokeOlderSessions." + r.SessionName
	}
	found := Revocation{Policy: policy(Statement{Effect: "Deny", Action: []string{"*"}, Resource: "*", Condition: condition})}
	kind, target := "user", Name(caller, "user/", "<user>")
	if r.Call == v1alpha1.CallAssumeRole {
		kind, target = "role", Name(r.RoleARN, "role/", "<role>")
	}
	found.Target = kind + " " + target
	option := "--" + kind + "-name=" + target // attached, so that the CLI does not take a name as another option
	found.Remove = []string{"aws", "iam", "delete-" + kind + "-policy", option, "--policy-name=" + name}
	found.Put = []string{"aws", "iam", "put-" + kind + "-policy", option, "--policy-name=" + name, "--policy-document=" + found.Policy.Compact()}
	return found
}

// Name returns the name that IAM's API takes, the last part of an ARN's path. It returns unknown if the ARN is not of that kind.
func Name(text, kind, unknown string) string {
	parsed, err := arn.Parse(text)
	if err != nil || !strings.HasPrefix(parsed.Resource, kind) {
		return unknown
	}
	return path.Base(parsed.Resource)
}

// Console holds the sign-in URLs of a partition (IAM User Guide, 'Enable custom identity broker access to the AWS console', of
// each partition).
type Console struct {
	// Federation is the endpoint that issues sign-in tokens. Destination is the console's start page.
	Federation, Destination string
}

var consoles = map[string]Console{
	"aws":        {Federation: "https://signin.aws.amazon.com/federation", Destination: "https://console.aws.amazon.com/"},
	"aws-cn":     {Federation: "https://signin.amazonaws.cn/federation", Destination: "https://console.amazonaws.cn/"},
	"aws-us-gov": {Federation: "https://signin.amazonaws-us-gov.com/federation", Destination: "https://console.amazonaws-us-gov.com/"},
}

// ConsoleOf returns the console of an ARN's partition. It returns an error for an ARN that is not in AWS's form: it is from a server
// other than AWS.
func ConsoleOf(text string) (Console, error) {
	if _, err := arn.Parse(text); err != nil {
		return Console{}, fmt.Errorf("%q is not an ARN of AWS, so its sign-in endpoint is not known: set --endpoint and --destination", text)
	}
	console, ok := consoles[Partition(text)]
	if !ok {
		return Console{}, fmt.Errorf("the sign-in endpoint of the partition %s is not known: set --endpoint and --destination", Partition(text))
	}
	return console, nil
}
