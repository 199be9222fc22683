package request_test

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/controllers/request"
)

func TestWithSessionTagsAddsTheTagsOfTheIdentity(t *testing.T) {
	sessionTags := []request.Tag{{Key: "kubernetes-namespace", Value: "shop"}, {Key: "kubernetes-name", Value: "s3-reader"}}
	own := func(n int) (tags []request.Tag) {
		for i := range n {
			tags = append(tags, request.Tag{Key: fmt.Sprintf("key-%d", i), Value: "v"})
		}
		return tags
	}
	for name, tc := range map[string]struct {
		tags       []request.Tag
		keys       []string
		transitive bool
		wantTags   int
		wantKeys   []string
		wantErr    string
	}{
		"a request without tags":          {wantTags: 2},
		"a request with tags":             {tags: own(3), keys: []string{"key-1"}, wantTags: 5, wantKeys: []string{"key-1"}},
		"transitive session tags":         {tags: own(1), keys: []string{"key-0"}, transitive: true, wantTags: 3, wantKeys: []string{"key-0", "kubernetes-namespace", "kubernetes-name"}},
		"the maximum number of tags":      {tags: own(48), wantTags: 50},
		"more tags":                       {tags: own(49), wantErr: "the request has 49 tags, and the identity adds 2: the limit is 50"},
		"a reserved tag":                  {tags: []request.Tag{{Key: "kubernetes-namespace", Value: "kube-system"}}, wantErr: "the tag kubernetes-namespace is reserved for the identity"},
		"a reserved tag, in another case": {tags: []request.Tag{{Key: "KUBERNETES-Namespace", Value: "kube-system"}}, wantErr: "the tag kubernetes-namespace is reserved for the identity"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := request.Request{Tags: tc.tags, TransitiveTagKeys: tc.keys}
			before := r.Hash()
			got, err := r.WithSessionTags(sessionTags, tc.transitive)
			g.Expect(r.Hash()).To(Equal(before))
			if tc.wantErr != "" {
				g.Expect(err).To(MatchError(ContainSubstring(tc.wantErr)))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got.Tags).To(HaveLen(tc.wantTags))
			g.Expect(got.Tags).To(ContainElements(sessionTags))
			g.Expect(got.TransitiveTagKeys).To(Equal(tc.wantKeys))
		})
	}
}
