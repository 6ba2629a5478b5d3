"""Evidence -> the sentences that make the answer, best first. Pure: no models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from services.core.evidence import Evidence, Sentence
from services.core.plan import SentencePlan
from services.core.types import Passage

_LEAST = 1e-6  # a probability is at least so far from 0 and from 1


class Ranked(NamedTuple):
    """`worth`: the log-odds that the sentence holds the answer, up to a constant."""

    sentence: Sentence
    worth: float


def ranked(
    evidence: Evidence,
    plan: SentencePlan,
    sufficiency: Sequence[float],
    relevance: Sequence[float],
    cosines: Sequence[float],
) -> list[Ranked]:
    """All sentences, best first, equal ones in their order.

    For each passage `sufficiency` has the probability that it answers, and `relevance` what it was worth to the search,
    in (0, 1]; for each sentence `cosines` has the similarity to the question.
    """
    found = [
        Ranked(
            sentence,
            plan.sentence * log_odds(sentence.score)
            + plan.passage * log_odds(sufficiency[sentence.passage])
            + plan.retrieval * relevance[sentence.passage]
            + plan.cosine * cosine,
        )
        for sentence, cosine in zip(evidence.sentences, cosines, strict=True)
    ]
    return sorted(found, key=lambda one: -one.worth)


def leading(ranking: Sequence[Ranked], plan: SentencePlan, passages: Sequence[Passage]) -> list[Sentence]:
    """The first of `ranking`, and up to `plan.most` with those whose odds are at least `plan.share` of its odds.

    What stands on the page of the first is worth `plan.same_page` more: an answer reads on where it began. Sentences of
    the same words count once. The others come page by page, the likeliest page first, and on a page as it is read.
    """
    first, *others = ranking
    page = _page(first.sentence, passages)
    near = [
        Ranked(one.sentence, one.worth + plan.same_page * (_page(one.sentence, passages) == page)) for one in others
    ]
    chosen = {first.sentence.text: first.sentence}
    for one in sorted(near, key=lambda one: -one.worth):
        if len(chosen) == plan.most or math.exp(one.worth - first.worth) < plan.share:
            break
        chosen.setdefault(one.sentence.text, one.sentence)
    best, *rest = chosen.values()
    pages = list(dict.fromkeys(_page(sentence, passages) for sentence in chosen.values()))
    return [best, *sorted(rest, key=lambda one: (pages.index(_page(one, passages)), _position(one, passages)))]


def _page(sentence: Sentence, passages: Sequence[Passage]) -> tuple[str, int]:
    """The document and page on which it begins."""
    passage = passages[sentence.passage]
    return passage.document_id, sentence.parts[0].page if sentence.parts else passage.page


def _position(sentence: Sentence, passages: Sequence[Passage]) -> int:
    """Where on its page it begins, in characters."""
    return sentence.parts[0].char_start if sentence.parts else passages[sentence.passage].char_start + sentence.start


def log_odds(probability: float) -> float:
    """Of a probability, 0 and 1 included: finite."""
    inside = min(max(probability, _LEAST), 1 - _LEAST)
    return math.log(inside / (1 - inside))
