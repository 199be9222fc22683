//go:build !linux

package main

import (
	"context"
	"fmt"

	"rolecredential.dev/operator/hack/program"
)

const (
	roleFirst = "first"
	roleRun   = "run"
)

func enclose(context.Context) (int, error) {
	return program.CannotRun, fmt.Errorf("%w: it needs Linux namespaces", errCannotRun)
}

func first() (int, error) { return enclose(context.Background()) }
