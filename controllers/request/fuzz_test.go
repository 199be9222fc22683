package request_test

import (
	"strings"
	"testing"

	"rolecredential.dev/operator/controllers/request"
)

// kubernetesName makes a name that the API server takes of any text, with dots or without.
func kubernetesName(text string, longest int, dots bool) string {
	letters := "abcdefghijklmnopqrstuvwxyz0123456789-"
	if dots {
		letters += "."
	}
	name := []byte("a")
	for i := 0; i < len(text) && len(name) < longest-1; i++ {
		name = append(name, letters[int(text[i])%len(letters)])
	}
	return strings.ReplaceAll(string(name)+"z", "..", ".a")
}

// FuzzSessionName names the sessions of two objects: each so that STS takes it, and both alike only if they are one.
func FuzzSessionName(f *testing.F) {
	f.Fuzz(func(t *testing.T, namespace, name, otherNamespace, otherName string, long bool) {
		length := request.MaxUserName
		if long {
			length = request.MaxSessionName
		}
		one := [2]string{kubernetesName(namespace, 63, false), kubernetesName(name, 253, true)}
		two := [2]string{kubernetesName(otherNamespace, 63, false), kubernetesName(otherName, 253, true)}
		called, other := request.SessionName(one[0], one[1], length), request.SessionName(two[0], two[1], length)
		if !sessionNames.MatchString(called) || len(called) > length {
			t.Errorf("%q", called)
		}
		if (called == other) != (one == two) {
			t.Errorf("%q has %q, and %q has %q", one, called, two, other)
		}
		// Who knows how it is made names an object after it.
		if imitated := [2]string{two[0], strings.TrimPrefix(called, two[0]+".")}; imitated != one && request.SessionName(imitated[0], imitated[1], length) == called {
			t.Errorf("%q has the session name of %q", imitated, one)
		}
	})
}
