"""Judgements of two releases, asked the same questions -> what the gate says of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.core.errors import InvalidRequest
from services.core.gate_rules import GateRules
from services.core.tables import new_id
from services.eval.gate import Verdict, judge
from services.eval.judge import RELEASE, Judgement
from services.eval.scores import Scores


@dataclass(frozen=True)
class Outcome:
    """`verdict` is None if the gate could not compare the two; `why` says what is missing, if anything."""

    id: str
    verdict: Verdict | None
    why: list[str]

    def facts(self) -> dict[str, Any]:
        """In short, for the evaluations themselves; the id is None where there is no verdict to be found by it."""
        passed = self.verdict is not None and self.verdict.passed
        return {"id": self.id if self.verdict else None, "passed": passed, "why": self.why}

    def body(self) -> dict[str, Any] | None:
        """The verdict as JSON, where a bound that is not finite is null."""
        return json.loads(self.verdict.model_dump_json()) if self.verdict else None


def scores_of(judgements: Sequence[Judgement], release_id: str, dataset_sha256: str) -> Scores:
    """The table that the gate reads: the metrics that params.yaml has rules for, of each question.

    `quality`: the mean of containment and token F1, since the one alone rewards whoever says much, and the other
    whoever says it in the words of the dataset; 0 for who does not answer, None for an unanswerable question.
    `abstention`: 1 for rightly answered or rightly refused. `latency`: seconds to the answer, search included.
    """
    return Scores(
        release_id, dataset_sha256, {one["id"]: _row(one["systems"][RELEASE]["metrics"]) for one in judgements}
    )


def _row(metrics: dict[str, float | None]) -> dict[str, float | None]:
    contains, f1, error, ms = (metrics[name] for name in ("contains", "token_f1", "abstention_error", "answer_ms"))
    assert error is not None and ms is not None, "every answer has these"
    return {
        "quality": None if contains is None or f1 is None else (contains + f1) / 2,
        "citation_precision": metrics["citation_precision"],
        "abstention": 1 - error,
        "latency": ms / 1000,
    }


def outcome_of(champion: Scores, challenger: Scores, rules: GateRules) -> Outcome:
    """What the gate says; that it cannot compare the two is no failure of the evaluation."""
    try:
        verdict = judge(champion, challenger, rules)
    except InvalidRequest as error:
        return Outcome(new_id("ver"), None, [f"The gate cannot compare them. {error.detail}"])
    return Outcome(new_id("ver"), verdict, verdict.why)
