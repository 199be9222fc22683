// Command kubectl-rolecred is the kubectl plugin `kubectl rolecred`. It lists credentials, explains why one is not Ready, and uses
// one from a terminal.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"

	"rolecredential.dev/operator/cmd/kubectl-rolecred/cli"
)

// version is set by the release build.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, os.Args[1:], cli.Options{
		IOStreams: genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
		Clock:     clock.RealClock{},
		Environ:   os.Environ(),
		Version:   version,
	})
	stop()
	os.Exit(code)
}
