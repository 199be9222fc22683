package stsemulator

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// bound is the constraint of a parameter in the STS API Reference.
type bound struct {
	name     string
	required bool
	// min and max count characters. They bound the value if integer is set, and the number of members if members is not empty.
	min, max int
	integer  bool
	pattern  pattern
	// secret is whether messages omit the value.
	secret bool
	// members make the parameter a list: of structures, or of plain values if there is one member without a name.
	members []bound
}

// pattern is a regular expression, and its text in AWS's messages.
type pattern struct {
	expression *regexp.Regexp
	spelling   string
}

func newPattern(spelling, expression string) pattern {
	return pattern{regexp.MustCompile(`^(?:` + expression + `)$`), spelling}
}

var (
	namePattern       = newPattern(`[\w+=,.@-]*`, `[\w+=,.@-]*`)
	externalIDPattern = newPattern(`[\w+=,.@:\/-]*`, `[\w+=,.@:/-]*`)
	policyPattern     = newPattern(`[\u0009\u000A\u000D\u0020-\u00FF]+`, `[\x09\x0A\x0D\x20-\x{FF}]+`)
	serialPattern     = newPattern(`[\w+=/:,.@-]*`, `[\w+=/:,.@-]*`)
	digitsPattern     = newPattern(`[\d]*`, `[0-9]*`)
	tagKeyPattern     = newPattern(`[\p{L}\p{Z}\p{N}_.:/=+\-@]+`, `[\pL\pZ\pN_.:/=+\-@]+`)
	tagValuePattern   = newPattern(`[\p{L}\p{Z}\p{N}_.:/=+\-@]*`, `[\pL\pZ\pN_.:/=+\-@]*`)
	arnPattern        = newPattern(`[\u0009\u000A\u000D\u0020-\u007E\u0085\u00A0-\uD7FF\uE000-\uFFFD\u10000-\u10FFFF]+`,
		`[\x09\x0A\x0D\x20-\x7E\x{85}\x{A0}-\x{D7FF}\x{E000}-\x{FFFD}\x{10000}-\x{10FFFF}]+`)
)

// validate checks a form against its bounds, and reports all violations with AWS's message.
func validate(form url.Values, bounds []bound) error {
	var found []string
	for _, b := range bounds {
		found = append(found, b.violations(form, b.name, lowerFirst(b.name))...)
	}
	switch len(found) {
	case 0:
		return nil
	case 1:
		return newError("ValidationError", "1 validation error detected: %s", found[0])
	default:
		return newError("ValidationError", "%d validation errors detected: %s", len(found), strings.Join(found, "; "))
	}
}

// violations returns the violations of a parameter, which has a key in the form and a name in messages.
func (b bound) violations(form url.Values, key, field string) []string {
	if len(b.members) > 0 {
		return b.listViolations(form, key, field)
	}
	if !form.Has(key) {
		if b.required {
			return []string{violation("null", field, "Member must not be null")}
		}
		return nil
	}
	value, quoted := form.Get(key), "'"+form.Get(key)+"'"
	if b.secret {
		quoted = ""
	}
	size, unit := utf8.RuneCountInString(value), "length"
	if b.integer {
		n, err := strconv.Atoi(value)
		if err != nil {
			return []string{violation(quoted, field, "Member must be an integer")}
		}
		size, unit = n, "value"
	}
	var found []string
	if p := b.pattern; p.expression != nil && !p.expression.MatchString(value) {
		found = append(found, violation(quoted, field, "Member must satisfy regular expression pattern: "+p.spelling))
	}
	if size < b.min {
		found = append(found, violation(quoted, field, fmt.Sprintf("Member must have %s greater than or equal to %d", unit, b.min)))
	}
	if b.max > 0 && size > b.max {
		found = append(found, violation(quoted, field, fmt.Sprintf("Member must have %s less than or equal to %d", unit, b.max)))
	}
	return found
}

func (b bound) listViolations(form url.Values, key, field string) []string {
	n := members(form, key)
	if n > b.max {
		return []string{violation("'[...]'", field, fmt.Sprintf("Member must have length less than or equal to %d", b.max))}
	}
	var found []string
	for i := 1; i <= n; i++ {
		for _, m := range b.members {
			itemKey, itemField := memberKey(key, i, m.name), fmt.Sprintf("%s.%d.member", field, i)
			if m.name != "" {
				itemField += "." + lowerFirst(m.name)
			}
			found = append(found, m.violations(form, itemKey, itemField)...)
		}
	}
	return found
}

// violation quotes the value, unless it is empty.
func violation(value, field, constraint string) string {
	if value != "" {
		value += " "
	}
	return fmt.Sprintf("Value %sat '%s' failed to satisfy constraint: %s", value, field, constraint)
}

// members returns the number of a list's items in the form, which are numbered from 1.
func members(form url.Values, list string) int {
	n := 0
	for hasMember(form, memberKey(list, n+1, "")) {
		n++
	}
	return n
}

func hasMember(form url.Values, item string) bool {
	for key := range form {
		if key == item || strings.HasPrefix(key, item+".") {
			return true
		}
	}
	return false
}

// memberKey returns the key of a list's item, or of its field, in the query protocol.
func memberKey(list string, i int, field string) string {
	key := list + ".member." + strconv.Itoa(i)
	if field != "" {
		key += "." + field
	}
	return key
}

// memberValues returns a field of every item of a list, or the plain values for an empty field.
func memberValues(form url.Values, list, field string) []string {
	var values []string
	for i := range members(form, list) {
		values = append(values, form.Get(memberKey(list, i+1, field)))
	}
	return values
}

func lowerFirst(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToLower(s[:1]) + s[1:]
}
