package integration_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/controllers/reason"
)

var writeGolden = flag.Bool("update", false, "write the golden files")

// golden has the exact texts that users read, by the name of the case.
type golden map[string]string

// compare compares the texts with the test's file in testdata/golden, or writes that file with -update. It compares nothing if a case
// is missing, because it failed or because -run excluded it.
func (texts golden) compare(t *testing.T, cases int) {
	t.Helper()
	if len(texts) < cases {
		return
	}
	g := NewWithT(t)
	var all strings.Builder
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		fmt.Fprintf(&all, "%s\n    %s\n\n", name, strings.ReplaceAll(texts[name], "\n", "\n    "))
	}
	file := filepath.Join("testdata", "golden", strings.ReplaceAll(t.Name(), "/", "-")+".txt")
	if *writeGolden {
		g.Expect(os.MkdirAll(filepath.Dir(file), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(file, []byte(all.String()), 0o644)).To(Succeed())
		return
	}
	want, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	if diff := cmp.Diff(string(want), all.String()); diff != "" {
		t.Errorf("the texts differ from %s; run the test with -update, and review the change:\n%s", file, diff)
	}
}

// shorten returns a value as JSON, cut to 160 bytes.
func shorten(g Gomega, value any) string {
	if value == nil {
		return "(left out)"
	}
	text, err := json.Marshal(value)
	g.Expect(err).NotTo(HaveOccurred())
	return reason.Cut(string(text), 160)
}

// kubectlError returns an error of the API server as kubectl prints it.
func kubectlError(g Gomega, err error) string {
	statusErr, ok := errors.AsType[*apierrors.StatusError](err)
	g.Expect(ok).To(BeTrue())
	status := statusErr.ErrStatus
	if status.Reason != metav1.StatusReasonInvalid {
		return fmt.Sprintf("Error from server (%s): %s", status.Reason, status.Message)
	}
	var causes []string
	for _, cause := range status.Details.Causes {
		causes = append(causes, cause.Field+": "+cause.Message)
	}
	message := fmt.Sprintf("The %s %q is invalid: ", status.Details.Kind, status.Details.Name)
	if len(causes) == 1 {
		return message + causes[0]
	}
	return sortErrors(message + "\n* " + strings.Join(causes, "\n* "))
}

// sortErrors sorts the errors of a list, whose order varies between responses.
func sortErrors(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	slices.SortStableFunc(lines, func(a, b string) int {
		if !strings.HasPrefix(a, "* ") || !strings.HasPrefix(b, "* ") {
			return 0
		}
		return strings.Compare(a, b)
	})
	return strings.Join(lines, "\n")
}
