package iam_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/iam"
	"rolecredential.dev/operator/controllers/request"
)

const anchor = "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/7a6c4b2e-0f5d-4c3b-9a81-2d1e0f9c8b7a"

// hostile has all that HCL, YAML and a comment interpret.
const hostile = "a${file(\"/etc/passwd\")}%{if x}$${y}%%{z}\\\"\n#\t'<b>\u202e\U000e0001: *&!|>-"

func grants(text string) []*iam.Grant {
	assume := request.Request{Call: v1alpha1.CallAssumeRole, RoleARN: role, ExternalID: text}
	return []*iam.Grant{
		iam.Trust(role, iam.CertificateTrustPolicy(anchor, text)),
		iam.Admission(iam.Profile{Name: "rolecredential", RoleARNs: []string{role}, DurationSeconds: 43200, AcceptRoleSessionName: true, Enabled: true}),
		iam.Trust("arn:aws:iam::123456789012:role/"+text, iam.TrustPolicy(user, assume, true)),
		iam.Permissions(user, iam.CallerPolicy(user, assume, true)),
		iam.Permissions("arn:aws:sts::210987654321:assumed-role/Hub/session", iam.CallerPolicy(user, assume, false)),
		iam.Permissions(text, iam.CallerPolicy(text, assume, false)),
	}
}

func TestTerraformKeepsAllValues(t *testing.T) {
	for name, text := range map[string]string{"harmless": "rolecredential-operator", "hostile": hostile} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			resources := parseHCL(t, iam.Terraform(grants(text)))
			g.Expect(resources).To(HaveLen(6))
			for i, of := range []struct{ kind, attribute string }{
				{"aws_iam_role", "assume_role_policy"}, {"aws_rolesanywhere_profile", ""}, {"aws_iam_role", "assume_role_policy"},
				{"aws_iam_user_policy", "policy"}, {"aws_iam_role_policy", "policy"}, {"aws_iam_policy", "policy"},
			} {
				g.Expect(resources[i].kind).To(Equal(of.kind))
				if of.attribute != "" {
					document, err := json.Marshal(resources[i].attributes[of.attribute])
					g.Expect(err).NotTo(HaveOccurred())
					g.Expect(document).To(MatchJSON(grants(text)[i].String()))
				}
			}
			g.Expect(resources[0].attributes).To(And(HaveKeyWithValue("name", "S3Reader"), HaveKeyWithValue("path", "/team/app/")))
			g.Expect(resources[1].attributes).To(Equal(map[string]any{
				"name": "rolecredential", "role_arns": []any{role}, "duration_seconds": 43200.0, "accept_role_session_name": true, "enabled": true,
			}))
			g.Expect(resources[3].attributes).To(HaveKeyWithValue("user", "operator"))
			g.Expect(resources[4].attributes).To(HaveKeyWithValue("role", "Hub"))
		})
	}
}

func TestCloudFormationKeepsAllValues(t *testing.T) {
	for name, text := range map[string]string{"harmless": "rolecredential-operator", "hostile": hostile} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			code, err := iam.CloudFormation(grants(text))
			g.Expect(err).NotTo(HaveOccurred())
			var template struct {
				Resources map[string]struct {
					Type       string
					Properties map[string]any
				}
			}
			g.Expect(yaml.Unmarshal([]byte(code), &template)).To(Succeed())
			g.Expect(template.Resources).To(HaveLen(6))
			for id := range template.Resources {
				g.Expect(id).To(MatchRegexp(`^[A-Za-z0-9]+$`))
			}
			trust := template.Resources["S3ReaderRole"]
			g.Expect(trust.Type).To(Equal("AWS::IAM::Role"))
			document, err := json.Marshal(trust.Properties["AssumeRolePolicyDocument"])
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(document).To(MatchJSON(grants(text)[0].String()))
			g.Expect(template.Resources["rolecredentialProfile"].Properties).To(Equal(map[string]any{
				"Name": "rolecredential", "RoleArns": []any{role}, "DurationSeconds": 43200.0, "AcceptRoleSessionName": true, "Enabled": true,
			}))
			g.Expect(template.Resources["operatorUserPolicy"].Properties).To(HaveKeyWithValue("UserName", "operator"))
		})
	}
}

// CloudFormation replaces {{resolve:secretsmanager:...}} by a secret, in any string.
func TestCloudFormationRejectsDynamicReferences(t *testing.T) {
	_, err := iam.CloudFormation(grants("{{resolve:ssm:/prod/key}}"))
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("a value contains {{")))
}

func TestEachResourceHasItsOwnName(t *testing.T) {
	g := NewWithT(t)
	same := []*iam.Grant{iam.Trust("arn:aws:iam::1:role/1-a", iam.Policy{}), iam.Trust("arn:aws:iam::1:role/1+a", iam.Policy{})}
	g.Expect(iam.Terraform(same)).To(And(ContainSubstring(`"aws_iam_role" "r_1_a" {`), ContainSubstring(`"aws_iam_role" "r_1_a2" {`)))
	code, err := iam.CloudFormation(same)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(code).To(And(ContainSubstring("  1aRole:"), ContainSubstring("  1aRole2:")))
}

type hclResource struct {
	kind, label string
	attributes  map[string]any
}

// parseHCL parses the part of HCL that the package writes (HCL Native Syntax Specification), and fails the test on anything else: a
// template in a string above all.
func parseHCL(t *testing.T, code string) []hclResource {
	t.Helper()
	p := &hclParser{text: code}
	defer func() {
		if problem := recover(); problem != nil {
			t.Fatalf("%v, before %.60q", problem, p.text)
		}
	}()
	var found []hclResource
	for p.space(); p.text != ""; p.space() {
		p.expect("resource")
		r := hclResource{kind: p.string(), label: p.string(), attributes: map[string]any{}}
		for p.expect("{"); !p.next("}"); {
			name := p.word()
			p.expect("=")
			r.attributes[name] = p.value()
		}
		p.expect("}")
		found = append(found, r)
	}
	return found
}

type hclParser struct{ text string }

// space skips white space and comments.
func (p *hclParser) space() {
	for {
		p.text = strings.TrimLeft(p.text, " \n")
		if !strings.HasPrefix(p.text, "#") {
			return
		}
		_, p.text, _ = strings.Cut(p.text, "\n")
	}
}

func (p *hclParser) next(token string) bool { p.space(); return strings.HasPrefix(p.text, token) }

func (p *hclParser) expect(token string) {
	if !p.next(token) {
		panic("expected " + token)
	}
	p.text = p.text[len(token):]
}

func (p *hclParser) word() string {
	p.space()
	end := strings.IndexFunc(p.text, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' })
	word := p.text[:end]
	p.text = p.text[end:]
	return word
}

func (p *hclParser) value() any {
	switch {
	case p.next(`"`):
		return p.string()
	case p.next("jsonencode("):
		p.expect("jsonencode(")
		value := p.value()
		p.expect(")")
		return value
	case p.next("["):
		list := []any{}
		for p.expect("["); !p.next("]"); p.expect(",") {
			list = append(list, p.value())
		}
		p.expect("]")
		return list
	case p.next("{"):
		object := map[string]any{}
		for p.expect("{"); !p.next("}"); {
			key := p.string()
			p.expect("=")
			object[key] = p.value()
		}
		p.expect("}")
		return object
	}
	var value any
	word := p.word()
	if err := json.Unmarshal([]byte(word), &value); err != nil {
		panic(fmt.Sprintf("%q: %v", word, err))
	}
	return value
}

func (p *hclParser) string() string {
	p.expect(`"`)
	text := strings.Builder{}
	for {
		switch c := p.text[0]; {
		case strings.HasPrefix(p.text, "${"), strings.HasPrefix(p.text, "%{"), c == '\n':
			panic("a template or a line break in a string")
		case c == '"':
			p.text = p.text[1:]
			return text.String()
		case c == '\\':
			text.WriteRune(p.escape())
		default:
			text.WriteByte(c)
			p.text = p.text[1:]
		}
	}
}

func (p *hclParser) escape() rune {
	digits := map[byte]int{'u': 4, 'U': 8}[p.text[1]]
	if digits == 0 {
		r := rune(p.text[1])
		p.text = p.text[2:]
		return r
	}
	code, err := strconv.ParseUint(p.text[2:2+digits], 16, 32)
	if err != nil || utf16.IsSurrogate(rune(code)) {
		panic("no code point")
	}
	p.text = p.text[2+digits:]
	return rune(code)
}
