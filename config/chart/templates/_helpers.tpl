{{/* The prefix of all names. The longest, of a Service, may have 63 characters. */}}
{{- define "rolecredential.prefix" -}}
{{- $prefix := .Release.Name -}}
{{- if not (contains .Chart.Name .Release.Name) }}{{ $prefix = printf "%s-%s" .Release.Name .Chart.Name }}{{ end -}}
{{- $prefix | trunc 38 | trimSuffix "-" -}}
{{- end }}

{{/* Selector labels of the manager's pods. */}}
{{- define "rolecredential.selector" -}}
app.kubernetes.io/name: rolecredential
app.kubernetes.io/component: manager
{{- end }}

{{/* Helm's common labels. */}}
{{- define "rolecredential.labels" -}}
app.kubernetes.io/name: rolecredential
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Helm's common labels, for the manager's own objects. */}}
{{- define "rolecredential.managerLabels" -}}
{{ include "rolecredential.labels" . }}
app.kubernetes.io/component: manager
{{- end }}

{{- define "rolecredential.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end }}

{{/* Binds a ClusterRole to the manager in all namespaces, or in each watched one: (list . role name). */}}
{{- define "rolecredential.bindings" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- $name := index . 2 -}}
{{- range $root.Values.watchNamespaces }}
{{ include "rolecredential.binding" (list $root "RoleBinding" "ClusterRole" $role $name .) }}
---
{{- else }}
{{ include "rolecredential.binding" (list $root "ClusterRoleBinding" "ClusterRole" $role $name "") }}
{{- end }}
{{- end }}

{{/* Binds a role to the manager: (list . kind-of-binding kind-of-role role name namespace). An empty namespace means the whole cluster. */}}
{{- define "rolecredential.binding" -}}
{{- $root := index . 0 -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ index . 1 }}
metadata:
  name: {{ include "rolecredential.prefix" $root }}-{{ index . 4 }}
  {{- with index . 5 }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "rolecredential.labels" $root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ index . 2 }}
  name: {{ include "rolecredential.prefix" $root }}-{{ index . 3 }}
subjects:
- kind: ServiceAccount
  name: {{ include "rolecredential.prefix" $root }}-manager
  namespace: {{ $root.Release.Namespace }}
{{- end }}
