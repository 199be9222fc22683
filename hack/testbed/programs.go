package testbed

import (
	"os"
	"testing"
)

// Program returns the path that an environment variable holds, of a program that only make test-servers provides. Without the
// variable it skips the test. If TEST_SERVERS is set, it fails the test instead.
func Program(t testing.TB, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	switch {
	case path != "":
	case os.Getenv("TEST_SERVERS") != "":
		t.Fatalf("%s is not set, although TEST_SERVERS is: run make test-servers, which sets both", variable)
	default:
		t.Skipf("%s is not set: run make test-servers for this test", variable)
	}
	return path
}
