package program

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// stopError is an error that ends a WaitUntil.
type stopError struct{ error }

func (e stopError) Unwrap() error { return e.error }

// Stop returns an error that [WaitUntil] returns at once.
func Stop(err error) error { return stopError{err} }

// WaitUntil calls try at an interval until it succeeds. After the timeout it returns the last error of try, apart from one that the timeout
// itself caused. If the context ends, it returns the context's cause.
func WaitUntil(ctx context.Context, timeout, interval time.Duration, try func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, interval, timeout, true, func(ctx context.Context) (bool, error) {
		err := try(ctx)
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if stop, ok := errors.AsType[stopError](err); ok {
			return false, stop
		}
		return err == nil, nil
	})
	stop, stopped := errors.AsType[stopError](err)
	switch {
	case err == nil:
		return nil
	case stopped:
		return stop.error
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		return fmt.Errorf("for %s: %w", timeout, last)
	}
}

// Sleep waits for a duration. If the context ends before, it returns the context's cause.
func Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// FreeAddress returns a host:port on loopback that no process listens on.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
