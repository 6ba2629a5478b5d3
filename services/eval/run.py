"""One evaluation from its questions to its figures, or two side by side to a verdict. Every step can be resumed or
repeated.

Each judged question is a row, committed together with the job's progress; a restart asks only the others. Two releases
are asked each question one after the other, and who is asked first alternates: what else the machine does meanwhile,
and what the first of the two leaves in its caches, meets both alike.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from services.core.gate_rules import read_gate_rules
from services.core.lease import Lease
from services.core.settings import Settings
from services.eval.ask import Api
from services.eval.dataset import Question
from services.eval.judge import judged
from services.eval.report import report_html
from services.eval.store import Evaluation, EvaluationStore
from services.eval.summary import summary
from services.eval.tracking import Log, log_to_mlflow
from services.eval.verdicts import VerdictStore
from services.eval.versus import Outcome, outcome_of, scores_of

_LOOK_EVERY_S = 0.2


class EvaluationRun:
    def __init__(self, settings: Settings, store: EvaluationStore, verdicts: VerdictStore) -> None:
        self._settings = settings
        self._store = store
        self._verdicts = verdicts

    def run(self, lease: Lease) -> None:
        """Ask what has not been asked yet, sum up, judge, log to MLflow, and end the job.

        Raises JobProblem or Unavailable if the api service does not play along, SettingsProblem if the gate's rules
        cannot be read, and LeaseLost, JobCancelled or WorkerStopping if the job should not be done.
        """
        evaluation = self._store.get(lease.job.subject_id)
        sides = [evaluation]
        if evaluation.against_id is not None:
            sides.append(self._store.get(evaluation.against_id))
        self._ask(lease, sides)
        outcome = self._judge(sides)
        verdict = outcome.facts() if outcome else None
        figures: dict[str, dict[str, Any]] = {}
        for side in sides:
            lease.check()
            judgements = self._store.judgements(side.id)
            told = summary(judgements)
            html = report_html(side, told, judgements, verdict, outcome.body() if outcome else None)
            log = Log(side, told, judgements, html)
            tracking = log_to_mlflow(self._settings, log, lambda: _wait(lease, _LOOK_EVERY_S))
            figures[side.id] = {"summary": told, "tracking": tracking, "verdict": verdict}
        lease.check()

        def keep(connection: Connection) -> None:
            if outcome is not None and (body := outcome.body()) is not None:
                challenger, champion = sides
                self._verdicts.add(connection, outcome.id, body, champion.id, challenger.id)

        self._store.finish(lease, figures, keep)

    def _ask(self, lease: Lease, sides: Sequence[Evaluation]) -> None:
        questions = self._store.questions(sides[0].dataset.id)
        judged_numbers = self._store.judged_numbers(sides[0].id)
        done = len(judged_numbers)
        left = [number for number in range(len(questions)) if number not in judged_numbers]
        with Api(self._settings.api_base_url, lambda seconds: _wait(lease, seconds), self._settings.service_key) as api:
            if left and len(sides) > 1:
                self._warm(api, questions[left[0]], sides)
            for number in left:
                found = {}
                for side in _in_turn(sides, number):
                    lease.check()
                    found[side.id] = judged(questions[number], side.collection, side.release_id, api)
                done += 1
                self._store.add_judgements(lease, number, found, done=done, total=len(questions))

    def _warm(self, api: Api, question: Question, sides: Sequence[Evaluation]) -> None:
        """A release that is not live is loaded when it is first asked; that is no part of how fast it answers."""
        for side in sides:
            api.answer(question.question, side.collection, side.release_id)

    def _judge(self, sides: Sequence[Evaluation]) -> Outcome | None:
        if len(sides) == 1:
            return None
        challenger, champion = (
            scores_of(self._store.judgements(side.id), str(side.release_id), side.dataset.sha256) for side in sides
        )
        return outcome_of(champion, challenger, read_gate_rules(self._settings.params))


def _in_turn(sides: Sequence[Evaluation], number: int) -> Sequence[Evaluation]:
    return sides if number % 2 == 0 else sides[::-1]


def _wait(lease: Lease, seconds: float) -> None:
    """Sleep, but not longer than the job is to be done."""
    until = time.monotonic() + seconds
    lease.check()
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _LOOK_EVERY_S))
        lease.check()
