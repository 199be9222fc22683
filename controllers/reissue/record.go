package reissue

import (
	"strconv"
	"time"

	"rolecredential.dev/operator/controllers/request"
)

// The annotations of a record. The operator writes them in one request with the data, and has no other state after a restart.
const (
	annotationPrefix             = "sts.rolecredential.dev/"
	annotationRequest            = annotationPrefix + "request-hash"
	annotationIssuer             = annotationPrefix + "issuer-hash"
	annotationTemplate           = annotationPrefix + "template-hash"
	annotationDataHash           = annotationPrefix + "data-hash"
	annotationChecksum           = annotationPrefix + "seal"
	annotationIssuedAt           = annotationPrefix + "issued-at"
	annotationExpiration         = annotationPrefix + "expiration"
	annotationPreviousIssuedAt   = annotationPrefix + "previous-issued-at"
	annotationPreviousExpiration = annotationPrefix + "previous-expiration"
	annotationAccessKeyID        = annotationPrefix + "access-key-id"
	annotationPrincipalARN       = annotationPrefix + "principal-arn"
	annotationPackedPolicy       = annotationPrefix + "packed-policy-size"
	annotationRefreshRequest     = annotationPrefix + "refresh-request"
)

// AnnotationCredential names the credential of a record, as <kind>/<name>. A Secret that a backup restored has no owner reference.
// This annotation assigns it to its credential.
const AnnotationCredential = annotationPrefix + "credential"

// Bounds of a record, and of the STS responses that it describes.
const (
	// MaxLifetime is the longest duration that STS accepts (GetSessionToken, GetFederationToken).
	MaxLifetime = 36 * time.Hour
	// MaxAccessKeyID and MaxPrincipalARN are the maximum lengths in a status, in bytes.
	MaxAccessKeyID  = 128
	MaxPrincipalARN = 2048
	// MaxRefreshRequest is how much of a refresh annotation a record and a status hold, in bytes.
	MaxRefreshRequest = 256
	// recordHorizon is how long ago a credential may have expired, and how far in the future it may have been issued, in a valid
	// record. It allows for a suspended credential, an old backup and a wrong clock.
	recordHorizon = 365 * 24 * time.Hour
)

// Record describes the session credentials in a Secret. It is stored in the Secret's annotations.
type Record struct {
	// Credential is <kind>/<name> of the credential. Records of earlier releases have none until the next write.
	Credential string
	// RequestHash is the hash of the [request.Request].
	RequestHash string
	// IssuerHash is the hash of the identity's source and STS endpoint, and of its region if the Secret contains it.
	IssuerHash string
	// TemplateHash is the hash of spec.secret.
	TemplateHash string
	// DataHash is the hash of the Secret's data, and Checksum that of the record with DataHash. The checksum reveals an edit of the
	// record without a read of the data. Neither uses a key: a writer of the Secret can compute both.
	DataHash, Checksum string
	// IssuedAt and Expiration are in whole seconds of UTC.
	IssuedAt, Expiration time.Time
	// PreviousIssuedAt and PreviousExpiration are those of the replaced credentials, which pods may still use. Both are zero if there
	// were none, or if they are not known.
	PreviousIssuedAt, PreviousExpiration time.Time
	AccessKeyID                          string
	PrincipalARN                         string
	// PackedPolicySize is in percent, nil if STS returned none.
	PackedPolicySize *int32
	// RefreshRequest is the value of the refresh annotation at the time of the issue.
	RefreshRequest string
}

// After returns the record with the times of the record that it replaces, which is nil if it is not known. If the credentials before
// that are still valid, the two count as one that expires with the earlier of them, so that no pod is assumed to have longer.
func (r Record) After(before *Record) Record {
	if before == nil || before.Expiration.Sub(r.Expiration) > MaxLifetime { // no credentials outlive the next ones by so much
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

// RecordKeys returns the annotations that a record may have.
func RecordKeys() []string {
	return []string{
		annotationRequest, annotationIssuer, annotationTemplate, annotationDataHash, annotationChecksum, annotationIssuedAt, annotationExpiration,
		annotationPreviousIssuedAt, annotationPreviousExpiration, annotationAccessKeyID, annotationPrincipalARN, annotationPackedPolicy, annotationRefreshRequest,
		AnnotationCredential,
	}
}

// Annotations returns the record as annotations, without those of optional fields that are empty.
func (r Record) Annotations() map[string]string {
	annotations := map[string]string{
		annotationRequest:    r.RequestHash,
		annotationIssuer:     r.IssuerHash,
		annotationTemplate:   r.TemplateHash,
		annotationDataHash:   r.DataHash,
		annotationChecksum:   r.Checksum,
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

// at formats a time for an annotation. The zero time is empty.
func at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// parseAt parses a time in exactly the form of [at]. Fractions of a second would be lost in a status, and a time zone may lead to a year
// that cannot be formatted.
func parseAt(text string) (time.Time, bool) {
	read, err := time.Parse(time.RFC3339, text)
	return read, err == nil && at(read) == text
}

// ParseRecord reads a record from annotations that anyone may have edited. It returns false if a required value is missing or
// malformed, or if a value exceeds the bounds of STS responses.
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
		Checksum:       annotations[annotationChecksum],
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

// inBounds reports whether the values can be those of an STS response.
func (r Record) inBounds() bool {
	return r.Expiration.After(r.IssuedAt) && r.Expiration.Sub(r.IssuedAt) <= MaxLifetime &&
		r.PreviousExpiration.Sub(r.Expiration) <= MaxLifetime &&
		len(r.AccessKeyID) <= MaxAccessKeyID && len(r.PrincipalARN) <= MaxPrincipalARN && len(r.RefreshRequest) <= MaxRefreshRequest
}

// plausible reports whether the times of the record are within [recordHorizon] of now.
func (r Record) plausible(now time.Time) bool {
	return now.Sub(r.Expiration) <= recordHorizon && r.IssuedAt.Sub(now) <= recordHorizon
}

// WithChecksum returns the record with the hash of the Secret's data and its checksum.
func (r Record) WithChecksum(data map[string][]byte) Record {
	r.DataHash = request.Hash(data)
	r.Checksum = r.checksum()
	return r
}

func (r Record) checksum() string {
	r.Checksum = ""
	return request.Hash(r.Annotations())
}

// ChecksumValid reports whether the record has not been edited.
func (r Record) ChecksumValid() bool { return r.Checksum == r.checksum() }

// MatchesData reports whether neither the record nor the data has been edited.
func (r Record) MatchesData(data map[string][]byte) bool {
	return r.ChecksumValid() && r.DataHash == request.Hash(data)
}
