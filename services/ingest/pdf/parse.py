"""The parser child: one PDF on stdin, facts about it on stdout. Run by `sandbox.py` and by nothing else.

The only argument is a `protocol.Job` as JSON. In order: import all that will be needed, limit and confine this
process (lockdown.py), and only then read the file. Imports only what it needs: it must start fast.

mode "text" writes one JSON value a line: an info object, then for each page from `page` on
`[number, width, height, drawn, lines, hidden, scanned]` (raw.py reads them). mode "page" writes one PNG. Either may
instead end with `{"error": code, "value": number or null}`; the codes are those of sandbox.py. The exit status is 0 in
all these cases.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import pypdfium2  # noqa: F401  # starts the library
import pypdfium2.raw as pdfium

from services.core.process import die_with_parent
from services.ingest.pdf import lockdown
from services.ingest.pdf.extract import frame_of, is_drawn, page_characters, page_lines
from services.ingest.pdf.protocol import Job, Refused
from services.ingest.pdf.seen import look

TAIL_BYTES = 65_536  # where a complete file says `startxref`

Work = Callable[[BinaryIO, bytes, Any, Job, bool], None]


def main(argv: list[str]) -> int:
    job = Job(**json.loads(argv[1]))
    logging.disable(logging.CRITICAL)  # pypdf comments on each oddity of a file
    work = _text_work() if job.mode == "text" else _page_work()
    out: BinaryIO = sys.stdout.buffer
    die_with_parent(job.parent_pid)
    lockdown.limit_resources(cpu_s=job.cpu_s, memory_bytes=job.memory_mb << 20)
    confined = lockdown.confine()
    try:
        data = _read_all(0)
        work(out, data, _open(data, job.max_pages), job, confined)
        out.flush()
    except Refused as refused:
        _write_line(out, {"error": refused.code, "value": refused.value})
    except MemoryError:
        _write_line(out, {"error": "parse_memory", "value": job.memory_mb})
    except BrokenPipeError:  # nobody is listening any more
        pass
    os._exit(0)  # no destructors: they would walk structures that a hostile file has built


def _text_work() -> Work:
    from services.ingest.pdf.describe import describe  # pypdf is loaded only to read

    def work(out: BinaryIO, data: bytes, document: Any, job: Job, confined: bool) -> None:
        count = pdfium.FPDF_GetPageCount(document)
        _write_line(out, {"pages": count, "confined": confined, **describe(data, document, count)})
        chars = 0
        for number in range(job.page, count + 1):
            chars += _write_page(out, document, number, job.max_chars - chars)

    return work


def _page_work() -> Work:
    from services.ingest.pdf.render import render_png  # Pillow is loaded only to draw

    def work(out: BinaryIO, data: bytes, document: Any, job: Job, confined: bool) -> None:
        out.write(render_png(document, job))

    return work


def _write_page(out: BinaryIO, document: Any, number: int, max_chars: int) -> int:
    """Write one page; returns its number of characters. Raises Refused if it cannot be read or has too many."""
    page = pdfium.FPDF_LoadPage(document, number - 1)
    text_page = pdfium.FPDFText_LoadPage(page) if page else None
    if not text_page:
        raise Refused("damaged", number)
    chars = max(0, int(pdfium.FPDFText_CountChars(text_page)))
    if chars > max_chars:
        raise Refused("too_many_characters", number)
    frame = frame_of(page)
    width, height = frame.size
    text = page_characters(text_page, chars)
    sight = look(page, text_page, text, frame)
    lines, outside = page_lines(text_page, text, sight.hidden, frame)
    drawn = bool(lines) or is_drawn(page)
    hidden = len(sight.hidden) + outside
    _write_line(out, [number, round(width, 2), round(height, 2), int(drawn), lines, hidden, int(sight.scanned)])
    pdfium.FPDFText_ClosePage(text_page)
    pdfium.FPDF_ClosePage(page)
    return chars


def _open(data: bytes, max_pages: int) -> Any:
    """Raw pdfium document with at least one page; `data` must outlive it. An empty password is tried."""
    document = pdfium.FPDF_LoadMemDocument64(data, len(data), None)
    if not document:
        locked = (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY)
        raise Refused("encrypted" if pdfium.FPDF_GetLastError() in locked else "damaged")
    count = pdfium.FPDF_GetPageCount(document)
    if b"startxref" not in data[-TAIL_BYTES:]:
        raise Refused("damaged")  # the end is missing: pdfium has guessed at an object table, pages may be lost
    if count < 1:
        raise Refused("no_pages")
    if count > max_pages:
        raise Refused("too_many_pages", count)
    return document


def _write_line(out: BinaryIO, value: Any) -> None:
    out.write(json.dumps(value, separators=(",", ":")).encode() + b"\n")
    out.flush()


def _read_all(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    parts = []
    while size > 0 and (part := os.read(descriptor, min(size, 1 << 30))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
