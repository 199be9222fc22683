{{- define "gvDetails" -}}
The API version is `{{ .GroupVersionString }}`. Its kinds:
{{ range .SortedKinds }}
- {{ $.TypeForKind . | markdownRenderTypeLink }}
{{- end }}
{{ $shared := list }}
{{- range list "CredentialSpec" "CredentialStatus" "IdentitySettings" "RolesAnywhereSettings" "OIDCSettings" }}{{ $shared = append $shared ($.TypeForKind .) }}{{ end }}
{{- /* Types that have only shared fields, each with the type that it is shown as. */ -}}
{{- $alias := dict }}
{{- range $other := $shared }}{{ range $other.References }}{{ if eq (len .Members) (len $other.Members) }}{{ $_ := set $alias .Name $other }}{{ end }}{{ end }}{{ end }}
{{- $seen := dict }}
{{- range .SortedTypes }}{{ if not (hasKey $alias .Name) }}{{ template "type" dict "type" . "shared" $shared "alias" $alias "seen" $seen }}{{ end }}{{ end }}
{{- end -}}
