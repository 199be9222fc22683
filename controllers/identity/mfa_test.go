package identity_test

import (
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/request"
)

// atOnce is for a call that waits for nothing else.
func atOnce() bool { return true }

func TestMFACodeIsReturnedOnce(t *testing.T) {
	const seed = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" // of the examples of RFC 6238
	g := NewWithT(t)
	devices := &identity.Devices{}
	code, _, err := devices.Code("a", seed, time.Unix(59, 0), atOnce)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(code)).To(Equal("287082"))

	again, next, err := devices.Code("a", seed, time.Unix(35, 0), atOnce)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again).To(BeEmpty())
	g.Expect(next).To(BeTemporally("==", time.Unix(60, 0)))
	_, next, _ = devices.Code("a", seed, time.Unix(10, 0), atOnce) // the clock was set back
	g.Expect(next).To(BeTemporally("==", time.Unix(60, 0)))

	other, _, _ := devices.Code("b", seed, time.Unix(59, 0), atOnce) // another device
	g.Expect(other).To(Equal(code))
	forged, _, _ := devices.Code("a", "MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43U", time.Unix(59, 0), atOnce) // who knows but the serial number
	g.Expect(forged).NotTo(BeEmpty())
	fresh, _, _ := devices.Code("a", seed, time.Unix(60, 0), atOnce)
	g.Expect(fresh).NotTo(BeElementOf(request.RedactedString(""), code))
}

func TestCodeRemainsUnusedIfTheCallIsNotAllowed(t *testing.T) {
	const seed = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
	g := NewWithT(t)
	devices := &identity.Devices{}
	requested := 0
	code, next, err := devices.Code("a", seed, time.Unix(59, 0), func() bool { requested++; return false })
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(code).To(BeEmpty())
	g.Expect(next).To(BeZero())
	code, _, _ = devices.Code("a", seed, time.Unix(59, 0), func() bool { requested++; return true })
	g.Expect(code).NotTo(BeEmpty())
	_, _, err = devices.Code("a", "no seed!", time.Unix(59, 0), func() bool { requested++; return true })
	g.Expect(err).To(HaveOccurred())
	_, _, _ = devices.Code("a", seed, time.Unix(59, 0), func() bool { requested++; return true })
	g.Expect(requested).To(Equal(2), "allowed is not called without a code")
}

func TestConcurrentCallersGetOneMFACode(t *testing.T) {
	g := NewWithT(t)
	devices := &identity.Devices{}
	codes := make([]request.RedactedString, 50)
	var all sync.WaitGroup
	for i := range codes {
		all.Go(func() {
			codes[i], _, _ = devices.Code("a", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", time.Unix(59, 0), atOnce)
		})
	}
	all.Wait()
	given := 0
	for _, code := range codes {
		if code != "" {
			given++
		}
	}
	g.Expect(given).To(Equal(1))
}
