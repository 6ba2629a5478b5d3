"""A real Alertmanager with the committed configuration: who is told what, and what is held back."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml

from infra.tools import command as command_of
from services.core.process import die_with_parent
from tests.checks import Checks
from tests.server import free_port
from tests.watch.expressions import INFRA

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
    with _webhook() as (url, told), _alertmanager(folder, url) as http:
        http.post("/alerts", json=[{"labels": labels} for labels in _ALERTS]).raise_for_status()
        deadline = time.monotonic() + _WITHIN_S
        while not told and time.monotonic() < deadline:
            time.sleep(0.2)
        found = {alert["labels"]["alertname"]: alert for alert in http.get("/alerts").raise_for_status().json()}
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


@contextmanager
def _alertmanager(folder: Path, webhook_url: str) -> Iterator[httpx.Client]:
    """Its API; only where the webhook and its token are differs from what is committed."""
    config = yaml.safe_load((INFRA / "alertmanager" / "alertmanager.yml").read_text())
    (webhook,) = next(one for one in config["receivers"] if one["name"] == "retraining")["webhook_configs"]
    (folder / "token").write_text(_TOKEN)
    webhook["url"] = webhook_url
    webhook["http_config"]["authorization"]["credentials_file"] = str(folder / "token")
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [*command_of("alertmanager"), f"--config.file={folder / 'alertmanager.yml'}"]
    command += [f"--storage.path={folder / 'alertmanager'}", f"--web.listen-address={address}"]
    command += ["--cluster.listen-address=", "--log.level=warn"]
    log, parent = folder / "alertmanager.log", os.getpid()
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, preexec_fn=lambda: die_with_parent(parent))
    try:
        wait_ready(f"http://{address}", process, log)
        with httpx.Client(base_url=f"http://{address}/api/v2", trust_env=False) as http:
            yield http
    finally:
        process.terminate()
        process.wait(20)


def wait_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Of Prometheus or Alertmanager. Raises AssertionError, with the log, if it ends or is not ready in time."""
    deadline = time.monotonic() + _WITHIN_S
    while True:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text(errors="replace")
        try:
            if httpx.get(f"{url}/-/ready", trust_env=False).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
