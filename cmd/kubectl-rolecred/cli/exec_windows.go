package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
)

// replaceProcess runs a program and ends as it does, since Windows has no way to put it in this one's place. A console's Ctrl-C
// reaches both.
func replaceProcess(path string, args, environ []string) error {
	signal.Ignore(os.Interrupt)
	cmd := exec.Command(path, args[1:]...) //nolint:gosec,noctx // that is what exec is for
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = environ, os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exitError{fmt.Errorf("%s ended with code %d", path, exit.ExitCode()), exit.ExitCode()}
	}
	return err
}
