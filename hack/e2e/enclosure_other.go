//go:build !linux

package main

import (
	"context"
	"fmt"
)

const (
	roleFirst = "first"
	roleRun   = "run"
)

func enclose(context.Context) (int, error) {
	return exitCannotRun, fmt.Errorf("%w: it needs the namespaces of Linux", errCannotRun)
}

func first() (int, error) { return enclose(context.Background()) }
