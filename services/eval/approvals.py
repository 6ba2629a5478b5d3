"""The last step of a retraining: its challenger becomes live, behind the same gate as any promotion."""

from __future__ import annotations

from services.core.errors import Conflict, NotWaiting
from services.eval.named import ReleaseNames
from services.eval.promote import Promotions
from services.eval.retraining import RetrainingStore, Run


class Approvals:
    """Methods block for as long as the registry takes."""

    def __init__(self, runs: RetrainingStore, promotions: Promotions, names: ReleaseNames) -> None:
        self._runs = runs
        self._promotions = promotions
        self._names = names

    def approve(self, run_id: str, by: str) -> Run:
        """Raises NotWaiting, and what a promotion raises: GateNotPassed if it was judged against another champion."""
        run = self._runs.get(run_id)
        if run.outcome != "waiting_approval":
            raise NotWaiting(f"The retraining is {run.status}.")
        self._runs.approved(run_id, by, self.promote(run, by))
        return self._runs.get(run_id)

    def promote(self, run: Run, by: str) -> str:
        """Make its challenger live, unless it is already, as after a crash; returns a sentence about that."""
        assert run.version is not None, "a run that was judged has one"
        try:
            change = self._promotions.promote(run.version, by=by, override_reason=None)
        except Conflict:
            if self._names.live().version != run.version:
                raise
            return "It was live already."
        return f"Live since the change {change.id}."
