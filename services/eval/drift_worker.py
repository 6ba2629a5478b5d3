"""Looks whether a window of captures is full, and judges it: beside the evaluations, which may take hours."""

from __future__ import annotations

import logging
import threading

from services.core.catalog import Catalog
from services.core.drift_rules import read_drift_rules
from services.core.errors import CapstoneError
from services.core.lease import Lease
from services.core.settings import Settings
from services.core.types import JobKind
from services.core.worker import JobWorker
from services.eval.drift_run import DriftRun
from services.eval.drift_store import DriftStore

_log = logging.getLogger("capstone.eval")


class DriftWorker(JobWorker):
    kind = JobKind.drift
    lock = "drift.lock"

    def __init__(self, settings: Settings, catalog: Catalog, stopping: threading.Event) -> None:
        super().__init__(settings, catalog, stopping)
        self.tidy_every_s = settings.drift_every_s
        self._store = DriftStore(catalog)
        self._run = DriftRun(settings, self._store)

    def tidy(self) -> None:
        """Queue what there is to judge. Rules that cannot be read stop nothing else: they are told, and tried again."""
        try:
            for window_id in self._store.follow(read_drift_rules(self._settings.params)):
                _log.info("window full", extra={"fields": {"window": window_id}})
        except CapstoneError as error:
            _log.warning("drift is not looked for", extra={"fields": {"error": error.detail}})

    def do(self, lease: Lease) -> None:
        self._run.run(lease)
