"""Verdicts that the gate really gave, of scores that were made up."""

from __future__ import annotations

import json
from typing import Any

from services.core.catalog import Catalog
from services.core.gate_rules import read_gate_rules
from services.core.tables import new_id
from services.eval.gate import judge
from services.eval.scores import Scores
from services.eval.verdicts import VerdictStore
from tests.server import ROOT

ROW = {"quality": 0.5, "citation_precision": 0.5, "abstention": 1.0, "latency": 2.0}


def table(release: str, quality: float, questions: int = 40) -> Scores:
    return Scores(release, "0" * 64, {f"q{at}": ROW | {"quality": quality} for at in range(questions)})


def body_of(champion: str, challenger: str, gain: float) -> dict[str, Any]:
    """A whole verdict; it passes if `gain`, in quality, is above 0."""
    rules = read_gate_rules(ROOT / "params.yaml")
    verdict = judge(table(champion, 0.5), table(challenger, 0.5 + gain), rules)
    assert verdict.passed == (gain > 0)
    return dict(json.loads(verdict.model_dump_json()))


def add_verdict(
    catalog: Catalog, champion: str, challenger: str, gain: float, evaluations: tuple[str, str] = ("eval_1", "eval_2")
) -> str:
    """Keep one, as an evaluation does at its end; returns its id."""
    verdict_id = new_id("ver")
    with catalog.database.write() as connection:
        VerdictStore(catalog.database).add(connection, verdict_id, body_of(champion, challenger, gain), *evaluations)
    return verdict_id
