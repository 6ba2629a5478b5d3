"""Passages -> their sentences, each with the probability that it answers the question.

What an answer is written from, and what it is cited with.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple, Protocol

from services.core.classifier import Classifier
from services.core.neighbours import Joined, Part, Window
from services.core.sentences import quotable_spans
from services.core.types import embedding_text

SUFFICIENT = "sufficient"  # the label of a text that answers


class Readable(Protocol):
    """A passage of any kind: the titles of its section, outermost first, and its text."""

    @property
    def section(self) -> tuple[str, ...]: ...

    @property
    def text(self) -> str: ...


class Sentence(NamedTuple):
    """`text == passages[passage].text[start:end]`; `score` is the probability that it answers, in [0, 1].

    Of a sentence that goes on beyond its passage `text` is all of it, `passages[passage].text[start:end]` what the
    passage has of it, and `parts` are its stretches in reading order, one a page.
    """

    passage: int
    start: int
    end: int
    text: str
    score: float
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """`sentences` are in the order of the passages."""

    sentences: list[Sentence]

    def best(self, count: int) -> list[Sentence]:
        """The `count` sentences with the highest score, best first, equal ones in their order."""
        return sorted(self.sentences, key=lambda sentence: -sentence.score)[:count]


def answerability(sufficiency: Iterable[float], evidence: Evidence) -> float:
    """How sure it is that the passages answer, in [0, 1]: the geometric mean of what the best of them and the best of
    their sentences promise. 0 without passages."""
    passage = max(sufficiency, default=0.0)
    sentence = max((sentence.score for sentence in evidence.sentences), default=0.0)
    return math.sqrt(passage * sentence)


def sufficiency(question: str, passages: Sequence[Readable], judge: Classifier) -> list[float]:
    """For each passage the probability that it answers. `judge` has the label `sufficient`."""
    if not passages:
        return []
    found = judge.classify([(question, embedding_text(passage.section, passage.text)) for passage in passages])
    return [result.scores[SUFFICIENT] for result in found]


def evidence_of(
    question: str, passages: Sequence[Readable], judge: Classifier, windows: Sequence[Window | None] = ()
) -> Evidence:
    """All sentences of `passages` that are long enough to say something. `judge` has the label `sufficient`.

    `windows` has one for each passage, or none at all. With its window a passage has its first and last sentence whole;
    one that crosses from passage to passage is given once, to the first of them.
    """
    (found,) = _judged([(question, passages, windows)], judge)
    return found


def evidence_of_all(asked: Sequence[tuple[str, Sequence[Readable]]], judge: Classifier) -> list[Evidence]:
    """The same for many questions, without windows, classified together."""
    return _judged([(question, passages, ()) for question, passages in asked], judge)


def _judged(
    asked: Sequence[tuple[str, Sequence[Readable], Sequence[Window | None]]], judge: Classifier
) -> list[Evidence]:
    found = [list(_unjudged(passages, windows)) for _, passages, windows in asked]
    inputs = [
        (question, embedding_text(passages[sentence.passage].section, sentence.text))
        for (question, passages, _), sentences in zip(asked, found, strict=True)
        for sentence in sentences
    ]
    scores = iter([result.scores[SUFFICIENT] for result in judge.classify(inputs)] if inputs else [])
    return [Evidence([sentence._replace(score=next(scores)) for sentence in sentences]) for sentences in found]


def _unjudged(passages: Sequence[Readable], windows: Sequence[Window | None]) -> Iterator[Sentence]:
    seen: set[tuple[str, tuple[Part, ...]]] = set()
    for at, (passage, window) in enumerate(zip_longest(passages, windows)):
        for joined in window.sentences() if window else _alone(passage.text):
            if window and joined.parts:
                place = (window.document_id, joined.parts)
                if place in seen:
                    continue
                seen.add(place)
            yield Sentence(at, joined.start, joined.end, joined.text, 0.0, joined.parts)


def _alone(text: str) -> Iterator[Joined]:
    return (Joined(start, end, text[start:end], ()) for start, end in quotable_spans(text))
