package controllers

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/credential"
)

// FuzzPolicy asks for a role with any text as the session policy. What is sent means the same and has no white space that counts;
// what is no JSON is not sent, and told in a message that does not repeat it.
func FuzzPolicy(f *testing.F) {
	f.Fuzz(func(t *testing.T, policy string) {
		g := NewWithT(t)
		request, invalid := roleCredential.Request(changed(reader(), func(c *v1alpha1.RoleCredential) { c.Spec.Policy = policy }))
		if invalid != nil {
			g.Expect(json.Valid([]byte(policy))).To(BeFalse())
			g.Expect(invalid.Reason).To(Equal(v1alpha1.ReasonMalformedPolicy))
			g.Expect(invalid.Message).To(And(MatchRegexp(`^spec\.policy is not JSON: line \d+: `), HaveSuffix(". STS was not asked.")))
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
		spaced := changed(reader(), func(c *v1alpha1.RoleCredential) { c.Spec.Policy = "\t" + request.Policy + "\r\n " })
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

// FuzzStoredRecord lets a credential go its way, then has somebody write other times and texts to its Secret's annotations, who may know
// how to seal them, and lets it go its way again at some later time. The operator never says that an expired credential is ready, and
// always comes back.
func FuzzStoredRecord(f *testing.F) {
	f.Fuzz(func(t *testing.T, issued, expiration, previousIssued, previousExpiration, packed, text string, seals bool, later uint32) {
		if !utf8.ValidString(issued + expiration + previousIssued + previousExpiration + packed + text) {
			t.Skip("no annotation can hold it")
		}
		c := newFixture(t, world()...)
		c.reconcile()
		stored := c.secret()
		const prefix = "sts.rolecredential.dev/"
		maps.Copy(stored.Annotations, map[string]string{
			prefix + "issued-at": issued, prefix + "expiration": expiration, prefix + "packed-policy-size": packed,
			prefix + "previous-issued-at": previousIssued, prefix + "previous-expiration": previousExpiration, prefix + "principal-arn": text,
		})
		forged, readable := credential.ParseRecord(stored.Annotations)
		if readable && seals {
			stored.Annotations[prefix+"seal"] = forged.Sealed(stored.Data).Seal
		}
		c.update(stored)
		c.clock.SetTime(start.Add(time.Duration(later) * time.Second))

		seen, result := c.reconcile()
		c.Expect(result.RequeueAfter).To(BeNumerically(">=", time.Second))
		c.Expect(meta.IsStatusConditionTrue(seen.Status.Conditions, v1alpha1.ConditionReady)).To(BeTrue(), "STS issues to who asks")
		held, ok := credential.ParseRecord(c.secret().Annotations)
		c.Expect(ok && held.Intact(c.secret().Data)).To(BeTrue())
		c.Expect(held.Expiration).To(BeTemporally(">", c.clock.Now()))
		c.Expect(seen.Status.Expiration.Time).To(BeTemporally("==", held.Expiration))
		c.Expect(len(c.sts.issued)).To(BeNumerically("<=", 2))
	})
}
