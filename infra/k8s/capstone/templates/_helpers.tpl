{{- define "capstone.fullname" -}}
{{- if contains "capstone" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-capstone" (.Release.Name | trunc 31 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- /* Labels that a selector may use: they never change. Takes (list $ COMPONENT). */ -}}
{{- define "capstone.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: capstone
app.kubernetes.io/instance: {{ $.Release.Name }}
{{- with index . 1 }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "capstone.labels" -}}
{{- $ := index . 0 -}}
{{ include "capstone.selector" . }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version }}
{{- end }}

{{- /* Takes (list $ IMAGE): by digest if `image.digests` has one for it, else by tag. */ -}}
{{- define "capstone.image" -}}
{{- $ := index . 0 -}}{{- $image := $.Values.image -}}
{{- with $image.registry }}{{ . | trimSuffix "/" }}/{{ end }}capstone-{{ index . 1 }}
{{- with index $image.digests (index . 1) }}@{{ . }}{{ else }}:{{ $image.tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "capstone.modelsDir" -}}
{{ printf "/weights/%s" .Values.weights.from }}
{{- end }}

{{- define "capstone.url.chroma" -}}
{{ .Values.chroma.deploy | ternary (printf "http://%s-chroma:8000" (include "capstone.fullname" .)) .Values.chroma.url }}
{{- end }}

{{- define "capstone.url.mlflow" -}}
{{ .Values.mlflow.deploy | ternary (printf "http://%s-mlflow:5000" (include "capstone.fullname" .)) .Values.mlflow.url }}
{{- end }}

{{- /* The port of a URL: the one it names, else its scheme's. */ -}}
{{- define "capstone.port" -}}
{{- $parts := urlParse . -}}
{{- $named := regexFind ":[0-9]+$" $parts.host | trimPrefix ":" -}}
{{- $named | default (eq $parts.scheme "https" | ternary "443" "80") -}}
{{- end }}

{{- define "capstone.claim" -}}
{{- $ := index . 0 -}}
{{- (index $.Values.storage (index . 1)).existingClaim | default (printf "%s-%s" (include "capstone.fullname" $) (index . 1)) -}}
{{- end }}

{{- /* Settings of this project's services. Takes (list $ COMPONENT); what stands in `settings` wins. */ -}}
{{- define "capstone.settings" -}}
{{- $ := index . 0 -}}{{- $name := index . 1 -}}{{- $workload := index $.Values.workloads $name -}}
{{- $settings := dict "secrets_dir" "/run/secrets" "data_dir" "/data" "models_dir" (include "capstone.modelsDir" $) -}}
{{- $_ := set $settings "vector_store" $.Values.vectorStore -}}
{{- if eq $.Values.vectorStore "chroma" }}{{ $_ := set $settings "chroma_url" (include "capstone.url.chroma" $) }}{{ end -}}
{{- $_ := set $settings "mlflow_uri" (include "capstone.url.mlflow" $) -}}
{{- $_ := set $settings "api_url" (printf "http://%s-api:8000" (include "capstone.fullname" $)) -}}
{{- with $workload.gpu }}{{ $_ := set $settings "device" "cuda" }}{{ end -}}
{{- $settings = merge (dict) ($workload.settings | default dict) $.Values.settings $settings -}}
{{- range $key, $value := $settings }}
{{- if and (kindIs "float64" $value) (eq $value (floor $value)) }}{{ $value = int64 $value }}{{ end }}{{/* else 1e+08 */}}
- {name: CAPSTONE_{{ upper $key }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- if not (hasKey $settings "torch_threads") }}
- name: CAPSTONE_TORCH_THREADS  # as many as it may use, not as many as the node has
  valueFrom: {resourceFieldRef: {resource: limits.cpu}}
{{- end }}
{{- end }}

{{- define "capstone.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "capstone.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* What every pod has in common, jobs included. Service links would set variables that look like settings. */ -}}
{{- define "capstone.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- include "capstone.podSecurity" . | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
