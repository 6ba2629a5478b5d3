"""A real Alertmanager with the committed configuration: who is told what, and what is held back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx

from tests.checks import Checks
from tests.watchers import alertmanager

_TOKEN = "of this test"
_WITHIN_S = 120.0
_ALERTS = (
    {"alertname": "ServiceDown", "job": "api", "severity": "critical"},
    {"alertname": "IndexLagging", "job": "api", "severity": "warning"},
    {"alertname": "IngestStuck", "job": "ingest", "severity": "critical"},
    {"alertname": "DriftDetected", "job": "eval", "severity": "warning", "loop": "retrain"},
    {"alertname": "ErrorBudgetBurn1h", "slo": "latency", "severity": "critical"},
    {"alertname": "ErrorBudgetBurn3d", "slo": "latency", "severity": "warning"},
    {"alertname": "ErrorBudgetBurn1d", "slo": "freshness", "severity": "warning"},
)


def check_alertmanager(folder: Path, checks: Checks) -> None:
    """Send it some alerts, as Prometheus does, and look at what it makes of them."""
    (folder / "token").write_text(_TOKEN)
    with _webhook() as (url, told), alertmanager(url, folder / "token", folder) as watcher:
        sent = [{"labels": labels} for labels in _ALERTS]
        httpx.post(f"{watcher.url}/api/v2/alerts", json=sent, trust_env=False).raise_for_status()
        deadline = time.monotonic() + _WITHIN_S
        while not told and time.monotonic() < deadline:
            time.sleep(0.2)
        found = {alert["labels"]["alertname"]: alert for alert in watcher.get("/api/v2/alerts")}
    held = {name for name, alert in found.items() if alert["status"]["inhibitedBy"]}
    explained = {"IndexLagging", "ErrorBudgetBurn3d"}
    checks.check("what is explained by a worse alert is held back", held == explained, held)
    receivers = {name: [one["name"] for one in alert["receivers"]] for name, alert in found.items()}
    drift = receivers.pop("DriftDetected")
    checks.check("an alert of the loop goes to both receivers", sorted(drift) == ["local", "retraining"], drift)
    others = {name for names in receivers.values() for name in names}
    checks.check("all others stay local", others == {"local"}, others)
    named = [(token, [alert["labels"]["alertname"] for alert in body["alerts"]]) for token, body in told]
    checks.check("the webhook is called with the token", named == [(f"Bearer {_TOKEN}", ["DriftDetected"])], named)


@contextmanager
def _webhook() -> Iterator[tuple[str, list[tuple[str | None, dict[str, Any]]]]]:
    """A listener, and what it has been told: the header `Authorization` and the body."""
    told: list[tuple[str | None, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.append((self.headers["Authorization"], body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/alerts", told
    finally:
        server.shutdown()
        server.server_close()
