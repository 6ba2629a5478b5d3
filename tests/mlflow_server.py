"""A real MLflow server, and versions of `capstone` in a real MLflow registry of either kind."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import httpx

from services.core.aliases import MODEL
from tests.server import Server, free_port, launch

HEALTHY_WITHIN_S = 240.0  # it imports a lot and makes its tables first
FILES = {
    "release.json": b'{"format": 1}\n',
    "classifier/manifest.json": b"{}",
    "classifier/model.safetensors": bytes(range(256)) * 400,
    "adapter/manifest.json": b"[]",
    "adapter/more/notes.txt": "für später".encode(),
}


def start_mlflow(folder: Path) -> Server:
    """`mlflow server` on a free port with database and artifacts in `folder`; healthy. The caller kills it."""
    port = free_port()
    store, artifacts = f"sqlite:///{folder / 'm.db'}", str(folder / "art")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--artifacts-destination"]
    command += [artifacts, "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    server = launch(command, env, folder, port)
    deadline = time.monotonic() + HEALTHY_WITHIN_S
    while not _healthy(server):
        if server.process.poll() is not None or time.monotonic() > deadline:
            server.kill()
            raise AssertionError(f"mlflow server is not healthy:\n{server.tail()}")
        time.sleep(0.2)
    return server


def add_version(client: Any, release: str, experiment: str, files: dict[str, bytes], folder: Path) -> str:
    """Register `files` as a version of the release with this id, as `models/register.py` does; returns its number."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    run = client.create_run(experiment)
    client.log_artifacts(run.info.run_id, str(folder), "release")
    source = f"{run.info.artifact_uri}/release"
    return str(client.create_model_version(MODEL, source, run.info.run_id, tags={"release": release}).version)


def _healthy(server: Server) -> bool:
    try:
        return httpx.get(server.url + "/health", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False
