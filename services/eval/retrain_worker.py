"""The process that does the retraining runs: `python -m services.eval.retrain_worker`."""

from __future__ import annotations

import threading
from contextlib import closing

from services.core.aliases import open_aliases
from services.core.catalog import Catalog
from services.core.lease import Lease
from services.core.settings import Settings
from services.core.types import JobKind
from services.core.worker import JobWorker, work
from services.eval.named import ReleaseNames
from services.eval.promote import Promotions
from services.eval.retrain_run import RetrainingRun


class Worker(JobWorker):
    kind = JobKind.retraining
    lock = "retraining.lock"

    def __init__(self, settings: Settings, catalog: Catalog, stopping: threading.Event) -> None:
        super().__init__(settings, catalog, stopping)
        self._aliases = open_aliases(settings)
        names = ReleaseNames(settings, self._aliases)
        self._run = RetrainingRun(settings, catalog, names, Promotions(settings, catalog.database, names))

    def run(self) -> None:
        with closing(self._aliases):
            super().run()

    def tidy(self) -> None:
        self._run.tidy()

    def do(self, lease: Lease) -> None:
        self._run.run(lease)


if __name__ == "__main__":
    work(Worker)
