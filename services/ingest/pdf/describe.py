"""Title, author, producer, page labels and outline of a PDF, by pypdf. Runs in the parser child only."""

from __future__ import annotations

import encodings.utf_16
import encodings.utf_16_be
import encodings.utf_16_le
import io
from typing import Any

import pypdf
import pypdf._codecs._codecs
import pypdf.filters
import pypdfium2.raw as pdfium

from services.ingest.pdf.extract import Frame, frame_of

MAX_OUTLINE = 20_000  # entries kept
MAX_TITLE_CHARS = 300

# Modules that are otherwise loaded when first used, which the confined process no longer can.
PRELOADED = (
    encodings.utf_16,
    encodings.utf_16_be,
    encodings.utf_16_le,
    pypdf.filters,
    pypdf._codecs._codecs,  # the LZW decoder
)


def describe(data: bytes, document: Any, count: int) -> dict[str, Any]:
    """The info record without `pages` and `confined`. What pypdf cannot read is left out and named in `problem`."""
    facts: dict[str, Any] = {"title": None, "author": None, "producer": None, "outline": [], "problem": None}
    facts["labels"] = [str(number) for number in range(1, count + 1)]
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        metadata = reader.metadata
        for key in ("title", "author", "producer") if metadata else ():
            value = getattr(metadata, key)
            facts[key] = _one_line(str(value)) if value else None
        if "/PageLabels" in reader.root_object:
            labels = [_one_line(str(label)) for label in reader.page_labels]
            facts["labels"] = labels if len(labels) == count else facts["labels"]
        if "/Outlines" in reader.root_object:
            facts["outline"] = _outline(reader, document, count)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  # the text counts without these, and pypdf fails in many ways
        facts["problem"] = type(error).__name__
    return facts


def _outline(reader: pypdf.PdfReader, document: Any, count: int) -> list[list[Any]]:
    """`[level, title, page, top]` in file order; entries that lead to no page of this file are left out."""
    entries: list[list[Any]] = []
    frames: dict[int, Frame | None] = {}
    waiting: list[tuple[int, Any]] = [(0, item) for item in reversed(reader.outline)]
    while waiting and len(entries) < MAX_OUTLINE:
        level, item = waiting.pop()
        if isinstance(item, list):  # the children of the entry before
            waiting.extend((level + 1, child) for child in reversed(item))
            continue
        index = reader.get_destination_page_number(item)
        title = _one_line(str(item.title or ""))
        if index is None or not 0 <= index < count or not title:
            continue
        if index not in frames:
            frames[index] = _frame_at(document, index)
        entries.append([level, title, index + 1, _display_top(item, frames[index])])
    return entries


def _display_top(item: Any, frame: Frame | None) -> float | None:
    """Display height of a destination, or None if it names the page as a whole."""
    if frame is None:
        return None
    try:
        left, top = float(item.left or 0), float(item.top)
    except (TypeError, ValueError):
        return None
    return round(min(max(frame.display(left, top)[1], 0.0), frame.size[1]), 1)


def _frame_at(document: Any, index: int) -> Frame | None:
    page = pdfium.FPDF_LoadPage(document, index)
    if not page:
        return None
    frame = frame_of(page)
    pdfium.FPDF_ClosePage(page)
    return frame


def _one_line(text: str) -> str:
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:MAX_TITLE_CHARS]
