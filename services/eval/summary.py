"""Judgements -> the figures of an evaluation, each with its 95 % interval."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from services.core.answer_metrics import words
from services.core.intervals import Interval, intervals
from services.eval.judge import RELEASE, SYSTEMS, Judgement

COMPARED = ("rouge1", "rouge2", "rougeL", "rougeLsum", "token_f1", "contains", "citation_precision", "abstention_error")
SLICED = (
    "contains",
    "rougeL",
    "token_f1",
    "answer_words",
    "recall@5",
    "mrr@10",
    "ndcg@10",
    "citation_precision",
    "abstention_error",
    "answer_ms",
)
LATENCIES = ("search_ms", "answer_ms")
_LENGTHS = ((8, "up to 8 words"), (15, "9 to 15 words"))
_LONGER = "16 words and more"

Facts = dict[str, float] | None


def summary(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """`systems`: each metric of each system. `better`: what the release is better by than each baseline, question by
    question (of `abstention_error` less is better). `slices` of the release by kind, document and length of the
    question. `latency_ms`: p50 and p95. `expected_words`: the mean length of the expected answers. `lineages`: what
    answered; more than one if the release changed meanwhile.
    """
    tables = {system: _table(judgements, system) for system in SYSTEMS}
    answerable = [one for one in judgements if one["answerable"]]
    expected = intervals({"words": [float(len(words(one["answer"]))) for one in answerable]})["words"]
    return {
        "questions": len(judgements),
        "answerable": len(answerable),
        "systems": {system: _facts(intervals(table)) for system, table in tables.items()},
        "better": {system: _better(tables[RELEASE], tables[system]) for system in SYSTEMS if system != RELEASE},
        "slices": {name: _slices(judgements, tables[RELEASE], key) for name, key in _KEYS.items()},
        "latency_ms": {name: _percentiles(tables[RELEASE][name]) for name in LATENCIES},
        "modes": dict(Counter(one["systems"][RELEASE]["mode"] for one in judgements)),
        "expected_words": expected.facts() if expected else None,
        "lineages": _distinct([one["systems"][RELEASE]["lineage"] for one in judgements]),
    }


def length_of(question: str) -> str:
    count = len(question.split())
    return next((name for most, name in _LENGTHS if count <= most), _LONGER)


_KEYS: Mapping[str, Callable[[Judgement], str]] = {
    "kind": lambda one: str(one["kind"]),
    "document": lambda one: str(one["document"]) or "none",
    "length": lambda one: length_of(one["question"]),
}


def _table(judgements: Sequence[Judgement], system: str) -> dict[str, list[float | None]]:
    """Columns by metric, one value a question."""
    rows = [one["systems"][system]["metrics"] for one in judgements]
    return {name: [row[name] for row in rows] for name in rows[0]}


def _better(
    ours: Mapping[str, Sequence[float | None]], theirs: Mapping[str, Sequence[float | None]]
) -> dict[str, Facts]:
    differences = {
        name: [None if a is None or b is None else a - b for a, b in zip(ours[name], theirs[name], strict=True)]
        for name in COMPARED
    }
    return _facts(intervals(differences))


def _slices(
    judgements: Sequence[Judgement], table: Mapping[str, Sequence[float | None]], key: Callable[[Judgement], str]
) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    names = [key(one) for one in judgements]
    for value in sorted(set(names)):
        chosen = [at for at, name in enumerate(names) if name == value]
        figures = intervals({metric: [table[metric][at] for at in chosen] for metric in SLICED})
        out[value] = {"questions": len(chosen), **_facts(figures)}
    return out


def _facts(found: Mapping[str, Interval | None]) -> dict[str, Facts]:
    return {name: interval.facts() if interval else None for name, interval in found.items()}


def _percentiles(values: Sequence[float | None]) -> dict[str, float]:
    p50, p95 = np.percentile([value for value in values if value is not None], [50, 95])
    return {"p50": round(float(p50), 1), "p95": round(float(p95), 1)}


def _distinct(lineages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({json.dumps(lineage, sort_keys=True): lineage for lineage in lineages}.values())
