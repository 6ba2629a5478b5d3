"""Retrieved passages -> rows to train on. Pure: what a row becomes depends on its question, the parameters, the seed.

Every draw is seeded by the question's id, so that adding a question changes no row of another.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from models.prepare.params import DataParams
from models.prepare.questions import Question, Split
from models.prepare.retrieval import Candidate, Retrieved
from services.core.answer_metrics import contains_any, words
from services.core.prompt import DEFAULT_PROMPT

SUFFICIENT, INSUFFICIENT = "sufficient", "insufficient"


def pairs(retrieved: Retrieved, negatives: int) -> tuple[list[dict[str, Any]], int]:
    """Rows for the classifier, and how many were left out because nobody knows their label.

    The gold passages are sufficient; at most `negatives` of the nearest others are not. A passage that holds a short
    answer of the question but is not the one the question was written from may or may not answer it: it is left out.
    """
    rows = [_pair(retrieved, passage, SUFFICIENT) for passage in retrieved.gold]
    others = _others(retrieved)
    clear = [passage for passage in others if not _may_answer(retrieved, passage)]
    rows += [_pair(retrieved, passage, INSUFFICIENT) for passage in clear[:negatives]]
    seen = others.index(clear[negatives - 1]) + 1 if len(clear) >= negatives else len(others)
    return rows, seen - len(clear[:negatives])


def examples(retrieved: Retrieved, split: Split, params: DataParams) -> list[dict[str, Any]]:
    """Rows for the generator: passages in the order they are shown in, `gold` the index of the one that answers.

    A share of the answerable training questions is asked once more of passages that do not answer. Then, and where the
    question cannot be answered, `gold` is None and the answer is the sentence of abstention.
    """
    question = retrieved.question
    draw = random.Random(f"{params.seed}:example:{question.id}")  # noqa: S311 - a sample, not a secret
    size = draw.randint(params.min_passages, params.max_passages)
    position = draw.randrange(size)
    others = _others(retrieved)
    clear = [passage for passage in others if not _may_answer(retrieved, passage)]
    if not retrieved.gold:
        return [_example(question, clear[:size], None)]
    passages = others[: size - 1]
    position = min(position, len(passages))
    passages.insert(position, retrieved.gold[0])
    rows = [_example(question, passages, position)]
    if split == "train" and draw.random() < params.no_gold_share and len(clear) >= params.min_passages:
        rows.append(_example(question, clear[:size], None))
    return rows


def _example(question: Question, passages: Sequence[Candidate], gold: int | None) -> dict[str, Any]:
    answered = gold is not None
    return {
        "id": question.id if answered or not question.answerable else f"{question.id}/withheld",
        "document": question.document,
        "kind": question.kind,
        "question": question.question,
        "answer": question.answer if answered else DEFAULT_PROMPT.abstention,
        "short_answers": list(question.short_answers) if answered else [],
        "quote": question.quote if answered else "",
        "passages": [
            {"section": list(p.section), "text": p.text, "page": p.page, "document": question.document}
            for p in passages
        ],
        "gold": gold,
    }


def _pair(retrieved: Retrieved, passage: Candidate, label: str) -> dict[str, Any]:
    question = retrieved.question
    place = f"{passage.rank}" if passage.rank is not None else "unranked"
    return {
        "id": f"{question.id}/{place}",
        "text": question.question,
        "section": list(passage.section),
        "text_pair": passage.text,
        "label": label,
        "group": question.id,
        "document": question.document,
        "retrieval_score": passage.score,
        "retrieval_rank": passage.rank,
    }


def _others(retrieved: Retrieved) -> list[Candidate]:
    """What was found besides the gold passages, nearest first, each text once."""
    taken = {_key(passage) for passage in retrieved.gold}
    others = []
    for passage in retrieved.ranked:
        if (key := _key(passage)) not in taken:
            taken.add(key)
            others.append(passage)
    return others


def _may_answer(retrieved: Retrieved, passage: Candidate) -> bool:
    question = retrieved.question
    sought: Sequence[str] = (*question.short_answers, question.quote)
    return bool(contains_any(passage.text, sought))


def _key(passage: Candidate) -> str:
    return " ".join(words(passage.text))
