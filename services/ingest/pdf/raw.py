"""What the parser child says of a file, as typed values: the contract between `parse.py` and `layout.py`.

The child writes JSON arrays rather than objects (a third of the bytes and of the time); this module turns one line
back into values and checks its shape, because the child has handled untrusted bytes. All geometry is in display
points: 1/72 inch, origin at the top left corner of the page after rotation and crop.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple

from services.core.types import Box, DocumentInfo


class RawWord(NamedTuple):
    text: str
    box: Box


class RawLine(NamedTuple):
    """A line as the file orders it; never empty. `size` is the font size in points of its middle character."""

    words: tuple[RawWord, ...]
    size: float
    mono: bool  # first, middle and last character are of a fixed-width font
    bold: bool

    @property
    def box(self) -> Box:
        boxes = [word.box for word in self.words]
        return Box(
            min(box.left for box in boxes),
            min(box.top for box in boxes),
            max(box.right for box in boxes),
            max(box.bottom for box in boxes),
        )

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


@dataclass(frozen=True, slots=True)
class RawPage:
    number: int  # 1-based
    width: float
    height: float
    drawn: bool  # something is painted: text, a picture, a path or an annotation
    lines: tuple[RawLine, ...]  # of what can be seen
    hidden: int = 0  # characters that cannot be seen
    scanned: bool = False  # a picture with its text unpainted over it


class OutlineEntry(NamedTuple):
    level: int  # 0 is outermost
    title: str
    page: int  # 1-based
    top: float | None  # display points from the top of the page; None: the whole page


@dataclass(frozen=True, slots=True)
class RawInfo:
    document: DocumentInfo
    labels: tuple[str, ...]  # one a page
    outline: tuple[OutlineEntry, ...]  # in the order of the file
    confined: bool  # the kernel refuses the child sockets, files and processes
    problem: str | None = None  # why labels or outline could not be read, if so


def info_from_json(line: bytes | str) -> RawInfo:
    """Read the first line of the child. Raises ValueError if it has another shape."""
    try:
        data = json.loads(line)
        count = int(data["pages"])
        labels = tuple(str(label) for label in data["labels"])
        outline = tuple(
            OutlineEntry(int(level), str(title), int(page), None if top is None else float(top))
            for level, title, page, top in data["outline"]
        )
        if len(labels) != count or any(not 1 <= entry.page <= count for entry in outline):
            raise ValueError("labels or outline do not fit the number of pages")
        document = DocumentInfo(count, *(_text_or_none(data[key]) for key in ("title", "author", "producer")))
        return RawInfo(document, labels, outline, bool(data["confined"]), _text_or_none(data["problem"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an info record: {error}") from error


def page_from_json(line: bytes | str) -> RawPage:
    """Read one page line: `[number, width, height, drawn, [[size, mono, bold, [[text, l, t, r, b], ...]], ...],
    hidden, scanned]`.

    Raises ValueError if it has another shape. A stored line is also how a page can be kept between two runs.
    """
    try:
        number, width, height, drawn, lines, hidden, scanned = json.loads(line)
        return RawPage(
            int(number),
            float(width),
            float(height),
            bool(drawn),
            tuple(
                RawLine(
                    tuple(RawWord(text, Box(left, top, right, bottom)) for text, left, top, right, bottom in words),
                    float(size),
                    bool(mono),
                    bool(bold),
                )
                for size, mono, bold, words in lines
                if words
            ),
            int(hidden),
            bool(scanned),
        )
    except TypeError as error:
        raise ValueError(f"not a page record: {error}") from error


def page_to_json(page: RawPage) -> str:
    """The inverse of `page_from_json`."""
    lines = [
        [line.size, int(line.mono), int(line.bold), [[word.text, *word.box] for word in line.words]]
        for line in page.lines
    ]
    facts = [page.number, page.width, page.height, int(page.drawn), lines, page.hidden, int(page.scanned)]
    return json.dumps(facts, separators=(",", ":"))


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None
