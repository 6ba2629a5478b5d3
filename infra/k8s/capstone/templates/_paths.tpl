{{- /* Prefixes, by whole parts of a path; `=` a path and nothing below it. The longest wins. */ -}}
{{- define "capstone.paths" -}}
ingest: [/v1/documents, /v1/collections, /v1/jobs, /v1/reindex]
eval: [/v1/rouge, /v1/evaluations, /v1/verdicts, /v1/releases, /v1/drift, /v1/retraining-runs]
api: [/v1, /docs, =/openapi.json, /static-offline-docs, =/livez, =/readyz, =/, /web]
{{- end }}
