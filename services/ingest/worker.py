"""The process that does the ingest jobs: `python -m services.ingest.worker`.

Any number of workers may share a PostgreSQL catalog. On SQLite one works and others wait for its lock, which lets a
worker that starts after a crash take over at once instead of waiting for a lease to run out.
"""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from services.core.catalog import Catalog
from services.core.encoder import open_encoder
from services.core.errors import CapstoneError, DocumentProblem
from services.core.jobs import Job, JobCancelled, LeaseLost
from services.core.process import die_with_parent
from services.core.settings import Settings, load_settings
from services.core.telemetry import configure_logging, silence_libraries
from services.core.types import JobStatus
from services.ingest.files import FileStore
from services.ingest.lease import Lease, WorkerStopping
from services.ingest.pipeline import IngestPipeline
from services.ingest.resources import parse_limits

_SWEEP_EVERY_S = 3600.0
_log = logging.getLogger("capstone.ingest")


class Worker:
    def __init__(self, settings: Settings, catalog: Catalog, stopping: threading.Event) -> None:
        self._settings = settings
        self._catalog = catalog
        self._stopping = stopping
        self._files = FileStore(settings.files_dir)
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"
        encoder = functools.cache(lambda: open_encoder(settings.encoder, settings.models_dir, settings.torch_threads))
        self._pipeline = IngestPipeline(catalog, encoder, parse_limits(settings))

    def run(self) -> None:
        """Work until `stopping` is set. Blocks."""
        if self._catalog.database.is_sqlite:
            with _sole_worker(self._settings.data_dir / "worker.lock", self._stopping) as alone:
                if alone:
                    self._catalog.jobs.release_all()
                    self._loop()
        else:
            self._loop()

    def _loop(self) -> None:
        sweep_at = 0.0
        while not self._stopping.is_set():
            if time.monotonic() >= sweep_at:
                self._files.sweep(self._catalog.known_document_ids())
                sweep_at = time.monotonic() + _SWEEP_EVERY_S
            job = self._catalog.jobs.claim(self._owner, self._settings.lease_s)
            if job is None:
                self._stopping.wait(self._settings.job_poll_s)
            else:
                self.work_on(job)

    def work_on(self, job: Job) -> None:
        """Do one claimed job and record how it ended."""
        jobs, fields = self._catalog.jobs, {"job": job.id, "document": job.document_id, "attempt": job.attempts}
        with Lease(jobs, job, self._owner, self._settings.lease_s, self._stopping) as lease:
            try:
                if job.attempts > self._settings.max_attempts:
                    tries = self._settings.max_attempts
                    raise DocumentProblem("worker_crashed", f"The worker died {tries} times at the same place.")
                path = self._files.path(job.document_id)
                if not path.exists():
                    raise DocumentProblem("file_missing", "The uploaded file is no longer on the disk of the service.")
                self._pipeline.run(lease, path)
                _log.info("document indexed", extra={"fields": fields})
            except DocumentProblem as problem:
                _log.info("document refused", extra={"fields": {**fields, "code": problem.code}})
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


def main(settings: Settings | None = None) -> None:
    settings = settings or load_settings()
    configure_logging(settings.log_level)
    silence_libraries()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    catalog = Catalog(settings.catalog_url)
    try:
        catalog.migrate()
        Worker(settings, catalog, stopping).run()
    finally:
        catalog.close()


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--parent":  # started by `capstone up`: never outlive it
        die_with_parent(int(sys.argv[2]))
    main()
