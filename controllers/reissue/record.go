package reissue

import (
	"strconv"
	"time"

	"rolecredential.dev/operator/controllers/request"
)

// annotationPrefix is that of a record's annotations. The operator writes them in one request with the data, and has no other state after
// a restart.
const annotationPrefix = "sts.rolecredential.dev/"

const (
	// AnnotationCredential names the credential of a record, as <kind>/<name>. A Secret that a backup restored has no owner reference.
	// This annotation assigns it to its credential.
	AnnotationCredential   = annotationPrefix + "credential"
	annotationPackedPolicy = annotationPrefix + "packed-policy-size"
)

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

// WithPrevious returns the record with the times of the record that it replaces, which is nil if it is not known. If the credentials before
// that are still valid, the two count as one that expires with the earlier of them, so that no pod is assumed to have longer.
func (r Record) WithPrevious(before *Record) Record {
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

// textField and timeField are fields of a record with their annotations.
type (
	textField struct {
		key   string
		value *string
		// required fields have an annotation also while they are empty, because the checksum covers its own annotation.
		required bool
	}
	timeField struct {
		key   string
		value *time.Time
	}
)

// fieldsOf returns the fields of a record, except for PackedPolicySize.
func fieldsOf(r *Record) ([]textField, []timeField) {
	texts := []textField{
		{annotationPrefix + "request-hash", &r.RequestHash, true},
		{annotationPrefix + "issuer-hash", &r.IssuerHash, true},
		{annotationPrefix + "template-hash", &r.TemplateHash, true},
		{annotationPrefix + "data-hash", &r.DataHash, true},
		{annotationPrefix + "seal", &r.Checksum, true},
		{AnnotationCredential, &r.Credential, false},
		{annotationPrefix + "access-key-id", &r.AccessKeyID, false},
		{annotationPrefix + "principal-arn", &r.PrincipalARN, false},
		{annotationPrefix + "refresh-request", &r.RefreshRequest, false},
	}
	times := []timeField{
		{annotationPrefix + "issued-at", &r.IssuedAt},
		{annotationPrefix + "expiration", &r.Expiration},
		{annotationPrefix + "previous-issued-at", &r.PreviousIssuedAt},
		{annotationPrefix + "previous-expiration", &r.PreviousExpiration},
	}
	return texts, times
}

// RecordKeys are the annotations that a record may have. The transform of the cache needs them for every Secret.
var RecordKeys = func() []string {
	keys := []string{annotationPackedPolicy}
	texts, times := fieldsOf(new(Record))
	for _, f := range texts {
		keys = append(keys, f.key)
	}
	for _, f := range times {
		keys = append(keys, f.key)
	}
	return keys
}()

// Annotations returns the record as annotations, without those of optional fields that are empty.
func (r Record) Annotations() map[string]string {
	annotations := make(map[string]string, len(RecordKeys))
	texts, times := fieldsOf(&r)
	for _, f := range texts {
		if f.required || *f.value != "" {
			annotations[f.key] = *f.value
		}
	}
	for _, f := range times {
		if !f.value.IsZero() {
			annotations[f.key] = f.value.UTC().Format(time.RFC3339)
		}
	}
	if r.PackedPolicySize != nil {
		annotations[annotationPackedPolicy] = strconv.FormatInt(int64(*r.PackedPolicySize), 10)
	}
	return annotations
}

// parseAt parses a time in exactly the form of [Record.Annotations], and returns zero for any other. Fractions of a second would be lost in
// a status, and a time zone may lead to a year that cannot be formatted.
func parseAt(text string) time.Time {
	if read, err := time.Parse(time.RFC3339, text); err == nil && read.UTC().Format(time.RFC3339) == text {
		return read
	}
	return time.Time{}
}

// ParseRecord reads a record from annotations that anyone may have edited. It returns false if a required value is missing or
// malformed, or if a value exceeds the bounds of STS responses.
func ParseRecord(annotations map[string]string) (Record, bool) {
	var r Record
	texts, times := fieldsOf(&r)
	for _, f := range texts {
		*f.value = annotations[f.key]
	}
	for _, f := range times {
		*f.value = parseAt(annotations[f.key])
	}
	if r.PreviousIssuedAt.IsZero() || r.PreviousExpiration.IsZero() {
		r.PreviousIssuedAt, r.PreviousExpiration = time.Time{}, time.Time{}
	}
	if size, err := strconv.ParseUint(annotations[annotationPackedPolicy], 10, 31); err == nil {
		r.PackedPolicySize = new(int32(size))
	}
	if !r.inBounds() {
		return Record{}, false
	}
	return r, true
}

// inBounds reports whether the values can be those of an STS response.
func (r Record) inBounds() bool {
	return !r.IssuedAt.IsZero() && r.Expiration.After(r.IssuedAt) && r.Expiration.Sub(r.IssuedAt) <= MaxLifetime &&
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
