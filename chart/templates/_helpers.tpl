{{/* Everything of the chart itself. What its controller deploys has z2jh's names. */}}
{{- define "perijove.name" -}}
perijove-{{ .Release.Name }}-controller
{{- end }}

{{/* The prefix of z2jh's names: `fullnameOverride`, or what z2jh makes of release and chart where it is null. */}}
{{- define "perijove.fullname" -}}
{{- if and (hasKey .Values "fullnameOverride") (kindIs "invalid" .Values.fullnameOverride) -}}
{{- $name := .Values.nameOverride -}}
{{- if kindIs "invalid" $name }}{{ $name = "jupyterhub" }}{{ end -}}
{{- if contains $name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ $name }}{{ end -}}
{{- else -}}
{{ .Values.fullnameOverride | default "" }}
{{- end -}}
{{- end }}

{{- define "perijove.labels" -}}
app.kubernetes.io/name: perijove-controller
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
perijove.io/part: chart
{{- end }}

{{- define "perijove.selector" -}}
app.kubernetes.io/name: perijove-controller
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "perijove.image" -}}
{{- $image := dig "image" (dict) (.Values.perijove | default dict) -}}
{{- if $image.name -}}
{{ $image.name }}{{ with $image.tag }}:{{ . }}{{ end }}
{{- else -}}
quay.io/perijove/perijove:{{ .Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* JSON, which is YAML: as YAML, Helm writes 10485760 as 1.048576e+07. */}}
{{- define "perijove.values" -}}
{{ toPrettyJson (omit .Values "global") }}
{{- end }}

{{- define "perijove.checksum" -}}
{{ printf "%s\n%s\n%s" (include "perijove.values" .) (include "perijove.image" .) .Chart.AppVersion | sha256sum }}
{{- end }}

{{- define "perijove.pod" -}}
{{- $image := dig "image" (dict) (.Values.perijove | default dict) -}}
serviceAccountName: {{ include "perijove.name" . }}
{{- with concat ($image.pullSecrets | default list) (.Values.imagePullSecrets | default list) }}
imagePullSecrets: {{ toJson . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "perijove.container" -}}
{{- $image := dig "image" (dict) (.Values.perijove | default dict) -}}
image: {{ include "perijove.image" . | quote }}
{{- with $image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
resources:
  requests: {cpu: 10m, memory: 128Mi}
env:
  - {name: PYTHONUNBUFFERED, value: "1"}
{{- end }}
