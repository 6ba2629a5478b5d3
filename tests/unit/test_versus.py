"""Judgements -> scores -> verdict -> what a reader is shown of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from services.core.errors import SettingsProblem
from services.core.gate_rules import GateRules, read_gate_rules
from services.eval import metrics
from services.eval.judge import RELEASE
from services.eval.plots import interval_line
from services.eval.verdict_html import verdict_html
from services.eval.versus import outcome_of, scores_of

PARAMS = Path(__file__).parents[2] / "params.yaml"
RULES = read_gate_rules(PARAMS)
SHA256 = "a" * 64


def judgement(number: int, said: str, *, page: int = 1, answerable: bool = True, ms: float = 500.0) -> dict[str, Any]:
    """An answer to a question whose answer is "the red door", on page 1; "" abstains."""
    silent = said == ""
    figures = metrics.answer(said, silent, "the red door", ["red"]) if answerable else {}
    figures = figures or dict.fromkeys(metrics.answer_names())
    wanted = {("a.pdf", 1)} if answerable else set()
    figures |= metrics.citations([] if silent else [("a.pdf", page)], wanted)
    figures |= metrics.abstention(silent, answerable) | {"answer_ms": ms}
    return {"id": f"q{number:02}", "systems": {RELEASE: {"metrics": figures}}}


@pytest.mark.parametrize(
    ("asked", "row"),
    [
        (judgement(0, "the red door"), (1.0, 1.0, 1.0, 0.5)),
        (judgement(0, "it is red", page=2), ((1 + 0.4) / 2, 0.0, 1.0, 0.5)),
        (judgement(0, ""), (0.0, None, 0.0, 0.5)),
        (judgement(0, "the red door", answerable=False, ms=80), (None, None, 0.0, 0.08)),
        (judgement(0, "", answerable=False), (None, None, 1.0, 0.5)),
    ],
)
def test_a_judgement_becomes_a_row_of_the_gate(asked: dict[str, Any], row: tuple[float | None, ...]) -> None:
    scores = scores_of([asked], "r@1", SHA256)
    assert (scores.release, scores.questions_sha256) == ("r@1", SHA256)
    found = scores.values["q00"]
    assert tuple(found[name] for name in ("quality", "citation_precision", "abstention", "latency")) == pytest.approx(
        row
    )
    assert found.keys() == RULES.metrics.keys(), "a rule for each, and a score for each rule"


def side(release: str, right: int, *, ms: float = 500.0, count: int = 40) -> Any:
    asked = [judgement(n, "the red door" if n < right else "a blue wall", ms=ms + n) for n in range(count)]
    return scores_of(asked, release, SHA256)


def test_more_right_answers_pass_and_fewer_or_slower_ones_do_not() -> None:
    better = outcome_of(side("r@1", 10), side("r@2", 30), RULES)
    assert better.facts() == {"id": better.id, "passed": True, "why": []}
    body = better.body()
    assert body is not None and body["metrics"]["quality"]["gained"] is True
    worse = outcome_of(side("r@2", 30), side("r@1", 10), RULES).facts()
    assert not worse["passed"] and worse["why"][0].startswith("quality")
    slower = outcome_of(side("r@1", 10), side("r@2", 30, ms=2_000), RULES).facts()
    assert not slower["passed"] and "latency" in slower["why"][0]
    assert not outcome_of(side("r@1", 20), side("r@2", 20), RULES).facts()["passed"], "no change is no gain"


def test_too_few_questions_give_no_verdict_and_say_so() -> None:
    outcome = outcome_of(side("r@1", 5, count=12), side("r@2", 9, count=12), RULES)
    assert outcome.body() is None
    facts = outcome.facts()
    assert (facts["id"], facts["passed"]) == (None, False) and "min_questions is 30" in facts["why"][0]
    assert "cannot compare" in verdict_html(facts, None)


def test_the_report_shows_each_metric_with_its_interval_and_margin() -> None:
    outcome = outcome_of(side("<r>@1", 10), side("r@2", 30), RULES)
    html = verdict_html(outcome.facts(), outcome.body())
    assert html.count("<svg") == 4 and "<b>passed</b>" in html
    assert "r@2 against &lt;r&gt;@1" in html and "<r>" not in html
    for name in RULES.metrics:
        assert f"<td>{name}</td>" in html
    assert "margin -0.02" in html and "margin 1.25" in html


def test_a_bound_that_is_not_finite_is_shown_as_none() -> None:
    """With few values, some resamples have none at all, and the bound is minus infinity."""
    rules = RULES.model_copy(update={"min_questions": 2})
    sides = []
    for release in ("r@1", "r@2"):
        asked = [judgement(n, "the red door" if n < 2 else "") for n in range(40)]
        sides.append(scores_of(asked, release, SHA256))
    one, two = sides
    outcome = outcome_of(one, two, rules)
    body = outcome.body()
    assert body is not None and body["metrics"]["citation_precision"]["low"] is None
    json.dumps(body, allow_nan=False)
    assert verdict_html(outcome.facts(), body).count("<svg") == 3


def test_an_interval_is_drawn_in_the_order_of_its_values() -> None:
    svg = interval_line("latency", 0.9, 1.1, 1.2, {"no change": 1.0, "margin": 1.25})
    [(low, high)] = [map(float, pair) for pair in re.findall(r'd="M([\d.]+) 30H([\d.]+)M', svg)]
    [middle] = map(float, re.findall(r'cx="([\d.]+)"', svg))
    nothing, margin = (float(x) for x in re.findall(r'd="M([\d.]+) 12V', svg))
    assert low < nothing < middle < high < margin
    assert "1.1 [0.9, 1.2]" in svg


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gate: {level: 2}", "gate.level"),
        ("gates: {}", "no usable section"),
        ("- a", "no usable section"),
        ("a: [", "no usable section"),
        (None, "cannot be read"),
    ],
)
def test_rules_that_cannot_be_used_are_a_problem_of_the_settings(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "params.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsProblem, match="CAPSTONE_PARAMS") as raised:
        read_gate_rules(file)
    assert said in raised.value.detail


def test_the_rules_are_those_of_the_command() -> None:
    from models.params import load_params

    assert isinstance(RULES, GateRules) and load_params(PARAMS).gate == RULES
