"""Passages -> their sentences with vectors: what an answer is written from, and what it is checked against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from services.core.encoder import Encoder, Vectors
from services.core.sentences import quotable_spans


class Sentence(NamedTuple):
    """`text == passages[passage][start:end]`."""

    passage: int
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Evidence:
    """`vectors[i]` is that of `sentences[i]`: float32 of shape (sentences, dim), each row of length 1."""

    sentences: list[Sentence]
    vectors: Vectors

    @classmethod
    def of(cls, passages: Sequence[str], encoder: Encoder) -> Evidence:
        """All sentences of `passages` that are long enough to say something."""
        sentences = [
            Sentence(at, start, end, text[start:end])
            for at, text in enumerate(passages)
            for start, end in quotable_spans(text)
        ]
        return cls(sentences, encoder.encode([sentence.text for sentence in sentences]))

    def nearest(self, vector: Vectors, count: int) -> list[Sentence]:
        """The `count` sentences with the largest cosine to `vector` (dim,), nearest first."""
        order = (-(self.vectors @ vector)).argsort(kind="stable")[:count]
        return [self.sentences[int(index)] for index in order]


def nearest_sentences(question: str, passages: Sequence[str], encoder: Encoder, count: int) -> list[str]:
    """The texts of the `count` sentences of `passages` that are nearest to `question`, nearest first."""
    if not count:
        return []
    found = Evidence.of(passages, encoder).nearest(encoder.encode([question])[0], count)
    return [sentence.text for sentence in found]
