"""One window judged, and its report kept. Every step can be repeated."""

from __future__ import annotations

import os
import time
from pathlib import Path

from services.core.drift_rules import read_drift_rules
from services.core.errors import JobProblem
from services.core.lease import Lease
from services.core.settings import Settings
from services.eval.drift import judge
from services.eval.drift_store import DriftStore

_LOOK_EVERY_S = 0.1


class DriftRun:
    def __init__(self, settings: Settings, store: DriftStore) -> None:
        self._settings = settings
        self._store = store

    def run(self, lease: Lease) -> None:
        """Judge the window of the job, and end the job.

        Raises JobProblem if it cannot be judged, SettingsProblem if the rules cannot be read, and LeaseLost,
        JobCancelled or WorkerStopping if it should not be.
        """

        def wait() -> None:
            lease.check()
            time.sleep(_LOOK_EVERY_S)

        rules = read_drift_rules(self._settings.params)
        window = self._store.window(lease.job.subject_id)
        reference, rows = self._store.rows(window)
        if len(rows) < window.row_count:
            raise JobProblem("captures_gone", "Captures of this window are no longer kept (CAPSTONE_CAPTURE_ROWS).")
        tests, html = judge(reference, rows, rules, within_s=self._settings.drift_timeout_s, wait=wait)
        lease.check()
        _keep(report_path(self._settings, window.id), html)
        self._store.finish(lease, tests)
        self.prune()

    def prune(self) -> None:
        """Delete the reports beyond the newest, file first: a row may be without its file, but no file is forgotten."""
        for window_id in self._store.reports_beyond(self._settings.drift_reports):
            report_path(self._settings, window_id).unlink(missing_ok=True)
            self._store.drop_report(window_id)


def report_path(settings: Settings, window_id: str) -> Path:
    return settings.drift_dir / f"{window_id}.html"


def _keep(path: Path, content: bytes) -> None:
    """The file is there as a whole or not at all, whatever happens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
