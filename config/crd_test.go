package config_test

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// A default under a list item is added to each item of an atomic list when it is stored. Tools that compare what they applied with
// what is stored, such as Argo CD, then report a difference that no sync removes.
func TestCRDsHaveNoDefaultUnderListItems(t *testing.T) {
	g := NewWithT(t)
	files, err := filepath.Glob(filepath.Join("crd", "bases", "*.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).NotTo(BeEmpty())
	for _, file := range files {
		text, err := os.ReadFile(file)
		g.Expect(err).NotTo(HaveOccurred())
		var crd apiextensionsv1.CustomResourceDefinition
		g.Expect(yaml.UnmarshalStrict(text, &crd)).To(Succeed())
		for _, version := range crd.Spec.Versions {
			g.Expect(itemDefaults(*version.Schema.OpenAPIV3Schema, version.Name, false)).To(BeEmpty(), file)
		}
	}
}

func TestItemDefaultsFindsDefaultsOfEveryDepth(t *testing.T) {
	g := NewWithT(t)
	one := apiextensionsv1.JSONSchemaProps{Default: &apiextensionsv1.JSON{Raw: []byte("1")}}
	list := func(item apiextensionsv1.JSONSchemaProps) apiextensionsv1.JSONSchemaProps {
		return apiextensionsv1.JSONSchemaProps{Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &item}}
	}
	object := func(field apiextensionsv1.JSONSchemaProps) apiextensionsv1.JSONSchemaProps {
		return apiextensionsv1.JSONSchemaProps{Properties: map[string]apiextensionsv1.JSONSchemaProps{"f": field}}
	}
	values := func(value apiextensionsv1.JSONSchemaProps) apiextensionsv1.JSONSchemaProps {
		return apiextensionsv1.JSONSchemaProps{AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Schema: &value}}
	}
	g.Expect(itemDefaults(object(one), "v1", false)).To(BeEmpty())
	g.Expect(itemDefaults(list(one), "v1", false)).To(Equal([]string{"v1[]"}))
	g.Expect(itemDefaults(object(list(object(values(one)))), "v1", false)).To(Equal([]string{"v1.f[].f{}"}))
}

// itemDefaults lists the paths of a schema that have a default and are under the item of a list.
func itemDefaults(schema apiextensionsv1.JSONSchemaProps, path string, inItem bool) (found []string) {
	if inItem && schema.Default != nil {
		found = append(found, path)
	}
	for name, property := range schema.Properties {
		found = append(found, itemDefaults(property, path+"."+name, inItem)...)
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		found = append(found, itemDefaults(*schema.Items.Schema, path+"[]", true)...)
	}
	if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil {
		found = append(found, itemDefaults(*schema.AdditionalProperties.Schema, path+"{}", inItem)...)
	}
	return found
}
