package identity_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/controllers/identity"
)

// codeOf is the code of RFC 6238, 'TOTP: Time-Based One-Time Password Algorithm', for a key in the base32 of RFC 4648 without the
// padding. It is empty for what is no key, such as one whose length no number of bytes has, which Go does not refuse in all cases.
func codeOf(seed string, at time.Time) string {
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(seed)
	if impossible := []int{1, 3, 6}; err != nil || len(key) == 0 || slices.Contains(impossible, len(seed)%8) {
		return ""
	}
	mac := hmac.New(sha1.New, key)
	_ = binary.Write(mac, binary.BigEndian, uint64(at.Unix()/30))
	sum := mac.Sum(nil)
	offset := sum[len(sum)-1] & 0xf
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[offset:])&0x7fffffff%1_000_000)
}

// FuzzSeed computes the code of a seed that a user put into a Secret, which may be anything: it is the code of RFC 6238, or an
// error that does not repeat the seed. It is given out once, however the seed is written.
func FuzzSeed(f *testing.F) {
	f.Fuzz(func(t *testing.T, seed string, seconds uint32) {
		g := NewWithT(t)
		at, yes := time.Unix(int64(seconds), 0), func() bool { return true }
		devices := &identity.Devices{}
		code, next, err := devices.Code("arn:aws:iam::123456789012:mfa/alice", seed, at, yes)
		bare := strings.ToUpper(strings.Map(func(r rune) rune {
			if unicode.IsSpace(r) {
				return -1
			}
			return r
		}, seed))
		g.Expect(next).To(BeZero())
		bare = strings.TrimRight(bare, "=")
		want := codeOf(bare, at)
		g.Expect(string(code)).To(Equal(want))
		if want == "" {
			g.Expect(err).To(MatchError("the seed is not base32"))
			return
		}
		g.Expect(err).NotTo(HaveOccurred())
		code, next, err = devices.Code("arn:aws:iam::123456789012:mfa/alice", " "+strings.ToLower(bare)+"==\n", at, yes)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(code).To(BeEmpty())
		g.Expect(next).To(And(BeTemporally(">", at), BeTemporally("<=", at.Add(30*time.Second))))
	})
}
