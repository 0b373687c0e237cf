{{/* The release's name, within what a label and a Service may have. */}}
{{- define "inference.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What never changes in the life of a release: a selector is immutable. */}}
{{- define "inference.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "inference.labels" -}}
{{ include "inference.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "inference.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "inference.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (ternary (include "inference.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end -}}

{{- define "inference.securityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Requests and limits; the GPU is a limit, and its request follows. */}}
{{- define "inference.resources" -}}
requests:
  {{- toYaml .Values.resources.requests | nindent 2 }}
limits:
  {{- toYaml .Values.resources.limits | nindent 2 }}
  {{- if .Values.gpu.enabled }}
  nvidia.com/gpu: {{ .Values.gpu.count | quote }}
  {{- end }}
{{- end -}}

{{/* GPU nodes are tainted, and a GPU of the wrong kind is a slow one. */}}
{{- define "inference.placement" -}}
{{- if .Values.gpu.enabled -}}
nodeSelector:
  nvidia.com/gpu.product: {{ .Values.gpu.product | quote }}
tolerations:
  - key: nvidia.com/gpu
    operator: Exists
    effect: NoSchedule
{{- end -}}
{{- end -}}

{{/* What a schema cannot say: two values compared. */}}
{{- define "inference.bounds" -}}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) -}}
{{- fail "autoscaling.maxReplicas: must be greater than or equal to minReplicas" -}}
{{- end -}}
{{- end -}}

{{/* KServe makes longer names of it, and wants a letter first. */}}
{{- define "inference.kserveName" -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]{0,44}[a-z0-9])?$" (include "inference.fullname" .)) -}}
{{- fail "the release's name: an InferenceService begins with a letter and has no more than 46 characters" -}}
{{- end -}}
{{- end -}}

{{/* The cache that a release uses: its own redis, or one that is there already. */}}
{{- define "inference.cacheHost" -}}
{{- if .Values.redis.enabled -}}
{{ .Release.Name }}-redis
{{- else -}}
{{ .Values.cache.host }}
{{- end -}}
{{- end -}}
