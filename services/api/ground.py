"""A draft -> claims, each with the sentences of the passages that carry it. Pure: words only, no models.

The generator may say things no passage holds. What it may not invent is checked here: numbers, commands, names and
paths must stand in the evidence or in the question, and so must most of a claim's other words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.core.answer_metrics import folded
from services.core.classifier import content_stems
from services.core.evidence import Evidence, Sentence
from services.core.sentences import sentence_spans

MAX_QUOTES = 2  # of one claim
MIN_GAIN = 0.15  # share of a claim's words that a further quote must add
_EDGES = "\"'`“”‘’«»()[]{}<>,;:!?…*"
_CODE = re.compile(r"[\d/\\_=$@#~<>|]|^-|^\.\w|\w\.\w|[a-z][A-Z]|^[A-Z]{2,}")


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence of a draft, the evidence for it, best first, and whether that supports it."""

    text: str
    evidence: tuple[Sentence, ...]
    supported: bool


def claims_of(
    question: str, draft: str, evidence: Evidence, min_support: float, source: Sentence | None = None
) -> list[Claim]:
    """The sentences of `draft`. One is supported if its quotes and the question hold every one of its `names` and at
    least `min_support` of its other words. `source`, from which the draft was written, is its first quote if it holds
    so many of them."""
    claims = (draft[start:end] for start, end in sentence_spans(draft))
    return [_claim(question, claim, evidence, min_support, source) for claim in claims]


def names(text: str) -> list[str]:
    """What `text` may not invent: numbers, commands, options, paths, identifiers, and words with a capital letter
    inside a sentence. Without the punctuation around them."""
    found = []
    for start, end in sentence_spans(text):
        for place, run in enumerate(text[start:end].split()):
            word = run.lstrip(_EDGES).rstrip(_EDGES + ".")
            if word and (_CODE.search(word) or (place > 0 and word[0].isupper() and word != "I")):
                found.append(word)
    return found


def support(claim: str, given: Iterable[str]) -> float:
    """The share of the content words of `claim` whose stem is in one of the texts `given`; 1 if it has none."""
    wanted = content_stems(claim)
    there = set().union(*(content_stems(text) for text in given))
    return len(wanted & there) / len(wanted) if wanted else 1.0


def _claim(question: str, claim: str, evidence: Evidence, min_support: float, source: Sentence | None) -> Claim:
    carries = source is not None and support(claim, [question, source.text]) >= min_support
    chosen = [source] if source is not None and carries else []
    while len(chosen) < MAX_QUOTES:
        given = [question, *(sentence.text for sentence in chosen)]
        before = support(claim, given)
        gains = {s: support(claim, [*given, s.text]) - before for s in evidence.sentences if s not in chosen}
        best = max(gains, key=lambda sentence: gains[sentence] + sentence.score, default=None)
        if best is None or (chosen and gains[best] < MIN_GAIN):
            break
        chosen.append(best)
    given = [question, *(sentence.text for sentence in chosen)]
    whole = bool(chosen) and support(claim, given) >= min_support and _all_in(names(claim), given)
    return Claim(claim, tuple(chosen), whole)


def _all_in(wanted: Sequence[str], given: Sequence[str]) -> bool:
    """Whether each of `wanted` stands in one of the texts, not as a part of a longer word or number."""
    texts = [folded(text) for text in given]
    return all(any(_stands_in(folded(name), text) for text in texts) for name in wanted)


def _stands_in(name: str, text: str) -> bool:
    before = r"(?<!\w)" if name[:1].isalnum() else ""
    return re.search(before + re.escape(name) + r"(?!\w|[./-]\w)", text) is not None
