"""Pairs -> the same pairs with the passage cut to a few words: where a classifier learns first what it is to look for.

From whole passages alone a small model does not find out that question and passage are to be compared: one sentence in
two hundred words makes the difference, and for hundreds of steps the loss stays at that of guessing. On stretches it
falls at once, and what was learned there carries over. Easier still, and as many as one likes, are the rows of an
inverse cloze task (Lee, Chang and Toutanova 2019): a few words for a question, for its passage the stretch that has
them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from models.classifier.data import Example
from models.classifier.params import Stretches
from models.errors import BadInput
from models.files import read_jsonl
from models.provenance import REMEDY
from services.core.answer_metrics import words

MIN_SHARE = 0.8  # of the evidence's words, to have found it
CLOZE_SPAN = (8, 14)  # words a cloze question is taken from, of which it keeps some
CLOZE_KEPT = 0.5


@dataclass(frozen=True, slots=True)
class Evidence:
    """The sentence or two of a page that answer a question, and what an answer must say."""

    quote: str
    short_answers: tuple[str, ...]


def read_evidence(path: Path) -> dict[str, Evidence]:
    """What answers each answerable question, by its id, from examples.*.jsonl. Raises BadInput for a useless file."""
    found = {}
    for number, row in read_jsonl(path, remedy=REMEDY):
        name, quote, short = row.get("id"), row.get("quote"), row.get("short_answers", [])
        if not isinstance(name, str) or not isinstance(quote, str) or not isinstance(short, list):
            raise BadInput(path, "it has no text as id or as quote", row=number, remedy=REMEDY)
        if quote:
            found[name] = Evidence(quote, tuple(map(str, short)))
    return found


def stretches(
    examples: Sequence[Example], evidence: Mapping[str, Evidence], positive: str, params: Stretches, seed: int
) -> list[Example]:
    """Rows with the pair cut to `params.words` words: positive around the evidence of their group, others anywhere.

    That is done `params.draws` times, each time with other cuts, and with other `params.negatives` of each group's
    other rows. A positive row whose evidence is not known, or not found in the pair, is left out, and so are rows
    without a pair.
    """
    groups: dict[str, list[Example]] = {}
    for example in examples:
        if example.text_pair is not None:
            groups.setdefault(example.group, []).append(example)
    out = []
    for number in range(params.draws):
        for group, members in groups.items():
            draw = random.Random(f"{seed}:{number}:{group}")  # noqa: S311 - a sample, not a secret
            others = [example for example in members if example.label != positive]
            for example in draw.sample(others, min(params.negatives, len(others))):
                spare = len((example.text_pair or "").split()) - params.words
                out.append(_cut(example, draw.randint(0, max(0, spare)), params.words))
            for example in members:
                if example.label == positive:
                    parts = (example.text_pair or "").split()
                    known = evidence.get(group)
                    start = _start(parts, known.quote if known else "", params.words, draw)
                    out += [] if start is None else [_cut(example, start, params.words)]
    return out


def cloze(examples: Sequence[Example], positive: str, negative: str, params: Stretches, seed: int) -> list[Example]:
    """`params.cloze` questions with two rows each: the stretch their words are from, and another of the same document.

    Both stretches are of `params.words` words and from the pairs of `examples`.
    """
    draw = random.Random(f"{seed}:cloze")  # noqa: S311 - a sample, not a secret
    texts: dict[str | None, dict[str, None]] = {}
    for example in examples:
        if example.text_pair is not None and len(example.text_pair.split()) >= params.words:
            texts.setdefault(example.document, {})[example.text_pair] = None
    passages = [(document, text) for document, of_document in texts.items() for text in of_document]
    others = {document: list(of_document) for document, of_document in texts.items()}
    out = []
    for number in range(params.cloze if passages else 0):
        document, text = draw.choice(passages)
        stretch = _any_stretch(text, params.words, draw)
        span = min(draw.randint(*CLOZE_SPAN), params.words)
        start = draw.randint(0, params.words - span)
        asked = stretch[start : start + span]
        question = " ".join([word for word in asked if draw.random() < CLOZE_KEPT] or asked)
        elsewhere = _any_stretch(draw.choice(others[document]), params.words, draw)
        group = f"cloze-{number}"
        for parts, label in ((stretch, positive), (elsewhere, negative)):
            out.append(Example(text=question, text_pair=" ".join(parts), label=label, group=group, document=document))
    return out


def _any_stretch(text: str, count: int, draw: random.Random) -> list[str]:
    parts = text.split()
    start = draw.randint(0, len(parts) - count)
    return parts[start : start + count]


def _cut(example: Example, start: int, count: int) -> Example:
    parts = (example.text_pair or "").split()
    return example.model_copy(update={"text_pair": " ".join(parts[start : start + count])})


def _start(parts: Sequence[str], evidence: str, count: int, draw: random.Random) -> int | None:
    """Where a stretch of `count` parts may start that holds the evidence, or starts with it if that is longer.

    The evidence is where most of its words are: a PDF and a quote differ in hyphens and spaces.
    """
    sought, length = words(evidence), len(evidence.split())
    if not sought or length > len(parts):
        return None
    known = frozenset(sought)
    before = [
        0,
        *accumulate(sum(word in known for word in words(part)) for part in parts),
    ]  # such words before each part
    shared = [before[at + length] - before[at] for at in range(len(parts) - length + 1)]
    if max(shared) < MIN_SHARE * len(sought):
        return None
    best = shared.index(max(shared))
    first, last = max(0, best + length - count), min(best, max(0, len(parts) - count))
    return draw.randint(min(first, last), max(first, last))
