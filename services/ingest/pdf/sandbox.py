"""Runs the parser child and reads what it says, within limits. The parent side of `parse.py`; standard library only.

A child has one file, as its stdin, and no name of it; an almost empty environment; its own process group, which is
killed when the reader is closed, when a limit is passed and when this process ends. It confines itself before it reads
a byte (lockdown.py). Use a reader in the thread that opened it: the kernel ties the child to that thread.

Every way to fail is a `DocumentProblem` with one of these codes:

    empty_file            the file has no bytes
    not_a_pdf             no %PDF- header in the first 1,024 bytes
    encrypted             a password is needed to open it (an empty one is tried)
    damaged               truncated, or a page of it cannot be read
    no_pages              it is a PDF, without pages
    no_text               no page has text that can be seen (raised by pipeline.py, which sees all pages)
    too_many_pages        more than `ParseLimits.max_pages`
    too_many_characters   more than `ParseLimits.max_chars`, or more output than `max_output_mb`
    parse_timeout         more than `cpu_s` or `wall_s`
    parse_memory          more than `memory_mb`
    parser_crashed        the child died or spoke nonsense
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from services.core.errors import DocumentProblem, NotFound
from services.core.types import Box
from services.ingest.pdf.protocol import Job
from services.ingest.pdf.raw import RawInfo, RawPage, info_from_json, page_from_json

_log = logging.getLogger(__name__)

HEADER_BYTES = 1024
MAX_HIGHLIGHTS = 1000
STDERR_BYTES = 4096  # kept of what the child complains about
REAP_S = 5.0  # patience with a child that has closed its output but not ended
MAX_PIXELS = 16_000_000

# Runs `parse.py` isolated (-I: no PYTHON* variables, no current folder), with the folder of this package on the path.
_BOOT = (
    "import sys; sys.path.append(sys.argv.pop(1)); from services.ingest.pdf.parse import main; sys.exit(main(sys.argv))"
)
_ROOT = str(Path(__file__).resolve().parents[3])

_SENTENCES = {
    "empty_file": "The file is empty.",
    "not_a_pdf": "The file is not a PDF: it does not begin with a PDF header.",
    "encrypted": "The file is protected by a password. Remove the password and upload it again.",
    "damaged": "The file is damaged or incomplete and cannot be read. Try to download or export it again.",
    "no_pages": "The file has no pages.",
    "too_many_pages": "The file has too many pages: {value:,}, where {max_pages:,} are allowed.",
    "too_many_characters": "The file has too much text: more than {max_chars:,} characters are not allowed.",
    "parse_timeout": "Reading the file took too long and was stopped.",
    "parse_memory": "Reading the file needs too much memory ({memory_mb:,} MB are allowed) and was stopped.",
    "parser_crashed": "The file made the PDF reader fail. It may be damaged.",
}


@dataclass(frozen=True, slots=True)
class ParseLimits:
    """Upper bounds for one file. A manual of 1,158 pages takes about 6 s of CPU, 180 MB and 16 MB of output."""

    max_pages: int = 5000
    max_chars: int = 20_000_000
    cpu_s: int = 180
    wall_s: float = 300.0  # spent waiting for the child; time the caller takes between pages does not count
    memory_mb: int = 1536  # address space, of which Python and pdfium take about 70 before they begin
    max_output_mb: int = 2048


class PdfReader:
    """An open document: `info`, then `pages()` once, in order."""

    def __init__(self, child: _Child, limits: ParseLimits, first_page: int) -> None:
        self._child, self._limits, self._next = child, limits, first_page
        self.pid = child.pid
        self.info: RawInfo = info_from_json(child.line())

    def pages(self) -> Iterator[RawPage]:
        """Pages from the first one asked for to the last, as they arrive. Raises DocumentProblem."""
        while self._next <= self.info.document.page_count:
            try:
                page = page_from_json(self._child.line())
            except ValueError as error:
                raise problem("parser_crashed", self._limits) from error
            if page.number != self._next:
                raise problem("parser_crashed", self._limits)
            self._next += 1
            yield page


def looks_like_pdf(first_bytes: bytes) -> bool:
    """True if a PDF header stands in the first 1,024 bytes, where readers look for it."""
    return b"%PDF-" in first_bytes[:HEADER_BYTES]


def problem(code: str, limits: ParseLimits, value: int | None = None) -> DocumentProblem:
    return DocumentProblem(code, _SENTENCES[code].format(value=value or 0, **asdict(limits)))


@contextmanager
def open_pdf(path: Path, limits: ParseLimits | None = None, first_page: int = 1) -> Iterator[PdfReader]:
    """Start reading a PDF from page `first_page` (1-based) on. Raises DocumentProblem, OSError if there is no file."""
    limits = limits or ParseLimits()
    with _running(path, limits, "text", first_page) as child:
        try:
            reader = PdfReader(child, limits, first_page)
        except ValueError as error:
            raise problem("parser_crashed", limits) from error
        yield reader


def render_page(
    path: Path, page: int, *, dpi: int = 110, highlight: Sequence[Box] = (), limits: ParseLimits | None = None
) -> bytes:
    """PNG of page `page` (1-based), at most 16 million pixels, with `highlight` (display points) marked in yellow.

    Raises NotFound if there is no such page, DocumentProblem as above, ValueError for more than 1,000 boxes.
    """
    if len(highlight) > MAX_HIGHLIGHTS:
        raise ValueError(f"more than {MAX_HIGHLIGHTS} boxes to highlight")
    limits = limits or ParseLimits()
    with _running(path, limits, "page", page, dpi=dpi, highlight=tuple(highlight)) as child:
        png = child.rest()
    if not png.startswith(b"\x89PNG"):
        raise problem("parser_crashed", limits)
    return png


@contextmanager
def _running(
    path: Path, limits: ParseLimits, mode: str, page: int, dpi: int = 0, highlight: tuple[Box, ...] = ()
) -> Iterator[_Child]:
    with path.open("rb") as file:
        head = os.pread(file.fileno(), HEADER_BYTES, 0)  # the child reads on from where this descriptor stands
        if not head:
            raise problem("empty_file", limits)
        if not looks_like_pdf(head):
            raise problem("not_a_pdf", limits)
        job = Job(
            mode=mode,
            parent_pid=os.getpid(),
            cpu_s=limits.cpu_s,
            memory_mb=limits.memory_mb,
            max_pages=limits.max_pages,
            max_chars=limits.max_chars,
            page=page,
            dpi=dpi,
            max_pixels=MAX_PIXELS,
            highlight=highlight,
        )
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", _BOOT, _ROOT, json.dumps(asdict(job))],
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={key: os.environ[key] for key in ("LD_LIBRARY_PATH",) if key in os.environ},
            start_new_session=True,
        )
    child = _Child(process, limits)
    try:
        yield child
    finally:
        child.kill()


class _Child:
    """The running child: its output line by line, within the limits on time and size."""

    def __init__(self, process: subprocess.Popen[bytes], limits: ParseLimits) -> None:
        assert process.stdout is not None and process.stderr is not None
        self._process, self._limits = process, limits
        self.pid = process.pid
        self._out, self._err = process.stdout.fileno(), process.stderr.fileno()
        self._buffer = bytearray()
        self._searched = 0  # no line end before this position of the buffer
        self._received = 0
        self._waited_s = 0.0
        self.complaints = bytearray()
        self._selector = selectors.DefaultSelector()
        for descriptor in (self._out, self._err):
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ)

    def line(self) -> bytes:
        """The next line without its end. Raises the problem that the child reports or ends with."""
        while (end := self._buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(self._buffer)
            if not self._receive():
                raise self._ending()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        self._raise_if_error(line)
        return line

    def rest(self) -> bytes:
        """All output up to its end."""
        while self._receive():
            pass
        self._raise_if_error(bytes(self._buffer))
        if not self._buffer:
            raise self._ending()
        return bytes(self._buffer)

    def kill(self) -> None:
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._selector.close()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _receive(self) -> bool:
        """Take what is there, waiting for it if need be; False at the end of the output."""
        while True:
            begun = time.monotonic()
            ready = self._selector.select(max(0.0, self._limits.wall_s - self._waited_s))
            self._waited_s += time.monotonic() - begun
            if not ready:
                raise problem("parse_timeout", self._limits)
            descriptors = {key.fd for key, _ in ready}
            if self._err in descriptors:
                self._hear()
            if self._out in descriptors:
                data = os.read(self._out, 1 << 20)
                self._buffer += data
                self._received += len(data)
                if self._received > self._limits.max_output_mb << 20:
                    raise problem("too_many_characters", self._limits)
                return bool(data)

    def _hear(self) -> None:
        data = os.read(self._err, 1 << 16)
        if data:
            self.complaints += data[: STDERR_BYTES - len(self.complaints)]
        else:
            self._selector.unregister(self._err)

    def _raise_if_error(self, line: bytes) -> None:
        if not line.startswith(b'{"error":'):
            return
        try:
            report = json.loads(line)
            code, value = str(report["error"]), report["value"]
        except (ValueError, KeyError) as error:
            raise problem("parser_crashed", self._limits) from error
        if code == "no_such_page":
            raise NotFound(f"The document has {value:,} pages.")
        if code not in _SENTENCES:
            raise problem("parser_crashed", self._limits)
        raise problem(code, self._limits, value)

    def _ending(self) -> DocumentProblem:
        """Why a child ended without having said all."""
        try:
            status = self._process.wait(REAP_S)
        except subprocess.TimeoutExpired:
            return problem("parse_timeout", self._limits)
        complaints = self.complaints.decode("utf-8", "replace")
        _log.warning("parser child ended with status %s: %s", status, complaints)
        if status == -signal.SIGXCPU:
            return problem("parse_timeout", self._limits)
        # pdfium aborts when an allocation fails; a kill that is not ours comes from the kernel, out of memory
        if status in (-signal.SIGABRT, -signal.SIGKILL):
            return problem("parse_memory", self._limits)
        return problem("parser_crashed", self._limits)
