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

// FuzzAnnotations parses annotations that a tenant may have written, and adds a valid checksum, as the tenant could. Each record that is
// parsed can be written again, also as a previous record and in a status. It never outlives its expiration, and never causes a busy loop
// or a credential without a requeue.
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
		g.Expect(r.ChecksumValid()).To(BeFalse(), "the checksum was not computed")
		again, ok := reissue.ParseRecord(r.Annotations())
		g.Expect(ok).To(BeTrue())
		g.Expect(again).To(Equal(r))
		for _, at := range []time.Time{r.IssuedAt, r.Expiration, r.PreviousIssuedAt, r.PreviousExpiration} {
			g.Expect(throughStatus(g, at)).To(BeTemporally("==", at))
		}

		forged := r.WithChecksum(nil)
		follower := reissue.Record{IssuedAt: issuedAt, Expiration: issuedAt.Add(time.Hour)}.WithPrevious(&forged).WithChecksum(nil)
		again, ok = reissue.ParseRecord(follower.Annotations())
		g.Expect(ok).To(BeTrue())
		g.Expect(again).To(Equal(follower))
		w := reissue.Desired{RequestHash: text, RefreshRequest: text, RefreshBefore: new(time.Duration(refreshBefore)), Key: text}
		due, at := w.RefreshAt(forged), time.Unix(now, 0)
		g.Expect(due).To(And(BeTemporally(">", r.IssuedAt), BeTemporally("<", r.Expiration)))
		g.Expect(reissue.Requeue(at, due)).To(BeNumerically(">=", time.Second))
		if reissue.Decide(at, w, reissue.Observed{Ownership: reissue.Ours, Record: &forged}) == reissue.NotDue {
			g.Expect(at).To(BeTemporally("<", r.Expiration))
		}
	})
}

// throughStatus returns a time after it was written to a status and read again.
func throughStatus(g Gomega, at time.Time) time.Time {
	text, err := json.Marshal(metav1.NewTime(at))
	g.Expect(err).NotTo(HaveOccurred())
	var read metav1.Time
	g.Expect(json.Unmarshal(text, &read)).To(Succeed())
	return read.Time
}

// FuzzEdit changes one annotation of a record. A record with a valid checksum is the original.
func FuzzEdit(f *testing.F) {
	data := map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("ASIAEXAMPLE")}
	written := reissue.Record{
		RequestHash: "r", IssuerHash: "i", TemplateHash: "t", IssuedAt: issuedAt, Expiration: issuedAt.Add(time.Hour),
		PreviousIssuedAt: issuedAt.Add(-40 * time.Minute), PreviousExpiration: issuedAt.Add(20 * time.Minute),
		AccessKeyID: "ASIAEXAMPLE", PrincipalARN: "arn:aws:sts::123456789012:assumed-role/S3Reader/shop.s3-reader", PackedPolicySize: new(int32(7)),
	}.WithChecksum(data)
	names := append(slices.Sorted(maps.Keys(written.Annotations())), annotationPrefix+"refresh-request", annotationPrefix+"future")
	f.Fuzz(func(t *testing.T, which uint8, value string, gone bool) {
		g := NewWithT(t)
		annotations, name := written.Annotations(), names[int(which)%len(names)]
		annotations[name] = value
		if gone {
			delete(annotations, name)
		}
		if r, ok := reissue.ParseRecord(annotations); ok && r.MatchesData(data) {
			g.Expect(r).To(Equal(written), name)
		}
	})
}
