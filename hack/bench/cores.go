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

// The halves of a machine's cores, if the control plane is to have some of its own.
const (
	controlPlaneHalf = 0
	othersHalf       = 1
)

// half is a half of a number of cores, as taskset takes it.
func half(cores, which int) string {
	each := cores / 2
	return fmt.Sprintf("%d-%d", which*each, (which+1)*each-1)
}

// moveTo has this process, and whatever it starts from now on, run on a half of the cores alone.
func moveTo(ctx context.Context, which int) error {
	cores := runtime.NumCPU() // when this process started
	if cores < 2 {
		return errors.New("one core cannot be shared out")
	}
	said, err := exec.CommandContext(ctx, "taskset", "--all-tasks", "--cpu-list", "--pid", half(cores, which), strconv.Itoa(os.Getpid())).CombinedOutput()
	if err != nil {
		return fmt.Errorf("taskset: %w: %s", err, said)
	}
	return nil
}
