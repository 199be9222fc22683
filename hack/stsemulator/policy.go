package stsemulator

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// packedLimit is the limit of the packed bytes of a session's policies and tags. AWS publishes neither its packing nor the limit. This
// value agrees with what is known: 2,048 characters of policy may fill it, and the six tags of EKS Pod Identity take 74 % of it.
const packedLimit = 512

// packedPolicySize is in percent of the limit, rounded up; 0 without policies and tags. It assumes that JSON without blanks and policy ARNs
// are packed to a quarter, and tags not at all.
func packedPolicySize(policy string, policyARNs []string, tags map[string]string) int {
	var compact bytes.Buffer
	if policy != "" && json.Compact(&compact, []byte(policy)) != nil {
		compact.WriteString(policy)
	}
	quarters := compact.Len() + len(strings.Join(policyARNs, ","))
	for key, value := range tags {
		quarters += 4 * (len(key) + len(value) + 2)
	}
	return (quarters*100 + 4*packedLimit - 1) / (4 * packedLimit)
}

// checkPolicy rejects a session policy that is not a policy document.
func checkPolicy(policy string) error {
	var document struct {
		Statement json.RawMessage
	}
	if err := json.Unmarshal([]byte(policy), &document); err != nil {
		return malformed(policy, err)
	}
	statements := []statement{{}}
	if bytes.HasPrefix(document.Statement, []byte("[")) {
		statements = nil
		if json.Unmarshal(document.Statement, &statements) != nil {
			return newError("MalformedPolicyDocument", "Syntax errors in policy.")
		}
	} else if json.Unmarshal(document.Statement, &statements[0]) != nil {
		return newError("MalformedPolicyDocument", "Syntax errors in policy.")
	}
	for _, s := range statements {
		if !s.complete() {
			return newError("MalformedPolicyDocument", "Syntax errors in policy.")
		}
	}
	return nil
}

// statement contains the required fields of a statement of a session policy.
type statement struct {
	Effect                string
	Action, NotAction     json.RawMessage
	Resource, NotResource json.RawMessage
}

func (s statement) complete() bool {
	return (s.Effect == "Allow" || s.Effect == "Deny") &&
		(s.Action != nil) != (s.NotAction != nil) && (s.Resource != nil) != (s.NotResource != nil)
}

// malformed has a shorter message than AWS, whose message contains the address of an object of its JSON parser and so always differs.
func malformed(policy string, err error) error {
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) || int(syntax.Offset) < 1 || int(syntax.Offset) > len(policy) {
		return newError("MalformedPolicyDocument", "Syntax errors in policy.")
	}
	var object [4]byte
	rand.Read(object[:])
	before := policy[:syntax.Offset-1]
	char := policy[syntax.Offset-1]
	return newError("MalformedPolicyDocument",
		"Unexpected character ('%c' (code %d)): expected a valid value (number, String, array, object, 'true', 'false' or 'null')\n"+
			" at [Source: java.io.StringReader@%x; line: %d, column: %d]",
		char, char, object, strings.Count(before, "\n")+1, len(before)-strings.LastIndex(before, "\n"))
}

func packedTooLarge(percent int, policies bool) error {
	message := fmt.Sprintf("Packed size of session tags consumes %d%% of allotted space.", percent)
	if policies {
		message = fmt.Sprintf("Packed policy consumes %d%% of allotted space, please use smaller policy.", percent)
	}
	return newError("PackedPolicyTooLarge", "%s", message)
}
