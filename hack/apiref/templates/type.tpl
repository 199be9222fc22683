{{- define "type" -}}
{{- $type := . -}}
{{- if markdownShouldRenderType $type }}
## {{ $type.Name }}

{{ $type.Doc | replace "\n" " " }}
{{- if $type.References }}

In:
{{- range $i, $reference := $type.SortedReferences }}{{ if $i }},{{ end }} {{ markdownRenderTypeLink $reference }}{{ end }}.
{{- end }}
{{- with index $type.Markers "kubebuilder:validation:XValidation" }}
{{ range . }}
- {{ template "text" .Message }}.
{{- end }}
{{- end }}
{{ if $type.Members }}
| Field | | Default | Bounds |
|---|---|---|---|
{{- if $type.GVK }}
| `apiVersion` string | `{{ $type.GVK.Group }}/{{ $type.GVK.Version }}` | | |
| `kind` string | `{{ $type.GVK.Kind }}` | | |
{{- end }}
{{- range $type.Members }}
| `{{ .Name }}` {{ markdownRenderType .Type }} | {{ if eq .Name "metadata" }}Standard object metadata.{{ else }}{{ template "text" .Doc }}{{ end }} | {{ with .Default }}`{{ . }}`{{ end }} | {{ template "bounds" . }} |
{{- end }}
{{ end }}
{{- if $type.EnumValues }}
| Value | |
|---|---|
{{- range $type.EnumValues }}{{ if .Doc }}
| `{{ .Name }}` | {{ template "text" .Doc }} |
{{- end }}{{ end }}
{{ end }}
{{- end }}
{{- end -}}
