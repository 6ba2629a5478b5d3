"""All three services on one port in this process, and a worker of each kind beside it, for one machine."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr

from services.api import app as api
from services.core.encoder import ENCODERS
from services.core.errors import Unavailable
from services.core.http import service_app
from services.core.registry import read_manifest, resolve_release
from services.core.settings import Settings
from services.eval import app as evaluation
from services.ingest import app as ingest

_WORKERS = ("services.ingest.worker", "services.eval.worker")
_RETRAINING = "services.eval.retrain_worker"  # only where there is something to train
_LOOK_EVERY_S = 0.2
_RESTART_AFTER_S = 1.0
_STOP_WITHIN_S = 10.0
_log = logging.getLogger("capstone.up")


def one_machine_app(settings: Settings) -> FastAPI:
    """One URL space: each path belongs to the service that owns it behind a gateway too."""
    rooms = [ingest.room(settings), api.room(settings), evaluation.room(settings)]
    largest = max(ingest.max_body_bytes(settings), evaluation.MAX_BODY_BYTES)
    return service_app("Capstone", rooms, settings, max_body_bytes=largest)


def listen(settings: Settings) -> socket.socket:
    """Take the port before anything is loaded. Raises Unavailable if somebody else has it."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        where = f"{settings.host}:{settings.port}"
        raise Unavailable(f"Cannot listen on {where} ({error.strerror}). Choose another with --port.") from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Where this machine reaches what listens there."""
    host, port = listener.getsockname()[:2]
    known = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound to
    return f"http://[{known}]:{port}" if ":" in known else f"http://{known}:{port}"


def check_weights(settings: Settings) -> None:
    """Raises ModelProblem, with the remedy, when weights that the settings ask for are not there.

    The release is small enough to be verified here; of the bases only the manifests are read before they are loaded.
    """
    if settings.encoder in ENCODERS:
        read_manifest(settings.models_dir / ENCODERS[settings.encoder])
    if settings.generator == "transformers":
        read_manifest(settings.models_dir / "generator")
    if settings.wanted_release:
        resolve_release(settings.wanted_release, settings.models_dir)


def serve(settings: Settings, listener: socket.socket) -> None:
    """Serve until interrupted or terminated. Blocks; raises SystemExit if the services cannot start."""
    signal.signal(signal.SIGTERM, _exit)  # uvicorn raises it once more when it is done; the workers are to end as well
    with (
        _service_key(settings) as (settings, secrets_dir),
        _workers(settings, {"CAPSTONE_API_URL": settings.api_url or url_of(listener)} | secrets_dir),
    ):
        config = uvicorn.Config(
            one_machine_app(settings),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=settings.shutdown_grace_s,
        )
        server = uvicorn.Server(config)
        server.run(sockets=[listener])
    if not server.started:
        raise SystemExit(1)


def _exit(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


@contextmanager
def _service_key(settings: Settings) -> Iterator[tuple[Settings, dict[str, str]]]:
    """What the worker of evaluations sends this process, if a key is needed and none is set: another at every start.

    It is handed over in a file, in a folder that goes with this process; yields what names that in an environment. Not
    in /tmp, where some systems tidy up while we run.
    """
    if not settings.keys_required or settings.service_key is not None:
        yield settings, {}
        return
    key = f"cap_service_{secrets.token_urlsafe(32)}"
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="service-key-", dir=settings.data_dir.resolve()) as folder:
        descriptor = os.open(Path(folder) / "capstone_service_key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with os.fdopen(descriptor, "w") as file:
            file.write(key)
        folders = [given for given in (os.environ.get("CAPSTONE_SECRETS_DIR"), folder) if given]
        own = settings.model_copy(update={"service_key": SecretStr(key)})
        yield own, {"CAPSTONE_SECRETS_DIR": os.pathsep.join(folders)}


@contextmanager
def _workers(settings: Settings, named: Mapping[str, str]) -> Iterator[None]:
    """Keep one process of each worker alive. They read the same environment and what is `named`, and die with this
    process."""
    ended = threading.Event()
    # Copied here and now: a start in another thread while this one sets a variable would pass on half an environment.
    environment = dict(os.environ) | dict(named)
    keepers = [
        threading.Thread(target=_keep_worker, args=(module, ended, environment), name=f"keeper-{module}", daemon=True)
        for module in (*_WORKERS, *([_RETRAINING] if settings.retrain_project else []))
    ]
    for keeper in keepers:
        keeper.start()
    try:
        yield
    finally:
        ended.set()
        for keeper in keepers:
            keeper.join()


def _keep_worker(module: str, ended: threading.Event, environment: dict[str, str]) -> None:
    """Run a worker, and another when it ends, until `ended` is set; then stop it.

    All in one thread: the kernel kills a worker when the thread that started it ends.
    """
    while not ended.is_set():
        try:
            process = _start_worker(module, environment)
        except OSError:  # no memory or no process to be had at the moment
            _log.exception("a worker cannot be started; trying again", extra={"fields": {"worker": module}})
        else:
            while process.poll() is None and not ended.wait(_LOOK_EVERY_S):
                pass
            if ended.is_set():
                _stop_worker(process)
                return
            fields = {"worker": module, "exit": process.returncode}
            _log.warning("a worker ended and is started again", extra={"fields": fields})
        ended.wait(_RESTART_AFTER_S)


def _stop_worker(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _start_worker(module: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", module, "--parent", str(os.getpid())]
    return subprocess.Popen(command, env=environment)
