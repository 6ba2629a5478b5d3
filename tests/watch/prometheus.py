"""A real Prometheus over the committed configuration; what differs is whom it scrapes, and how often."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from infra.tools import command as command_of
from services.core.process import die_with_parent
from tests.server import free_port
from tests.watch.alertmanager import wait_ready
from tests.watch.expressions import INFRA

_EVERY = "2s"  # for everything that is done every 15 or 30 s in the committed files


class Prometheus:
    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url + "/api/v1", timeout=20, trust_env=False)

    def query(self, expr: str) -> list[float]:
        """The values of an instant query. Raises ValueError, with Prometheus' reason, if it cannot be evaluated."""
        answer = self._http.post("/query", data={"query": expr}).json()
        if answer["status"] != "success":
            raise ValueError(answer["error"])
        return [float(sample["value"][1]) for sample in answer["data"]["result"]]

    def has_data(self, expr: str) -> bool:
        return any(not math.isnan(value) for value in self.query(expr))

    def get(self, what: str) -> dict[str, Any]:
        return dict(self._http.get(f"/{what}").raise_for_status().json()["data"])


@contextmanager
def scraping(target: str, folder: Path) -> Iterator[Prometheus]:
    """Prometheus that scrapes `target` (host:port) as job `capstone`, with its files in `folder`."""
    config = folder / "config"
    shutil.copytree(INFRA / "prometheus", config)
    (config / "targets.yml").write_text(yaml.safe_dump([{"targets": [target], "labels": {"job": "capstone"}}]))
    (config / "alertmanagers.yml").write_text("[]\n")
    _hurry(config)
    port = free_port()
    command = [*command_of("prometheus"), f"--config.file={config / 'prometheus.yml'}"]
    command += [f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    log, parent = folder / "prometheus.log", os.getpid()
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, preexec_fn=lambda: die_with_parent(parent))
    try:
        wait_ready(f"http://127.0.0.1:{port}", process, log)
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(20)


def _hurry(config: Path) -> None:
    main = yaml.safe_load((config / "prometheus.yml").read_text())
    main["global"] |= {"scrape_interval": _EVERY, "evaluation_interval": _EVERY, "scrape_timeout": _EVERY}
    (config / "prometheus.yml").write_text(yaml.safe_dump(main))
    for path in (config / "rules").glob("*.yml"):
        body = yaml.safe_load(path.read_text())
        for group in body["groups"]:
            group.pop("interval", None)
        path.write_text(yaml.safe_dump(body))
