package reissue

import "time"

// Ownership is whose the Secret of the wanted name is.
type Ownership int

// Whose a Secret is.
const (
	// Absent: there is no Secret of that name.
	Absent Ownership = iota
	// Foreign: it is not this credential's, and is left alone.
	Foreign
	// Ours: it is this credential's.
	Ours
	// Adopted: it was another's, who handed it over.
	Adopted
	// Former: a credential of this kind and name that no longer exists left it, with a valid record.
	Former
)

// Observed is what was found where the Secret should be.
type Observed struct {
	Ownership Ownership
	// Record is what the annotations say, nil if they cannot be trusted or the data is not what they say.
	Record *Record
}

// Desired is what the spec asks for.
type Desired struct {
	// RequestHash and TemplateHash are compared with those of the [Record].
	RequestHash, TemplateHash string
	// IssuerHash is compared too, unless it is empty because the identity is not known.
	IssuerHash string
	// RefreshRequest is the refresh annotation's value, empty if there is none.
	RefreshRequest string
	// RefreshBefore is as in the spec, nil for the default.
	RefreshBefore *time.Duration
	// Key spreads the refreshes of credentials issued together.
	Key string
}

// Reason is why a credential is due.
type Reason string

// Why a credential is due, in the order in which it is asked.
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

// IsRepair reports whether the credential is issued because its Secret was deleted or edited, which something may do again and
// again, rather than because the spec or the time says so.
func (w Reason) IsRepair() bool { return w == Missing || w == Tampered }

// Current reports whether a credential that is due for this reason is nevertheless of the present spec.
func (w Reason) Current() bool { return w == NotDue || w == RefreshRequested || w == Due }

// ClockTolerance is how far the clocks of STS and of the operator may be apart before it counts. AWS bears 5 to 15 minutes.
//
// It is also how far in the future a credential may have been issued. One beyond that shows that our clock is behind that of STS,
// and that STS was not heard since the operator started: asked for another, it tells the time. By our own clock the credential would
// be due too late.
const ClockTolerance = time.Minute

var checks = []struct {
	why   Reason
	holds func(now time.Time, w Desired, o Observed) bool
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

// Decide says why a credential is due, NotDue if it is not. A foreign Secret is never to be issued for, and must be dealt
// with before.
func Decide(now time.Time, w Desired, o Observed) Reason {
	for _, check := range checks {
		if check.holds(now, w, o) {
			return check.why
		}
	}
	return NotDue
}
