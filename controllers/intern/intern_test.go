package intern_test

import (
	"fmt"
	"reflect"
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

func TestEqualLabelsAreOne(t *testing.T) {
	g := NewWithT(t)
	var l intern.Labels
	first := l.Of(map[string]string{"app": "shop", "tier": "web"})
	again := l.Of(map[string]string{"tier": "web", "app": "shop"})
	g.Expect(again).To(Equal(map[string]string{"app": "shop", "tier": "web"}))
	g.Expect(reflect.ValueOf(again).Pointer()).To(Equal(reflect.ValueOf(first).Pointer()))
	g.Expect(l.Of(map[string]string{"app": "shop"})).To(Equal(map[string]string{"app": "shop"}))
	g.Expect(l.Of(nil)).To(BeEmpty())
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
