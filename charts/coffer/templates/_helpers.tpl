{{- define "coffer.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* The release's name, with the chart's where it is not in there already. */ -}}
{{- define "coffer.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "coffer.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "coffer.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "coffer.injector" -}}
{{ include "coffer.fullname" . }}-injector
{{- end -}}

{{- define "coffer.injector.selector" -}}
app.kubernetes.io/name: {{ include "coffer.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: injector
{{- end -}}

{{- define "coffer.injector.labels" -}}
{{ include "coffer.injector.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- /* An image by digest where there is one, else by tag. Takes the image's values and the chart's version. */ -}}
{{- define "coffer.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default (index . 1)) -}}
{{- end -}}
{{- end -}}

{{- define "coffer.injector.caConfigMap" -}}
{{- .Values.injector.vaultCAConfigMap | default (ternary (printf "%s-vault-ca" (include "coffer.injector" .)) "" (not (empty .Values.injector.vaultCA))) -}}
{{- end -}}

{{- /* Whether a pod, of this name in CEL, has one of Coffer's annotations. */ -}}
{{- define "coffer.injector.asks" -}}
has({{ . }}.metadata.annotations) && {{ . }}.metadata.annotations.exists(name, name.startsWith('coffer.dev/'))
{{- end -}}

{{- /* Namespaces that are asked about: never those that the webhook itself depends on. */ -}}
{{- define "coffer.injector.namespaces" -}}
- key: kubernetes.io/metadata.name
  operator: NotIn
  values: [kube-system, {{ .Release.Namespace }}]
{{- with .Values.injector.webhook.namespaceSelector.matchExpressions }}
{{ toYaml . }}
{{- end }}
{{- end -}}
