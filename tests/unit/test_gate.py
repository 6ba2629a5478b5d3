"""The verdict on two tables of scores, and the tables that are refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from services.core.errors import InvalidRequest
from services.core.gate_rules import GateRules
from services.eval.gate import judge
from services.eval.scores import Scores, read_scores

HASH = "ab" * 32
RULES = GateRules.model_validate(
    {
        "level": 0.05,
        "draws": 1_000,
        "seed": 1,
        "min_questions": 4,
        "worst": 2,
        "metrics": {
            "quality": {"better": "higher", "compare": "difference", "margin": 0.1, "min_gain": 0.0},
            "latency": {"better": "lower", "compare": "ratio", "margin": 1.25},
        },
    }
)


def scores(release: str, quality: list[float | None], seconds: float = 2.0, questions: str = HASH) -> Scores:
    values = {f"q{at:02}": {"quality": value, "latency": seconds} for at, value in enumerate(quality)}
    return Scores(release, questions, values)


OLD = scores("capstone@old", [0.2, 0.4, 0.6, 0.8, None, 0.5])


def test_a_better_release_passes_and_the_verdict_says_what_it_is_about() -> None:
    verdict = judge(OLD, scores("capstone@new", [0.3, 0.5, 0.7, 0.9, None, 0.6], seconds=2.2), RULES)
    assert (verdict.passed, verdict.why) == (True, [])
    assert (verdict.champion.release, verdict.challenger.release) == ("capstone@old", "capstone@new")
    assert verdict.champion.scores_sha256 == OLD.sha256 != verdict.challenger.scores_sha256
    assert (verdict.questions.count, verdict.questions.sha256) == (6, HASH)
    assert (verdict.error.level, verdict.error.held, verdict.error.gained) == (0.05, 0.025, 0.025)
    quality, latency = verdict.metrics["quality"], verdict.metrics["latency"]
    assert (quality.champion, quality.challenger, quality.estimate) == pytest.approx((0.5, 0.6, 0.1))
    assert (quality.low, quality.high, quality.gain_bound) == pytest.approx((0.1, 0.1, 0.1))
    assert (quality.passed, quality.gained, quality.worst) == (True, True, [])
    assert (latency.champion, latency.challenger, latency.estimate) == pytest.approx((2.0, 2.2, 1.1))
    assert (latency.passed, latency.gained, latency.gain_bound) == (True, None, None)
    assert [one.question for one in latency.worst] == ["q00", "q01"]


def test_what_applies_to_one_side_only_counts_for_its_mean() -> None:
    quality = judge(OLD, scores("capstone@new", [0.3, 0.5, 0.7, 0.9, 0.1, None]), RULES).metrics["quality"]
    assert quality.applies == {"champion": 5, "challenger": 5, "both": 4}
    assert (quality.champion, quality.challenger) == pytest.approx((0.5, 0.5))


def test_a_worse_release_is_told_why_and_where() -> None:
    verdict = judge(OLD, scores("capstone@new", [0.2, 0.1, 0.0, 0.8, 0.0, 0.5], seconds=3.0), RULES)
    assert verdict.passed is False
    quality, latency = verdict.metrics["quality"], verdict.metrics["latency"]
    worst = [(one.question, one.champion, one.challenger) for one in quality.worst]
    assert worst == [("q02", 0.6, 0.0), ("q01", 0.4, 0.1)], "q04 applied to one only"
    assert quality.low < quality.estimate < quality.high
    assert (latency.estimate, latency.low, latency.high) == pytest.approx((1.5, 1.5, 1.5))
    assert [line.partition(":")[0] for line in verdict.why] == ["quality", "latency", "Nothing is gained"]
    assert "1.5 [1.5, 1.5] does not keep within the margin of 1.25" in verdict.why[1]
    assert json.loads(verdict.model_dump_json())["metrics"]["latency"]["passed"] is False


def test_no_change_is_no_gain() -> None:
    verdict = judge(OLD, OLD, RULES)
    assert verdict.passed is False
    assert all(metric.passed for metric in verdict.metrics.values())
    assert verdict.why == ["Nothing is gained: wanted quality by more than 0 (sure of 0)."]


def test_the_same_tables_give_the_same_verdict_in_any_order() -> None:
    new = scores("capstone@new", [0.3, 0.2, 0.9, 0.9, None, 0.6])
    turned = Scores(new.release, new.questions_sha256, dict(reversed([*new.values.items()])))
    assert judge(OLD, new, RULES) == judge(OLD, turned, RULES)


def test_further_metrics_are_passed_over() -> None:
    values = {question: {**row, "other": 1.0} for question, row in OLD.values.items()}
    assert judge(Scores("a", HASH, values), OLD, RULES).metrics.keys() == RULES.metrics.keys()


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (scores("new", []), "The table of new has no questions"),
        (scores("new", [0.1] * 5), "new was not asked q05, and capstone@old was"),
        (scores("new", [0.1] * 11), "capstone@old was not asked q06, q07, q08 and 2 more, and new was"),
        (scores("new", [0.1] * 6, questions="cd" * 32), "asked other questions: abababababab and cdcdcdcdcdcd"),
        (scores("new", [0.1, 0.1, 0.1, None, None, None]), "quality applies to 3 questions, and min_questions is 4"),
        (scores("new", [0.1] * 6, seconds=0.0), "'q00': latency must be above 0"),
        (Scores("new", HASH, {q: {"quality": 1.0} for q in OLD.values}), "question 'q00' has no latency"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_tables_that_cannot_be_compared_are_refused(new: Scores, said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        judge(OLD, new, RULES)
    assert said in refused.value.detail


# Tables ---------------------------------------------------------------------------------------------------------


def test_json_and_jsonl_are_the_same_table(tmp_path: Path) -> None:
    head = {"release": OLD.release, "questions_sha256": HASH}
    whole, lines = tmp_path / "scores.json", tmp_path / "scores.jsonl"
    whole.write_text(json.dumps(head | {"scores": OLD.values}))
    rows = [head, *({"question": question, "scores": row} for question, row in OLD.values.items())]
    lines.write_text("\n\n".join(json.dumps(row) for row in rows) + "\n")
    assert read_scores(whole) == read_scores(lines) == OLD
    assert read_scores(whole).sha256 == OLD.sha256


HEAD = f'{{"release": "r", "questions_sha256": "{HASH}"'


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", "", "a.jsonl: it is empty"),
        ("a.jsonl", "\n \n", "it is empty"),
        ("a.jsonl", '{"release": "r"}', "line 1: questions_sha256: Field required"),
        ("a.jsonl", HEAD + '}\n{"question": "q", "scores": {"m": 1}', "line 2: it is not usable JSON"),
        ("a.jsonl", HEAD + '}\n\n{"question": "q", "scores": {"m": "1"}}', "line 3: scores.m"),
        ("a.jsonl", HEAD + '}\n{"question": "q", "scores": {"m": true}}', "line 2: scores.m"),
        ("a.jsonl", HEAD + '}\n{"question": "q", "scores": {"m": NaN}}', "line 2: scores.m"),
        ("a.jsonl", HEAD + '}\n{"question": "q", "scores": {}}\n{"question": "q", "scores": {}}', "is there twice"),
        ("a.json", HEAD + ', "scores": {"q": {"m": 1}, "q": {"m": 2}}}', "'q' is there twice"),
        ("a.json", HEAD + ', "scores": [1]}', "scores: Input should be a valid dictionary"),
        ("a.json", HEAD + ', "scores": {"": {}}}', "at least 1 character"),
        ("a.json", '{"release": "r", "questions_sha256": "AB", "scores": {}}', "questions_sha256"),
        ("a.json", "[]", "all of it"),
        ("a.json", "", "it is not usable JSON"),
    ],
)
def test_a_file_that_is_no_table_is_refused_by_its_place(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InvalidRequest) as refused:
        read_scores(path)
    assert said in refused.value.detail and str(path) in refused.value.detail
    with pytest.raises(InvalidRequest, match="it cannot be read"):
        read_scores(tmp_path / "absent.json")


def test_a_hash_is_that_of_every_value() -> None:
    changed = {**OLD.values, "q00": {"quality": math.nextafter(0.2, 1), "latency": 2.0}}
    assert Scores(OLD.release, HASH, changed).sha256 != OLD.sha256
    assert Scores("other", HASH, OLD.values).sha256 != OLD.sha256
