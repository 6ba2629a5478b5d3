"""A real Prometheus and a real Alertmanager over the committed configuration; what differs is whom they reach, and that
what is done every 15 s or less often there is done every second."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from infra.tools import command
from services.core.process import die_with_parent
from tests.server import ROOT, free_port

INFRA = ROOT / "infra"
_EVERY = "1s"
_READY_WITHIN_S = 120.0


@dataclass(frozen=True)
class Watcher:
    """One that has been started and is ready."""

    url: str
    process: subprocess.Popen[bytes]

    def get(self, path: str) -> Any:
        return httpx.get(self.url + path, timeout=20, trust_env=False).raise_for_status().json()

    def query(self, expr: str) -> list[float]:
        """The values of Prometheus' instant query. Raises ValueError, with its reason, if it cannot be evaluated."""
        answer = httpx.post(f"{self.url}/api/v1/query", data={"query": expr}, timeout=20, trust_env=False).json()
        if answer["status"] != "success":
            raise ValueError(answer["error"])
        return [float(sample["value"][1]) for sample in answer["data"]["result"]]

    def has_data(self, expr: str) -> bool:
        return any(not math.isnan(value) for value in self.query(expr))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def alertmanager(webhook: str, token: Path, folder: Path) -> Iterator[Watcher]:
    """It posts what is for the loop to `webhook`, with the token in that file."""
    config = yaml.safe_load((INFRA / "alertmanager" / "alertmanager.yml").read_text())
    [hook] = [hook for receiver in config["receivers"] for hook in receiver.get("webhook_configs", [])]
    hook["url"] = webhook
    hook["http_config"]["authorization"]["credentials_file"] = str(token)
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "0s", "group_interval": _EVERY, "repeat_interval": "5s"}
    file = folder / "alertmanager.yml"
    file.write_text(yaml.safe_dump(config))
    options = [f"--config.file={file}", f"--storage.path={folder / 'alerts'}", "--cluster.listen-address="]
    with _started("alertmanager", options, folder) as watcher:
        yield watcher


@contextmanager
def prometheus(target: str, folder: Path, alerts_to: str | None = None) -> Iterator[Watcher]:
    """It scrapes `target` (host:port) as the job `capstone`; alerts go to the Alertmanager at that URL, if any."""
    config = folder / "prometheus"
    shutil.copytree(INFRA / "prometheus", config)
    (config / "targets.yml").write_text(yaml.safe_dump([{"targets": [target], "labels": {"job": "capstone"}}]))
    receivers = [{"targets": [alerts_to.removeprefix("http://")]}] if alerts_to else []
    (config / "alertmanagers.yml").write_text(yaml.safe_dump(receivers))
    main = yaml.safe_load((config / "prometheus.yml").read_text())
    main["global"] |= {"scrape_interval": _EVERY, "evaluation_interval": _EVERY, "scrape_timeout": _EVERY}
    (config / "prometheus.yml").write_text(yaml.safe_dump(main))
    for path in (config / "rules").glob("*.yml"):
        body = yaml.safe_load(path.read_text())
        for group in body["groups"]:
            group.pop("interval", None)
        path.write_text(yaml.safe_dump(body))
    options = [f"--config.file={config / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    options += ["--rules.alert.resend-delay=2s"]  # a minute, where the first one meets nobody
    with _started("prometheus", options, folder) as watcher:
        yield watcher


@contextmanager
def _started(name: str, options: Sequence[str], folder: Path) -> Iterator[Watcher]:
    port = free_port()
    started = [*command(name), *options, f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    log, parent = folder / f"{name}.log", os.getpid()
    with log.open("wb") as out:
        process = subprocess.Popen(started, stdout=out, stderr=out, preexec_fn=lambda: die_with_parent(parent))
    watcher = Watcher(f"http://127.0.0.1:{port}", process)
    try:
        deadline = time.monotonic() + _READY_WITHIN_S
        while not _ready(watcher.url):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text(errors="replace")
            time.sleep(0.1)
        yield watcher
    finally:
        watcher.kill()


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False
