package credential_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/controllers/credential"
)

const annotationPrefix = "sts.rolecredential.dev/"

// FuzzAnnotations reads annotations that anyone may have written, and seals what can be read, as one could who knows how. Whatever
// they say, it can be written again, also as what went before another, and told in a status, is never kept for longer than it says
// itself, and never has a credential looked at again at once and forever, or not at all.
func FuzzAnnotations(f *testing.F) {
	f.Fuzz(func(t *testing.T, issued, expiration, previousIssued, previousExpiration, packed, text string, now, refreshBefore int64) {
		g := NewWithT(t)
		r, ok := credential.ParseRecord(map[string]string{
			annotationPrefix + "issued-at": issued, annotationPrefix + "expiration": expiration, annotationPrefix + "packed-policy-size": packed,
			annotationPrefix + "previous-issued-at": previousIssued, annotationPrefix + "previous-expiration": previousExpiration,
			annotationPrefix + "request-hash": text, annotationPrefix + "seal": text, annotationPrefix + "access-key-id": text, annotationPrefix + "refresh-request": text,
		})
		if !ok {
			g.Expect(r).To(BeZero())
			return
		}
		g.Expect(r.ChecksumValid()).To(BeFalse(), "nobody sealed it")
		again, ok := credential.ParseRecord(r.Annotations())
		g.Expect(ok).To(BeTrue())
		g.Expect(again).To(Equal(r))
		for _, at := range []time.Time{r.IssuedAt, r.Expiration, r.PreviousIssuedAt, r.PreviousExpiration} {
			g.Expect(inAStatus(g, at)).To(BeTemporally("==", at))
		}

		sealed := r.WithChecksum(nil)
		follower := credential.Record{IssuedAt: issuedAt, Expiration: issuedAt.Add(time.Hour)}.After(&sealed).WithChecksum(nil)
		again, ok = credential.ParseRecord(follower.Annotations())
		g.Expect(ok).To(BeTrue())
		g.Expect(again).To(Equal(follower))
		w := credential.Desired{RequestHash: text, RefreshRequest: text, RefreshBefore: new(time.Duration(refreshBefore)), Key: text}
		due, at := w.RefreshAt(sealed), time.Unix(now, 0)
		g.Expect(due).To(And(BeTemporally(">", r.IssuedAt), BeTemporally("<", r.Expiration)))
		g.Expect(credential.Requeue(at, due)).To(BeNumerically(">=", time.Second))
		if credential.Decide(at, w, credential.Observed{Ownership: credential.Ours, Record: &sealed}) == credential.NotDue {
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
	sealed := credential.Record{
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
		if r, ok := credential.ParseRecord(annotations); ok && r.MatchesData(data) {
			g.Expect(r).To(Equal(sealed), name)
		}
	})
}

// kubernetesName makes a name that the API server takes of any text, with dots or without.
func kubernetesName(text string, longest int, dots bool) string {
	letters := "abcdefghijklmnopqrstuvwxyz0123456789-"
	if dots {
		letters += "."
	}
	name := []byte("a")
	for i := 0; i < len(text) && len(name) < longest-1; i++ {
		name = append(name, letters[int(text[i])%len(letters)])
	}
	return strings.ReplaceAll(string(name)+"z", "..", ".a")
}

// FuzzSessionName names the sessions of two objects: each so that STS takes it, and both alike only if they are one.
func FuzzSessionName(f *testing.F) {
	f.Fuzz(func(t *testing.T, namespace, name, otherNamespace, otherName string, long bool) {
		length := credential.MaxUserName
		if long {
			length = credential.MaxSessionName
		}
		one := [2]string{kubernetesName(namespace, 63, false), kubernetesName(name, 253, true)}
		two := [2]string{kubernetesName(otherNamespace, 63, false), kubernetesName(otherName, 253, true)}
		called, other := credential.SessionName(one[0], one[1], length), credential.SessionName(two[0], two[1], length)
		if !sessionNames.MatchString(called) || len(called) > length {
			t.Errorf("%q", called)
		}
		if (called == other) != (one == two) {
			t.Errorf("%q has %q, and %q has %q", one, called, two, other)
		}
		// Who knows how it is made names an object after it.
		if imitated := [2]string{two[0], strings.TrimPrefix(called, two[0]+".")}; imitated != one && credential.SessionName(imitated[0], imitated[1], length) == called {
			t.Errorf("%q has the session name of %q", imitated, one)
		}
	})
}
