package iam

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"sigs.k8s.io/yaml"
)

// importFirst is the comment at the start of code.
const importFirst = "# Creates each resource. Import those that exist, or copy the arguments to their code.\n"

// Terraform returns grants as resources of Terraform's AWS provider.
func Terraform(grants []*Grant) string {
	text := strings.Builder{}
	text.WriteString(importFirst)
	names := map[string]bool{}
	for _, g := range grants {
		label := unique(names, g.ofType.terraform+".", terraformName(g.name))
		fmt.Fprintf(&text, "\nresource %q %q {\n", g.ofType.terraform, label)
		for _, a := range g.attributes {
			value := hcl(generic(a.value), "  ")
			if _, isPolicy := a.value.(Policy); isPolicy {
				value = "jsonencode(" + value + ")"
			}
			fmt.Fprintf(&text, "  %s = %s\n", a.terraform, value)
		}
		text.WriteString("}\n")
	}
	return text.String()
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9]+`)

// terraformName returns a name in Terraform's syntax: it begins with a letter.
func terraformName(name string) string {
	name = strings.ToLower(strings.Trim(notInName.ReplaceAllString(name, "_"), "_"))
	if name == "" || !unicode.IsLetter(rune(name[0])) {
		name = "r_" + name
	}
	return name
}

// unique returns a name that no earlier resource with the prefix has.
func unique(names map[string]bool, prefix, name string) string {
	found := name
	for i := 2; names[prefix+found]; i++ {
		found = fmt.Sprint(name, i)
	}
	names[prefix+found] = true
	return found
}

// hcl returns a value as an expression of HCL (HCL Native Syntax Specification, 'Expressions').
func hcl(value any, indent string) string {
	inner := indent + "  "
	switch v := value.(type) {
	case string:
		return hclString(v)
	case []any:
		lines := []string{"["}
		for _, item := range v {
			lines = append(lines, inner+hcl(item, inner)+",")
		}
		return strings.Join(append(lines, indent+"]"), "\n")
	case map[string]any:
		lines := []string{"{"}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			lines = append(lines, inner+hclString(key)+" = "+hcl(v[key], inner))
		}
		return strings.Join(append(lines, indent+"}"), "\n")
	default:
		return fmt.Sprint(v)
	}
}

// hclString quotes a string. Tenants choose some: none may start a template, which Terraform would evaluate.
func hclString(s string) string {
	text := strings.Builder{}
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			text.WriteString(`\` + string(r))
		case r == '$' || r == '%' || r < 0x10000 && !unicode.IsGraphic(r):
			fmt.Fprintf(&text, `\u%04x`, r)
		case !unicode.IsGraphic(r):
			fmt.Fprintf(&text, `\U%08x`, r)
		default:
			text.WriteRune(r)
		}
	}
	return `"` + text.String() + `"`
}

// CloudFormation returns grants as a template in YAML. It returns an error for a value that CloudFormation would replace (CloudFormation
// User Guide, 'Get values stored in other services using dynamic references'), since a template cannot escape it.
func CloudFormation(grants []*Grant) (string, error) {
	resources, names := map[string]any{}, map[string]bool{}
	for _, g := range grants {
		properties := map[string]any{}
		for _, a := range g.attributes {
			properties[a.cloudFormation] = generic(a.value)
		}
		id := unique(names, "", notInName.ReplaceAllString(g.name, "")+g.ofType.suffix)
		resources[id] = map[string]any{"Type": g.ofType.cloudFormation, "Properties": properties}
	}
	text, err := yaml.Marshal(map[string]any{"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources})
	if err != nil {
		return "", err
	}
	if strings.Contains(string(text), "{{") {
		return "", fmt.Errorf("a value contains {{, which CloudFormation would replace by a parameter or a secret: use --output=terraform or no --output")
	}
	return importFirst + string(text), nil
}
