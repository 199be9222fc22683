package s3server

import (
	"crypto/rand"
	"encoding/json"
	"os"
	"time"
)

// The files -s3.config and -s3.iam.config of SeaweedFS.
type (
	usersFile struct {
		Identities []identity `json:"identities"`
	}
	identity struct {
		Name        string       `json:"name"`
		Credentials []credential `json:"credentials"`
		PolicyNames []string     `json:"policyNames"`
	}
	credential struct {
		AccessKey string `json:"accessKey"`
		SecretKey string `json:"secretKey"`
	}

	iamFile struct {
		STS       stsSettings    `json:"sts"`
		Policy    policySettings `json:"policy"`
		Policies  []policy       `json:"policies"`
		Roles     []role         `json:"roles"`
		Providers []provider     `json:"providers"`
	}
	stsSettings struct {
		TokenDuration    string `json:"tokenDuration"`
		MaxSessionLength string `json:"maxSessionLength"`
		Issuer           string `json:"issuer"`
		SigningKey       []byte `json:"signingKey"`
	}
	policySettings struct {
		DefaultEffect string `json:"defaultEffect"`
	}
	policy struct {
		Name     string          `json:"name"`
		Document json.RawMessage `json:"document"`
	}
	role struct {
		RoleName           string          `json:"roleName"`
		TrustPolicy        json.RawMessage `json:"trustPolicy"`
		AttachedPolicies   []string        `json:"attachedPolicies"`
		MaxSessionDuration int64           `json:"maxSessionDuration,omitempty"` // seconds
	}
	provider struct {
		Name    string         `json:"name"`
		Type    string         `json:"type"`
		Enabled bool           `json:"enabled"`
		Config  providerConfig `json:"config"`
	}
	providerConfig struct {
		Issuer    string `json:"issuer"`
		ClientID  string `json:"clientId"`
		TLSCACert string `json:"tlsCaCert"`
	}
)

// Names of policies, which users and roles share.
func userPolicy(name string) string { return "user-" + name }
func rolePolicy(name string) string { return "role-" + name }

func (s *Server) users() usersFile {
	var file usersFile
	for _, u := range s.Users {
		file.Identities = append(file.Identities, identity{
			Name: u.Name, Credentials: []credential{{AccessKey: u.AccessKeyID, SecretKey: u.SecretAccessKey}}, PolicyNames: []string{userPolicy(u.Name)},
		})
	}
	return file
}

func (s *Server) iam() iamFile {
	longest := s.MaxSession
	if longest == 0 {
		longest = 12 * time.Hour
	}
	file := iamFile{
		STS:    stsSettings{TokenDuration: "1h", MaxSessionLength: longest.String(), Issuer: "seaweedfs", SigningKey: []byte(rand.Text() + rand.Text())},
		Policy: policySettings{DefaultEffect: "Deny"},
	}
	for _, u := range s.Users {
		file.Policies = append(file.Policies, policy{userPolicy(u.Name), json.RawMessage(u.Policy)})
	}
	for _, r := range s.Roles {
		file.Policies = append(file.Policies, policy{rolePolicy(r.Name), json.RawMessage(r.Policy)})
		file.Roles = append(file.Roles, role{
			RoleName: r.Name, TrustPolicy: json.RawMessage(r.Trust), AttachedPolicies: []string{rolePolicy(r.Name)},
			MaxSessionDuration: int64(r.MaxSession / time.Second),
		})
	}
	if i := s.Issuer; i != nil {
		file.Providers = []provider{{Name: i.Name, Type: "oidc", Enabled: true, Config: providerConfig{Issuer: i.URL, ClientID: i.Audience, TLSCACert: i.CA}}}
	}
	return file
}

func writeJSON(file string, content any) error {
	text, err := json.Marshal(content)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}
