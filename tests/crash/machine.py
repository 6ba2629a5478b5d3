"""The platform under test as the operating system sees it: its processes, its catalog file, and how to kill them.

Linux only. Standard library only, so that nothing of the platform is loaded into the process that judges it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
START_WITHIN_S = 120.0
WORKER_MARK = b"services.ingest.worker"
PARSER_MARK = b"services.ingest.pdf.parse"
WAL_WRITE_LOCK = "120"  # byte of the file <catalog>-shm that a writer locks (SQLite, walformat.html)
ENCODE_BATCH = 32  # chunks between two checkpoints of the pipeline
PAGE = "page.2"  # its kind of checkpoint for a page


class Process(NamedTuple):
    """A process of /proc. `started` tells it from a later one with the same number."""

    pid: int
    parent: int
    session: int
    started: int
    command: bytes


class Expected(NamedTuple):
    """What an uninterrupted ingest of a file needs."""

    pages: int
    chunks: int


@dataclass
class Platform:
    """`capstone up` on one data folder and one port, started again as often as needed."""

    data_dir: Path
    encoder: str
    port: int

    def __post_init__(self) -> None:
        self.url = f"http://127.0.0.1:{self.port}"
        self.catalog = self.data_dir / "catalog.db"
        self.log = self.data_dir.parent / f"{self.data_dir.name}.log"
        self._server: subprocess.Popen[bytes] | None = None
        self._doomed: list[Process] = []
        self.gone: set[int] = set()  # numbers of workers and servers that were killed

    def start(self) -> None:
        """Start it, in a session and process group of its own. Does not wait."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        variables = {key: value for key, value in os.environ.items() if not key.startswith("CAPSTONE_")} | {
            "CAPSTONE_DATA_DIR": str(self.data_dir),
            "CAPSTONE_MODELS_DIR": str(ROOT / "data" / "models"),
            "CAPSTONE_PORT": str(self.port),
            "CAPSTONE_ENCODER": self.encoder,
            "CAPSTONE_GENERATOR": "scripted",
            "CAPSTONE_CLASSIFIER": "overlap",
            # The vectors' view is compared row by row; the lexical one lies in memory and is filled at every start.
            "CAPSTONE_RETRIEVAL": "dense",
            "CAPSTONE_RERANK_DEPTH": "0",
            "CAPSTONE_SNAPSHOT_EVERY_S": "1",  # so that kills hit snapshots too
        }
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(
                [sys.executable, "-c", "from services.cli import app; app()", "up"],
                cwd=ROOT, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    @property
    def server(self) -> subprocess.Popen[bytes]:
        assert self._server is not None, "not started yet"
        return self._server

    def wait_ready(self) -> None:
        """Raises RuntimeError if it ends or is not ready in time."""
        if not wait_for(self.is_ready, START_WITHIN_S) or self.server.poll() is not None:
            raise RuntimeError(f"the platform is not ready (exit {self.server.poll()}); its log is {self.log}")

    def is_ready(self) -> bool:
        if self.server.poll() is not None:
            return True  # it ended: no use in waiting
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def family(self) -> list[Process]:
        """The server, its worker, and any parser of either."""
        found = {self.server.pid}
        everyone = list(processes())
        for _ in range(3):  # server, worker, parser
            found |= {process.pid for process in everyone if process.parent in found}
        return [process for process in everyone if process.pid in found or process.session == self.server.pid]

    def worker(self) -> Process | None:
        """The worker that runs now, if it has come so far as to be one."""
        for process in processes():
            if process.parent == self.server.pid and WORKER_MARK in process.command:
                return process
        return None

    def kill(self, target: str) -> tuple[str, list[Process]]:
        """SIGKILL the `group`, the `server` alone or its `worker` alone, the group if there is no worker yet.

        Returns what was killed, and who must be dead soon after.
        """
        family = self.family()
        worker = next((process for process in family if WORKER_MARK in process.command), None)
        if target == "worker" and worker is not None:
            doomed = [process for process in family if worker.pid in (process.pid, process.parent)]
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)
        else:
            doomed, target = family, ("group" if target == "worker" else target)
            with contextlib.suppress(ProcessLookupError):
                if target == "server":
                    os.kill(self.server.pid, signal.SIGKILL)
                else:
                    os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait()
        self._doomed += doomed
        self.gone |= {process.pid for process in doomed if PARSER_MARK not in process.command}
        return target, doomed

    def stop(self, within_s: float = 30.0) -> int | None:
        """Ask it to end; returns its exit status, None if it had to be killed."""
        self.server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.server.wait(within_s)
        self.kill("group")
        return None

    def end(self) -> None:
        """Leave nothing running, whatever happened."""
        if self._server is not None and self._server.poll() is None:
            self.kill("group")
        for process in still_alive(self._doomed):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)

    def orphans(self) -> list[Process]:
        """Parsers whose parent was killed, and workers whose server was, that live all the same."""
        parents = self.gone - {process.pid for process in self.family()}
        found = []
        for process in processes():
            named = re.search(rb'"parent_pid": (\d+)|--parent\0(\d+)', process.command)
            if named and int(named[1] or named[2]) in parents:
                found.append(process)
        return found


def processes() -> Iterator[Process]:
    """Every process that still runs; those that only wait to be reaped are left out."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            command = (folder / "cmdline").read_bytes()
            fields = (folder / "stat").read_text().rpartition(")")[2].split()  # from field 3, the state, on
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] not in "ZX":
            yield Process(int(folder.name), int(fields[1]), int(fields[3]), int(fields[19]), command)


def still_alive(doomed: list[Process]) -> list[Process]:
    alive = {(process.pid, process.started) for process in processes()}
    return [process for process in doomed if (process.pid, process.started) in alive]


def wait_for(condition: Callable[[], bool], within_s: float, every_s: float = 0.05) -> bool:
    """Look until `condition` holds; False if it does not in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Observer:
    """Tells which phase of the ingest runs, read from the catalog between two kills.

    It opens the catalog only while the worker has it open and closes it before each kill: a connection that outlived
    the platform would hold SQLite's shared memory, and the platform would never have to recover from its log.
    """

    def __init__(self, platform: Platform, expected: dict[str, Expected]) -> None:
        self._platform = platform
        self._expected = expected  # by SHA-256
        self._worker: Process | None = None
        self._connection: sqlite3.Connection | None = None

    def phase(self) -> tuple[str, int]:
        """`start`, `idle`, `parse`, `load`, `encode` or `publish`, and the chunks of the document in work.

        `start`: the worker has not yet taken over what the one before it left. `load`: all is parsed, and the encoder
        is loaded or at its first batch. `publish`: inside the transaction that makes the document retrievable.
        """
        if self._worker is None:
            worker = self._platform.worker()
            if worker is None or not self._opened(worker):
                return "start", 0
            self._worker = worker
        try:
            return self._look(self._worker)
        except sqlite3.OperationalError:  # the very first start: no tables yet
            return "start", 0

    def _look(self, worker: Process) -> tuple[str, int]:
        if self._connection is None:
            self._connection = sqlite3.connect(f"file:{self._platform.catalog}?mode=ro", uri=True, timeout=5)
        running = self._connection.execute(
            "SELECT j.id, j.lease_owner, d.sha256 FROM jobs j LEFT JOIN documents d ON d.id = j.subject_id"
            " WHERE j.status = 'running'"
        ).fetchall()
        if not running:
            return "idle", 0
        if any(int(owner.split(":")[-2]) != worker.pid for _, owner, _ in running):
            return "start", 0  # what the worker before it had in hand is not taken over yet
        job_id, _, sha256 = running[0]
        counted = self._connection.execute(
            "SELECT kind, count(*) FROM checkpoints WHERE job_id = ? GROUP BY kind", (job_id,)
        )
        kept = dict(counted.fetchall())
        expected = self._expected.get(sha256)
        if expected is None or kept.get(PAGE, 0) < expected.pages:
            return "parse", 0
        batches = -(-expected.chunks // ENCODE_BATCH)
        if kept.get("vectors", 0) >= batches:  # to be published, but a worker that starts has to load its encoder first
            return ("publish" if self._writes(worker) else "load"), expected.chunks
        return ("encode" if kept.get("vectors") else "load"), expected.chunks

    @property
    def opened(self) -> bool:
        """Has the worker of now opened the catalog?"""
        return self._worker is not None

    def close(self) -> None:
        """Before each kill; the next look finds the next worker."""
        self._worker = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _writes(self, worker: Process) -> bool:
        """True while the worker is in a write transaction: it then holds a lock on one byte of SQLite's index file."""
        inode = os.stat(f"{self._platform.catalog}-shm").st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            _, _, _, mode, pid, file, first, _ = line.replace("-> ", "").split()
            if (mode, int(pid), first) == ("WRITE", worker.pid, WAL_WRITE_LOCK) and file.endswith(f":{inode}"):
                return True
        return False

    def _opened(self, worker: Process) -> bool:
        with contextlib.suppress(OSError):
            for link in Path(f"/proc/{worker.pid}/fd").iterdir():
                if os.readlink(link) == str(self._platform.catalog):
                    return True
        return False
