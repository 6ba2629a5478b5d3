"""Answers that need no generator, from the passages that the answer itself reads. They never abstain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core.sentences import quotable_spans

_QUESTION_MAX_WORDS = 120  # well below what an encoder reads
_SENTENCES_MAX = 255  # texts in one request for embeddings, the question left out

Encode = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a passage, as /v1/search gives passages."""

    text: str
    document: str
    page: int


def lead(passages: Sequence[dict[str, Any]]) -> Sentence | None:
    """The first sentence of the first passage; None without passages."""
    return next(iter(_sentences(passages)), None)


def best_sentence(question: str, passages: Sequence[dict[str, Any]], encode: Encode) -> Sentence | None:
    """The sentence whose vector is nearest to the question's; None without passages. `encode` gives unit vectors."""
    sentences = _sentences(passages)[:_SENTENCES_MAX]
    if not sentences:
        return None
    asked = " ".join(question.split()[:_QUESTION_MAX_WORDS])
    vectors = encode([asked, *(sentence.text for sentence in sentences)])
    return sentences[int((vectors[1:] @ vectors[0]).argmax())]


def _sentences(passages: Sequence[dict[str, Any]]) -> list[Sentence]:
    return [
        Sentence(" ".join(passage["text"][start:end].split()), passage["document_name"], passage["page"])
        for passage in passages
        for start, end in quotable_spans(passage["text"])
    ]
