// Package reissue holds the record in a Secret, and decides from it when and why to issue new credentials. It is pure.
package reissue

import "time"

// Ownership says whether a credential controls the Secret of its name.
type Ownership int

// The kinds of ownership.
const (
	Absent  Ownership = iota // there is no Secret of that name
	Foreign                  // something else controls the Secret, and the operator must not write it
	Ours                     // the credential controls the Secret
	Adopted                  // a foreign Secret whose owner consents to the adoption
	Former                   // a former credential of this kind and name left the Secret, with a valid record
)

// Observed is the state of the Secret.
type Observed struct {
	Ownership Ownership
	// Record is nil if the annotations contain no valid record, or if the data does not match it.
	Record *Record
}

// Desired is the state that the spec describes.
type Desired struct {
	// RequestHash and TemplateHash are compared with those of the [Record].
	RequestHash, TemplateHash string
	// IssuerHash is compared too. It is empty if the identity is not known.
	IssuerHash string
	// RefreshRequest is the value of the refresh annotation, empty if there is none.
	RefreshRequest string
	// RefreshBefore is that of the spec, nil for the default.
	RefreshBefore *time.Duration
	// Key spreads the refreshes of credentials that were issued together.
	Key string
}

// Reason is why a credential is issued.
type Reason string

// The reasons, in the order of their checks.
const (
	NotDue           Reason = ""
	Missing          Reason = "Missing"
	Tampered         Reason = "Tampered"
	OtherRequest     Reason = "OtherRequest"
	OtherIssuer      Reason = "OtherIssuer"
	OtherTemplate    Reason = "OtherTemplate"
	RefreshRequested Reason = "RefreshRequested"
	Due              Reason = "Due"
)

// IsRepair reports whether the reason is a deleted or edited Secret, or a first issue. Another writer may cause the first two
// again and again.
func (w Reason) IsRepair() bool { return w == Missing || w == Tampered }

// Current reports whether a Secret matches the spec although credentials are issued for this reason.
func (w Reason) Current() bool { return w == NotDue || w == RefreshRequested || w == Due }

// ClockTolerance is the clock skew that the operator ignores. AWS tolerates 5 to 15 minutes.
//
// It also bounds how far in the future a credential may have been issued. A later one shows that the operator's clock is behind that of
// STS, and that the operator has not measured the skew since its start. By its own clock it would refresh too late, and a new call
// measures the skew.
const ClockTolerance = time.Minute

var checks = []struct {
	why     Reason
	applies func(now time.Time, w Desired, o Observed) bool
}{
	{Missing, func(_ time.Time, _ Desired, o Observed) bool { return o.Ownership == Absent || o.Ownership == Adopted }},
	{Tampered, func(now time.Time, _ Desired, o Observed) bool { return o.Record == nil || !o.Record.plausible(now) }},
	{OtherRequest, func(_ time.Time, w Desired, o Observed) bool { return o.Record.RequestHash != w.RequestHash }},
	{OtherIssuer, func(_ time.Time, w Desired, o Observed) bool {
		return w.IssuerHash != "" && o.Record.IssuerHash != w.IssuerHash
	}},
	{OtherTemplate, func(_ time.Time, w Desired, o Observed) bool { return o.Record.TemplateHash != w.TemplateHash }},
	{RefreshRequested, func(_ time.Time, w Desired, o Observed) bool {
		return w.RefreshRequest != "" && o.Record.RefreshRequest != w.RefreshRequest
	}},
	{Due, func(now time.Time, w Desired, o Observed) bool {
		return !now.Before(w.RefreshAt(*o.Record)) || o.Record.IssuedAt.Sub(now) > ClockTolerance
	}},
}

// Decide returns why a credential must be issued, or NotDue. Do not call it for a foreign Secret.
func Decide(now time.Time, w Desired, o Observed) Reason {
	for _, check := range checks {
		if check.applies(now, w, o) {
			return check.why
		}
	}
	return NotDue
}
