"""One page of a PDF -> its lines of words with boxes. Runs in the parser child only; speaks raw pdfium.

pdfium hands out characters one call at a time, and a call through ctypes costs about 0.4 us, so a word costs one call
a character and two boxes. A page of 2,600 characters takes 4 ms.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Collection
from typing import Any, NamedTuple

import pypdfium2.raw as pdfium

from services.ingest.pdf.protocol import LINE_END_HYPHEN

HYPHEN = "\x02"  # pdfium's mark for a hyphen at the end of a line; it swallows the line break after it
HIDDEN = "\0"  # stands for a character that cannot be seen: never at the ends of a word, and cleaned out of it
TOKEN = re.compile(r"[\r\n]+|[^\s\x00\x02](?:[^\s\x02]*[^\s\x00\x02])?\x02?|\x02")
MONO_NAME = re.compile(r"mono|courier|consol|menlo|typewriter|tt\d*\b|tt-", re.IGNORECASE)
BOLD_NAME = re.compile(r"bold|black|heavy|cmbx|cmssbx", re.IGNORECASE)
FIXED_PITCH, FORCE_BOLD = 1 << 0, 1 << 18  # font descriptor flags, ISO 32000-1 table 123
OUTSIDE_PT = 2.0  # a word whose middle lies farther than this outside the page cannot be seen

# What never belongs in stored text: controls, zero-width marks, byte order marks, noncharacters.
_DROP = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), *range(0x200B, 0x2010), 0x2060, 0xFEFF, 0xFFFE, 0xFFFF])
_DROP |= {0xAD: None, 0xF0B7: "•"}  # a soft hyphen inside a line is not printed; the bullet of Symbol fonts
_UNCLEAN = re.compile("[" + "".join(chr(code) for code in _DROP if chr(code) not in "\r\n\x02") + "\ud800-\udfff]")


class Frame(NamedTuple):
    """The visible part of a page in PDF user space, and how it is turned to be displayed (quarters, clockwise)."""

    left: float
    bottom: float
    right: float
    top: float
    quarters: int

    @property
    def size(self) -> tuple[float, float]:
        """Width and height as displayed, in points."""
        width, height = self.right - self.left, self.top - self.bottom
        return (height, width) if self.quarters % 2 else (width, height)

    def display(self, x: float, y: float) -> tuple[float, float]:
        """A point of user space in display coordinates."""
        match self.quarters:
            case 0:
                return x - self.left, self.top - y
            case 1:
                return y - self.bottom, x - self.left
            case 2:
                return self.right - x, y - self.bottom
            case _:
                return self.top - y, self.right - x


def frame_of(page: Any) -> Frame:
    rect = pdfium.FS_RECTF()
    if not pdfium.FPDF_GetPageBoundingBox(page, rect):
        raise ValueError("the page has no bounding box")
    return Frame(rect.left, rect.bottom, rect.right, rect.top, pdfium.FPDFPage_GetRotation(page) % 4)


def is_drawn(page: Any) -> bool:
    return bool(pdfium.FPDFPage_CountObjects(page) > 0 or pdfium.FPDFPage_GetAnnotCount(page) > 0)


def page_characters(text_page: Any, count: int) -> str:
    """The first `count` characters of a page, as pdfium orders them."""
    get_unicode = pdfium.FPDFText_GetUnicode
    return "".join(map(chr, [get_unicode(text_page, i) for i in range(count)]))


def page_lines(text_page: Any, text: str, hidden: Collection[int], frame: Frame) -> tuple[list[list[Any]], int]:
    """`[size, mono, bold, [[text, left, top, right, bottom], ...]]` for each line, as pdfium orders them.

    `text` are the characters of the page; those at the positions `hidden` are passed over. The second value counts
    those that lie outside the page, and are not in a line either.
    """
    if hidden:
        text = "".join(HIDDEN if i in hidden else char for i, char in enumerate(text))
    unclean = _UNCLEAN.search(text) is not None
    boxes = _Boxes(text_page, frame)
    styles = _Styles(text_page)
    lines: list[list[Any]] = []
    outside = 0
    words: list[list[Any]] = []
    middles: list[int] = []  # a character of each word, to ask for its font

    def line() -> list[Any]:
        return [*styles.of_line(middles[0], middles[len(middles) // 2], middles[-1]), words]

    for match in TOKEN.finditer(text):
        token, start, end = match.group(), match.start(), match.end()
        if token[0] in "\r\n":
            if words:
                lines.append(line())
                words, middles = [], []
            continue
        hyphen = token.endswith(HYPHEN) and bool(pdfium.FPDFText_IsHyphen(text_page, end - 1))
        clean = _clean(token) if unclean else token.removesuffix(HYPHEN)
        box = boxes.of_word(start, end - 1) if clean else None
        if box is not None:
            words.append([clean + LINE_END_HYPHEN if hyphen else clean, *box])
            middles.append((start + end - 1) // 2)
        else:
            outside += len(clean)
        if hyphen and words:
            lines.append(line())
            words, middles = [], []
    if words:
        lines.append(line())
    return lines, outside


class _Boxes:
    def __init__(self, text_page: Any, frame: Frame) -> None:
        self._text_page, self._frame = text_page, frame
        self._width, self._height = frame.size
        self._rect = pdfium.FS_RECTF()

    def of_word(self, first: int, last: int) -> tuple[float, float, float, float] | None:
        """Display box around two characters and what is between them; None if it cannot be seen on the page."""
        rect, get_box = self._rect, pdfium.FPDFText_GetLooseCharBox
        if not get_box(self._text_page, first, rect):
            return None
        left, bottom, right, top = rect.left, rect.bottom, rect.right, rect.top
        if last != first and get_box(self._text_page, last, rect):
            left, bottom = min(left, rect.left), min(bottom, rect.bottom)
            right, top = max(right, rect.right), max(top, rect.top)
        x0, y0 = self._frame.display(left, top)
        x1, y1 = self._frame.display(right, bottom)
        if self._frame.quarters:
            x0, x1 = (x0, x1) if x0 <= x1 else (x1, x0)
            y0, y1 = (y0, y1) if y0 <= y1 else (y1, y0)
        if x0 >= 0 and y0 >= 0 and x1 <= self._width and y1 <= self._height:
            return round(x0, 1), round(y0, 1), round(x1, 1), round(y1, 1)
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        if not (-OUTSIDE_PT <= x <= self._width + OUTSIDE_PT and -OUTSIDE_PT <= y <= self._height + OUTSIDE_PT):
            return None  # also for the NaN of a broken matrix
        return (
            round(max(0.0, x0), 1),
            round(max(0.0, y0), 1),
            round(min(self._width, x1), 1),
            round(min(self._height, y1), 1),
        )


class _Styles:
    def __init__(self, text_page: Any) -> None:
        self._text_page = text_page
        self._matrix = pdfium.FS_MATRIX()
        self._name = ctypes.create_string_buffer(96)
        self._flags = ctypes.c_int()

    def of_line(self, first: int, middle: int, last: int) -> tuple[float, int, int]:
        """Font size in points of the middle, 1 if all three are fixed-width, 1 if first and middle are bold."""
        size = float(pdfium.FPDFText_GetFontSize(self._text_page, middle))
        if pdfium.FPDFText_GetMatrix(self._text_page, middle, self._matrix):
            size *= abs(self._matrix.a * self._matrix.d - self._matrix.b * self._matrix.c) ** 0.5
        mono, bold = self._font(middle)
        if mono or bold:
            first_mono, first_bold = self._font(first)
            mono, bold = mono and first_mono, bold and first_bold
        if mono:
            mono = self._font(last)[0]
        return round(size, 1), int(mono), int(bold)

    def _font(self, index: int) -> tuple[bool, bool]:
        self._name.value = b""
        pdfium.FPDFText_GetFontInfo(self._text_page, index, self._name, len(self._name), self._flags)
        name = self._name.value.decode("latin-1")
        mono = bool(self._flags.value & FIXED_PITCH or MONO_NAME.search(name))
        return mono, bool(self._flags.value & FORCE_BOLD or BOLD_NAME.search(name))


def _clean(token: str) -> str:
    clean = token.translate(_DROP)
    if any("\ud800" <= char <= "\udfff" for char in clean):  # UTF-16 halves: join pairs, mark strays
        clean = clean.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return clean
