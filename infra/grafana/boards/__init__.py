"""The dashboards, one module each."""

from infra.grafana.boards import answers, drift, generation, health, ingest, releases

BOARDS = (health.BOARD, answers.BOARD, generation.BOARD, ingest.BOARD, drift.BOARD, releases.BOARD)
