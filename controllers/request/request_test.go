package request_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/request"
)

// words are few, so that drawn requests often differ in little.
var words = rapid.StringOfN(rapid.SampledFrom([]rune(`ab",[]\{}`+"\x00é")), 0, 3, -1)

// drawField draws a value for a field of a request. It fails for a type that it does not know, so that no field is left out.
func drawField(t *rapid.T, name string, kind reflect.Type) reflect.Value {
	var value any
	switch kind {
	case reflect.TypeFor[string]():
		value = words.Draw(t, name)
	case reflect.TypeFor[v1alpha1.Call]():
		value = v1alpha1.Call(words.Draw(t, name))
	case reflect.TypeFor[time.Duration]():
		value = time.Duration(rapid.IntRange(0, 3).Draw(t, name)) * time.Second
	case reflect.TypeFor[[]string]():
		value = rapid.SliceOfN(words, 0, 3).Draw(t, name)
	case reflect.TypeFor[[]request.Tag]():
		value = rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) request.Tag {
			return request.Tag{Key: words.Draw(t, "key"), Value: words.Draw(t, "value")}
		}), 0, 3, func(tag request.Tag) string { return tag.Key }).Draw(t, name)
	default:
		t.Fatalf("add a way to draw the field %s", name)
	}
	return reflect.ValueOf(value)
}

func drawRequest(t *rapid.T) request.Request {
	var r request.Request
	v := reflect.ValueOf(&r).Elem()
	for i := range v.NumField() {
		v.Field(i).Set(drawField(t, v.Type().Field(i).Name, v.Type().Field(i).Type))
	}
	return r
}

// inOrder returns a request whose lists are sorted as the hash sorts them.
func inOrder(r request.Request) request.Request {
	r.PolicyARNs = slices.Sorted(slices.Values(r.PolicyARNs))
	r.TransitiveTagKeys = slices.Sorted(slices.Values(r.TransitiveTagKeys))
	r.Tags = slices.SortedFunc(slices.Values(r.Tags), func(a, b request.Tag) int { return strings.Compare(a.Key, b.Key) })
	return r
}

func TestRequestsHaveTheSameHashOnlyIfTheyAreEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawRequest(t), drawRequest(t)
		if same := cmp.Equal(inOrder(a), inOrder(b)); same != (a.Hash() == b.Hash()) {
			t.Fatalf("equal: %t; equal hashes: %t", same, !same)
		}
	})
}

func TestRequestsThatDifferInAnyFieldHaveDifferentHashes(t *testing.T) {
	fields := reflect.TypeFor[request.Request]()
	for i := range fields.NumField() {
		field := fields.Field(i)
		t.Run(field.Name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				a := drawRequest(t)
				b := a
				reflect.ValueOf(&b).Elem().Field(i).Set(drawField(t, "another "+field.Name, field.Type))
				if cmp.Equal(inOrder(a), inOrder(b)) {
					t.Skip("equal requests were drawn")
				}
				if a.Hash() == b.Hash() {
					t.Fatal("equal hashes")
				}
			})
		})
	}
}

func TestHashIgnoresTheOrderOfLists(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawRequest(t)
		b := a
		b.PolicyARNs = rapid.Permutation(a.PolicyARNs).Draw(t, "other policyARNs")
		b.TransitiveTagKeys = rapid.Permutation(a.TransitiveTagKeys).Draw(t, "other transitiveTagKeys")
		b.Tags = rapid.Permutation(a.Tags).Draw(t, "other tags")
		before := inOrder(a)
		if a.Hash() != b.Hash() {
			t.Fatal("different hashes")
		}
		if !cmp.Equal(before, inOrder(a)) {
			t.Fatal("Hash changed the request")
		}
	})
}

func TestHashKeepsTheOrderOfTheRequest(t *testing.T) {
	g := NewWithT(t)
	r := request.Request{PolicyARNs: []string{"b", "a"}, TransitiveTagKeys: []string{"b", "a"}, Tags: []request.Tag{{Key: "b"}, {Key: "a"}}}
	r.Hash()
	g.Expect(r).To(Equal(request.Request{PolicyARNs: []string{"b", "a"}, TransitiveTagKeys: []string{"b", "a"}, Tags: []request.Tag{{Key: "b"}, {Key: "a"}}}))
}

// Another hash would reissue every credential of a cluster at once: give a new field `json:",omitempty"`.
func TestRequestHasTheHashOfEarlierReleases(t *testing.T) {
	r := request.Request{
		Identity: "ClusterIdentity default", Call: v1alpha1.CallAssumeRole, RoleARN: "arn:aws:iam::123456789012:role/S3Reader",
		SessionName: "shop.s3-reader", Duration: time.Hour,
	}
	NewWithT(t).Expect(r.Hash()).To(Equal("3b2a37d977e79d9fc2152f451d6e9f667c56bc2c5948ee4d98d59a7de7ee7dfe"))
}

func TestFullRequestHasTheHashOfEarlierReleases(t *testing.T) {
	r := request.Request{
		Identity: "ClusterIdentity default", Call: v1alpha1.CallAssumeRole, RoleARN: "arn:aws:iam::123456789012:role/S3Reader", SessionName: "shop.s3-reader",
		Duration: time.Hour, ExternalID: "k8s", SourceIdentity: "alice", Policy: "{}", PolicyARNs: []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"},
		Tags: []request.Tag{{Key: "team", Value: "shop"}}, TransitiveTagKeys: []string{"team"}, MFASerialNumber: "arn:aws:iam::210987654321:mfa/operator", ServiceAccountName: "reader",
	}
	NewWithT(t).Expect(r.Hash()).To(Equal("b53d39aa4adba463a8c0a3cf93c1a58ed964554cdbd2af2e9394d0ecfd1dcdc2"))
}

func TestHashIsTheSameForNilAndEmptyLists(t *testing.T) {
	empty := request.Request{PolicyARNs: []string{}, TransitiveTagKeys: []string{}, Tags: []request.Tag{}}
	NewWithT(t).Expect(empty.Hash()).To(Equal(request.Request{}.Hash()))
}

func TestHashOfDataDiffersForDifferentKeysAndValues(t *testing.T) {
	g := NewWithT(t)
	observed := map[string]map[string][]byte{}
	for _, data := range []map[string][]byte{
		{}, {"a": []byte("b")}, {"b": []byte("a")}, {"ab": []byte("")}, {"a": []byte("b"), "c": []byte("d")}, {"a": []byte("bcd")}, {"a": []byte("\xff")}, {"a": []byte("\xfe")},
	} {
		hash := request.Hash(data)
		g.Expect(hash).To(MatchRegexp("^[0-9a-f]{64}$"))
		g.Expect(observed).NotTo(HaveKey(hash), "%q", data)
		observed[hash] = data
	}
}

// drawName draws the name of a namespace, or of an object, which may contain dots.
func drawName(t *rapid.T, longest int, dots bool, label string) string {
	letters := []rune("ab-")
	if dots {
		letters = append(letters, '.')
	}
	lengths := rapid.OneOf(rapid.IntRange(1, 4), rapid.IntRange(40, min(70, longest)), rapid.IntRange(1, longest))
	length := lengths.Draw(t, label+" length")
	if rapid.Bool().Draw(t, label+" is one letter") { // many of these have a common prefix
		return strings.Repeat("a", length)
	}
	name := rapid.StringOfN(rapid.SampledFrom(letters), length, length, -1).Draw(t, label)
	return "a" + name[1:] // names begin with a letter
}

var sessionNames = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]{2,}$`)

// lengths are the maximum lengths of session names.
var lengths = rapid.SampledFrom([]int{request.MaxSessionName, request.MaxUserName})

func TestSessionNameIsValidInSTS(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		namespace, name, length := drawName(t, 63, false, "namespace"), drawName(t, 253, true, "name"), lengths.Draw(t, "length")
		got := request.SessionName(namespace, name, length)
		if !sessionNames.MatchString(got) || len(got) > length {
			t.Fatalf("%q is not a session name", got)
		}
		if got != request.SessionName(namespace, name, length) {
			t.Fatal("the name differs at the second call")
		}
	})
}

func TestSessionNamesOfTwoObjectsDiffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		victim := [2]string{drawName(t, 63, false, "namespace"), drawName(t, 253, true, "name")}
		length := lengths.Draw(t, "length")
		taken := request.SessionName(victim[0], victim[1], length)
		namespace := drawName(t, 63, false, "other namespace")
		if rapid.Bool().Draw(t, "in the same namespace") {
			namespace = victim[0]
		}
		// The names that a tenant who knows the algorithm would try.
		names := []string{
			drawName(t, 253, true, "other name"), taken, victim[1] + "a", "a" + victim[1], strings.TrimPrefix(taken, namespace+"."),
			taken[min(len(namespace)+1, len(taken)-1):], victim[0] + "." + victim[1], strings.Repeat("a", len(victim[1])),
		}
		for _, name := range names {
			if [2]string{namespace, name} != victim && request.SessionName(namespace, name, length) == taken {
				t.Fatalf("%s/%s has the session name of %s/%s: %s", namespace, name, victim[0], victim[1], taken)
			}
		}
	})
}

func TestSessionNameCutsLongNames(t *testing.T) {
	const longest = "shop.a-name-of-which-there-is-just-so-much-as-is-not-to-be-cut"
	for name, tc := range map[string]struct{ namespace, name, want string }{
		"namespace and name":               {"shop", "s3-reader", "shop.s3-reader"},
		"a name with dots":                 {"shop", "s3.reader", "shop.s3.reader"},
		"the longest name that is not cut": {"shop", strings.TrimPrefix(longest, "shop.") + "x", longest + "x"},
		"one more character":               {"shop", strings.TrimPrefix(longest, "shop.") + "xy", "shop.a-name-of-which-there-is-just-so-much-as-i-2fb5a5228574be04"},
		"a cut within the namespace":       {strings.Repeat("n", 63), "s3-reader", strings.Repeat("n", 47) + "-d663847e1e947616"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := request.SessionName(tc.namespace, tc.name, request.MaxSessionName)
			g.Expect(len(got)).To(BeNumerically("<=", 64))
			g.Expect(got).To(Equal(tc.want))
		})
	}
}

const hunter = "hunter2"

func TestRedactedStringIsNotPrinted(t *testing.T) {
	c := request.Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: hunter, SessionToken: hunter}
	encodings := map[string]func(*bytes.Buffer) error{
		"as JSON": func(b *bytes.Buffer) error { return json.NewEncoder(b).Encode(c) },
		"by slog": func(b *bytes.Buffer) error {
			slog.New(slog.NewTextHandler(b, nil)).Info("issued", "credential", c, "secret", c.SessionToken)
			return nil
		},
		"by slog, as JSON": func(b *bytes.Buffer) error {
			slog.New(slog.NewJSONHandler(b, nil)).Info("issued", "credential", c, "secret", c.SessionToken)
			return nil
		},
		"by zap": func(b *bytes.Buffer) error {
			zap.New(zap.WriteTo(b), zap.UseDevMode(false)).Info("issued", "credential", c, "secret", c.SessionToken)
			return nil
		},
		"by zap in development": func(b *bytes.Buffer) error {
			zap.New(zap.WriteTo(b), zap.UseDevMode(true)).Info("issued", "credential", c, "secret", c.SessionToken)
			return nil
		},
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X"} {
		for what, value := range map[string]any{
			"a secret": c.SecretAccessKey, "credentials": c, "a pointer": &c, "a list": []request.RedactedString{hunter}, "a map": map[string]any{"key": c.SessionToken},
		} {
			encodings[what+" by "+verb] = func(b *bytes.Buffer) error { _, err := fmt.Fprintf(b, verb, value); return err }
		}
	}
	for name, encode := range encodings {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var printed bytes.Buffer
			g.Expect(encode(&printed)).To(Succeed())
			g.Expect(printed.String()).NotTo(BeEmpty())
			g.Expect(printed.String()).NotTo(ContainSubstring(hunter))
			g.Expect(strings.ToLower(printed.String())).NotTo(ContainSubstring(fmt.Sprintf("%x", hunter)))
		})
	}
}

func TestRedactedStringKeepsItsValue(t *testing.T) {
	NewWithT(t).Expect(string(request.RedactedString(hunter))).To(Equal(hunter))
}
