"""The process that does the evaluations and looks for drift: `python -m services.eval.worker`."""

from __future__ import annotations

import logging
import threading
from contextlib import closing

from services.core.aliases import open_aliases
from services.core.catalog import Catalog
from services.core.errors import CapstoneError
from services.core.lease import Lease
from services.core.settings import Settings
from services.core.types import JobKind
from services.core.worker import JobWorker, work
from services.eval.drift_worker import DriftWorker
from services.eval.named import ReleaseNames
from services.eval.promote import Promotions
from services.eval.run import EvaluationRun
from services.eval.store import EvaluationStore
from services.eval.verdicts import VerdictStore

_log = logging.getLogger("capstone.eval")


class Worker(JobWorker):
    kind = JobKind.evaluation
    lock = "evaluations.lock"

    def __init__(self, settings: Settings, catalog: Catalog, stopping: threading.Event) -> None:
        super().__init__(settings, catalog, stopping)
        self._run = EvaluationRun(settings, EvaluationStore(catalog), VerdictStore(catalog.database))

    def tidy(self) -> None:
        """Settle a promotion whose process died. If the registry is away, the next change or hour does."""
        try:
            with closing(open_aliases(self._settings)) as aliases:
                Promotions(self._settings, self._catalog.database, ReleaseNames(self._settings, aliases)).repair()
        except CapstoneError as error:
            _log.warning("a promotion is not settled yet", extra={"fields": {"error": error.detail}})

    def do(self, lease: Lease) -> None:
        self._run.run(lease)


if __name__ == "__main__":
    work(Worker, DriftWorker)
