package reissue_test

import (
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	"pgregory.net/rapid"

	"rolecredential.dev/operator/controllers/reissue"
)

func drawRecord(t *rapid.T) reissue.Record {
	issued := time.Unix(rapid.Int64Range(0, 1<<36).Draw(t, "issued"), 0).UTC()
	text := rapid.StringN(0, 32, 128)
	r := reissue.Record{
		Credential: text.Draw(t, "credential"), RequestHash: text.Draw(t, "request"), IssuerHash: text.Draw(t, "issuer"), TemplateHash: text.Draw(t, "template"), DataHash: text.Draw(t, "data"), Checksum: text.Draw(t, "checksum"),
		IssuedAt: issued, Expiration: issued.Add(time.Duration(rapid.Int64Range(1, 36*60*60).Draw(t, "life")) * time.Second),
		AccessKeyID: text.Draw(t, "access key"), PrincipalARN: text.Draw(t, "principal"), RefreshRequest: text.Draw(t, "refresh"),
	}
	if rapid.Bool().Draw(t, "has one before it") {
		r.PreviousIssuedAt = issued.Add(-time.Duration(rapid.Int64Range(1, 1<<32).Draw(t, "ago")) * time.Second)
		r.PreviousExpiration = r.PreviousIssuedAt.Add(time.Duration(rapid.Int64Range(1, 36*60*60).Draw(t, "previous life")) * time.Second)
	}
	if rapid.Bool().Draw(t, "has a packed size") {
		r.PackedPolicySize = new(rapid.Int32Range(0, math.MaxInt32).Draw(t, "packed size"))
	}
	return r
}

func TestRecordSurvivesItsAnnotations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawRecord(t)
		got, ok := reissue.ParseRecord(want.Annotations())
		if !ok {
			t.Fatal("the annotations are not a record")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// docs/security.md says what a writer of the Secret can do with that.
func TestChecksumIsNoSignature(t *testing.T) {
	g := NewWithT(t)
	data := map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("ASIAEDITED")}
	record := reissue.Record{IssuedAt: issuedAt, Expiration: issuedAt.Add(time.Hour)}.WithChecksum(nil)
	record.Expiration = issuedAt.Add(2 * time.Hour)
	g.Expect(record.ChecksumValid()).To(BeFalse())
	g.Expect(record.WithChecksum(data).MatchesData(data)).To(BeTrue())
}

func TestTimesAreInUTC(t *testing.T) {
	g := NewWithT(t)
	east := time.FixedZone("east", 3*60*60)
	got, ok := reissue.ParseRecord(reissue.Record{IssuedAt: issuedAt.In(east), Expiration: issuedAt.Add(time.Hour).In(east)}.Annotations())
	g.Expect(ok).To(BeTrue())
	g.Expect([]time.Time{got.IssuedAt, got.Expiration}).To(Equal([]time.Time{issuedAt, issuedAt.Add(time.Hour)}))
}

// Other annotations would reissue every credential of a cluster at once.
func TestAnnotationsAreThoseOfEarlierReleases(t *testing.T) {
	r := reissue.Record{
		RequestHash: "r", IssuerHash: "i", TemplateHash: "t", DataHash: "d", Checksum: "s",
		IssuedAt: issuedAt, Expiration: issuedAt.Add(time.Hour),
		PreviousIssuedAt: issuedAt.Add(-40 * time.Minute), PreviousExpiration: issuedAt.Add(20 * time.Minute),
		AccessKeyID: "ASIAEXAMPLE", PrincipalARN: "arn:aws:sts::123456789012:assumed-role/S3Reader/shop.s3-reader",
		PackedPolicySize: new(int32(7)), RefreshRequest: "monday", Credential: "RoleCredential/s3-reader",
	}
	NewWithT(t).Expect(r.Annotations()).To(Equal(map[string]string{
		"sts.rolecredential.dev/credential":          "RoleCredential/s3-reader",
		"sts.rolecredential.dev/request-hash":        "r",
		"sts.rolecredential.dev/issuer-hash":         "i",
		"sts.rolecredential.dev/template-hash":       "t",
		"sts.rolecredential.dev/data-hash":           "d",
		"sts.rolecredential.dev/seal":                "s",
		"sts.rolecredential.dev/issued-at":           "2026-11-23T15:00:00Z",
		"sts.rolecredential.dev/expiration":          "2026-11-23T16:00:00Z",
		"sts.rolecredential.dev/previous-issued-at":  "2026-11-23T14:20:00Z",
		"sts.rolecredential.dev/previous-expiration": "2026-11-23T15:20:00Z",
		"sts.rolecredential.dev/access-key-id":       "ASIAEXAMPLE",
		"sts.rolecredential.dev/principal-arn":       "arn:aws:sts::123456789012:assumed-role/S3Reader/shop.s3-reader",
		"sts.rolecredential.dev/packed-policy-size":  "7",
		"sts.rolecredential.dev/refresh-request":     "monday",
	}))
}

// An earlier release wrote no previous credentials. An upgrade must not reissue the credentials of its records.
func TestChecksumOfAnEarlierReleaseIsValid(t *testing.T) {
	g := NewWithT(t)
	data := map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("ASIAEXAMPLE")}
	r, ok := reissue.ParseRecord(map[string]string{
		"sts.rolecredential.dev/request-hash":       "r",
		"sts.rolecredential.dev/issuer-hash":        "i",
		"sts.rolecredential.dev/template-hash":      "t",
		"sts.rolecredential.dev/data-hash":          "fecb0cca548d6bbbecdffedfc9d401c48a3204895e394c3ee10f8ba2d43db0e1",
		"sts.rolecredential.dev/seal":               "ecef9997d1e3d49b46ebfeb8874884c42433bf794a5994e9f2b39fc5c46ddd38",
		"sts.rolecredential.dev/issued-at":          "2026-11-23T15:00:00Z",
		"sts.rolecredential.dev/expiration":         "2026-11-23T16:00:00Z",
		"sts.rolecredential.dev/access-key-id":      "ASIAEXAMPLE",
		"sts.rolecredential.dev/principal-arn":      "arn:aws:sts::123456789012:assumed-role/S3Reader/shop.s3-reader",
		"sts.rolecredential.dev/packed-policy-size": "7",
		"sts.rolecredential.dev/refresh-request":    "monday",
	})
	g.Expect(ok).To(BeTrue())
	g.Expect(r.MatchesData(data)).To(BeTrue())
	g.Expect(r.PreviousIssuedAt).To(BeZero())
	g.Expect(r.PreviousExpiration).To(BeZero())
}

func TestWithPreviousKeepsTheTimesOfTheReplacedCredentials(t *testing.T) {
	after := issuedAt.Add
	record := func(issued, expires time.Duration) reissue.Record {
		return reissue.Record{IssuedAt: after(issued), Expiration: after(expires)}
	}
	for name, tc := range map[string]struct {
		before            *reissue.Record
		previous, expires time.Time
	}{
		"none": {},
		"credentials without a previous record": {
			before: new(record(-40*time.Minute, 20*time.Minute)), previous: after(-40 * time.Minute), expires: after(20 * time.Minute),
		},
		"expired credentials": {
			before: new(record(-2*time.Hour, -time.Hour)), previous: after(-2 * time.Hour), expires: after(-time.Hour),
		},
		"credentials whose predecessor has expired": {
			before:   new(record(-40*time.Minute, 20*time.Minute).WithPrevious(new(record(-80*time.Minute, -20*time.Minute)))),
			previous: after(-40 * time.Minute), expires: after(20 * time.Minute),
		},
		"credentials whose predecessor is still valid": {
			before:   new(record(-time.Minute, 59*time.Minute).WithPrevious(new(record(-10*time.Minute, 50*time.Minute)))),
			previous: after(-10 * time.Minute), expires: after(50 * time.Minute),
		},
		"an implausible record that expires 36 hours after the next one": {
			before: new(record(-time.Minute, 37*time.Hour+time.Second)),
		},
		"credentials that expire before their predecessor": {
			before:   new(record(-time.Minute, 14*time.Minute).WithPrevious(new(record(-10*time.Minute, 50*time.Minute)))),
			previous: after(-10 * time.Minute), expires: after(14 * time.Minute),
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := record(0, time.Hour).WithPrevious(tc.before)
			g.Expect(got.PreviousIssuedAt).To(Equal(tc.previous))
			g.Expect(got.PreviousExpiration).To(Equal(tc.expires))
			g.Expect(got.IssuedAt).To(Equal(issuedAt))
		})
	}
}

func TestEmptyFieldsHaveNoAnnotation(t *testing.T) {
	g := NewWithT(t)
	annotations := reissue.Record{IssuedAt: issuedAt, Expiration: issuedAt.Add(time.Hour)}.Annotations()
	g.Expect(annotations).To(HaveLen(7))
	g.Expect(annotations).NotTo(Or(
		HaveKey("sts.rolecredential.dev/access-key-id"), HaveKey("sts.rolecredential.dev/principal-arn"),
		HaveKey("sts.rolecredential.dev/packed-policy-size"), HaveKey("sts.rolecredential.dev/refresh-request"),
		HaveKey("sts.rolecredential.dev/credential"), HaveKey("sts.rolecredential.dev/previous-issued-at"), HaveKey("sts.rolecredential.dev/previous-expiration"),
	))
}

func TestParseRecordRejectsInvalidValues(t *testing.T) {
	const (
		issuedAtKey           = "sts.rolecredential.dev/issued-at"
		expirationKey         = "sts.rolecredential.dev/expiration"
		packedKey             = "sts.rolecredential.dev/packed-policy-size"
		accessKeyIDKey        = "sts.rolecredential.dev/access-key-id"
		principalKey          = "sts.rolecredential.dev/principal-arn"
		refreshKey            = "sts.rolecredential.dev/refresh-request"
		previousIssuedKey     = "sts.rolecredential.dev/previous-issued-at"
		previousExpirationKey = "sts.rolecredential.dev/previous-expiration"
	)
	for name, tc := range map[string]struct {
		edit map[string]string // an empty value takes the annotation out
		want bool
	}{
		"no edit":                                   {want: true},
		"there is no time of issue":                 {edit: map[string]string{issuedAtKey: ""}},
		"there is no expiration":                    {edit: map[string]string{expirationKey: ""}},
		"the time of issue is garbage":              {edit: map[string]string{issuedAtKey: "yesterday"}},
		"the expiration is garbage":                 {edit: map[string]string{expirationKey: "2026-11-23"}},
		"the expiration is a number":                {edit: map[string]string{expirationKey: "1795449600"}},
		"the expiration is negative":                {edit: map[string]string{expirationKey: "-2026-11-23T16:00:00Z"}},
		"the expiration has a year of five digits":  {edit: map[string]string{expirationKey: "12026-11-23T16:00:00Z"}},
		"the expiration is huge":                    {edit: map[string]string{expirationKey: strings.Repeat("9", 1<<20)}},
		"the times are reversed":                    {edit: map[string]string{issuedAtKey: "2026-11-23T16:00:00Z", expirationKey: "2026-11-23T15:00:00Z"}},
		"the times are the same":                    {edit: map[string]string{expirationKey: "2026-11-23T15:00:00Z"}},
		"the times are the same in different zones": {edit: map[string]string{expirationKey: "2026-11-23T18:00:00+03:00"}},
		"the expiration is in another zone":         {edit: map[string]string{expirationKey: "2026-11-23T19:00:00+03:00"}},
		"the expiration has a fraction of a second": {edit: map[string]string{expirationKey: "2026-11-23T16:00:00.5Z"}},
		"the lifetime is as long as times allow":    {edit: map[string]string{issuedAtKey: "0002-01-01T00:00:00Z", expirationKey: "9999-12-31T23:59:59Z"}},
		"the lifetime is 36 hours":                  {edit: map[string]string{expirationKey: "2026-11-25T03:00:00Z"}, want: true},
		"the lifetime is over 36 hours":             {edit: map[string]string{expirationKey: "2026-11-25T03:00:01Z"}},
		"the access key id has the maximum length":  {edit: map[string]string{accessKeyIDKey: strings.Repeat("A", 128)}, want: true},
		"the access key id is too long":             {edit: map[string]string{accessKeyIDKey: strings.Repeat("A", 129)}},
		"the ARN has the maximum length":            {edit: map[string]string{principalKey: strings.Repeat("a", 2048)}, want: true},
		"the ARN is too long":                       {edit: map[string]string{principalKey: strings.Repeat("a", 3000)}},
		"the refresh request is too long":           {edit: map[string]string{refreshKey: strings.Repeat("x", 257)}},
		"the previous credential outlives this one by over 36 hours": {
			edit: map[string]string{previousIssuedKey: "2026-11-23T15:00:00Z", previousExpirationKey: "2026-11-25T04:00:01Z"},
		},
		"the packed size is garbage":      {edit: map[string]string{packedKey: "much"}, want: true},
		"the packed size is negative":     {edit: map[string]string{packedKey: "-1"}, want: true},
		"the packed size is huge":         {edit: map[string]string{packedKey: "99999999999999999999"}, want: true},
		"the packed size exceeds 31 bits": {edit: map[string]string{packedKey: "3000000000"}, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			annotations := reissue.Record{IssuedAt: issuedAt, Expiration: issuedAt.Add(time.Hour)}.Annotations()
			maps.Copy(annotations, tc.edit)
			maps.DeleteFunc(annotations, func(_, value string) bool { return value == "" })
			r, ok := reissue.ParseRecord(annotations)
			g.Expect(ok).To(Equal(tc.want))
			g.Expect(r.PackedPolicySize).To(BeNil()) // the status could not hold it
			if !ok {
				g.Expect(r).To(BeZero())
				return
			}
			due := reissue.Desired{Key: "shop/s3-reader"}.RefreshAt(r)
			g.Expect(due).To(And(BeTemporally(">", r.IssuedAt), BeTemporally("<", r.Expiration)))
		})
	}
}

func TestForeignAnnotationsAreNoRecord(t *testing.T) {
	g := NewWithT(t)
	for _, annotations := range []map[string]string{nil, {}, {"app": "shop"}} {
		_, ok := reissue.ParseRecord(annotations)
		g.Expect(ok).To(BeFalse())
	}
}

func TestChecksumRevealsAnyEdit(t *testing.T) {
	data := map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("ASIAEXAMPLE")}
	written := reissue.Record{
		Credential: "RoleCredential/s3-reader", RequestHash: "r", IssuedAt: issuedAt, Expiration: issuedAt.Add(time.Hour), AccessKeyID: "ASIAEXAMPLE",
		PreviousIssuedAt: issuedAt.Add(-time.Hour), PreviousExpiration: issuedAt,
	}.WithChecksum(data)
	g := NewWithT(t)
	g.Expect(written.MatchesData(data)).To(BeTrue())
	g.Expect(written.MatchesData(map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("ASIAOTHER")})).To(BeFalse())
	for key, value := range written.Annotations() {
		edited := written.Annotations()
		edited[key] = value + "0"
		if key == "sts.rolecredential.dev/expiration" {
			edited[key] = "2999-01-01T00:00:00Z"
		}
		r, ok := reissue.ParseRecord(edited)
		g.Expect(ok && r.MatchesData(data)).To(BeFalse(), key)
	}
}

func TestRecordKeysListsAllAnnotations(t *testing.T) {
	g := NewWithT(t)
	full := reissue.Record{
		RequestHash: "r", IssuerHash: "i", TemplateHash: "t", DataHash: "d", Checksum: "s", IssuedAt: time.Unix(1, 0), Expiration: time.Unix(2, 0), PreviousIssuedAt: time.Unix(3, 0),
		PreviousExpiration: time.Unix(4, 0), Credential: "k/n", AccessKeyID: "a", PrincipalARN: "p", PackedPolicySize: new(int32(7)), RefreshRequest: "1",
	}
	g.Expect(slices.Collect(maps.Keys(full.Annotations()))).To(ConsistOf(reissue.RecordKeys))
}
