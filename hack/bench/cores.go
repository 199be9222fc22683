package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
)

// The halves of the cores, for the flag -apart.
const (
	controlPlaneHalf = 0
	othersHalf       = 1
)

// half returns a half of the cores in the format of taskset.
func half(cores, which int) string {
	each := cores / 2
	return fmt.Sprintf("%d-%d", which*each, (which+1)*each-1)
}

// pinTo restricts this process, and all processes that it starts later, to a half of the cores.
func pinTo(ctx context.Context, which int) error {
	cores := runtime.NumCPU() // at the start of this process
	if cores < 2 {
		return errors.New("-apart needs at least two cores")
	}
	output, err := exec.CommandContext(ctx, "taskset", "--all-tasks", "--cpu-list", "--pid", half(cores, which), strconv.Itoa(os.Getpid())).CombinedOutput()
	if err != nil {
		return fmt.Errorf("taskset: %w: %s", err, output)
	}
	return nil
}
