"""Pairs -> pairs of a question and one sentence: the classifier can also tell which sentence of a passage answers.

Serving asks it that, to choose the evidence an answer is written from and cited with.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from models.classifier.data import Example
from models.classifier.params import Sentences
from models.classifier.stretches import Evidence
from services.core.answer_metrics import contains_any, words
from services.core.sentences import quotable_spans

MIN_SHARE = 0.85  # of the words of a sentence that stand in the evidence, or of the evidence's that stand in it
MIN_PART = 0.3  # of the evidence that a sentence must hold to count as a part of it


def sentences(
    examples: Sequence[Example], evidence: Mapping[str, Evidence], positive: str, params: Sentences, seed: int
) -> list[Example]:
    """For each group: the sentences its evidence consists of, and others of the same and of other passages.

    At most `params.same_passage` others of a positive row, and one each of `params.other_passages` other rows. A
    sentence that holds a short answer without being part of the evidence is left out: nobody knows its label. So is a
    positive row whose evidence is not found.
    """
    groups: dict[str, list[Example]] = {}
    for example in examples:
        if example.text_pair is not None:
            groups.setdefault(example.group, []).append(example)
    out = []
    for group, members in groups.items():
        draw = random.Random(f"{seed}:{group}")  # noqa: S311 - a sample, not a secret
        known = evidence.get(group)
        negatives = [example for example in members if example.label != positive]
        for example in members:
            if example.label != positive or known is None:
                continue
            inside = _split(example)
            carrying = [text for text in inside if carries(text, known.quote)]
            if not carrying or not negatives:
                continue
            rest = [text for text in inside if text not in carrying and not contains_any(text, known.short_answers)]
            out += [_with(example, text, positive) for text in carrying]
            chosen = draw.sample(rest, min(params.same_passage, len(rest)))
            out += [_with(example, text, negatives[0].label) for text in chosen]
        for example in negatives[: params.other_passages]:
            apart = [text for text in _split(example) if known is None or not contains_any(text, known.short_answers)]
            if apart:
                out.append(_with(example, draw.choice(apart), example.label))
    return out


def carries(sentence: str, quote: str) -> bool:
    """Whether `sentence` is the quote, a part of it or holds it: a PDF and a quote differ in hyphens and spaces."""
    given, sought = words(sentence), words(quote)
    if len(given) < 2 or not sought:
        return False
    text, wanted = f" {' '.join(given)} ", f" {' '.join(sought)} "
    if text in wanted or wanted in text:
        return True
    known, there = set(sought), set(given)
    covered = len(known & there) / len(known)
    inside = sum(word in known for word in given) / len(given)
    return covered >= MIN_SHARE or (inside >= MIN_SHARE and covered >= MIN_PART)


def _split(example: Example) -> list[str]:
    text = example.text_pair or ""
    return [text[start:end] for start, end in quotable_spans(text)]


def _with(example: Example, sentence: str, label: str) -> Example:
    return example.model_copy(update={"text_pair": sentence, "label": label, "retrieval_rank": None})
