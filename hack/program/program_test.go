package program

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestReportReturnsTheExitStatus(t *testing.T) {
	failure := errors.New("disk is full")
	for name, tc := range map[string]struct {
		err         error
		interrupted bool
		status      int
		printed     string
	}{
		"success":                                {nil, false, 0, ""},
		"success before an interrupt":            {nil, true, 0, ""},
		"help was printed":                       {fmt.Errorf("parsing: %w", flag.ErrHelp), false, 0, ""},
		"an error":                               {failure, false, Failed, "tool: disk is full\n"},
		"an error with a status":                 {WithStatus(CannotRun, failure), false, CannotRun, "tool: disk is full\n"},
		"a status without an error":              {WithStatus(Failed, nil), false, Failed, ""},
		"a canceled context and a signal":        {fmt.Errorf("waiting: %w", context.Canceled), true, Interrupted, "tool: interrupted\n"},
		"an error after a signal":                {failure, true, Interrupted, "tool: interrupted: disk is full\n"},
		"a canceled context without a signal":    {context.Canceled, false, Failed, "tool: context canceled\n"},
		"a status, a canceled context, a signal": {WithStatus(CannotRun, context.Canceled), true, Interrupted, "tool: interrupted\n"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var out bytes.Buffer
			g.Expect(report("tool", tc.err, tc.interrupted, &out)).To(Equal(tc.status))
			g.Expect(out.String()).To(Equal(tc.printed))
		})
	}
	NewWithT(t).Expect(WithStatus(0, nil)).To(Succeed())
}

func TestCleanupsRunInReverseOrderAndOnce(t *testing.T) {
	g := NewWithT(t)
	var cleanups Cleanups
	var ran []int
	for i := range 3 {
		cleanups.Add(func() error { ran = append(ran, i); return fmt.Errorf("failed %d", i) })
	}
	g.Expect(cleanups.Run()).To(MatchError("failed 2\nfailed 1\nfailed 0"))
	g.Expect(cleanups.Run()).To(Succeed())
	g.Expect(ran).To(Equal([]int{2, 1, 0}))
}

func TestWaitUntilReturnsTheLastErrorBeforeTheTimeout(t *testing.T) {
	g := NewWithT(t)
	err := WaitUntil(t.Context(), time.Millisecond, 100*time.Millisecond, func(ctx context.Context) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return errors.New("not yet")
	})
	g.Expect(err).To(MatchError("for 1ms: not yet"))

	ctx, abort := context.WithCancelCause(t.Context())
	abort(errors.New("etcd exited"))
	g.Expect(WaitUntil(ctx, time.Hour, time.Hour, func(context.Context) error { return errors.New("not yet") })).To(MatchError("etcd exited"))
	g.Expect(WaitUntil(t.Context(), time.Hour, time.Hour, func(context.Context) error { return nil })).To(Succeed())
	g.Expect(WaitUntil(t.Context(), time.Hour, time.Hour, func(context.Context) error { return Stop(errors.New("never")) })).To(MatchError("never"))
	g.Expect(Sleep(ctx, time.Hour)).To(MatchError("etcd exited"))
}

func TestWriteToAClosedConnectionDoesNotInterrupt(t *testing.T) {
	g := NewWithT(t)
	ctx, stop := interruptible()
	defer stop()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = listener.Close() }()
	client, err := net.Dial("tcp", listener.Addr().String())
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = client.Close() }()
	server, err := listener.Accept()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(server.Close()).To(Succeed())
	g.Eventually(func() error { _, err := client.Write([]byte("x")); return err }).Should(MatchError(syscall.EPIPE))
	g.Consistently(ctx.Done(), 50*time.Millisecond).ShouldNot(BeClosed())
}
