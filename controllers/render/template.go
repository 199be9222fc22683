package render

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/template/parse"
	"time"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
)

// The operator executes the templates of every user who may write a credential. A template is therefore a list of
// texts, fields, conditions and calls of a few functions, each executed at most once. It has no loops, recursion,
// variables or side effects. With the limits below, and the schema's limit on its length, its time and memory are
// bounded.
const (
	maxValue = 32 << 10 // bytes of a key's value: 16 of them and all formats fit into the 1 MiB of a Secret
	maxCall  = 16 << 10 // bytes of a function's result
)

// Errors of values that exceed the limits.
var (
	errLongResult = fmt.Errorf("the result of a function is longer than %d bytes", maxCall)
	errLongValue  = fmt.Errorf("the value of the key is longer than %d bytes", maxValue)
)

// valuesOf returns the fields that a template may use.
func valuesOf(in input) map[string]string {
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

// sessionARN matches the ARN of a session, arn:partition:sts::account:resource (IAM User Guide, 'IAM identifiers').
var sessionARN = regexp.MustCompile(`^arn:[^:]+:sts::(\d{12}):`)

// accountID returns the account of a session's ARN. It is empty for another form, which an STS-compatible server may
// return.
func accountID(arn string) string {
	if parts := sessionARN.FindStringSubmatch(arn); parts != nil {
		return parts[1]
	}
	return ""
}

// rendered returns the value of a key. Its error has the line of the problem, and may contain values of the input.
func rendered(key string, text v1alpha1.DataTemplate, in input) (string, error) {
	tree, err := parsed(key, string(text))
	if err != nil {
		return "", err
	}
	f := forbidden(tree.Root)
	r := rendering{values: valuesOf(in)}
	if f == nil {
		f = r.list(tree.Root)
	}
	if f != nil {
		location, _ := tree.ErrorContext(f.part)
		return "", fmt.Errorf("line %s: %w", strings.TrimPrefix(location, key+":"), f.problem)
	}
	return r.text.String(), nil
}

// parsed returns the parse tree of a template in the syntax of text/template.
func parsed(key, text string) (*parse.Tree, error) {
	tree, defined := parse.New(key), map[string]*parse.Tree{}
	tree.Mode = parse.SkipFuncCheck // its error does not list the supported functions
	if _, err := tree.Parse(text, "", "", defined); err != nil {
		return nil, errors.New(strings.Replace(err.Error(), "template: "+key+":", "line ", 1))
	}
	if len(defined) > 1 || defined[key] != tree {
		return nil, errors.New("line 1: a template must not define other templates")
	}
	return tree, nil
}

// fault is a problem of a part of a template.
type fault struct {
	part    parse.Node
	problem error
}

func faulty(part parse.Node, format string, args ...any) *fault {
	return &fault{part, fmt.Errorf(format, args...)}
}

// forbidden returns a fault for the first part of a template that is not allowed, or nil.
func forbidden(node parse.Node) *fault {
	var parts []parse.Node
	switch n := node.(type) {
	case *parse.TextNode, *parse.StringNode, *parse.BoolNode:
	case *parse.ListNode:
		if n != nil { // there is no else
			parts = n.Nodes
		}
	case *parse.IfNode:
		parts = []parse.Node{n.Pipe, n.List, n.ElseList}
	case *parse.ActionNode:
		parts = []parse.Node{n.Pipe}
	case *parse.PipeNode:
		if len(n.Decl) > 0 {
			return faulty(n, "variables are not supported")
		}
		for _, command := range n.Cmds {
			parts = append(parts, command.Args...)
		}
	case *parse.FieldNode:
		if _, known := valuesOf(input{})[n.Ident[0]]; !known || len(n.Ident) > 1 {
			return faulty(n, "there is no field %s; the fields are .%s", n, strings.Join(slices.Sorted(maps.Keys(valuesOf(input{}))), ", ."))
		}
	case *parse.IdentifierNode:
		if _, known := functions[n.Ident]; !known {
			return faulty(n, "there is no function %s; the functions are %s", n, strings.Join(slices.Sorted(maps.Keys(functions)), ", "))
		}
	default:
		return notAllowed(n)
	}
	for _, part := range parts {
		if f := forbidden(part); f != nil {
			return f
		}
	}
	return nil
}

func notAllowed(part parse.Node) *fault {
	return faulty(part, "%s is not supported; templates may contain text, fields, functions and if", part)
}

// trials are fictitious inputs to try templates with: one with all values, and one with only the values that an
// STS-compatible server always returns.
var trials = []input{
	{region: "eu-west-1", Credentials: request.Credentials{
		AccessKeyID: "ASIA0123456789ABCDEF", SecretAccessKey: request.RedactedString(strings.Repeat("s", 40)), SessionToken: request.RedactedString(strings.Repeat("t", 2<<10)),
		PrincipalARN: "arn:aws:sts::123456789012:assumed-role/role/session",
	}},
	{region: "eu-west-1", Credentials: request.Credentials{AccessKeyID: "ASIA0123456789ABCDEF", SecretAccessKey: "s"}},
}

// checkData returns the problems of all templates that cannot be rendered.
func checkData(data map[string]v1alpha1.DataTemplate) (problems []string) {
	for key, text := range data {
		for _, trial := range trials {
			if _, err := rendered(key, text, trial); err != nil {
				problems = append(problems, fmt.Sprintf("spec.secret.data[%s]: %s", key, reason.Cut(err.Error(), quotedLength)))
			}
		}
	}
	return problems
}
