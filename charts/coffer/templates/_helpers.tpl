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

{{- /* Whether the vault is here: not empty. */ -}}
{{- define "coffer.server.enabled" -}}
{{- if and .Values.server.enabled (not .Values.global.externalVaultAddr) }}yes{{ end -}}
{{- end -}}

{{- define "coffer.server.selector" -}}
app.kubernetes.io/name: {{ include "coffer.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "coffer.server.labels" -}}
{{ include "coffer.server.selector" . }}
{{ include "coffer.labels" . }}
{{- end -}}

{{- /* The vault's address for pods. */ -}}
{{- define "coffer.address" -}}
{{- .Values.global.externalVaultAddr | default (printf "https://%s.%s.svc:8200" (include "coffer.fullname" .) .Release.Namespace) -}}
{{- end -}}

{{- define "coffer.server.sealSecret" -}}
{{- .Values.server.seal.secretName | default (printf "%s-seal-key" (include "coffer.fullname" .)) -}}
{{- end -}}

{{- define "coffer.server.caConfigMap" -}}
{{ include "coffer.fullname" . }}-server-ca
{{- end -}}

{{- /* A claim of the server's. Takes its name and its values. */ -}}
{{- define "coffer.server.claim" -}}
{{- $storage := index . 1 -}}
- metadata:
    name: {{ index . 0 }}
    {{- with $storage.annotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    accessModes: [{{ $storage.accessMode }}]
    {{- with $storage.storageClass }}
    storageClassName: {{ . }}
    {{- end }}
    resources:
      requests:
        storage: {{ $storage.size }}
{{- end -}}

{{- define "coffer.server.automatic" -}}
{{- if and .Values.server.init.enabled (eq .Values.server.seal.type "static-key") }}yes{{ end -}}
{{- end -}}

{{- define "coffer.labels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
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
{{ include "coffer.labels" . }}
{{- end -}}

{{- define "coffer.node" -}}
{{ include "coffer.fullname" . }}-node
{{- end -}}

{{- define "coffer.node.selector" -}}
app.kubernetes.io/name: {{ include "coffer.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: node
{{- end -}}

{{- define "coffer.node.labels" -}}
{{ include "coffer.node.selector" . }}
{{ include "coffer.labels" . }}
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
{{- if .Values.injector.vaultCAConfigMap -}}
{{- .Values.injector.vaultCAConfigMap -}}
{{- else if .Values.injector.vaultCA -}}
{{ include "coffer.injector" . }}-vault-ca
{{- else if and (include "coffer.server.enabled" .) (not .Values.server.tls.secretName) -}}
{{ include "coffer.server.caConfigMap" . }}
{{- end -}}
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
