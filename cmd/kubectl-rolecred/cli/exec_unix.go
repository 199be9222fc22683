//go:build unix

package cli

import "syscall"

// replaceProcess runs a program in place of this one.
func replaceProcess(path string, args, environ []string) error {
	return syscall.Exec(path, args, environ) //nolint:gosec // that is what exec is for
}
