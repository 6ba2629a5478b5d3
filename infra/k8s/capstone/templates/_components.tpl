{{- /*
What runs, as docker-compose.yml has it; tests/integration/test_chart.py holds the two together.

image     which image it is a container of; `own` are settings and a secret of this project's services
port      where it listens; without one it is a worker, started as `module`
route     whether clients reach it through the Ingress
data      its folder /data: scratch, or the name of a claim in `storage`
weights   whether it reads the weights
reaches   whom it calls: the only arrows that the network policies allow
queue     the metric that it is scaled by, besides its processor time; `of` the Service that reports it, else its own pods
*/ -}}
{{- define "capstone.components" -}}
api:
  {image: api, own: true, port: 8000, route: true, data: scratch, weights: true, reaches: [postgres, chroma, mlflow],
   queue: {metric: queue_waiting, labels: {queue: generator}}}
ingest:
  {image: ingest, own: true, port: 8000, route: true, data: documents, weights: true, reaches: [postgres]}
ingest-worker:
  {image: ingest, own: true, module: services.ingest.worker, data: documents, weights: true, reaches: [postgres],
   queue: {metric: ingest_jobs_open, of: ingest}}
eval:
  {image: eval, own: true, port: 8000, route: true, data: evaluations, reaches: [postgres, mlflow]}
eval-worker:
  {image: eval, own: true, module: services.eval.worker, data: evaluations, reaches: [postgres, mlflow, api],
   queue: {metric: evaluation_jobs_open, of: eval}}
{{- if and (eq .Values.vectorStore "chroma") .Values.chroma.deploy }}
chroma:
  {image: chroma, port: 8000, health: /api/v2/heartbeat, data: chroma, reaches: []}
{{- end }}
{{- if .Values.mlflow.deploy }}
mlflow:
  {image: mlflow, port: 5000, health: /health, data: {{ ternary "scratch" "mlflow" (ne .Values.mlflow.s3.bucket "") }}, reaches: {{ ternary "[postgres, s3]" "[postgres]" (ne .Values.mlflow.s3.bucket "") }}}
{{- end }}
{{- end }}
