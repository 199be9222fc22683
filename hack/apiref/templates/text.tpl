{{- /* A comment as one line of a table. */ -}}
{{- define "text" -}}
{{ markdownRenderFieldDoc . | replace "<br />" " " | trim | replace "<" "&lt;" | replace "*" "\\*" }}
{{- end -}}

{{- /* What the schema says of a field, and of a rule what it says to who breaks it. */ -}}
{{- define "bounds" -}}
{{- $said := list -}}
{{- range .Validation -}}
{{- if hasPrefix "Required:" . }}{{ $said = append $said "required" -}}
{{- else if or (hasPrefix "Optional:" .) (contains "XValidation:" .) (hasPrefix "Type:" .) -}}
{{- else }}{{ $said = append $said (markdownRenderFieldDoc . | replace "items:" "each ") }}{{ end -}}
{{- end -}}
{{- range $name := list "kubebuilder:validation:XValidation" "kubebuilder:validation:items:XValidation" -}}
{{- range $rule := index $.Markers $name }}{{ $said = append $said (markdownRenderFieldDoc $rule.Message) }}{{ end -}}
{{- end -}}
{{ join "; " $said | replace "<" "&lt;" | replace "*" "\\*" }}
{{- end -}}
