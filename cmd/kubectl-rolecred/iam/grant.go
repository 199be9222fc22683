package iam

import (
	"bytes"
	"encoding/json"
	"path"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// Grant is what AWS needs to accept a request: a policy with the role or user that holds it, or a profile of IAM Roles Anywhere.
type Grant struct {
	document any
	// ofType and name identify the resource in code.
	ofType     resourceType
	name       string
	attributes []attribute
}

// attribute of a resource, with its names in Terraform and in CloudFormation.
type attribute struct {
	terraform, cloudFormation string
	value                     any
}

// resourceType is the type of a resource in Terraform and in CloudFormation. The suffix is of CloudFormation's logical IDs.
type resourceType struct{ terraform, cloudFormation, suffix string }

var (
	role          = resourceType{"aws_iam_role", "AWS::IAM::Role", "Role"}
	rolePolicy    = resourceType{"aws_iam_role_policy", "AWS::IAM::RolePolicy", "RolePolicy"}
	userPolicy    = resourceType{"aws_iam_user_policy", "AWS::IAM::UserPolicy", "UserPolicy"}
	managedPolicy = resourceType{"aws_iam_policy", "AWS::IAM::ManagedPolicy", "Policy"}
	profile       = resourceType{"aws_rolesanywhere_profile", "AWS::RolesAnywhere::Profile", "Profile"}
)

// policyName is the name of permissions policies.
const policyName = "RoleCredential"

// Trust is the trust policy of a role.
func Trust(roleARN string, p Policy) *Grant {
	g := &Grant{document: p, ofType: role, name: Name(roleARN, "role/", "ROLE")}
	g.attributes = []attribute{{"name", "RoleName", g.name}}
	if parsed, err := arn.Parse(roleARN); err == nil {
		if folder := path.Dir(strings.TrimPrefix(parsed.Resource, "role")); strings.HasPrefix(folder, "/") && folder != "/" {
			g.attributes = append(g.attributes, attribute{"path", "Path", folder + "/"})
		}
	}
	g.attributes = append(g.attributes, attribute{"assume_role_policy", "AssumeRolePolicyDocument", p})
	return g
}

// Permissions is an identity-based policy of a caller. A caller that is neither a user nor a role gets a policy to attach.
func Permissions(caller string, p Policy) *Grant {
	principal := Principal(caller)
	g := &Grant{document: p, ofType: managedPolicy, name: "caller", attributes: []attribute{{"name", "ManagedPolicyName", policyName}}}
	if user := Name(principal, "user/", ""); user != "" {
		g.ofType, g.name, g.attributes = userPolicy, user, []attribute{{"name", "PolicyName", policyName}, {"user", "UserName", user}}
	}
	if name := Name(principal, "role/", ""); name != "" {
		g.ofType, g.name, g.attributes = rolePolicy, name, []attribute{{"name", "PolicyName", policyName}, {"role", "RoleName", name}}
	}
	g.attributes = append(g.attributes, attribute{"policy", "PolicyDocument", p})
	return g
}

// Profile of IAM Roles Anywhere (IAM Roles Anywhere API Reference, 'ProfileDetail').
type Profile struct {
	Name     string   `json:"name"`
	RoleARNs []string `json:"roleArns"`
	// DurationSeconds bounds the sessions, 900 to 43200.
	DurationSeconds       int  `json:"durationSeconds"`
	AcceptRoleSessionName bool `json:"acceptRoleSessionName"`
	Enabled               bool `json:"enabled"`
}

// Admission is the profile that admits a certificate to roles.
func Admission(p Profile) *Grant {
	roles := make([]any, len(p.RoleARNs))
	for i, roleARN := range p.RoleARNs {
		roles[i] = roleARN
	}
	return &Grant{document: p, ofType: profile, name: p.Name, attributes: []attribute{
		{"name", "Name", p.Name}, {"role_arns", "RoleArns", roles}, {"duration_seconds", "DurationSeconds", p.DurationSeconds},
		{"accept_role_session_name", "AcceptRoleSessionName", p.AcceptRoleSessionName}, {"enabled", "Enabled", p.Enabled},
	}}
}

// String returns the policy or profile as indented JSON.
func (g Grant) String() string { return encode(g.document, "  ") }

func encode(document any, indent string) string {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	if err := encoder.Encode(document); err != nil {
		panic(err) // policies and profiles hold strings, numbers and booleans
	}
	return strings.TrimSuffix(text.String(), "\n")
}

// generic returns a value as maps, lists, strings, numbers and booleans.
func generic(value any) (tree any) {
	if err := json.Unmarshal([]byte(encode(value, "")), &tree); err != nil {
		panic(err) // it was encoded just before
	}
	return tree
}
