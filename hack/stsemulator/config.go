package stsemulator

import (
	_ "embed"
	"fmt"
	"os"
	"path"
	"regexp"

	"sigs.k8s.io/yaml"
)

// Config defines the accounts that the emulator serves, usually in a YAML file. default.yaml shows every field.
type Config struct {
	Accounts []Account `json:"accounts"`
}

// Account is one AWS account.
type Account struct {
	// ID is the account ID, twelve digits.
	ID string `json:"id"`
	// Partition is the ARN partition, "aws" if empty.
	Partition string `json:"partition,omitempty"`
	// DisabledRegions are the regions in which STS is not activated for the account.
	DisabledRegions []string `json:"disabledRegions,omitempty"`
	Users           []User   `json:"users,omitempty"`
	Roles           []Role   `json:"roles,omitempty"`
	// OIDCProviders are the providers whose tokens the account's roles may trust.
	OIDCProviders []OIDCProvider `json:"oidcProviders,omitempty"`
	// TrustAnchors and Profiles are the account's of IAM Roles Anywhere.
	TrustAnchors []TrustAnchor `json:"trustAnchors,omitempty"`
	Profiles     []Profile     `json:"profiles,omitempty"`
}

// User is an IAM user.
type User struct {
	Name string `json:"name"`
	// AccessKeys are the user's long-term keys. A key without an ID gets a random one.
	AccessKeys []AccessKey `json:"accessKeys,omitempty"`
	// MayAssume are the ARNs of the roles that the user's own policy allows it to assume. '*' matches any characters. None means no role.
	MayAssume []string `json:"mayAssume,omitempty"`
	// MayFederate are the names of the federated users for which the user's own policy allows GetFederationToken. '*' matches any
	// characters. None means no federated user.
	MayFederate []string    `json:"mayFederate,omitempty"`
	MFADevices  []MFADevice `json:"mfaDevices,omitempty"`
}

// AccessKey is a long-term access key of a user.
type AccessKey struct {
	ID       string `json:"id,omitempty"`
	Secret   string `json:"secret,omitempty"`
	Inactive bool   `json:"inactive,omitempty"`
}

// Role is an IAM role.
type Role struct {
	// Name may begin with a path ("team/Reader"). '*' matches any characters, so that one entry can define many roles ("bench-*").
	Name string `json:"name"`
	// ARN replaces the ARN of AWS's form, as on STS-compatible servers: urn:ecs:iam::ns1:role/admins.
	ARN string `json:"arn,omitempty"`
	// MaxSessionDuration is in seconds, 3600 to 43200, 3600 if zero.
	MaxSessionDuration int `json:"maxSessionDuration,omitempty"`
	// MayAssume are the roles that sessions of this role may assume, as for a user.
	MayAssume []string `json:"mayAssume,omitempty"`
	// Trust is the role's trust policy. Without a statement, no caller can assume the role.
	Trust []Trust `json:"trust,omitempty"`
}

//go:embed default.yaml
var defaultConfig []byte

// DefaultConfig returns the content of default.yaml.
func DefaultConfig() (Config, error) { return ParseConfig(defaultConfig) }

// LoadConfig reads a YAML file.
func LoadConfig(file string) (Config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return Config{}, err
	}
	cfg, err := ParseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", file, err)
	}
	return cfg, nil
}

// ParseConfig parses YAML. It rejects unknown fields.
func ParseConfig(data []byte) (Config, error) {
	var cfg Config
	if err := yaml.UnmarshalStrict(data, &cfg); err != nil {
		return Config{}, err
	}
	return cfg, cfg.validate()
}

var (
	accountIDs   = regexp.MustCompile(`^\d{12}$`)
	partitions   = regexp.MustCompile(`^aws(-[a-z]+)*$`)
	userNames    = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
	roleNames    = regexp.MustCompile(`^([\w+=,.@*-]+/)*[\w+=,.@*-]{1,64}$`)
	accessKeyIDs = regexp.MustCompile(`^\w{16,128}$`)
)

func (c Config) validate() error {
	accounts, keys := map[string]bool{}, map[string]bool{}
	for _, a := range c.Accounts {
		if accounts[a.ID] {
			return fmt.Errorf("account %q is there twice", a.ID)
		}
		accounts[a.ID] = true
		if err := a.validate(keys); err != nil {
			return fmt.Errorf("account %q: %w", a.ID, err)
		}
	}
	return nil
}

func (a Account) validate(keys map[string]bool) error {
	if !accountIDs.MatchString(a.ID) {
		return fmt.Errorf("id must be twelve digits")
	}
	if !partitions.MatchString(a.partition()) {
		return fmt.Errorf("partition %q is none of AWS's", a.Partition)
	}
	users, roles, devices, issuers := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, p := range a.OIDCProviders {
		if issuers[p.Issuer] {
			return fmt.Errorf("OIDC provider %q is there twice", p.Issuer)
		}
		issuers[p.Issuer] = true
		if err := p.validate(); err != nil {
			return err
		}
	}
	if err := a.validateRolesAnywhere(); err != nil {
		return err
	}
	for _, u := range a.Users {
		if users[u.Name] {
			return fmt.Errorf("user %q is there twice", u.Name)
		}
		users[u.Name] = true
		if err := u.validate(keys, devices); err != nil {
			return fmt.Errorf("user %q: %w", u.Name, err)
		}
	}
	for _, r := range a.Roles {
		name := path.Base(r.Name)
		if roles[name] {
			return fmt.Errorf("role %q is there twice", name)
		}
		roles[name] = true
		if err := r.validate(); err != nil {
			return fmt.Errorf("role %q: %w", r.Name, err)
		}
	}
	return nil
}

func (a Account) partition() string {
	if a.Partition == "" {
		return "aws"
	}
	return a.Partition
}

func (u User) validate(keys, devices map[string]bool) error {
	if !userNames.MatchString(u.Name) {
		return fmt.Errorf("name must be 1 to 64 of [\\w+=,.@-]")
	}
	for _, k := range u.AccessKeys {
		if k.ID == "" && k.Secret == "" {
			continue
		}
		if !accessKeyIDs.MatchString(k.ID) || k.Secret == "" {
			return fmt.Errorf("an access key needs an id of 16 to 128 of [\\w] and a secret, or neither")
		}
		if keys[k.ID] {
			return fmt.Errorf("access key %q is there twice", k.ID)
		}
		keys[k.ID] = true
	}
	for _, d := range u.MFADevices {
		if devices[d.Name] {
			return fmt.Errorf("MFA device %q is there twice", d.Name)
		}
		devices[d.Name] = true
		if err := d.validate(); err != nil {
			return err
		}
	}
	return nil
}

func (r Role) validate() error {
	if !roleNames.MatchString(r.Name) {
		return fmt.Errorf("name must be 1 to 64 of [\\w+=,.@-] or '*', after an optional path")
	}
	if d := r.maxSessionDuration(); d < 3600 || d > 43200 {
		return fmt.Errorf("maxSessionDuration must be 3600 to 43200 seconds")
	}
	for _, t := range r.Trust {
		if err := t.validate(); err != nil {
			return err
		}
	}
	return nil
}

func (r Role) maxSessionDuration() int {
	if r.MaxSessionDuration == 0 {
		return 3600
	}
	return r.MaxSessionDuration
}
