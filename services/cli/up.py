"""All three services on one port in this process, and the ingest worker beside it, for one machine."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from services.api import app as api
from services.core.http import service_app
from services.core.settings import Settings
from services.eval import app as evaluation
from services.ingest import app as ingest

_RESTART_AFTER_S = 1.0
_STOP_WITHIN_S = 10.0
_log = logging.getLogger("capstone.up")


def one_machine_app(settings: Settings) -> FastAPI:
    """One URL space: each path belongs to the service that owns it behind a gateway too."""
    rooms = [ingest.room(settings), api.room(settings), evaluation.room()]
    return service_app("Capstone", rooms, max_body_bytes=ingest.max_body_bytes(settings))


def serve(settings: Settings) -> None:
    """Serve until interrupted. Blocks."""
    with _worker():
        uvicorn.run(
            one_machine_app(settings),
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=settings.shutdown_grace_s,
        )


@contextmanager
def _worker() -> Iterator[None]:
    """Keep one worker process alive. It reads the same environment, and dies with this process."""
    ended = threading.Event()
    process = _start_worker()

    def watch() -> None:
        nonlocal process
        while not ended.is_set():
            try:
                process.wait(timeout=_RESTART_AFTER_S)
            except subprocess.TimeoutExpired:
                continue
            if not ended.wait(_RESTART_AFTER_S):
                _log.warning("the ingest worker ended and is started again")
                process = _start_worker()

    watcher = threading.Thread(target=watch, name="worker-watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        process.terminate()
        try:
            process.wait(timeout=_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _start_worker() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "services.ingest.worker", "--parent", str(os.getpid())])
