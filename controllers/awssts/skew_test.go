package awssts_test

import (
	"net/http"
	"testing"
	"time"
	"unsafe"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
)

// after is a reading of a clock some time after another, in which the wall clock was set ahead by a step.
func after(reading time.Time, passed, step time.Duration) time.Time {
	reading = reading.Add(passed + step)
	// Its second word is the monotonic reading, which no function can set apart from the wall clock's (package time, type Time).
	*(*int64)(unsafe.Add(unsafe.Pointer(&reading), unsafe.Sizeof(uint64(0)))) -= int64(step)
	return reading
}

func TestClockThatIsSetBackGrowsTheSkew(t *testing.T) {
	for name, tc := range map[string]struct {
		skew, passed, step, want time.Duration
	}{
		"it is not set":                          {0, time.Hour, 0, 0},
		"it is set back":                         {0, time.Minute, -10 * time.Minute, 10 * time.Minute},
		"it is set back by less than is noticed": {0, time.Minute, -4 * time.Second, 0},
		"it was right, after it was ahead":       {-10 * time.Minute, time.Minute, -10 * time.Minute, 0},
		"it was wrong and is more so":            {10 * time.Minute, time.Minute, -10 * time.Minute, 20 * time.Minute},
		"it is set ahead, or the machine slept":  {0, time.Minute, 10 * time.Minute, 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			own := clocktesting.NewFakePassiveClock(clock.RealClock{}.Now())
			url := sts(http.StatusForbidden, "AccessDenied", "no").dated(t, inTime(tc.skew))
			c := client(url, own, operatorKey)
			_, err := c.Caller(t.Context())
			g.Expect(err).To(HaveOccurred(), "any response has a Date")
			own.SetTime(after(own.Now(), tc.passed, tc.step))
			skew, known := c.Skew()
			g.Expect(known).To(BeTrue())
			g.Expect(skew).To(BeNumerically("~", tc.want, 3*time.Second))
		})
	}
}
