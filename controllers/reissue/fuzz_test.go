package reissue_test

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/controllers/reissue"
)

const annotationPrefix = "sts.rolecredential.dev/"

// FuzzAnnotations reads annotations that anyone may have written, and seals what can be read, as one could who knows how. Whatever
// they say, it can be written again, also as what went before another, and told in a status, is never kept for longer than it says
// itself, and never has a credential looked at again at once and forever, or not at all.
func FuzzAnnotations(f *testing.F) {
	f.Fuzz(func(t *testing.T, issued, expiration, previousIssued, previousExpiration, packed, text string, now, refreshBefore int64) {
		g := NewWithT(t)
		r, ok := reissue.ParseRecord(map[string]string{
			annotationPrefix + "issued-at": issued, annotationPrefix + "expiration": expiration, annotationPrefix + "packed-policy-size": packed,
			annotationPrefix + "previous-issued-at": previousIssued, annotationPrefix + "previous-expiration": previousExpiration,
			annotationPrefix + "request-hash": text, annotationPrefix + "seal": text, annotationPrefix + "access-key-id": text, annotationPrefix + "refresh-request": text,
		})
		if !ok {
			g.Expect(r).To(BeZero())
			return
		}
		g.Expect(r.ChecksumValid()).To(BeFalse(), "nobody sealed it")
		again, ok := reissue.ParseRecord(r.Annotations())
		g.Expect(ok).To(BeTrue())
		g.Expect(again).To(Equal(r))
		for _, at := range []time.Time{r.IssuedAt, r.Expiration, r.PreviousIssuedAt, r.PreviousExpiration} {
			g.Expect(inAStatus(g, at)).To(BeTemporally("==", at))
		}

		sealed := r.WithChecksum(nil)
		follower := reissue.Record{IssuedAt: issuedAt, Expiration: issuedAt.Add(time.Hour)}.After(&sealed).WithChecksum(nil)
		again, ok = reissue.ParseRecord(follower.Annotations())
		g.Expect(ok).To(BeTrue())
		g.Expect(again).To(Equal(follower))
		w := reissue.Desired{RequestHash: text, RefreshRequest: text, RefreshBefore: new(time.Duration(refreshBefore)), Key: text}
		due, at := w.RefreshAt(sealed), time.Unix(now, 0)
		g.Expect(due).To(And(BeTemporally(">", r.IssuedAt), BeTemporally("<", r.Expiration)))
		g.Expect(reissue.Requeue(at, due)).To(BeNumerically(">=", time.Second))
		if reissue.Decide(at, w, reissue.Observed{Ownership: reissue.Ours, Record: &sealed}) == reissue.NotDue {
			g.Expect(at).To(BeTemporally("<", r.Expiration))
		}
	})
}

// inAStatus returns a time as it is read from a status that it was written to, zero for none.
func inAStatus(g Gomega, at time.Time) time.Time {
	text, err := json.Marshal(metav1.NewTime(at))
	g.Expect(err).NotTo(HaveOccurred())
	var read metav1.Time
	g.Expect(json.Unmarshal(text, &read)).To(Succeed())
	return read.Time
}

// FuzzEdit writes over one annotation of a sealed record: what is still taken for genuine is what was sealed.
func FuzzEdit(f *testing.F) {
	data := map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("ASIAEXAMPLE")}
	sealed := reissue.Record{
		RequestHash: "r", IssuerHash: "i", TemplateHash: "t", IssuedAt: issuedAt, Expiration: issuedAt.Add(time.Hour),
		PreviousIssuedAt: issuedAt.Add(-40 * time.Minute), PreviousExpiration: issuedAt.Add(20 * time.Minute),
		AccessKeyID: "ASIAEXAMPLE", PrincipalARN: "arn:aws:sts::123456789012:assumed-role/S3Reader/shop.s3-reader", PackedPolicySize: new(int32(7)),
	}.WithChecksum(data)
	names := append(slices.Sorted(maps.Keys(sealed.Annotations())), annotationPrefix+"refresh-request", annotationPrefix+"to-come")
	f.Fuzz(func(t *testing.T, which uint8, value string, gone bool) {
		g := NewWithT(t)
		annotations, name := sealed.Annotations(), names[int(which)%len(names)]
		annotations[name] = value
		if gone {
			delete(annotations, name)
		}
		if r, ok := reissue.ParseRecord(annotations); ok && r.MatchesData(data) {
			g.Expect(r).To(Equal(sealed), name)
		}
	})
}
