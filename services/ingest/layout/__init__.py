"""Raw pages -> pages as they are stored: one clean text each, every word of it with its box. Pure.

Removed: running headers and footers, dot leaders, ligatures, hyphens of line ends. Kept: everything else, in the order
of the file. Pages that are only a table of contents or an index, that are blank, or that have pictures but no text are
marked as such (`PageKind`), never left out. For each word `page.text[word.start:word.end]` is the word; one that was
cut at a line end is two words in two boxes that touch in the text.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.core.types import Page, PageKind
from services.ingest.layout.contents import is_contents
from services.ingest.layout.flow import Style, flow
from services.ingest.layout.hyphens import Vocabulary
from services.ingest.layout.lines import Line, body_size, clean_line, line_pitches
from services.ingest.layout.margins import strip_margins
from services.ingest.layout.sections import SectionMap, outline_from_headings
from services.ingest.pdf.raw import RawInfo, RawPage


def assemble(info: RawInfo, raw_pages: Sequence[RawPage]) -> tuple[Page, ...]:
    """All pages of one document, in order, from what the parser said of it. Lengths in points, see core/types.py."""
    cleaned = [[line for raw in page.lines if (line := clean_line(raw))] for page in raw_pages]
    texts = strip_margins([(page.height, lines) for page, lines in zip(raw_pages, cleaned, strict=True)])
    style = Style(line_pitches(texts), body_size(texts), Vocabulary(texts))
    numbered = [(raw.number, lines) for raw, lines in zip(raw_pages, texts, strict=True)]
    sections = SectionMap(info.outline or outline_from_headings(numbered, style))
    pages: list[Page] = []
    kind = PageKind.body
    for raw, lines in zip(raw_pages, texts, strict=True):
        kind = _kind(raw, lines, kind is PageKind.contents)
        page_text = flow(lines, style, keep_lines=kind is PageKind.contents)
        pages.append(
            Page(
                number=raw.number,
                label=info.labels[raw.number - 1],
                width=raw.width,
                height=raw.height,
                kind=kind,
                text=page_text.text,
                words=page_text.words,
                sections=sections.of_page(raw.number, lines, page_text),
                hidden_chars=raw.hidden,
                scanned=raw.scanned,
            )
        )
    return tuple(pages)


def _kind(raw: RawPage, lines: Sequence[Line], after_contents: bool) -> PageKind:
    if raw.lines:
        if not lines:
            return PageKind.blank  # nothing but a running header
        return PageKind.contents if is_contents(lines, after_contents) else PageKind.body
    return PageKind.no_text_layer if raw.drawn else PageKind.blank
