package main

import (
	"context"
	"errors"
	"io/fs"
	"testing"
	"testing/synctest"

	. "github.com/onsi/gomega"
)

func TestAttackFailsIfNearlyAllRequestsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		a := attack{during: func(_ context.Context, _ *world, n int64) error {
			switch {
			case n > 100:
				cancel()
				return nil
			case n%2 == 0: // errors of different types
				return &fs.PathError{Op: "patch", Path: "credential", Err: errors.New("refused")}
			default:
				return errors.New("refused")
			}
		}}
		NewWithT(t).Expect(a.attack(ctx, nil)).To(MatchError(MatchRegexp(`^\d+ of \d+ requests failed, the last one with: .*refused$`)))
	})
}
