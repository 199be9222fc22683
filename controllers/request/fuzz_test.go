package request_test

import (
	"strings"
	"testing"

	"rolecredential.dev/operator/controllers/request"
)

// kubernetesName turns any text into a name that the API server accepts, with or without dots.
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

// FuzzSessionName checks that STS accepts the default session names of two objects, and that they are equal only if the objects are.
func FuzzSessionName(f *testing.F) {
	f.Fuzz(func(t *testing.T, namespace, name, otherNamespace, otherName string, long bool) {
		length := request.MaxUserName
		if long {
			length = request.MaxSessionName
		}
		one := [2]string{kubernetesName(namespace, 63, false), kubernetesName(name, 253, true)}
		two := [2]string{kubernetesName(otherNamespace, 63, false), kubernetesName(otherName, 253, true)}
		taken, other := request.SessionName(one[0], one[1], length), request.SessionName(two[0], two[1], length)
		if !sessionNames.MatchString(taken) || len(taken) > length {
			t.Errorf("%q is not a session name", taken)
		}
		if (taken == other) != (one == two) {
			t.Errorf("%q has %q, and %q has %q", one, taken, two, other)
		}
		// An object that is named after the session of the first.
		if imitated := [2]string{two[0], strings.TrimPrefix(taken, two[0]+".")}; imitated != one && request.SessionName(imitated[0], imitated[1], length) == taken {
			t.Errorf("%q has the session name of %q", imitated, one)
		}
	})
}
