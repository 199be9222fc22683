package credential

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/backoff"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/testkit"
)

// FuzzPolicy sets any text as the session policy. The operator sends JSON with the same meaning and without insignificant white space. It
// rejects other text with a message that does not quote it.
func FuzzPolicy(f *testing.F) {
	f.Fuzz(func(t *testing.T, policy string) {
		g := NewWithT(t)
		request, invalid := request.RoleCredential.Request(testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.Spec.Policy = policy }))
		if invalid != nil {
			g.Expect(json.Valid([]byte(policy))).To(BeFalse())
			g.Expect(invalid.Reason).To(Equal(v1alpha1.ReasonMalformedPolicy))
			g.Expect(invalid.Message).To(And(MatchRegexp(`^spec\.policy is not JSON: line \d+: `), HaveSuffix(". STS was not called.")))
			g.Expect(len(invalid.Message)).To(BeNumerically("<", 256))
			g.Expect(utf8.ValidString(invalid.Message)).To(BeTrue())
			return
		}
		if policy == "" {
			g.Expect(request.Policy).To(BeEmpty())
			return
		}
		g.Expect(meaning(g, request.Policy)).To(Equal(meaning(g, policy)))
		g.Expect(len(request.Policy)).To(BeNumerically("<=", len(policy)))
		spaced := testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) { c.Spec.Policy = "\t" + request.Policy + "\r\n " })
		g.Expect(requestOf(spaced)).To(Equal(request))
	})
}

func meaning(g Gomega, text string) any {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var read any
	g.Expect(decoder.Decode(&read)).To(Succeed())
	return read
}

// FuzzStoredRecord writes any times and texts to a Secret's annotations, with or without a valid checksum, and decides by them at a later
// time. An expired credential is never Ready, and a requeue comes before each expiry.
func FuzzStoredRecord(f *testing.F) {
	f.Fuzz(func(t *testing.T, issued, expiration, previousIssued, previousExpiration, packed, text string, validChecksum bool, later uint32) {
		g := NewWithT(t)
		annotations := reissue.Record{RequestHash: "r", IssuerHash: "i", TemplateHash: "t"}.WithChecksum(nil).Annotations()
		maps.Copy(annotations, forgery(issued, expiration, previousIssued, previousExpiration, packed, text))
		found, readable := reissue.ParseRecord(annotations)
		if readable && validChecksum {
			found = found.WithChecksum(nil)
		}
		decided := result{now: testkit.Start.Add(time.Duration(later) * time.Second), secret: "s3-reader"}
		observed := reissue.Observed{Ownership: reissue.Ours}
		if readable && found.MatchesData(nil) {
			observed.Record = &found
		}
		decided = decided.withObserved(reissue.Desired{RequestHash: "r", IssuerHash: "i", TemplateHash: "t", Key: text}, observed)

		if decided.why == reissue.NotDue {
			g.Expect(decided.valid()).To(BeTrue())
			g.Expect(backoff.Requeue(decided.now, decided.next()).RequeueAfter).To(And(BeNumerically(">=", time.Second), BeNumerically("<=", max(time.Second, found.Expiration.Sub(decided.now)))))
		}
		if decided.readyCondition().Status == metav1.ConditionTrue {
			g.Expect(decided.now).To(BeTemporally("<", found.Expiration))
		}
	})
}

// forgery returns annotations that overwrite those of a record.
func forgery(issued, expiration, previousIssued, previousExpiration, packed, text string) map[string]string {
	const prefix = "sts.rolecredential.dev/"
	return map[string]string{
		prefix + "issued-at": issued, prefix + "expiration": expiration, prefix + "packed-policy-size": packed,
		prefix + "previous-issued-at": previousIssued, prefix + "previous-expiration": previousExpiration, prefix + "principal-arn": text,
	}
}

// FuzzReconciledRecord reconciles a credential before and after a forgery of its Secret's annotations. It shares the corpus of
// FuzzStoredRecord.
func FuzzReconciledRecord(f *testing.F) {
	f.Fuzz(func(t *testing.T, issued, expiration, previousIssued, previousExpiration, packed, text string, validChecksum bool, later uint32) {
		if !utf8.ValidString(issued + expiration + previousIssued + previousExpiration + packed + text) {
			t.Skip("annotations are UTF-8")
		}
		c := newFixture(t, testkit.World()...)
		c.reconcile()
		stored := c.Secret()
		maps.Copy(stored.Annotations, forgery(issued, expiration, previousIssued, previousExpiration, packed, text))
		forged, readable := reissue.ParseRecord(stored.Annotations)
		if readable && validChecksum {
			stored.Annotations["sts.rolecredential.dev/seal"] = forged.WithChecksum(stored.Data).Checksum
		}
		c.Update(stored)
		c.Clock.SetTime(testkit.Start.Add(time.Duration(later) * time.Second))

		reconciled, result := c.reconcile()
		c.Expect(result.RequeueAfter).To(BeNumerically(">=", time.Second))
		c.Expect(meta.IsStatusConditionTrue(reconciled.Status.Conditions, v1alpha1.ConditionReady)).To(BeTrue(), "STS issues each request")
		record, ok := reissue.ParseRecord(c.Secret().Annotations)
		c.Expect(ok && record.MatchesData(c.Secret().Data)).To(BeTrue())
		c.Expect(record.Expiration).To(BeTemporally(">", c.Clock.Now()))
		c.Expect(reconciled.Status.Expiration.Time).To(BeTemporally("==", record.Expiration))
		c.Expect(len(c.STS.Issued)).To(BeNumerically("<=", 2))
	})
}
