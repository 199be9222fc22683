package output

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
	"time"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
)

// Whoever may write a credential's spec has its templates run by the operator. So a template is a list of texts, fields,
// conditions and calls of a few functions, each of which is run once at most: nothing in it repeats, calls itself, keeps a value or
// reaches anything. With the bounds below, and the schema's on its text, that bounds its time and memory too.
const (
	maxValue = 32 << 10 // bytes of a key's value: 16 of them and all formats fit into the 1 MiB of a Secret
	maxCall  = 16 << 10 // bytes of a function's result
)

// values are what a template may name, as .Field.
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

// accountID returns the account of an ARN, arn:partition:service:region:account:resource; empty if there is none.
func accountID(arn string) string {
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 {
		return parts[4]
	}
	return ""
}

// calls are the functions that a template may call and that the language itself does not have, or not with a bound.
var calls = template.FuncMap{
	"base64":   bounded(func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }),
	"json":     bounded(quoted),
	"lower":    bounded(strings.ToLower),
	"print":    joined,
	"upper":    bounded(strings.ToUpper),
	"urlquery": bounded(func(s string) string { return template.URLQueryEscaper(s) }),
}

// builtins are those of the language's own that it may call.
var builtins = []string{"and", "eq", "ne", "not", "or"}

// Errors of what becomes longer than it may.
var (
	errLongResult = fmt.Errorf("a function's result may have %d bytes, and this has more", maxCall)
	errLongValue  = fmt.Errorf("a key's value may have %d bytes, and this has more", maxValue)
)

func bounded(f func(string) string) func(string) (string, error) {
	return func(s string) (string, error) {
		if result := f(s); len(result) <= maxCall {
			return result, nil
		}
		return "", errLongResult
	}
}

// quoted returns a string as JSON has it.
func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always has such a text
	}
	return string(text)
}

func joined(parts ...string) (string, error) {
	length := 0
	for _, part := range parts {
		length += len(part)
	}
	if length > maxCall {
		return "", errLongResult
	}
	return strings.Join(parts, ""), nil
}

// parseTemplate parses the template of a key. Its error says on which line what is wrong.
func parseTemplate(key string, text v1alpha1.DataTemplate) (*template.Template, error) {
	tree, defined := parse.New(key), map[string]*parse.Tree{}
	tree.Mode = parse.SkipFuncCheck // which would not say what functions there are
	if _, err := tree.Parse(string(text), "", "", defined); err != nil {
		return nil, err
	}
	if len(defined) > 1 || defined[key] != tree {
		return nil, fmt.Errorf("template: %s:1: templates cannot be defined here", key)
	}
	if node, problem := forbidden(tree.Root); node != nil {
		location, _ := tree.ErrorContext(node)
		return nil, fmt.Errorf("template: %s: %s", location, problem)
	}
	return template.New(key).Funcs(calls).Option("missingkey=error").AddParseTree(key, tree)
}

// forbidden returns the first part of a template that is not allowed, and why; nil if there is none.
func forbidden(node parse.Node) (parse.Node, string) {
	var parts []parse.Node
	switch n := node.(type) {
	case *parse.TextNode, *parse.StringNode, *parse.NumberNode, *parse.BoolNode:
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
			return n, "there are no variables here"
		}
		for _, command := range n.Cmds {
			parts = append(parts, command.Args...)
		}
	case *parse.FieldNode:
		if _, known := valuesOf(input{})[n.Ident[0]]; !known || len(n.Ident) > 1 {
			return n, fmt.Sprintf("there is no %s, but %s", n, fields())
		}
	case *parse.IdentifierNode:
		if _, known := calls[n.Ident]; !known && !slices.Contains(builtins, n.Ident) {
			return n, fmt.Sprintf("there is no function %s, but %s", n, functions())
		}
	default:
		return n, fmt.Sprintf("%s is not allowed here: there are texts, fields, functions and if", n)
	}
	for _, part := range parts {
		if found, problem := forbidden(part); found != nil {
			return found, problem
		}
	}
	return nil, ""
}

func fields() string {
	return "." + strings.Join(slices.Sorted(maps.Keys(valuesOf(input{}))), ", .")
}

func functions() string {
	return strings.Join(slices.Sorted(slices.Values(slices.AppendSeq(slices.Clone(builtins), maps.Keys(calls)))), ", ")
}

// rendered returns the value of a key. Its error says on which line what is wrong, and may quote the input.
func rendered(key string, text v1alpha1.DataTemplate, in input) (string, error) {
	parsed, err := parseTemplate(key, text)
	if err != nil {
		return "", err
	}
	var value limited
	err = parsed.Execute(&value, valuesOf(in))
	return value.text.String(), err
}

// limited takes as much as a value may hold.
type limited struct{ text strings.Builder }

func (l *limited) Write(p []byte) (int, error) {
	if l.text.Len()+len(p) > maxValue {
		return 0, errLongValue
	}
	return l.text.Write(p)
}

// trials are inputs of no account to try templates with: one with all that there can be, and one with only what a server that is
// not AWS has to give.
var trials = []input{
	{region: "eu-west-1", Credential: credential.Credential{
		AccessKeyID: "ASIA0123456789ABCDEF", SecretAccessKey: credential.Secret(strings.Repeat("s", 40)), SessionToken: credential.Secret(strings.Repeat("t", 2<<10)),
		PrincipalARN: "arn:aws:sts::123456789012:assumed-role/role/session",
	}},
	{region: "eu-west-1", Credential: credential.Credential{AccessKeyID: "ASIA0123456789ABCDEF", SecretAccessKey: "s"}},
}

// checkData returns what is wrong with each key's template that cannot be rendered.
func checkData(data map[string]v1alpha1.DataTemplate) (problems []string) {
	for key, text := range data {
		for _, trial := range trials {
			if _, err := rendered(key, text, trial); err != nil {
				problems = append(problems, fmt.Sprintf("spec.secret.data[%s]: %s", key, failure.Cut(told(key, err), quotedLength)))
			}
		}
	}
	return problems
}

// told returns an error of a template as "line 3:14: what is wrong", without the part of the template, which may be long.
func told(key string, err error) string {
	text := strings.Replace(err.Error(), "template: "+key+":", "line ", 1)
	if line, rest, ok := strings.Cut(text, ": executing "); ok {
		return line + rest[strings.LastIndex(rest, ">: ")+1:]
	}
	return text
}
