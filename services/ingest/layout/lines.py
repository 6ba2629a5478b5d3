"""The line as layout sees it: cleaned words and the few numbers that decisions are made of. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from services.ingest.pdf.raw import RawLine, RawWord

LIGATURES = str.maketrans({
    "\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl", "\ufb05": "st", "\ufb06": "st",
})  # fmt: skip
_STRAY = re.compile("^[\u0300-\u036f]+")  # accents without a letter: some fonts set quotes with them, out of order
_MAYBE_LEADER = re.compile(r"[.\u2026\u00b7\u2024] ?[.\u2026\u00b7\u2024]")
_DOTS = re.compile(r"[.\u2026\u00b7\u2024]+")
_LEADER_TAIL = re.compile(r"[.\u2026]{4,}$")
_MIN_LEADER_DOTS = 4  # three dots are an ellipsis


@dataclass(slots=True)
class Line:
    """One line in display points. `base` is the bottom of most of its words: steadier than `bottom`."""

    words: tuple[RawWord, ...]
    left: float
    right: float
    top: float
    bottom: float
    base: float
    size: float
    mono: bool
    bold: bool
    leader: bool  # dots led the eye to a page number; they are removed

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


def clean_line(raw: RawLine) -> Line | None:
    """Without ligatures and dot leaders; None if nothing is left."""
    words, leader = without_leaders(
        [word._replace(text=text) for word in raw.words if (text := _STRAY.sub("", word.text.translate(LIGATURES)))]
    )
    if not words:
        return None
    boxes = [word.box for word in words]
    return Line(
        words=tuple(words),
        left=min(box.left for box in boxes),
        right=max(box.right for box in boxes),
        top=min(box.top for box in boxes),
        bottom=max(box.bottom for box in boxes),
        base=median(box.bottom for box in boxes),
        size=raw.size,
        mono=raw.mono,
        bold=raw.bold,
        leader=leader,
    )


def without_leaders(words: Sequence[RawWord]) -> tuple[list[RawWord], bool]:
    """Drop runs of four dots or more, set apart (`. . . .`) or not (`Title........`); True if there were any."""
    kept: list[RawWord] = []
    run: list[RawWord] = []
    found = False
    for word in [*words, None]:
        if word is not None and _DOTS.fullmatch(word.text):
            run.append(word)
            continue
        dots = sum(len(dot.text) for dot in run)
        glued = bool(run and kept and kept[-1].text.endswith(".") and dots == _MIN_LEADER_DOTS - 1)
        if dots >= _MIN_LEADER_DOTS or glued:
            found = True
            if kept and kept[-1].text.endswith(".") and kept[-1].text.strip("."):
                kept[-1] = kept[-1]._replace(text=kept[-1].text.rstrip("."))
        else:
            kept.extend(run)
        run = []
        if word is not None:
            tail = _LEADER_TAIL.search(word.text)
            if tail and tail.start() > 0:
                found, word = True, word._replace(text=word.text[: tail.start()])
            kept.append(word)
    return kept, found


def line_pitches(pages: Iterable[Sequence[Line]]) -> dict[float, float]:
    """Usual distance in points from one line to the next within a paragraph, for each font size (the mode)."""
    counts: dict[float, Counter[float]] = {}
    for lines in pages:
        for above, below in pairwise(lines):
            step = below.base - above.base
            if above.size == below.size and 0.8 * above.size < step < 2 * above.size:
                counts.setdefault(above.size, Counter())[round(step * 2) / 2] += 1
    return {size: counter.most_common(1)[0][0] for size, counter in counts.items() if counter.total() >= 3}


def body_size(pages: Iterable[Sequence[Line]]) -> float:
    """The font size of most words; 10 if there are none."""
    counter: Counter[float] = Counter()
    for lines in pages:
        for line in lines:
            counter[line.size] += len(line.words)
    return counter.most_common(1)[0][0] if counter else 10.0
