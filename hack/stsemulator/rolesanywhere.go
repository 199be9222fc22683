package stsemulator

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// TrustAnchor is an account's trust anchor of IAM Roles Anywhere.
type TrustAnchor struct {
	// ARN is arn:<partition>:rolesanywhere:<region>:<account>:trust-anchor/<id>. CreateSession accepts it in its region.
	ARN string `json:"arn"`
	// Certificates are the CA's certificates in PEM.
	Certificates string `json:"certificates"`
	Disabled     bool   `json:"disabled,omitempty"`
}

// Profile is an account's profile of IAM Roles Anywhere.
type Profile struct {
	// ARN is arn:<partition>:rolesanywhere:<region>:<account>:profile/<id>.
	ARN string `json:"arn"`
	// RoleARNs are the roles that the profile admits.
	RoleARNs []string `json:"roleARNs"`
	// DurationSeconds bounds the sessions, 900 to 43200, 3600 if zero. A longer request gets this duration.
	DurationSeconds int `json:"durationSeconds,omitempty"`
	// AcceptRoleSessionName is whether a request may set the session's name.
	AcceptRoleSessionName bool `json:"acceptRoleSessionName,omitempty"`
	Disabled              bool `json:"disabled,omitempty"`
}

func (a Account) validateRolesAnywhere() error {
	known := map[string]bool{}
	for _, t := range a.TrustAnchors {
		if known[t.ARN] {
			return fmt.Errorf("trust anchor %q is there twice", t.ARN)
		}
		known[t.ARN] = true
		if err := t.validate(a); err != nil {
			return err
		}
	}
	for _, p := range a.Profiles {
		if known[p.ARN] {
			return fmt.Errorf("profile %q is there twice", p.ARN)
		}
		known[p.ARN] = true
		if err := p.validate(a); err != nil {
			return err
		}
	}
	return nil
}

func (t TrustAnchor) validate(a Account) error {
	if !isRolesAnywhere(a, t.ARN, "trust-anchor") {
		return fmt.Errorf("trust anchor %q: arn must be of a trust anchor of the account", t.ARN)
	}
	certificates, err := parseCertificates(t.Certificates)
	if err != nil {
		return fmt.Errorf("trust anchor %q: %w", t.ARN, err)
	}
	if slices.ContainsFunc(certificates, func(c *x509.Certificate) bool { return !c.IsCA || c.KeyUsage&x509.KeyUsageCertSign == 0 }) {
		return fmt.Errorf("trust anchor %q: a certificate is not of a CA that may sign certificates", t.ARN)
	}
	return nil
}

func (p Profile) validate(a Account) error {
	if !isRolesAnywhere(a, p.ARN, "profile") {
		return fmt.Errorf("profile %q: arn must be of a profile of the account", p.ARN)
	}
	if d := p.durationSeconds(); d < 900 || d > 43200 {
		return fmt.Errorf("profile %q: durationSeconds must be 900 to 43200", p.ARN)
	}
	return nil
}

func isRolesAnywhere(a Account, text, kind string) bool {
	p, err := arn.Parse(text)
	return err == nil && p.Partition == a.partition() && p.AccountID == a.ID && p.Region != "" && isResource(text, "rolesanywhere:"+kind)
}

// parseCertificates requires at least one certificate in PEM.
func parseCertificates(text string) ([]*x509.Certificate, error) {
	var certificates []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certificates = append(certificates, certificate)
	}
	if len(certificates) == 0 {
		return nil, errors.New("certificates must hold a certificate in PEM")
	}
	return certificates, nil
}

func (t TrustAnchor) accountID() string {
	parsed, _ := arn.Parse(t.ARN) // it is valid
	return parsed.AccountID
}

func (p Profile) durationSeconds() int {
	if p.DurationSeconds == 0 {
		return defaultRoleDuration
	}
	return p.DurationSeconds
}

// verify requires that the first certificate meets AWS's requirements, and that the others lead from it to the anchor (IAM Roles Anywhere
// User Guide, 'The IAM Roles Anywhere trust model', Signature verification). The x509 package rejects signatures with MD5 and SHA-1.
func (t TrustAnchor) verify(certificates []*x509.Certificate, now time.Time) error {
	leaf := certificates[0]
	options := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	anchors, _ := parseCertificates(t.Certificates) // they are valid
	for _, c := range anchors {
		options.Roots.AddCert(c)
	}
	for _, c := range certificates[1:] {
		options.Intermediates.AddCert(c)
	}
	for _, c := range certificates {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			return newError("AccessDeniedException", "Untrusted certificate. Certificate expired or not yet valid")
		}
	}
	if _, err := leaf.Verify(options); err != nil {
		return newError("AccessDeniedException", "Untrusted signing certificate")
	}
	if leaf.Version != 3 || !leaf.BasicConstraintsValid || leaf.IsCA || leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return newError("AccessDeniedException", "Untrusted certificate. Insufficient certificate")
	}
	return nil
}

// admits requires that the profile lists the role, and accepts a session name if there is one.
func (p Profile) admits(roleARN, sessionName string) error {
	switch {
	case !slices.Contains(p.RoleARNs, roleARN):
		return newError("AccessDeniedException", "The profile does not list the role %s", roleARN)
	case sessionName != "" && !p.AcceptRoleSessionName:
		return newError("AccessDeniedException", "Not authorized to set roleSessionName.")
	}
	return nil
}

// trustAnchor returns an enabled trust anchor of a region.
func (i *iam) trustAnchor(anchorARN, region string) (TrustAnchor, error) {
	parsed, _ := arn.Parse(anchorARN)
	anchors := i.account(parsed.AccountID).TrustAnchors
	at := slices.IndexFunc(anchors, func(t TrustAnchor) bool { return t.ARN == anchorARN })
	switch {
	case at < 0 || parsed.Region != region:
		return TrustAnchor{}, newError("ResourceNotFoundException", "Trust anchor not found: %s", anchorARN)
	case anchors[at].Disabled:
		return TrustAnchor{}, newError("AccessDeniedException", "The trust anchor is disabled.")
	}
	return anchors[at], nil
}

// profile returns an enabled profile of the account and the region of a trust anchor.
func (i *iam) profile(profileARN string, anchor TrustAnchor) (Profile, error) {
	profiles := i.account(anchor.accountID()).Profiles
	at := slices.IndexFunc(profiles, func(p Profile) bool { return p.ARN == profileARN })
	switch {
	case at < 0 || regionOf(profileARN) != regionOf(anchor.ARN):
		return Profile{}, newError("ResourceNotFoundException", "Profile not found: %s", profileARN)
	case profiles[at].Disabled:
		return Profile{}, newError("AccessDeniedException", "The profile is disabled.")
	}
	return profiles[at], nil
}

func regionOf(text string) string {
	parsed, _ := arn.Parse(text)
	return parsed.Region
}

// changeAccount changes the account of an ARN.
func (i *iam) changeAccount(text string, change func(*Account) error) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	parsed, _ := arn.Parse(text)
	a, ok := i.accounts[parsed.AccountID]
	if !ok {
		return fmt.Errorf("no account of %q", text)
	}
	if err := change(&a); err != nil {
		return err
	}
	i.accounts[a.ID] = a
	return nil
}

// putTrustAnchor adds a trust anchor, or replaces the one with its ARN.
func (i *iam) putTrustAnchor(t TrustAnchor) error {
	return i.changeAccount(t.ARN, func(a *Account) error {
		a.TrustAnchors = slices.DeleteFunc(slices.Clone(a.TrustAnchors), func(old TrustAnchor) bool { return old.ARN == t.ARN })
		a.TrustAnchors = append(a.TrustAnchors, t)
		return t.validate(*a)
	})
}

// putProfile adds a profile, or replaces the one with its ARN.
func (i *iam) putProfile(p Profile) error {
	return i.changeAccount(p.ARN, func(a *Account) error {
		a.Profiles = slices.DeleteFunc(slices.Clone(a.Profiles), func(old Profile) bool { return old.ARN == p.ARN })
		a.Profiles = append(a.Profiles, p)
		return p.validate(*a)
	})
}

// certificateHolder is the caller of CreateSession.
type certificateHolder struct {
	certificate *x509.Certificate
	anchor      TrustAnchor
}

// subjectARN returns the ARN of AWS's record of the certificate's subject. It is the same for all certificates of the subject.
func (h certificateHolder) subjectARN() string {
	parsed, _ := arn.Parse(h.anchor.ARN)
	sum := sha256.Sum256(h.certificate.RawSubject)
	parsed.Resource = "subject/" + uuid([16]byte(sum[:16]))
	return parsed.String()
}

// sessionName returns the default name of a session, the certificate's serial number in hexadecimal.
func (h certificateHolder) sessionName() string {
	return hex.EncodeToString(h.certificate.SerialNumber.Bytes())
}

// attributes are the attributes of a distinguished name that become session tags, by object identifier.
var attributes = map[string]string{
	"2.5.4.3": "CN", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.10": "O", "2.5.4.11": "OU",
}

// tags returns the session tags of the default mapping (IAM Roles Anywhere User Guide, 'Certificate attribute mapping'). They are not
// transitive.
func (h certificateHolder) tags() map[string]string {
	tags := map[string]string{}
	for _, name := range h.certificate.Subject.Names {
		if attribute, ok := attributes[name.Type.String()]; ok {
			tags["x509Subject/"+attribute] = fmt.Sprint(name.Value)
		}
	}
	for _, name := range h.certificate.Issuer.Names {
		if attribute, ok := attributes[name.Type.String()]; ok {
			tags["x509Issuer/"+attribute] = fmt.Sprint(name.Value)
		}
	}
	if names := h.certificate.DNSNames; len(names) > 0 {
		tags["x509SAN/DNS"] = names[0]
	}
	if uris := h.certificate.URIs; len(uris) > 0 {
		tags["x509SAN/URI"] = uris[0].String()
	}
	return tags
}
