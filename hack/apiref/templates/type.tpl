{{- /* One type, without the fields that it shares with others: it links to their type. */ -}}
{{- define "type" -}}
{{- $type := .type -}}
{{- $shared := "" -}}
{{- $inherited := list -}}
{{- range $other := .shared -}}
{{- range $other.References -}}
{{- if eq .Name $type.Name -}}
{{- $shared = $other -}}
{{- range $other.Members }}{{ $inherited = append $inherited .Name }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if markdownShouldRenderType $type }}
## {{ $type.Name }}

{{ template "doc" dict "name" $type.Name "doc" $type.Doc }}
{{ with index $type.Markers "kubebuilder:validation:XValidation" }}
{{- range . }}{{ if not (hasKey $.seen .Message) }}
Rule: {{ template "text" .Message }}.
{{ $_ := set $.seen .Message true }}{{ end }}{{ end }}
{{- end }}
{{- if $type.GVK }}
Its
{{- range $type.Members }}{{ if ne .Name "metadata" }} `{{ .Name }}` is {{ with get $.alias .Type.Name }}{{ markdownRenderTypeLink . }}{{ else }}{{ markdownRenderType .Type }}{{ end }}{{ if eq .Name "spec" }}, its{{ else }}.{{ end }}{{ end }}{{ end }}
{{ else }}
{{- if $shared }}
It has the fields of {{ markdownRenderTypeLink $shared }}, and:
{{ end }}
{{- if $type.Members }}
{{- range $type.Members }}{{ if not (has .Name $inherited) }}
- **`{{ .Name }}`** {{ markdownRenderType .Type }}{{ template "bounds" . }}: {{ template "doc" dict "name" .Name "doc" .Doc }}
{{- end }}{{ end }}
{{ end }}
{{- end }}
{{- $values := list -}}
{{- range $type.EnumValues }}{{ if .Doc }}{{ $values = append $values . }}{{ end }}{{ end -}}
{{- if $values }}
{{- range $values }}
- **`{{ .Name }}`**: {{ template "doc" dict "name" (printf "%s%s" $type.Name .Name) "doc" .Doc "isValue" true }}
{{- end }}
{{ end }}
{{- end }}
{{- end -}}
