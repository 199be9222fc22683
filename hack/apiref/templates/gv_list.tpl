{{- define "gvList" -}}
# API reference

Every field of every kind, as `kubectl explain` tells it too. Generated from [api/v1alpha1](../api/v1alpha1) by `make manifests`: do not edit. The pages of the [kinds](README.md) begin with an example.
{{ range . }}
{{ template "gvDetails" . }}
{{- end -}}
{{- end -}}
