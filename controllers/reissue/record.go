package reissue

import (
	"strconv"
	"time"

	"rolecredential.dev/operator/controllers/request"
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

// AnnotationCredential names the credential that a record is of, as <kind>/<name>. A Secret that a backup restores has no owner
// reference, and is assigned to its credential by this annotation.
const AnnotationCredential = annotationPrefix + "credential"

// Bounds of a record, and of the answers of STS that records are made of.
const (
	// MaxLifetime is the longest duration that STS accepts (GetSessionToken, GetFederationToken).
	MaxLifetime = 36 * time.Hour
	// MaxAccessKeyID and MaxPrincipalARN are the longest values that a status can hold, in bytes.
	MaxAccessKeyID  = 128
	MaxPrincipalARN = 2048
	// MaxRefreshRequest is how much of a refresh annotation a record and a status hold, in bytes.
	MaxRefreshRequest = 256
	// recordHorizon is how long ago a credential can have expired, and how far ahead it can have been issued, for its record to be
	// believed. It leaves room for a suspended credential, an old backup and a wrong clock.
	recordHorizon = 365 * 24 * time.Hour
)

// Record is what a Secret's annotations say of the credential in it.
type Record struct {
	// Credential is the kind and name of the credential that the record is of, as <kind>/<name>. Records of earlier releases have
	// none until the next write.
	Credential string
	// RequestHash is that of the [request.Request] that was answered.
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
	if before == nil || before.Expiration.Sub(r.Expiration) > MaxLifetime { // no credential outlives the next one by so much
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
		AnnotationCredential,
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
		AnnotationCredential:         r.Credential,
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

// ParseRecord reads a record from annotations that anyone may have edited. It returns false if a required value is missing or
// malformed, or if a value exceeds the bounds that apply to answers of STS.
func ParseRecord(annotations map[string]string) (Record, bool) {
	issued, ok := parseAt(annotations[annotationIssuedAt])
	if !ok {
		return Record{}, false
	}
	expiration, ok := parseAt(annotations[annotationExpiration])
	if !ok {
		return Record{}, false
	}
	r := Record{
		Credential:     annotations[AnnotationCredential],
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
	if !r.inBounds() {
		return Record{}, false
	}
	return r, true
}

// inBounds reports whether STS could have answered with the values of the record.
func (r Record) inBounds() bool {
	return r.Expiration.After(r.IssuedAt) && r.Expiration.Sub(r.IssuedAt) <= MaxLifetime &&
		r.PreviousExpiration.Sub(r.Expiration) <= MaxLifetime &&
		len(r.AccessKeyID) <= MaxAccessKeyID && len(r.PrincipalARN) <= MaxPrincipalARN && len(r.RefreshRequest) <= MaxRefreshRequest
}

// plausible reports whether the times of the record are near enough to now to be believed.
func (r Record) plausible(now time.Time) bool {
	return now.Sub(r.Expiration) <= recordHorizon && r.IssuedAt.Sub(now) <= recordHorizon
}

// WithChecksum returns the record with the hash of its Secret's data and its seal.
func (r Record) WithChecksum(data map[string][]byte) Record {
	r.DataHash = request.Hash(data)
	r.Seal = r.seal()
	return r
}

func (r Record) seal() string {
	r.Seal = ""
	return request.Hash(r.Annotations())
}

// ChecksumValid reports whether the record is as it was written.
func (r Record) ChecksumValid() bool { return r.Seal == r.seal() }

// MatchesData reports whether the record and the data are as they were written.
func (r Record) MatchesData(data map[string][]byte) bool {
	return r.ChecksumValid() && r.DataHash == request.Hash(data)
}
