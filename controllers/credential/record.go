package credential

import (
	"strconv"
	"time"
)

// The annotations of a Secret that say what is in it. They are written in one request with the data, and are all that the
// operator knows of a credential after a restart.
const (
	annotationPrefix             = "sts.rolecredential.dev/"
	annotationRequest            = annotationPrefix + "request-hash"
	annotationIssuer             = annotationPrefix + "issuer-hash"
	annotationTemplate           = annotationPrefix + "template-hash"
	annotationDataHash           = annotationPrefix + "data-hash"
	annotationSeal               = annotationPrefix + "seal"
	annotationIssuedAt           = annotationPrefix + "issued-at"
	annotationExpiration         = annotationPrefix + "expiration"
	annotationPreviousIssuedAt   = annotationPrefix + "previous-issued-at"
	annotationPreviousExpiration = annotationPrefix + "previous-expiration"
	annotationAccessKeyID        = annotationPrefix + "access-key-id"
	annotationPrincipalARN       = annotationPrefix + "principal-arn"
	annotationPackedPolicy       = annotationPrefix + "packed-policy-size"
	annotationRefreshRequest     = annotationPrefix + "refresh-request"
)

// Record is what a Secret's annotations say of the credential in it.
type Record struct {
	// RequestHash is that of the [Request] that was answered.
	RequestHash string
	// IssuerHash is that of where the identity's credentials came from and which STS answered, and of its region if that stands in
	// the Secret.
	IssuerHash string
	// TemplateHash is that of the Secret's template in the spec.
	TemplateHash string
	// DataHash is that of the Secret's data, and Seal that of the record, DataHash included. An edit of the record is noticed
	// without a read of the data. Neither has a key: whoever may write the Secret can compute both anew, and is then believed.
	DataHash, Seal string
	// IssuedAt and Expiration are in whole seconds of UTC.
	IssuedAt, Expiration time.Time
	// PreviousIssuedAt and PreviousExpiration are of the credential that this one took the place of: until when those may go on
	// who hold it still. Both are zero if the Secret held none, or none that is known.
	PreviousIssuedAt, PreviousExpiration time.Time
	AccessKeyID                          string
	PrincipalARN                         string
	PackedPolicySize                     *int32
	// RefreshRequest is the value of the refresh annotation that this credential answers.
	RefreshRequest string
}

// After returns the record with what is to be kept of the one in whose place it comes, nil if that is not known. If the one before
// that lives still, the two count as one which expires with the first of them, so that nobody is thought to have longer than
// they do.
func (r Record) After(before *Record) Record {
	if before == nil {
		return r
	}
	r.PreviousIssuedAt, r.PreviousExpiration = before.IssuedAt, before.Expiration
	if before.PreviousExpiration.After(r.IssuedAt) {
		r.PreviousIssuedAt = before.PreviousIssuedAt
		if before.PreviousExpiration.Before(r.PreviousExpiration) {
			r.PreviousExpiration = before.PreviousExpiration
		}
	}
	return r
}

// RecordKeys lists the annotations that a record may have.
func RecordKeys() []string {
	return []string{
		annotationRequest, annotationIssuer, annotationTemplate, annotationDataHash, annotationSeal, annotationIssuedAt, annotationExpiration,
		annotationPreviousIssuedAt, annotationPreviousExpiration, annotationAccessKeyID, annotationPrincipalARN, annotationPackedPolicy, annotationRefreshRequest,
	}
}

// Annotations returns the record as annotations, those of [RecordKeys] that it needs.
func (r Record) Annotations() map[string]string {
	annotations := map[string]string{
		annotationRequest:    r.RequestHash,
		annotationIssuer:     r.IssuerHash,
		annotationTemplate:   r.TemplateHash,
		annotationDataHash:   r.DataHash,
		annotationSeal:       r.Seal,
		annotationIssuedAt:   at(r.IssuedAt),
		annotationExpiration: at(r.Expiration),
	}
	for key, value := range map[string]string{
		annotationPreviousIssuedAt:   at(r.PreviousIssuedAt),
		annotationPreviousExpiration: at(r.PreviousExpiration),
		annotationAccessKeyID:        r.AccessKeyID,
		annotationPrincipalARN:       r.PrincipalARN,
		annotationRefreshRequest:     r.RefreshRequest,
	} {
		if value != "" {
			annotations[key] = value
		}
	}
	if r.PackedPolicySize != nil {
		annotations[annotationPackedPolicy] = strconv.FormatInt(int64(*r.PackedPolicySize), 10)
	}
	return annotations
}

// at is a time as an annotation gives it, empty for none.
func at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// parseAt reads a time as [at] writes it, and as nothing else does: a fraction of a second would be lost where it is written again,
// to be sealed or told in a status, and a time zone may lead beyond the years of which such a text can be read.
func parseAt(text string) (time.Time, bool) {
	read, err := time.Parse(time.RFC3339, text)
	return read, err == nil && at(read) == text
}

// ParseRecord reads a record from annotations that anyone may have edited. It is false unless all of it that decisions rest
// on can be read.
func ParseRecord(annotations map[string]string) (Record, bool) {
	issued, ok := parseAt(annotations[annotationIssuedAt])
	if !ok {
		return Record{}, false
	}
	expiration, ok := parseAt(annotations[annotationExpiration])
	if !ok || !expiration.After(issued) {
		return Record{}, false
	}
	r := Record{
		RequestHash:    annotations[annotationRequest],
		IssuerHash:     annotations[annotationIssuer],
		TemplateHash:   annotations[annotationTemplate],
		DataHash:       annotations[annotationDataHash],
		Seal:           annotations[annotationSeal],
		IssuedAt:       issued,
		Expiration:     expiration,
		AccessKeyID:    annotations[annotationAccessKeyID],
		PrincipalARN:   annotations[annotationPrincipalARN],
		RefreshRequest: annotations[annotationRefreshRequest],
	}
	previousIssued, issuedOK := parseAt(annotations[annotationPreviousIssuedAt])
	previousExpiration, expirationOK := parseAt(annotations[annotationPreviousExpiration])
	if issuedOK && expirationOK {
		r.PreviousIssuedAt, r.PreviousExpiration = previousIssued, previousExpiration
	}
	if size, err := strconv.ParseUint(annotations[annotationPackedPolicy], 10, 31); err == nil {
		percent := int32(size)
		r.PackedPolicySize = &percent
	}
	return r, true
}

// Sealed returns the record with the hash of its Secret's data and its seal.
func (r Record) Sealed(data map[string][]byte) Record {
	r.DataHash = Hash(data)
	r.Seal = r.seal()
	return r
}

func (r Record) seal() string {
	r.Seal = ""
	return Hash(r.Annotations())
}

// Genuine tells whether the record is still what was sealed.
func (r Record) Genuine() bool { return r.Seal == r.seal() }

// Intact tells whether the record and the data are still what was sealed.
func (r Record) Intact(data map[string][]byte) bool { return r.Genuine() && r.DataHash == Hash(data) }
