"""One retraining from its snapshot to the gate's decision. Every step can be resumed or repeated: what was reached is
in the run's row and in its folder.

snapshot -> training (a command, see `training.py`) -> evaluation of the challenger against the champion, by the
evaluations' own worker -> the gate's verdict -> promotion, or somebody's approval.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from services.core.aliases import CHAMPION
from services.core.catalog import Catalog
from services.core.errors import (
    Conflict,
    GateNotPassed,
    InvalidDataset,
    InvalidRequest,
    JobProblem,
    NotFound,
    ReleaseInProgress,
    SettingsProblem,
    Unavailable,
)
from services.core.gate_rules import read_gate_rules
from services.core.jobs import JobCancelled
from services.core.lease import Lease
from services.core.settings import Settings
from services.core.types import JobStatus
from services.eval.approvals import Approvals
from services.eval.comparable import require_comparable, require_enough
from services.eval.dataset import Question, require_documents
from services.eval.named import ReleaseNames
from services.eval.promote import Promotions
from services.eval.retraining import Outcome, RetrainingStore, Run
from services.eval.snapshot import make_snapshot
from services.eval.store import Asked, Evaluation, EvaluationStore
from services.eval.training import TIMED_OUT, Told, train

SNAPSHOT, WORK = "snapshot", "work"
_STEPS = ("snapshot", "training", "evaluation", "decision")
_OF_TRAINING = "training: "
_LOOK_EVERY_S = 0.5
_AGAIN_AFTER_S = 5.0
_log = logging.getLogger("capstone.eval")


class RetrainingRun:
    def __init__(self, settings: Settings, catalog: Catalog, names: ReleaseNames, promotions: Promotions) -> None:
        self._settings = settings
        self._catalog = catalog
        self._names = names
        self._runs = RetrainingStore(catalog)
        self._evaluations = EvaluationStore(catalog)
        self._approvals = Approvals(self._runs, promotions, names)

    def run(self, lease: Lease) -> None:
        """Do what has not been done yet, and end the job. Raises JobProblem, LeaseLost, JobCancelled or WorkerStopping,
        and Unavailable while the registry is away."""
        run = self._runs.get(lease.job.subject_id)
        self._left_s(lease)
        questions = self._snapshot(lease, run)
        self._train(lease, self._runs.get(run.id))
        self._patiently(lease, lambda: self._judge(lease, self._runs.get(run.id), questions))

    def tidy(self) -> None:
        """Drop the working copies of runs that have ended; their snapshots stay."""
        folders = self._settings.retraining_dir
        if folders.is_dir():
            for run_id in self._runs.ended_ids([path.name for path in folders.iterdir()]):
                shutil.rmtree(folders / run_id / WORK, ignore_errors=True)

    def _folder(self, run: Run) -> Path:
        return self._settings.retraining_dir / run.id

    def _snapshot(self, lease: Lease, run: Run) -> list[Question]:
        """The questions to judge on. Fails before anything is trained if the gate could not judge by them."""
        steps, collection = _begun(run.steps, "snapshot"), run.snapshot["collection"]
        try:
            base = self._base()
            require_documents(base, self._evaluations.document_names(collection), collection)
            facts, questions = make_snapshot(self._settings, self._catalog, run, base, self._folder(run) / SNAPSHOT)
            if run.facts is None:
                self._tell(lease, run, 1, steps=_ended(steps), facts=facts)
            require_enough(questions, read_gate_rules(self._settings.params))
        except NotFound as error:
            raise JobProblem("no_dataset", error.detail) from error
        except InvalidDataset as error:
            raise JobProblem("dataset_problem", error.detail) from error
        except InvalidRequest as error:
            remedy = "Upload more with `capstone evaluate`, and name them in CAPSTONE_RETRAIN_DATASET."
            raise JobProblem("too_few_questions", f"{error.detail} {remedy}") from error
        except SettingsProblem as error:
            raise JobProblem("settings_problem", error.detail) from error
        return questions

    def _base(self) -> list[Question]:
        name = self._settings.retrain_dataset
        return [] if name is None else self._evaluations.questions(self._evaluations.dataset(name).id)

    def _train(self, lease: Lease, run: Run) -> None:
        if run.version is not None:
            return
        steps = _begun([step for step in run.steps if not step["name"].startswith(_OF_TRAINING)], "training")
        last: Told | None = None
        if steps != run.steps:
            self._tell(lease, run, 1, steps=steps)

        def look(told: Told) -> None:
            nonlocal last
            if told != last:
                last = told
                self._tell(lease, run, 1, steps=[*steps, *_inner(told)], log=told.log)
            _wait(lease, _LOOK_EVERY_S)

        folder, left_s = self._folder(run), self._left_s(lease)
        result = train(self._settings, folder / SNAPSHOT, folder / WORK, within_s=left_s, look=look)
        facts = (run.facts or {}) | {"below_bar": list(result.below_bar)}
        steps = [*_ended(steps), *(_inner(last) if last else [])]
        self._tell(lease, run, 2, steps=steps, version=result.version, release=result.release, facts=facts)

    def _patiently(self, lease: Lease, call: Callable[[], None]) -> None:
        """Wait, as long as the run may take, for a registry that is away or busy: hours may have gone into it."""
        while True:
            try:
                return call()
            except (Unavailable, ReleaseInProgress) as error:
                _log.warning("the registry is waited for", extra={"fields": {"error": error.detail}})
                self._left_s(lease)
                _wait(lease, _AGAIN_AFTER_S)

    def _judge(self, lease: Lease, run: Run, questions: list[Question]) -> None:
        if (refusal := self._not_comparable(run, questions)) is not None:
            self._conclude(lease, run, "refused", refusal)
        else:
            evaluation = self._evaluate(lease, run, questions)
            self._decide(lease, self._runs.get(run.id), evaluation)

    def _not_comparable(self, run: Run, questions: list[Question]) -> str | None:
        """Why there is nothing for the gate to decide on, if there is not."""
        if run.evaluation_id is not None:
            return None
        try:
            require_comparable(self._sides(run), questions, self._names, read_gate_rules(self._settings.params))
        except InvalidRequest as error:
            return error.detail
        return None

    def _sides(self, run: Run) -> tuple[Asked, Asked]:
        assert run.version is not None
        return Asked(run.version, self._names.version(run.version).release), Asked(CHAMPION, self._names.live().release)

    def _evaluate(self, lease: Lease, run: Run, questions: list[Question]) -> Evaluation:
        steps = run.steps if run.evaluation_id else _begun(run.steps, "evaluation")
        if (evaluation_id := run.evaluation_id) is None:
            dataset = self._evaluations.add_dataset(f"retraining-{run.id}", questions)

            def keep(connection: Connection, started: str) -> None:
                reached = {"steps": steps, "evaluation_id": started}
                self._runs.tell_in(connection, lease, run.id, done=2, total=len(_STEPS), **reached)

            sides = self._sides(run)
            evaluation_id = self._evaluations.start(dataset, run.snapshot["collection"], *sides, keep=keep).id
        while not (evaluation := self._evaluations.get(evaluation_id)).job.status.finished:
            try:
                _wait(lease, _LOOK_EVERY_S)
                self._left_s(lease)
            except (JobCancelled, JobProblem):
                with suppress(Conflict):  # it has ended at this moment
                    self._catalog.jobs.cancel(evaluation.job.id)
                raise
        if evaluation.job.status != JobStatus.succeeded:
            why = evaluation.job.error_detail or f"It is {evaluation.job.status}."
            raise JobProblem("evaluation_failed", f"{evaluation.id}: {why}")
        if "ended_at" not in steps[-1]:
            self._tell(lease, run, 3, steps=_ended(steps))
        return evaluation

    def _decide(self, lease: Lease, run: Run, evaluation: Evaluation) -> None:
        verdict = evaluation.verdict or {"id": None, "passed": False, "why": ["There is no verdict."]}
        told = {"verdict_id": verdict["id"]}
        below_bar = (run.facts or {}).get("below_bar", [])
        if not verdict["passed"]:
            self._conclude(lease, run, "refused", " ".join(verdict["why"]), **told)
        elif self._settings.retrain_promote == "approve":
            self._conclude(lease, run, "waiting_approval", "The gate lets it pass.", **told)
        elif below_bar:
            detail = f"The gate lets it pass, but by its own reports it does not: {', '.join(below_bar)}."
            self._conclude(lease, run, "waiting_approval", detail, **told)
        else:
            lease.check()
            by = f"retraining {run.id}"
            try:
                detail = self._approvals.promote(run, by)
            except GateNotPassed as error:  # another release has become live meanwhile
                self._conclude(lease, run, "refused", error.detail, **told)
            else:
                self._conclude(lease, run, "promoted", detail, decided_by=by, **told)

    def _conclude(self, lease: Lease, run: Run, outcome: Outcome, detail: str, **values: Any) -> None:
        self._runs.conclude(lease, run.id, outcome, len(_STEPS), detail=detail, **values)

    def _tell(self, lease: Lease, run: Run, done: int, **values: Any) -> None:
        lease.check()
        self._runs.tell(lease, run.id, done=done, total=len(_STEPS), **values)

    def _left_s(self, lease: Lease) -> float:
        """Of the time that the run may take, whoever works on it. Raises JobProblem if there is none."""
        assert lease.job.started_at is not None
        with self._catalog.database.read() as connection:
            now = self._catalog.database.now(connection)
        limit_s = self._settings.retrain_timeout_s
        if (left_s := lease.job.started_at + limit_s - now) <= 0:
            raise JobProblem(TIMED_OUT, f"It took longer than {limit_s:.0f} s.")
        return left_s


def _begun(steps: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """With a step that begins now; one that was cut off goes on since it first began."""
    known = next((step for step in steps if step["name"] == name), None)
    return [*(step for step in steps if step is not known), known or {"name": name, "began_at": time.time()}]


def _inner(told: Told) -> list[dict[str, Any]]:
    """The steps of the training as the run's."""
    return [step | {"name": f"{_OF_TRAINING}{step['name']}"} for step in told.steps]


def _ended(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*steps[:-1], steps[-1] | {"ended_at": time.time()}]


def _wait(lease: Lease, seconds: float) -> None:
    until = time.monotonic() + seconds
    lease.check()
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))
        lease.check()
