"""A real Prometheus and a real Alertmanager over the committed configuration; what differs is whom they reach, and that
they do every second what is done every 15 s or less often there."""

from __future__ import annotations

import os
import shutil
import signal
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
_READY_WITHIN_S = 60.0


@dataclass
class Watcher:
    url: str
    process: subprocess.Popen[bytes]

    def get(self, path: str) -> Any:
        return httpx.get(self.url + path, timeout=20, trust_env=False).raise_for_status().json()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def alertmanager(webhook: str, token: Path, folder: Path) -> Iterator[Watcher]:
    """It posts what is for the loop to `webhook`, with the token in that file."""
    config = yaml.safe_load((INFRA / "alertmanager" / "alertmanager.yml").read_text())
    hooks = [hook for receiver in config["receivers"] for hook in receiver.get("webhook_configs", [])]
    assert len(hooks) == 1, "the committed configuration has one webhook"
    hooks[0] |= {"url": webhook}
    hooks[0]["http_config"]["authorization"]["credentials_file"] = str(token)
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "0s", "group_interval": _EVERY, "repeat_interval": "5s"}
    file, port = folder / "alertmanager.yml", free_port()
    file.write_text(yaml.safe_dump(config))
    options = [f"--config.file={file}", f"--storage.path={folder / 'alerts'}", "--cluster.listen-address="]
    with _started("alertmanager", options, port, folder) as watcher:
        yield watcher


@contextmanager
def prometheus(target: str, alerts_to: str, folder: Path) -> Iterator[Watcher]:
    """It scrapes `target` (host:port) as the job `capstone`, and sends alerts to the Alertmanager at that URL."""
    config, port = folder / "prometheus", free_port()
    shutil.copytree(INFRA / "prometheus", config)
    (config / "targets.yml").write_text(yaml.safe_dump([{"targets": [target], "labels": {"job": "capstone"}}]))
    where = alerts_to.removeprefix("http://")
    (config / "alertmanagers.yml").write_text(yaml.safe_dump([{"targets": [where]}]))
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
    with _started("prometheus", options, port, folder) as watcher:
        yield watcher


@contextmanager
def _started(name: str, options: Sequence[str], port: int, folder: Path) -> Iterator[Watcher]:
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
