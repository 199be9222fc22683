package render

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strings"
	"text/template/parse"
)

// rendering executes a template without [forbidden] parts. The remaining language has only strings and bools as
// values. The package text/template would support all of it, but it calls methods by name: the linker would then keep
// all exported methods, a fifth of the manager's binary and 9 MiB of its memory.
type rendering struct {
	values map[string]string
	text   strings.Builder
}

func (r *rendering) list(list *parse.ListNode) *fault {
	if list == nil { // the else branch is empty
		return nil
	}
	for _, node := range list.Nodes {
		if f := r.node(node); f != nil {
			return f
		}
	}
	return nil
}

func (r *rendering) node(node parse.Node) *fault {
	switch n := node.(type) {
	case *parse.TextNode:
		return r.write(n, string(n.Text))
	case *parse.ActionNode:
		value, f := r.pipe(n.Pipe)
		if f != nil {
			return f
		}
		return r.write(n, fmt.Sprint(value))
	case *parse.IfNode:
		value, f := r.pipe(n.Pipe)
		switch {
		case f != nil:
			return f
		case truth(value):
			return r.list(n.List)
		default:
			return r.list(n.ElseList)
		}
	default:
		return notAllowed(n)
	}
}

func (r *rendering) write(part parse.Node, text string) *fault {
	if r.text.Len()+len(text) > maxValue {
		return &fault{part, errLongValue}
	}
	r.text.WriteString(text)
	return nil
}

// pipe returns the value of the last command of a pipeline. Each command gets the value of the previous one as its
// last argument.
func (r *rendering) pipe(pipe *parse.PipeNode) (any, *fault) {
	var piped []any
	for _, command := range pipe.Cmds {
		value, f := r.command(command, piped)
		if f != nil {
			return nil, f
		}
		piped = []any{value}
	}
	return piped[0], nil
}

func (r *rendering) command(command *parse.CommandNode, piped []any) (any, *fault) {
	first, rest := command.Args[0], command.Args[1:]
	name, ok := first.(*parse.IdentifierNode)
	if !ok {
		if len(rest)+len(piped) > 0 {
			return nil, faulty(first, "%s is not a function but has arguments", first)
		}
		return r.value(first)
	}
	args := make([]any, 0, len(rest)+len(piped))
	for _, node := range rest {
		arg, f := r.value(node)
		if f != nil {
			return nil, f
		}
		args = append(args, arg)
	}
	return call(name, append(args, piped...))
}

// value returns the value of an argument.
func (r *rendering) value(node parse.Node) (any, *fault) {
	switch n := node.(type) {
	case *parse.FieldNode:
		return r.values[n.Ident[0]], nil
	case *parse.StringNode:
		return n.Text, nil
	case *parse.BoolNode:
		return n.True, nil
	case *parse.IdentifierNode:
		return call(n, nil)
	case *parse.PipeNode:
		return r.pipe(n)
	default:
		return nil, notAllowed(n)
	}
}

// function is a function of templates, with the bounds of its number of arguments.
type function struct {
	least, most int
	call        func(args []any) (any, error)
}

const many = math.MaxInt

// functions are functions of text/template, or bounded versions of them.
var functions = map[string]function{
	"and": {1, many, func(args []any) (any, error) { return firstWithTruth(false, args), nil }},
	"or":  {1, many, func(args []any) (any, error) { return firstWithTruth(true, args), nil }},
	"not": {1, 1, func(args []any) (any, error) { return !truth(args[0]), nil }},
	"eq":  {2, many, func(args []any) (any, error) { return equal(args) }},
	"ne": {2, 2, func(args []any) (any, error) {
		same, err := equal(args)
		return !same, err
	}},
	"base64":   {1, 1, stringFunction(func(args ...string) string { return base64.StdEncoding.EncodeToString([]byte(args[0])) })},
	"json":     {1, 1, stringFunction(func(args ...string) string { return quoted(args[0]) })},
	"lower":    {1, 1, stringFunction(func(args ...string) string { return strings.ToLower(args[0]) })},
	"print":    {0, many, stringFunction(func(args ...string) string { return strings.Join(args, "") })},
	"upper":    {1, 1, stringFunction(func(args ...string) string { return strings.ToUpper(args[0]) })},
	"urlquery": {1, 1, stringFunction(func(args ...string) string { return url.QueryEscape(args[0]) })},
}

func call(name *parse.IdentifierNode, args []any) (any, *fault) {
	called := functions[name.Ident]
	if len(args) < called.least || len(args) > called.most {
		want := fmt.Sprint(called.least)
		if called.most == many {
			want = "at least " + want
		}
		return nil, faulty(name, "wrong number of args for %s: want %s got %d", name, want, len(args))
	}
	result, err := called.call(args)
	if err != nil {
		return nil, faulty(name, "error calling %s: %w", name, err)
	}
	return result, nil
}

// stringFunction makes a template function of a function on strings. It bounds arguments and result to [maxCall]
// bytes.
func stringFunction(f func(...string) string) func([]any) (any, error) {
	return func(args []any) (any, error) {
		texts, length := make([]string, len(args)), 0
		for i, arg := range args {
			text, ok := arg.(string)
			if !ok {
				return nil, fmt.Errorf("expected string; found %v", arg)
			}
			texts[i], length = text, length+len(text)
		}
		if length > maxCall {
			return nil, errLongResult
		}
		if result := f(texts...); len(result) <= maxCall {
			return result, nil
		}
		return nil, errLongResult
	}
}

// quoted returns a string as a JSON string.
func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // every string has a JSON encoding
	}
	return string(text)
}

// truth reports whether a value is neither false nor empty.
func truth(value any) bool { return value != any("") && value != any(false) }

// firstWithTruth returns the first value with the given truth, or else the last value.
func firstWithTruth(truthful bool, values []any) any {
	for _, value := range values {
		if truth(value) == truthful {
			return value
		}
	}
	return values[len(values)-1]
}

// equal reports whether the first value is equal to any of the others.
func equal(values []any) (same bool, err error) {
	_, isString := values[0].(string)
	for _, value := range values[1:] {
		if _, like := value.(string); like != isString {
			return false, fmt.Errorf("incompatible types for comparison: %T and %T", values[0], value)
		}
		same = same || value == values[0]
	}
	return same, nil
}
