{{- define "gvDetails" -}}
The API version is `{{ .GroupVersionString }}`. Its kinds:
{{ range .SortedKinds }}
- {{ $.TypeForKind . | markdownRenderTypeLink }}
{{- end }}
{{ $shared := list }}
{{- range list "CredentialSpec" "CredentialStatus" "IdentitySettings" }}{{ $shared = append $shared ($.TypeForKind .) }}{{ end }}
{{- range .SortedTypes }}{{ template "type" dict "type" . "shared" $shared }}{{ end }}
{{- end -}}
