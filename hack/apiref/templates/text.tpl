{{- /* A comment as one line of a table. */ -}}
{{- define "text" -}}
{{ markdownRenderFieldDoc . | replace "<br />" " " | trim | replace "<" "&lt;" | replace "*" "\\*" }}
{{- end -}}

{{- /* A doc comment in a line that already shows its name: without the leading "name is". That of a value may start with
     a key, which keeps its case. */ -}}
{{- define "doc" -}}
{{- $doc := .doc | replace "\n" " " -}}
{{- range list "is " "are " -}}
{{- $prefix := printf "%s %s" $.name . -}}
{{- if hasPrefix $prefix $doc -}}
{{- $doc = trimPrefix $prefix $doc -}}
{{- if not $.isValue }}{{ $doc = printf "%s%s" (substr 0 1 $doc | upper) (substr 1 (len $doc) $doc) }}{{ end -}}
{{- end -}}
{{- end -}}
{{ template "text" $doc }}
{{- end -}}

{{- /* The bounds and the default of a field in the schema, without the messages of its rules. */ -}}
{{- define "bounds" -}}
{{- $values := dict -}}
{{- $bounds := list -}}
{{- range .Validation -}}
{{- $parts := splitn ": " 2 . -}}
{{- if eq $parts._0 "Required" }}{{ $bounds = append $bounds "required" }}{{ end -}}
{{- with $parts._1 }}{{ $_ := set $values $parts._0 . }}{{ end -}}
{{- end -}}
{{- with .Default }}{{ if not (hasPrefix "{" .) }}{{ $bounds = append $bounds (printf "default `%s`" .) }}{{ end }}{{ end -}}
{{- if not (hasSuffix "Duration" .Type.Name) -}}
{{- range list (list "Minimum" "Maximum" "") (list "MinLength" "MaxLength" " characters") (list "MinItems" "MaxItems" " items") (list "MinProperties" "MaxProperties" " keys") (list "items:MinLength" "items:MaxLength" " characters each") -}}
{{- $min := get $values (index . 0) -}}
{{- $max := get $values (index . 1) -}}
{{- if and $min $max }}{{ $bounds = append $bounds (printf "%s–%s%s" $min $max (index . 2)) -}}
{{- else if $max }}{{ $bounds = append $bounds (printf "up to %s%s" $max (index . 2)) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- range $bounds }}, {{ . }}{{ end -}}
{{- end -}}
