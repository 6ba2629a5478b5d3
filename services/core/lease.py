"""A worker's hold on one job: renewed in the background, checked by whoever is about to spend time."""

from __future__ import annotations

import logging
import threading
from types import TracebackType

from sqlalchemy.exc import SQLAlchemyError

from services.core.jobs import Job, JobCancelled, JobQueue, LeaseLost

_RENEWALS_PER_LEASE = 10  # a cancelled job stops within a tenth of a lease
_log = logging.getLogger("capstone.jobs")


class WorkerStopping(Exception):
    """The worker is shutting down; the job goes back to the queue."""


class Lease:
    """`with Lease(...) as lease:` keeps the job; `lease.check()` raises when it is no longer to be worked on."""

    def __init__(self, jobs: JobQueue, job: Job, owner: str, lease_s: float, stopping: threading.Event) -> None:
        self.job = job
        self.owner = owner
        self._jobs = jobs
        self._lease_s = lease_s
        self._stopping = stopping
        self._released = threading.Event()
        self._verdict: LeaseLost | JobCancelled | None = None
        self._thread = threading.Thread(target=self._renew, name=f"lease-{job.id}", daemon=True)

    def check(self) -> None:
        """Raises LeaseLost, JobCancelled or WorkerStopping."""
        if self._verdict is not None:
            raise self._verdict
        if self._stopping.is_set():
            raise WorkerStopping

    def _renew(self) -> None:
        while not self._released.wait(self._lease_s / _RENEWALS_PER_LEASE):
            try:
                self._jobs.heartbeat(self.job.id, self.owner, self._lease_s)
            except (LeaseLost, JobCancelled) as verdict:
                self._verdict = verdict
                return
            except SQLAlchemyError as error:  # the next renewal may succeed; if not, the lease is lost and fenced off
                _log.warning("lease not renewed", extra={"fields": {"job": self.job.id, "error": str(error)}})

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        self._thread.join()
