//go:build unix

package cli

import "syscall"

// replaceProcess replaces this process with a program.
func replaceProcess(path string, args, environ []string) error {
	return syscall.Exec(path, args, environ) //nolint:gosec // exec runs the user's command
}
