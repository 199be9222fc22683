package request_test

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/controllers/request"
)

func TestWhatAnIdentityStamps(t *testing.T) {
	stamps := []request.Tag{{Key: "kubernetes-namespace", Value: "shop"}, {Key: "kubernetes-name", Value: "s3-reader"}}
	own := func(n int) (tags []request.Tag) {
		for i := range n {
			tags = append(tags, request.Tag{Key: fmt.Sprintf("key-%d", i), Value: "v"})
		}
		return tags
	}
	for name, tc := range map[string]struct {
		asked      []request.Tag
		keys       []string
		transitive bool
		wantTags   int
		wantKeys   []string
		wantErr    string
	}{
		"a request without tags":                 {wantTags: 2},
		"a request with tags":                    {asked: own(3), keys: []string{"key-1"}, wantTags: 5, wantKeys: []string{"key-1"}},
		"transitive stamps":                      {asked: own(1), keys: []string{"key-0"}, transitive: true, wantTags: 3, wantKeys: []string{"key-0", "kubernetes-namespace", "kubernetes-name"}},
		"as many tags as there may be":           {asked: own(48), wantTags: 50},
		"one tag too many":                       {asked: own(49), wantErr: "together they may be 50"},
		"a tag that is stamped":                  {asked: []request.Tag{{Key: "kubernetes-namespace", Value: "kube-system"}}, wantErr: "the tag kubernetes-namespace says who asked"},
		"a tag that is stamped, in another case": {asked: []request.Tag{{Key: "KUBERNETES-Namespace", Value: "kube-system"}}, wantErr: "the tag kubernetes-namespace says who asked"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			asked := request.Request{Tags: tc.asked, TransitiveTagKeys: tc.keys}
			before := asked.Hash()
			got, err := asked.WithSessionTags(stamps, tc.transitive)
			g.Expect(asked.Hash()).To(Equal(before))
			if tc.wantErr != "" {
				g.Expect(err).To(MatchError(ContainSubstring(tc.wantErr)))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got.Tags).To(HaveLen(tc.wantTags))
			g.Expect(got.Tags).To(ContainElements(stamps))
			g.Expect(got.TransitiveTagKeys).To(Equal(tc.wantKeys))
		})
	}
}
