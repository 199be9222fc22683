package intern_test

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/controllers/intern"
)

func TestEqualStringsAreOne(t *testing.T) {
	g := NewWithT(t)
	var s intern.Strings
	first := s.Of(strings.Clone("Issued"))
	again := s.Of(strings.Clone("Issued"))
	g.Expect(again).To(Equal("Issued"))
	g.Expect(unsafe.StringData(again)).To(BeIdenticalTo(unsafe.StringData(first)))
	g.Expect(s.Of("other")).To(Equal("other"))
}

func TestOnlySoManyAreRemembered(t *testing.T) {
	g := NewWithT(t)
	var s intern.Strings
	for i := range 10_000 {
		s.Of(fmt.Sprint(i))
	}
	late, again := strings.Clone("late"), strings.Clone("late")
	g.Expect(unsafe.StringData(s.Of(late))).To(BeIdenticalTo(unsafe.StringData(late)))
	g.Expect(unsafe.StringData(s.Of(again))).To(BeIdenticalTo(unsafe.StringData(again)))
}
