package render

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
	"time"

	"rolecredential.dev/operator/api/v1alpha1"
)

// The operator executes the templates of every user who may write a credential. [checkNode] allows only text, fields,
// conditions and calls of a few functions, each executed at most once: no loops, recursion, variables or methods. With
// the limits below, and the schema's limit on its length, the time and memory of a template are bounded.
const (
	maxValue = 32 << 10  // bytes of a key's value
	maxTotal = 512 << 10 // bytes of all values and function results of a credential: a Secret holds 1 MiB
)

// budget is the number of bytes that the templates of one credential may still produce.
type budget int

func (b *budget) spend(bytes int) error {
	if *b -= budget(bytes); *b < 0 {
		return fmt.Errorf("the text that the templates of all keys produce is longer than %d bytes", maxTotal)
	}
	return nil
}

// value is the value of one key. It implements io.Writer.
type value struct {
	text strings.Builder
	left *budget
}

func (v *value) Write(text []byte) (int, error) {
	if v.text.Len()+len(text) > maxValue {
		return 0, fmt.Errorf("the value of the key is longer than %d bytes", maxValue)
	}
	if err := v.left.spend(len(text)); err != nil {
		return 0, err
	}
	return v.text.Write(text)
}

// functions returns the functions that templates may call, beside those of [builtins]. They accept only strings.
func (b *budget) functions() template.FuncMap {
	bounded := func(convert func(string) string) func(string) (string, error) {
		return func(text string) (string, error) {
			result := convert(text)
			return result, b.spend(len(result))
		}
	}
	return template.FuncMap{
		"base64":   bounded(func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }),
		"lower":    bounded(strings.ToLower),
		"upper":    bounded(strings.ToUpper),
		"urlquery": bounded(url.QueryEscape),
		"json": func(text string) (string, error) {
			result, err := json.Marshal(text)
			return string(result), cmp.Or(err, b.spend(len(result)))
		},
		"print": func(parts ...string) (string, error) {
			for _, part := range parts {
				if err := b.spend(len(part)); err != nil {
					return "", err
				}
			}
			return strings.Join(parts, ""), nil
		},
	}
}

// builtins are the functions of text/template that templates may call.
var builtins = []string{"and", "eq", "ne", "not", "or"}

// fields returns the fields that a template may use.
func fields(in input) map[string]string {
	return map[string]string{
		"AccessKeyID":     in.AccessKeyID,
		"SecretAccessKey": string(in.SecretAccessKey),
		"SessionToken":    string(in.SessionToken),
		"Expiration":      in.Expiration.UTC().Format(time.RFC3339),
		"Region":          in.region,
		"AccountID":       accountID(in.PrincipalARN),
		"PrincipalARN":    in.PrincipalARN,
	}
}

var (
	fieldNames    = slices.Sorted(maps.Keys(fields(input{})))
	functionNames = slices.Sorted(slices.Values(slices.AppendSeq(builtins, maps.Keys(new(budget).functions()))))
)

// sessionARN matches the ARN of a session, arn:partition:sts::account:resource (IAM User Guide, 'IAM identifiers').
// An STS-compatible server may return another form.
var sessionARN = regexp.MustCompile(`^arn:[^:]+:sts::(\d{12}):`)

// accountID returns the account of a session's ARN, empty for another form.
func accountID(arn string) string {
	if parts := sessionARN.FindStringSubmatch(arn); parts != nil {
		return parts[1]
	}
	return ""
}

// renderData returns the values of all keys, or else the key that failed and an error. The error may contain values of
// the input. The order of the keys decides which of them exceeds the budget.
func renderData(data map[string]v1alpha1.DataTemplate, in input) (values map[string]string, failed string, err error) {
	values, left := map[string]string{}, new(budget(maxTotal))
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if values[key], err = renderValue(string(data[key]), in, left); err != nil {
			return nil, key, err
		}
	}
	return values, "", nil
}

// templateName is the name of all templates.
const templateName = "data"

// location matches what text/template puts before an error. The part in angle brackets may be as long as the template.
var location = regexp.MustCompile(`(?s)^template: data:([\d:]+)(?: executing "data" at <.*>:)?`)

func shorten(err error) error { return errors.New(location.ReplaceAllString(err.Error(), "line $1")) }

func renderValue(text string, in input, left *budget) (string, error) {
	tree, err := parseTemplate(text)
	if err != nil {
		return "", err
	}
	parsed, err := template.New(templateName).Funcs(left.functions()).AddParseTree(templateName, tree)
	if err != nil {
		return "", err
	}
	rendered := value{left: left}
	if err := parsed.Execute(&rendered, fields(in)); err != nil {
		return "", shorten(err)
	}
	return rendered.text.String(), nil
}

// parseTemplate returns the tree of a template that contains only what is allowed.
func parseTemplate(text string) (*parse.Tree, error) {
	tree, defined := parse.New(templateName), map[string]*parse.Tree{}
	tree.Mode = parse.SkipFuncCheck // its error does not list the supported functions
	if _, err := tree.Parse(text, "", "", defined); err != nil {
		return nil, shorten(err)
	}
	if len(defined) > 1 || defined[templateName] != tree {
		return nil, errors.New("line 1: a template must not define other templates")
	}
	if node, err := checkNode(tree.Root); err != nil {
		at, _ := tree.ErrorContext(node)
		return nil, fmt.Errorf("line %s: %w", strings.TrimPrefix(at, templateName+":"), err)
	}
	return tree, nil
}

// checkNode returns an error for the first part of a template that is not allowed, and that part.
func checkNode(node parse.Node) (parse.Node, error) {
	if err := allowed(node); err != nil {
		return node, err
	}
	for _, child := range childrenOf(node) {
		if n, err := checkNode(child); err != nil {
			return n, err
		}
	}
	return nil, nil
}

// allowed returns an error if a part of a template is not allowed, whatever its children are.
func allowed(node parse.Node) error {
	switch n := node.(type) {
	case *parse.TextNode, *parse.StringNode, *parse.BoolNode, *parse.ListNode, *parse.IfNode, *parse.ActionNode:
		return nil
	case *parse.PipeNode:
		if len(n.Decl) > 0 {
			return errors.New("variables are not supported")
		}
		return nil
	case *parse.FieldNode:
		if len(n.Ident) > 1 || !slices.Contains(fieldNames, n.Ident[0]) {
			return fmt.Errorf("there is no field %s; the fields are .%s", n, strings.Join(fieldNames, ", ."))
		}
		return nil
	case *parse.IdentifierNode:
		if !slices.Contains(functionNames, n.Ident) {
			return fmt.Errorf("there is no function %s; the functions are %s", n, strings.Join(functionNames, ", "))
		}
		return nil
	default:
		return fmt.Errorf("%s is not supported; templates may contain text, fields, functions and if", n)
	}
}

func childrenOf(node parse.Node) (children []parse.Node) {
	switch n := node.(type) {
	case *parse.ListNode:
		if n != nil { // nil for an if without else
			children = n.Nodes
		}
	case *parse.IfNode:
		children = []parse.Node{n.Pipe, n.List, n.ElseList}
	case *parse.ActionNode:
		children = []parse.Node{n.Pipe}
	case *parse.PipeNode:
		for _, command := range n.Cmds {
			children = append(children, command.Args...)
		}
	}
	return children
}
