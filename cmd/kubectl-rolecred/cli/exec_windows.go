package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
)

// replaceProcess runs a program and exits with its code, because Windows cannot replace a process. Ctrl-C in the console
// reaches both processes.
func replaceProcess(path string, args, environ []string) error {
	signal.Ignore(os.Interrupt)
	cmd := exec.Command(path, args[1:]...) //nolint:gosec,noctx // exec runs the user's command
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = environ, os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exitError{fmt.Errorf("%s exited with code %d", path, exit.ExitCode()), exit.ExitCode()}
	}
	return err
}
