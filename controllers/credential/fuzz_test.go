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
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/testkit"
)

// FuzzPolicy asks for a role with any text as the session policy. What is sent means the same and has no white space that counts;
// what is no JSON is not sent, and told in a message that does not repeat it.
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

// FuzzStoredRecord has somebody write times and texts to a Secret's annotations, who may know how to seal them, and lets the operator
// judge by them at some later time. It never says that an expired credential is Ready, and always comes back before that is so.
func FuzzStoredRecord(f *testing.F) {
	f.Fuzz(func(t *testing.T, issued, expiration, previousIssued, previousExpiration, packed, text string, seals bool, later uint32) {
		g := NewWithT(t)
		annotations := reissue.Record{RequestHash: "r", IssuerHash: "i", TemplateHash: "t"}.WithChecksum(nil).Annotations()
		maps.Copy(annotations, forgery(issued, expiration, previousIssued, previousExpiration, packed, text))
		found, readable := reissue.ParseRecord(annotations)
		if readable && seals {
			found = found.WithChecksum(nil)
		}
		judged := result{now: testkit.Start.Add(time.Duration(later) * time.Second), secret: "s3-reader"}
		observed := reissue.Observed{Ownership: reissue.Ours}
		if readable && found.MatchesData(nil) {
			observed.Record = &found
		}
		judged = judged.decide(reissue.Desired{RequestHash: "r", IssuerHash: "i", TemplateHash: "t", Key: text}, observed)

		if judged.why == reissue.NotDue {
			g.Expect(judged.valid()).To(BeTrue())
			g.Expect(judged.requeue().RequeueAfter).To(And(BeNumerically(">=", time.Second), BeNumerically("<=", max(time.Second, found.Expiration.Sub(judged.now)))))
		}
		if judged.ready().Status == metav1.ConditionTrue {
			g.Expect(judged.now).To(BeTemporally("<", found.Expiration))
		}
	})
}

// forgery is what somebody writes over a record's annotations.
func forgery(issued, expiration, previousIssued, previousExpiration, packed, text string) map[string]string {
	const prefix = "sts.rolecredential.dev/"
	return map[string]string{
		prefix + "issued-at": issued, prefix + "expiration": expiration, prefix + "packed-policy-size": packed,
		prefix + "previous-issued-at": previousIssued, prefix + "previous-expiration": previousExpiration, prefix + "principal-arn": text,
	}
}

// FuzzReconciledRecord lets a credential go its way, then has somebody forge its Secret's annotations as in FuzzStoredRecord, whose corpus
// it shares, and lets it go its way again at some later time. Each takes two whole reconciles.
func FuzzReconciledRecord(f *testing.F) {
	f.Fuzz(func(t *testing.T, issued, expiration, previousIssued, previousExpiration, packed, text string, seals bool, later uint32) {
		if !utf8.ValidString(issued + expiration + previousIssued + previousExpiration + packed + text) {
			t.Skip("no annotation can hold it")
		}
		c := newFixture(t, testkit.World()...)
		c.reconcile()
		stored := c.Secret()
		maps.Copy(stored.Annotations, forgery(issued, expiration, previousIssued, previousExpiration, packed, text))
		forged, readable := reissue.ParseRecord(stored.Annotations)
		if readable && seals {
			stored.Annotations["sts.rolecredential.dev/seal"] = forged.WithChecksum(stored.Data).Seal
		}
		c.Update(stored)
		c.Clock.SetTime(testkit.Start.Add(time.Duration(later) * time.Second))

		seen, result := c.reconcile()
		c.Expect(result.RequeueAfter).To(BeNumerically(">=", time.Second))
		c.Expect(meta.IsStatusConditionTrue(seen.Status.Conditions, v1alpha1.ConditionReady)).To(BeTrue(), "STS issues to who asks")
		held, ok := reissue.ParseRecord(c.Secret().Annotations)
		c.Expect(ok && held.MatchesData(c.Secret().Data)).To(BeTrue())
		c.Expect(held.Expiration).To(BeTemporally(">", c.Clock.Now()))
		c.Expect(seen.Status.Expiration.Time).To(BeTemporally("==", held.Expiration))
		c.Expect(len(c.STS.Issued)).To(BeNumerically("<=", 2))
	})
}
