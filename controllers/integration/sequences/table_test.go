package sequences_test

import (
	_ "embed"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// leaf has the values of a leaf of a spec. leaves.yaml describes the fields.
type leaf struct {
	Good, Wrong []any
	// Rejected is true if the API server rejects all wrong values.
	Rejected bool
	With     map[string]any
	Spoil    map[string]any
	// Consumer has keys of the spec of the credential that uses the identity.
	Consumer map[string]any
	Silent   string
	Refresh  bool
}

// kind has a spec with which the credential is Ready, and keys with which it is not.
type kind struct {
	Base, Spoil map[string]any
	Leaves      map[string]leaf
}

// spoil returns a spec that is not Ready for another reason than the leaf.
func (k kind) spoil(l leaf) map[string]any {
	if l.Spoil != nil {
		return overlay(k.Base, l.Spoil)
	}
	return overlay(k.Base, k.Spoil)
}

//go:embed leaves.yaml
var leavesYAML string

var repeated = regexp.MustCompile(`<a(\d+)>`)

// parseTable replaces the placeholders of leaves.yaml.
func parseTable(replacements map[string]string) (map[string]kind, error) {
	var table struct{ Kinds map[string]kind }
	if err := yaml.Unmarshal([]byte(leavesYAML), &table); err != nil {
		return nil, err
	}
	for name, k := range table.Kinds {
		k.Base, k.Spoil = replaced(k.Base, replacements).(map[string]any), replaced(k.Spoil, replacements).(map[string]any)
		for path, l := range k.Leaves {
			l.Good, l.Wrong = replaced(l.Good, replacements).([]any), replaced(l.Wrong, replacements).([]any)
			l.With = replaced(l.With, replacements).(map[string]any)
			if _, inBase := lookup(k.Base, path); inBase && len(l.With) == 0 {
				top, _, _ := strings.Cut(path, ".")
				l.With[top] = k.Base[top]
			}
			k.Leaves[path] = l
		}
		table.Kinds[name] = k
	}
	return table.Kinds, nil
}

func replaced(value any, replacements map[string]string) any {
	switch v := value.(type) {
	case map[string]any:
		result := map[string]any{}
		for key, inner := range v {
			result[replaced(key, nil).(string)] = replaced(inner, replacements)
		}
		return result
	case []any:
		result := []any{}
		for _, inner := range v {
			result = append(result, replaced(inner, replacements))
		}
		return result
	case string:
		for _, name := range slices.Backward(slices.Sorted(maps.Keys(replacements))) { // the longer of two names first
			v = strings.ReplaceAll(v, name, replacements[name])
		}
		return repeated.ReplaceAllStringFunc(v, func(found string) string {
			n, _ := strconv.Atoi(repeated.FindStringSubmatch(found)[1])
			return strings.Repeat("a", n)
		})
	default:
		return value
	}
}

// schemaLeaves returns the leaves of each kind's spec by path, with their defaults.
func schemaLeaves(g Gomega) map[string]map[string]any {
	files, err := filepath.Glob(filepath.Join(root, "config", "crd", "bases", "*.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).NotTo(BeEmpty())
	all := map[string]map[string]any{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		g.Expect(err).NotTo(HaveOccurred())
		var crd apiextensionsv1.CustomResourceDefinition
		g.Expect(yaml.UnmarshalStrict(text, &crd)).To(Succeed())
		found := map[string]any{}
		walk(g, crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"], "", found)
		all[crd.Spec.Names.Kind] = found
	}
	return all
}

func walk(g Gomega, schema apiextensionsv1.JSONSchemaProps, path string, found map[string]any) {
	if schema.Items != nil && len(schema.Items.Schema.Properties) > 0 {
		walk(g, *schema.Items.Schema, path+".[]", found)
		return
	}
	for name, property := range schema.Properties {
		walk(g, property, strings.TrimPrefix(path+"."+name, "."), found)
	}
	if len(schema.Properties) > 0 {
		return
	}
	found[path] = nil
	if schema.Default != nil {
		var value any
		g.Expect(yaml.Unmarshal(schema.Default.Raw, &value)).To(Succeed())
		found[path] = value
	}
}

// The table has each leaf of the schemas and no other, so that a new field fails the test until somebody gives it values.
func TestTableHasEachLeafOfTheSchemas(t *testing.T) {
	g := NewWithT(t)
	for name, found := range schemaLeaves(g) {
		g.Expect(slices.Sorted(maps.Keys(kinds[name].Leaves))).To(Equal(slices.Sorted(maps.Keys(found))), name)
		for path, l := range kinds[name].Leaves {
			g.Expect(l.Good).NotTo(BeEmpty(), "%s %s", name, path)
		}
	}
}

// overlay returns a copy of a spec with some of its keys replaced.
func overlay(spec, keys map[string]any) map[string]any {
	result := runtime.DeepCopyJSON(spec)
	maps.Copy(result, runtime.DeepCopyJSON(keys))
	return result
}

// lookup returns the value at a path, and false if the spec does not have it.
func lookup(spec map[string]any, path string) (any, bool) {
	var node any = spec
	for step := range strings.SplitSeq(path, ".") {
		if step == "" {
			return spec, true
		}
		switch n := node.(type) {
		case map[string]any:
			inner, ok := n[step]
			if !ok {
				return nil, false
			}
			node = inner
		case []any:
			if len(n) == 0 {
				return nil, false
			}
			node = n[0]
		default:
			return nil, false
		}
	}
	return node, true
}

// with returns a copy of a spec with a leaf and the keys that it requires. A key stays as it is if it already has the object of the leaf.
func with(spec map[string]any, path string, l leaf, value any) map[string]any {
	result := overlay(spec, nil)
	top, _, _ := strings.Cut(path, ".")
	parent, last := split(path)
	_, exists := lookup(result, parent)
	if required, ok := l.With[top].(map[string]any); ok && exists {
		for key := range required {
			_, has := lookup(result, top+"."+key)
			exists = exists && has
		}
	}
	for key, required := range l.With {
		if key != top || !exists {
			result[key] = runtime.DeepCopyJSONValue(required)
		}
	}
	if _, exists := lookup(result, parent); !exists {
		result[parent] = map[string]any{}
	}
	holder, _ := lookup(result, parent)
	holder.(map[string]any)[last] = runtime.DeepCopyJSONValue(value)
	return result
}

// split returns the path of the object that has a leaf, and the leaf's name.
func split(path string) (parent, name string) {
	at := strings.LastIndex(path, ".")
	return path[:max(at, 0)], path[at+1:]
}

// without returns a copy of a spec without a leaf.
func without(spec map[string]any, path string) map[string]any {
	result := overlay(spec, nil)
	parent, name := split(path)
	if holder, ok := lookup(result, parent); ok {
		delete(holder.(map[string]any), name)
	}
	return result
}

// short formats a value for the log.
func short(value any) string {
	text := fmt.Sprint(value)
	if len(text) > 80 {
		return fmt.Sprintf("%s… (%d bytes)", text[:60], len(text))
	}
	return text
}
