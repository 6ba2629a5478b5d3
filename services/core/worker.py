"""A process that does the jobs of one kind. Knows how a job is taken, kept and ended, not what it does.

Any number of workers may share a PostgreSQL catalog. On SQLite one of a kind works and others wait for its lock, which
lets a worker that starts after a crash take over at once instead of waiting for a lease to run out.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from services.core.catalog import Catalog
from services.core.errors import CapstoneError, JobProblem
from services.core.jobs import Job, JobCancelled, LeaseLost
from services.core.lease import Lease, WorkerStopping
from services.core.process import die_with_parent, give_large_blocks_back
from services.core.settings import Settings, load_settings
from services.core.telemetry import configure_logging, silence_libraries
from services.core.types import JobKind, JobStatus

_log = logging.getLogger("capstone.jobs")


class JobWorker(ABC):
    """`kind` are the jobs it takes; `lock` is the name of the file in the data folder that it holds on SQLite."""

    kind: JobKind
    lock: str
    tidy_every_s = 3600.0

    def __init__(self, settings: Settings, catalog: Catalog, stopping: threading.Event) -> None:
        self._settings = settings
        self._catalog = catalog
        self._stopping = stopping
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"

    @abstractmethod
    def do(self, lease: Lease) -> None:
        """Do the leased job and end it as succeeded.

        Raises JobProblem if it cannot be done, and LeaseLost, JobCancelled or WorkerStopping if it should not.
        """

    def tidy(self) -> None:
        """Called at the start and every `tidy_every_s`, between two jobs."""
        return

    def run(self) -> None:
        """Work until `stopping` is set. Blocks."""
        if self._catalog.database.is_sqlite:
            with _sole_worker(self._settings.data_dir / self.lock, self._stopping) as alone:
                if alone:
                    self._catalog.jobs.release_all(self.kind)
                    self._loop()
        else:
            self._loop()

    def _loop(self) -> None:
        tidy_at = 0.0
        while not self._stopping.is_set():
            if time.monotonic() >= tidy_at:
                self.tidy()
                tidy_at = time.monotonic() + self.tidy_every_s
            job = self._catalog.jobs.claim(self._owner, self._settings.lease_s, self.kind)
            if job is None:
                self._stopping.wait(self._settings.job_poll_s)
            else:
                self.work_on(job)

    def work_on(self, job: Job) -> None:
        """Do one claimed job and record how it ended."""
        jobs, fields = self._catalog.jobs, {"job": job.id, "subject": job.subject_id, "attempt": job.attempts}
        with Lease(jobs, job, self._owner, self._settings.lease_s, self._stopping) as lease:
            try:
                if job.attempts > self._settings.max_attempts:
                    tries = self._settings.max_attempts
                    raise JobProblem("worker_crashed", f"The worker died {tries} times at the same place.")
                self.do(lease)
                _log.info("job done", extra={"fields": fields})
            except JobProblem as problem:
                _log.info("job failed", extra={"fields": {**fields, "code": problem.code}})
                self._end(job, JobStatus.failed, (problem.code, problem.detail))
            except JobCancelled:
                self._end(job, JobStatus.cancelled)
            except LeaseLost:
                _log.warning("lease lost", extra={"fields": fields})
            except WorkerStopping:
                with suppress(LeaseLost):
                    jobs.give_back(job.id, self._owner)
            except Exception as error:  # noqa: BLE001 - a bug or a full disk in one job must not stop the others
                _log.exception("job broke off", extra={"fields": fields})
                self._retry_or_fail(job, error)

    def _retry_or_fail(self, job: Job, error: Exception) -> None:
        """Leave the job leased, to be tried again when the lease runs out, unless it has been tried often enough."""
        if job.attempts >= self._settings.max_attempts:
            known = error if isinstance(error, CapstoneError) else CapstoneError("Something went wrong on our side.")
            self._end(job, JobStatus.failed, (known.code, known.detail))

    def _end(self, job: Job, status: JobStatus, error: tuple[str, str] | None = None) -> None:
        try:
            self._catalog.jobs.end(job.id, self._owner, status, error=error)
        except LeaseLost:
            _log.warning("lease lost", extra={"fields": {"job": job.id}})


@contextmanager
def _sole_worker(lock: Path, stopping: threading.Event) -> Iterator[bool]:
    """Hold an exclusive lock that the kernel frees when this process dies, however it dies.

    Yields False, without the lock, if `stopping` is set before its holder lets go of it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        held = False
        while not held and not stopping.is_set():
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = True
            except BlockingIOError:
                stopping.wait(0.2)
        yield held


def work(*workers: Callable[[Settings, Catalog, threading.Event], JobWorker]) -> None:
    """The main function of a worker's process: works until it is asked to end, each worker in a thread of its own.

    If one breaks off, all end: whoever keeps the process alive starts it again.

    With the arguments `--parent PID` (given by `capstone up`) it never outlives that process.
    """
    if len(sys.argv) == 3 and sys.argv[1] == "--parent":
        die_with_parent(int(sys.argv[2]))
    settings = load_settings()
    configure_logging(settings.log_level)
    silence_libraries()
    give_large_blocks_back()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    catalog = Catalog(settings.catalog_url)
    try:
        catalog.migrate()
        first, *others = (worker(settings, catalog, stopping) for worker in workers)
        threads = [threading.Thread(target=_run, args=(one, stopping), name=one.kind) for one in others]
        for thread in threads:
            thread.start()
        _run(first, stopping)
        for thread in threads:
            thread.join()
    finally:
        catalog.close()


def _run(worker: JobWorker, stopping: threading.Event) -> None:
    try:
        worker.run()
    finally:
        stopping.set()
