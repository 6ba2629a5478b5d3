"""Really started servers for tests: a process group of its own on a free port of 127.0.0.1, its output in a file."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import sqlalchemy as sa

from services.core.process import die_with_parent

ROOT = Path(__file__).parents[1]
CAPSTONE = str(Path(sys.executable).with_name("capstone"))
NO_WEIGHTS = {"CAPSTONE_ENCODER": "hashing", "CAPSTONE_GENERATOR": "scripted", "CAPSTONE_CLASSIFIER": "overlap"}
QUICK = NO_WEIGHTS | {"CAPSTONE_JOB_POLL_S": "0.05", "CAPSTONE_TRACK_EVALUATIONS": "false"}


@dataclass(frozen=True)
class Server:
    """A started process group; `url` is None for one that does not listen."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def wait_ready(self, within_s: float = 120.0) -> Server:
        """Wait until /readyz says so. Raises AssertionError, with the end of the log, if it does not in time."""
        deadline = time.monotonic() + within_s
        while not self.is_ready():
            assert self.process.poll() is None, f"exited with {self.process.returncode}:\n{self.tail()}"
            assert time.monotonic() < deadline, f"not ready within {within_s} s:\n{self.tail()}"
            time.sleep(0.05)
        return self

    def is_ready(self) -> bool:
        try:
            return httpx.get(self.url + "/readyz", timeout=5, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """SIGKILL to the whole group; safe to call again."""
        if self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)  # the leader is not reaped yet, so its number is still ours
            self.process.wait()

    def stop(self, within_s: float = 20.0) -> int:
        """SIGTERM to the leader, as a service manager would; returns its exit status. Raises TimeoutExpired."""
        try:
            self.process.terminate()
            return self.process.wait(within_s)
        finally:
            self.kill()

    def tail(self, lines: int = 60) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def start(env: Mapping[str, str], data_dir: Path) -> Server:
    """`capstone up` with the settings in `env`. The caller kills it; it also dies with the calling thread."""
    port = free_port()
    return launch([CAPSTONE, "up", "--port", str(port)], env, data_dir, port)


def start_service(factory: str, env: Mapping[str, str], data_dir: Path, *options: str) -> Server:
    """One service by itself: `factory` is what `uvicorn --factory` takes, such as services.api.app:create_app."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", factory, "--port", str(port), "--log-level", "warning"]
    return launch([*command, *options], env, data_dir, port)


def start_worker(env: Mapping[str, str], data_dir: Path, module: str = "services.ingest.worker") -> Server:
    """A worker by itself; it has no port, so never `wait_ready` for it."""
    return launch([sys.executable, "-m", module], env, data_dir, 0)


def launch(command: Sequence[str], env: Mapping[str, str], data_dir: Path, port: int) -> Server:
    """Start `command` with only the `CAPSTONE_` settings of `env`, `data_dir` and the models of this checkout."""
    data_dir.mkdir(parents=True, exist_ok=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CAPSTONE_")}
    places = {
        "CAPSTONE_DATA_DIR": str(data_dir),
        "CAPSTONE_MODELS_DIR": str(ROOT / "data" / "models"),
        "CAPSTONE_LOG_LEVEL": "WARNING",
        "CAPSTONE_TORCH_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
    }
    log = data_dir / f"{Path(command[0]).name}-{port}-{time.time_ns()}.log"
    parent = os.getpid()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            env=clean | places | {"PYTHONUNBUFFERED": "1"} | dict(env),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(parent),
        )
    return Server(f"http://127.0.0.1:{port}", process, log)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def new_database(server_url: str) -> str:
    """URL of a new, empty database on a PostgreSQL server."""
    name = f"test_{uuid.uuid4().hex}"
    url = sa.make_url(server_url).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return url.set(database=name).render_as_string(hide_password=False)


def worker_of(server: Server) -> int:
    """The process id of the worker that `capstone up` started."""
    mark = f"services.ingest.worker\0--parent\0{server.process.pid}\0".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (process / "cmdline").read_bytes():
                return int(process.name)
    raise AssertionError("no worker is running")
