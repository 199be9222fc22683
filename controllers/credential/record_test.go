package credential_test

import (
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	"pgregory.net/rapid"

	"rolecredential.dev/operator/controllers/credential"
)

func drawRecord(t *rapid.T) credential.Record {
	issued := time.Unix(rapid.Int64Range(0, 1<<36).Draw(t, "issued"), 0).UTC()
	text := rapid.String()
	r := credential.Record{
		RequestHash: text.Draw(t, "request"), IssuerHash: text.Draw(t, "issuer"), TemplateHash: text.Draw(t, "template"), DataHash: text.Draw(t, "data"), Seal: text.Draw(t, "seal"),
		IssuedAt: issued, Expiration: issued.Add(time.Duration(rapid.Int64Range(1, 1<<32).Draw(t, "life")) * time.Second),
		AccessKeyID: text.Draw(t, "access key"), PrincipalARN: text.Draw(t, "principal"), RefreshRequest: text.Draw(t, "refresh"),
	}
	if rapid.Bool().Draw(t, "has a packed size") {
		r.PackedPolicySize = new(rapid.Int32Range(0, math.MaxInt32).Draw(t, "packed size"))
	}
	return r
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawRecord(t)
		got, ok := credential.ParseRecord(want.Annotations())
		if !ok {
			t.Fatal("it cannot be read")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestTimesAreKeptInUTC(t *testing.T) {
	g := NewWithT(t)
	east := time.FixedZone("east", 3*60*60)
	got, ok := credential.ParseRecord(credential.Record{IssuedAt: issuedAt.In(east), Expiration: issuedAt.Add(time.Hour).In(east)}.Annotations())
	g.Expect(ok).To(BeTrue())
	g.Expect([]time.Time{got.IssuedAt, got.Expiration}).To(Equal([]time.Time{issuedAt, issuedAt.Add(time.Hour)}))
}

// A release that reads or writes them otherwise refreshes every credential of a cluster at once.
func TestAnnotationsAreThoseOfEarlierReleases(t *testing.T) {
	r := credential.Record{
		RequestHash: "r", IssuerHash: "i", TemplateHash: "t", DataHash: "d", Seal: "s",
		IssuedAt: issuedAt, Expiration: issuedAt.Add(time.Hour),
		AccessKeyID: "ASIAEXAMPLE", PrincipalARN: "arn:aws:sts::123456789012:assumed-role/S3Reader/shop.s3-reader",
		PackedPolicySize: new(int32(7)), RefreshRequest: "monday",
	}
	NewWithT(t).Expect(r.Annotations()).To(Equal(map[string]string{
		"sts.rolecredential.dev/request-hash":       "r",
		"sts.rolecredential.dev/issuer-hash":        "i",
		"sts.rolecredential.dev/template-hash":      "t",
		"sts.rolecredential.dev/data-hash":          "d",
		"sts.rolecredential.dev/seal":               "s",
		"sts.rolecredential.dev/issued-at":          "2026-11-23T15:00:00Z",
		"sts.rolecredential.dev/expiration":         "2026-11-23T16:00:00Z",
		"sts.rolecredential.dev/access-key-id":      "ASIAEXAMPLE",
		"sts.rolecredential.dev/principal-arn":      "arn:aws:sts::123456789012:assumed-role/S3Reader/shop.s3-reader",
		"sts.rolecredential.dev/packed-policy-size": "7",
		"sts.rolecredential.dev/refresh-request":    "monday",
	}))
}

func TestWhatIsNotKnownHasNoAnnotation(t *testing.T) {
	g := NewWithT(t)
	annotations := credential.Record{IssuedAt: issuedAt, Expiration: issuedAt.Add(time.Hour)}.Annotations()
	g.Expect(annotations).To(HaveLen(7))
	g.Expect(annotations).NotTo(Or(
		HaveKey("sts.rolecredential.dev/access-key-id"), HaveKey("sts.rolecredential.dev/principal-arn"),
		HaveKey("sts.rolecredential.dev/packed-policy-size"), HaveKey("sts.rolecredential.dev/refresh-request"),
	))
}

func TestAnnotationsThatAnyoneMayHaveEdited(t *testing.T) {
	const issuedAtKey, expirationKey, packedKey = "sts.rolecredential.dev/issued-at", "sts.rolecredential.dev/expiration", "sts.rolecredential.dev/packed-policy-size"
	for name, tc := range map[string]struct {
		edit map[string]string // an empty value takes the annotation out
		want bool
	}{
		"nothing was edited":                        {want: true},
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
		"the lifetime is longer than can be":        {edit: map[string]string{issuedAtKey: "0001-01-01T00:00:00Z", expirationKey: "9999-12-31T23:59:59Z"}, want: true},
		"the packed size is garbage":                {edit: map[string]string{packedKey: "much"}, want: true},
		"the packed size is negative":               {edit: map[string]string{packedKey: "-1"}, want: true},
		"the packed size is huge":                   {edit: map[string]string{packedKey: "99999999999999999999"}, want: true},
		"the packed size is more than can be kept":  {edit: map[string]string{packedKey: "3000000000"}, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			annotations := credential.Record{IssuedAt: issuedAt, Expiration: issuedAt.Add(time.Hour)}.Annotations()
			maps.Copy(annotations, tc.edit)
			maps.DeleteFunc(annotations, func(_, value string) bool { return value == "" })
			r, ok := credential.ParseRecord(annotations)
			g.Expect(ok).To(Equal(tc.want))
			g.Expect(r.PackedPolicySize).To(BeNil()) // the status could not hold it
			if !ok {
				g.Expect(r).To(BeZero())
				return
			}
			due := credential.Wanted{Key: "shop/s3-reader"}.RefreshAt(r)
			g.Expect(due).To(And(BeTemporally(">", r.IssuedAt), BeTemporally("<", r.Expiration)))
		})
	}
}

func TestAnAnnotatedSecretOfSomebodyElseHasNoRecord(t *testing.T) {
	g := NewWithT(t)
	for _, annotations := range []map[string]string{nil, {}, {"app": "shop"}} {
		_, ok := credential.ParseRecord(annotations)
		g.Expect(ok).To(BeFalse())
	}
}

func TestASealBreaksWithAnyEdit(t *testing.T) {
	data := map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("ASIAEXAMPLE")}
	sealed := credential.Record{RequestHash: "r", IssuedAt: issuedAt, Expiration: issuedAt.Add(time.Hour), AccessKeyID: "ASIAEXAMPLE"}.Sealed(data)
	g := NewWithT(t)
	g.Expect(sealed.Intact(data)).To(BeTrue())
	g.Expect(sealed.Intact(map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("ASIAOTHER")})).To(BeFalse())
	for key, value := range sealed.Annotations() {
		edited := sealed.Annotations()
		edited[key] = value + "0"
		if key == "sts.rolecredential.dev/expiration" {
			edited[key] = "2999-01-01T00:00:00Z"
		}
		r, ok := credential.ParseRecord(edited)
		g.Expect(ok && r.Intact(data)).To(BeFalse(), key)
	}
}
