"""How good are the answers, beside those of no model at all? Test documents only.

Every question is asked twice of the same passages: with the one that holds the answer first, and not first. A model
that has learned to copy what it reads first shows in the difference.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models import bootstrap
from models.generator.answers import Ids, answers
from models.generator.data import ExampleRow
from models.generator.hints import Hints
from models.progress import Steps
from services.core.answer_metrics import contains_any, token_f1
from services.core.encoder import Encoder
from services.core.prompt import Prompt
from services.core.rouge import score_pairs
from services.core.sentences import quotable_spans

METRICS = ("rouge1", "rouge2", "rougeL", "token_f1", "contains")
MUST_BEAT = ("base", "lead", "best_sentence")
MUST_WIN = ("contains", "rougeL")
FAILURES_SHOWN = 8
Answers = dict[str, list[str]]  # by system
Scores = dict[str, dict[str, list[float]]]  # by system and metric, one value a question


@dataclass(frozen=True)
class Placement:
    """The same questions with the gold passage at one kind of place."""

    name: str
    rows: list[ExampleRow]


def placements(rows: Sequence[ExampleRow]) -> list[Placement]:
    """`first` and `not_first`; where the latter is to be drawn, it is drawn from the question's id alone."""

    def later(row: ExampleRow) -> int:
        return row.gold or random.Random(row.id).randrange(1, len(row.passages))  # noqa: S311 - no secret

    usable = [row for row in rows if row.gold is not None and len(row.passages) > 1]
    return [
        Placement("first", [row.with_gold_at(0) for row in usable]),
        Placement("not_first", [row.with_gold_at(later(row)) for row in usable]),
    ]


def lead(row: ExampleRow) -> str:
    """The first sentence of the first passage: an answer that needs no model and no look at the question."""
    text = row.passages[0].text
    start, end = quotable_spans(text)[0]
    return " ".join(text[start:end].split())


def best_sentence(row: ExampleRow, encoder: Encoder) -> str:
    """The sentence of all passages whose vector is nearest to the question's."""
    texts = [passage.text[start:end] for passage in row.passages for start, end in quotable_spans(passage.text)]
    nearest = int((encoder.encode(texts) @ encoder.encode([row.question])[0]).argmax())
    return " ".join(texts[nearest].split())


def all_answers(
    placement: Placement,
    models: Mapping[str, Callable[[], Any]],
    tokenizer: Any,
    encoders: Mapping[str, Encoder],
    given: Hints,
    prompt: Prompt,
    max_tokens: int,
    known: Mapping[str, dict[Ids, str]],
    steps: Steps,
) -> Answers:
    """The answers of every system; each of `models` is loaded when its turn comes, and dropped after.

    `given` are the best sentences of each row, by the classifier; the first one is an answer too, and so is, under its
    name, the sentence that each of `encoders` finds nearest. `known` are answers by model and prompt, as `answers` uses
    and extends them.
    """
    said = {
        "lead": [lead(row) for row in placement.rows],
        **{name: [best_sentence(row, encoder) for row in placement.rows] for name, encoder in encoders.items()},
        "classifier_sentence": [" ".join(own[0].split()) for own in given],
    }
    for name, load in models.items():
        with steps.step(f"{name} answers, gold {placement.name}", len(placement.rows)) as advance:
            said[name] = answers(load(), tokenizer, prompt, placement.rows, given, max_tokens, advance, known[name])
    return said


def scores(rows: Sequence[ExampleRow], said: Answers) -> Scores:
    """Each answer against the expected one; ROUGE is the F-measure of `rouge-score`, without stemming."""
    out: Scores = {}
    for system, texts in said.items():
        rouge = score_pairs(
            [(text, [row.answer]) for row, text in zip(rows, texts, strict=True)], ["rouge1", "rouge2", "rougeL"]
        )
        table = {name: [row[name].f1 for row in rouge] for name in ("rouge1", "rouge2", "rougeL")}
        table["token_f1"] = [token_f1(text, row.answer) for row, text in zip(rows, texts, strict=True)]
        table["contains"] = [contains_any(text, row.short_answers) for row, text in zip(rows, texts, strict=True)]
        out[system] = table
    return out


def summary(found: Scores, ours: str = "lora") -> dict[str, Any]:
    """Every figure with its interval, and what `ours` is better by, paired question by question."""
    systems = {
        system: {metric: bootstrap.mean(table[metric]).facts() for metric in METRICS} for system, table in found.items()
    }
    better = {
        other: {metric: bootstrap.difference(found[ours][metric], table[metric]).facts() for metric in METRICS}
        for other, table in found.items()
        if other != ours
    }
    return {"systems": systems, f"{ours}_is_better_by": better}


def passes(not_first: Mapping[str, Any], ours: str = "lora") -> bool:
    """Whether `ours` beats base, lead copy and best sentence in containment and ROUGE-L, the gold passage not first, by
    the whole interval of the paired difference."""
    better = not_first[f"{ours}_is_better_by"]
    return all(better[other][metric]["low"] > 0 for other in MUST_BEAT for metric in MUST_WIN)


def slices(rows: Sequence[ExampleRow], found: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Any]]:
    """Containment and ROUGE-L by kind of question, by document, and by number of passages."""
    keys: dict[str, Callable[[ExampleRow], str]] = {
        "kind": lambda row: row.kind,
        "document": lambda row: row.document,
        "passages": lambda row: str(len(row.passages)),
    }
    out: dict[str, dict[str, Any]] = {}
    for name, key in keys.items():
        out[name] = {}
        for value in sorted({key(row) for row in rows}):
            chosen = [at for at, row in enumerate(rows) if key(row) == value]
            figures = {metric: bootstrap.mean([found[metric][at] for at in chosen]).facts() for metric in MUST_WIN}
            out[name][value] = {"questions": len(chosen), **figures}
    return out


def failures(rows: Sequence[ExampleRow], texts: Sequence[str], found: Mapping[str, Sequence[float]]) -> list[Any]:
    """The answers furthest from what was expected, worst first."""
    worst = sorted(range(len(rows)), key=lambda at: (found["contains"][at], found["rougeL"][at], rows[at].id))
    return [
        {
            "id": rows[at].id,
            "question": rows[at].question,
            "answered": texts[at],
            "expected": rows[at].answer,
            "rougeL": round(found["rougeL"][at], 4),
        }
        for at in worst[:FAILURES_SHOWN]
    ]
