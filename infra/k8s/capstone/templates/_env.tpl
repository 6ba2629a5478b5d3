{{- /* The environment of what is not this project's. Each takes (list $ COMPONENT). */ -}}
{{- define "capstone.env.chroma" -}}
- {name: ANONYMIZED_TELEMETRY, value: "False"}
{{- end }}

{{- define "capstone.env.mlflow" -}}
{{- $ := index . 0 -}}{{- $host := printf "%s-mlflow" (include "capstone.fullname" $) -}}
- {name: MLFLOW_BACKEND_STORE_URI_FILE, value: /run/secrets/backend_store_uri}
- {name: MLFLOW_SERVER_ALLOWED_HOSTS, value: "{{ $host }},{{ $host }}:5000"}
{{- with $.Values.mlflow.s3 }}
{{- if .bucket }}
- {name: MLFLOW_ARTIFACTS_DESTINATION, value: "s3://{{ .bucket }}/{{ .prefix }}"}
- {name: AWS_SHARED_CREDENTIALS_FILE, value: /run/secrets/aws_credentials}
- {name: AWS_DEFAULT_REGION, value: {{ .region | quote }}}
- {name: AWS_EC2_METADATA_DISABLED, value: "true"}
{{- with .endpoint }}
- {name: MLFLOW_S3_ENDPOINT_URL, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
