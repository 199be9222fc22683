package stsemulator

import (
	"maps"
	"net/url"
	"slices"
	"strings"
)

// setTags checks the requested tags against each other and against the transitive tags of the caller's session, and stores both.
func (session *Session) setTags(form url.Values, caller *Session) error {
	keys, values := memberValues(form, "Tags", "Key"), memberValues(form, "Tags", "Value")
	transitive := memberValues(form, "TransitiveTagKeys", "")
	var inherited []string
	if caller != nil {
		inherited = caller.TransitiveTagKeys
	}
	requested := map[string]bool{}
	for _, key := range keys {
		folded := strings.ToLower(key)
		switch {
		case requested[folded]:
			return newError("InvalidParameterValue", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		case strings.HasPrefix(folded, "aws:"):
			return newError("InvalidParameterValue", "aws: prefixed tag key names are not allowed for external use.")
		case slices.ContainsFunc(inherited, func(k string) bool { return strings.EqualFold(k, key) }):
			return newError("InvalidParameterValue", "One of the specified transitive tag keys can't be set because "+
				"it conflicts with a transitive tag key from the calling session.")
		}
		requested[folded] = true
	}
	for _, key := range transitive {
		if !requested[strings.ToLower(key)] {
			return newError("InvalidParameterValue", "The specified transitive tag key must be included in the requested tags.")
		}
	}
	tags := map[string]string{}
	for i, key := range keys {
		tags[key] = values[i]
	}
	for _, key := range inherited {
		tags[key] = caller.Tags[key]
	}
	session.Tags, session.TransitiveTagKeys = tags, transitiveKeys(slices.Collect(maps.Keys(tags)), transitive, inherited)
	return nil
}

// transitiveKeys returns the keys of the transitive tags, in the tags' own case.
func transitiveKeys(keys, transitive, inherited []string) []string {
	return slices.DeleteFunc(slices.Sorted(slices.Values(keys)), func(key string) bool {
		same := func(k string) bool { return strings.EqualFold(k, key) }
		return !slices.ContainsFunc(transitive, same) && !slices.ContainsFunc(inherited, same)
	})
}

// inheritSourceIdentity keeps a source identity over a chain, in which it cannot change.
func (session *Session) inheritSourceIdentity(caller *Session) error {
	if caller == nil || caller.SourceIdentity == "" {
		return nil
	}
	if session.SourceIdentity != "" && session.SourceIdentity != caller.SourceIdentity {
		return newError("ValidationError", "The source identity is already set for this assume role session")
	}
	session.SourceIdentity = caller.SourceIdentity
	return nil
}
