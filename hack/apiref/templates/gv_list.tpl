{{- define "gvList" -}}
# API reference

Every field of every kind, as `kubectl explain` prints it. Generated from [api/v1alpha1](../api/v1alpha1) by `make manifests`: do not edit. For examples, see the pages of the [kinds](README.md#reference).

Durations are whole hours, minutes and seconds, such as `1h30m`. If a value contains a character that is not allowed, the API server's error names the allowed ones. A rule of several types is listed with the first.
{{ range . }}
{{ template "gvDetails" . }}
{{- end -}}
{{- end -}}
