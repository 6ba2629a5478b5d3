"""Which characters of a page can its reader not see? Runs in the parser child only; speaks raw pdfium.

Hidden is text that is never painted, that is too small to read, or that has the colour of what lies behind it. What
lies behind is looked up in a small picture of the page, made only where there is text that white paper would hide.
Not found is text that something covers, and dark text on a dark ground: both would need a picture of every page.

Asking each text object costs 0.5 ms a page; only if one is in doubt, its characters are looked for.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import pypdfium2.raw as pdfium

from services.ingest.pdf.extract import Frame

TINY_PT = 2.0  # text below this size is a speck
FAINT = 32.0  # least difference in brightness, of 255, between text that is seen and what lies behind it
PICTURE_SHARE = 0.5  # of the page: one that pictures cover so far is a scan
MAX_PICTURE_PIXELS = 1_000_000  # a point is a pixel on pages up to this
UNPAINTED = (pdfium.FPDF_TEXTRENDERMODE_INVISIBLE, pdfium.FPDF_TEXTRENDERMODE_CLIP)
FILLED = (
    pdfium.FPDF_TEXTRENDERMODE_FILL,
    pdfium.FPDF_TEXTRENDERMODE_FILL_STROKE,
    pdfium.FPDF_TEXTRENDERMODE_FILL_CLIP,
    pdfium.FPDF_TEXTRENDERMODE_FILL_STROKE_CLIP,
)
STROKED = (
    pdfium.FPDF_TEXTRENDERMODE_STROKE,
    pdfium.FPDF_TEXTRENDERMODE_FILL_STROKE,
    pdfium.FPDF_TEXTRENDERMODE_STROKE_CLIP,
    pdfium.FPDF_TEXTRENDERMODE_FILL_STROKE_CLIP,
)


class Paint(NamedTuple):
    """Brightness and opacity, each from 0 to 255."""

    light: float
    alpha: int

    def contrast(self, behind: float) -> float:
        return abs(self.light - behind) * self.alpha / 255


class Sight(NamedTuple):
    """`hidden` are positions of characters. `scanned`: unpainted text lies over a picture of the page, as OCR leaves
    it. It is not hidden, since the picture shows it."""

    hidden: set[int]
    scanned: bool


def look(page: Any, text_page: Any, text: str, frame: Frame) -> Sight:
    """What of `text`, the characters of a page, cannot be seen. Spaces never count."""
    unseen: set[int] = set()  # addresses of text objects
    unpainted: set[int] = set()
    faint: dict[int, list[Paint]] = {}
    pictured = 0.0  # square points
    for item, kind, scale in _objects(page):
        if kind == pdfium.FPDF_PAGEOBJ_IMAGE:
            width, height = _extent(item)
            pictured += width * height * scale**2
        elif kind == pdfium.FPDF_PAGEOBJ_TEXT:
            address, mode = ctypes.addressof(item.contents), pdfium.FPDFTextObj_GetTextRenderMode(item)
            if mode in UNPAINTED:
                unpainted.add(address)
            elif _is_tiny(item, scale):
                unseen.add(address)
            elif (paints := _paints(item, mode)) and all(paint.contrast(255) < FAINT for paint in paints):
                faint[address] = paints
    width, height = frame.size
    scanned = bool(unpainted) and pictured >= PICTURE_SHARE * width * height
    if not scanned:
        unseen |= unpainted
    if not unseen and not faint:
        return Sight(set(), scanned)
    ground = _Ground(page, text_page, frame) if faint else None
    hidden: set[int] = set()
    for index, char in enumerate(text):
        item = None if char.isspace() else pdfium.FPDFText_GetTextObject(text_page, index)
        if not item:
            continue
        address = ctypes.addressof(item.contents)
        if address in unseen:
            hidden.add(index)
        elif ground and address in faint:
            behind = ground.behind(index)
            if all(paint.contrast(behind) < FAINT for paint in faint[address]):
                hidden.add(index)
    return Sight(hidden, scanned)


def _objects(page: Any) -> Iterator[tuple[Any, int, float]]:
    """All objects of a page and of the forms on it: handle, kind, and how much the forms around it enlarge it."""
    found = (pdfium.FPDFPage_GetObject(page, i) for i in range(pdfium.FPDFPage_CountObjects(page)))
    waiting = [(item, 1.0) for item in found]
    while waiting:
        item, scale = waiting.pop()
        kind = pdfium.FPDFPageObj_GetType(item)
        if kind == pdfium.FPDF_PAGEOBJ_FORM:
            inside = scale * _scale(item)
            count = pdfium.FPDFFormObj_CountObjects(item)
            waiting.extend((pdfium.FPDFFormObj_GetObject(item, i), inside) for i in range(count))
        else:
            yield item, kind, scale


def _scale(item: Any) -> float:
    matrix = pdfium.FS_MATRIX()
    if not pdfium.FPDFPageObj_GetMatrix(item, matrix):
        return 1.0
    return float(abs(matrix.a * matrix.d - matrix.b * matrix.c) ** 0.5)


def _is_tiny(item: Any, scale: float) -> bool:
    """By its font size, and by its ink: the fonts of some files draw large letters at size 1."""
    size = ctypes.c_float()
    if not pdfium.FPDFTextObj_GetFontSize(item, size) or size.value * scale * _scale(item) >= TINY_PT:
        return False
    return min(_extent(item)) * scale < TINY_PT


def _extent(item: Any) -> tuple[float, float]:
    """Width and height of what an object paints, in points of the form it lies in."""
    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    if not pdfium.FPDFPageObj_GetBounds(item, left, bottom, right, top):
        return 0.0, 0.0
    return right.value - left.value, top.value - bottom.value


def _paints(item: Any, mode: int) -> list[Paint]:
    """What a text object is painted with; empty if that is a pattern."""
    asked = [pdfium.FPDFPageObj_GetFillColor] if mode in FILLED else []
    asked += [pdfium.FPDFPageObj_GetStrokeColor] if mode in STROKED else []
    paints = []
    for get_colour in asked:
        red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
        if not get_colour(item, red, green, blue, alpha):
            return []
        paints.append(Paint(0.299 * red.value + 0.587 * green.value + 0.114 * blue.value, alpha.value))
    return paints


class _Ground:
    """A small grey picture of the page, to ask what lies behind a character."""

    def __init__(self, page: Any, text_page: Any, frame: Frame) -> None:
        self._text_page, self._frame = text_page, frame
        width, height = frame.size
        self._scale = min(1.0, (MAX_PICTURE_PIXELS / max(1.0, width * height)) ** 0.5)
        self._width, self._height = max(1, int(width * self._scale)), max(1, int(height * self._scale))
        bitmap = pdfium.FPDFBitmap_CreateEx(self._width, self._height, pdfium.FPDFBitmap_Gray, None, 0)
        if not bitmap:
            raise MemoryError
        pdfium.FPDFBitmap_FillRect(bitmap, 0, 0, self._width, self._height, 0xFFFFFFFF)
        pdfium.FPDF_RenderPageBitmap(bitmap, page, 0, 0, self._width, self._height, 0, pdfium.FPDF_ANNOT)
        self._stride = pdfium.FPDFBitmap_GetStride(bitmap)
        self._pixels = ctypes.string_at(pdfium.FPDFBitmap_GetBuffer(bitmap), self._stride * self._height)
        pdfium.FPDFBitmap_Destroy(bitmap)

    def behind(self, index: int) -> float:
        """The median brightness around character `index`: its strokes cover less than half. 255 off the page."""
        rect = pdfium.FS_RECTF()
        if not pdfium.FPDFText_GetLooseCharBox(self._text_page, index, rect):
            return 255.0
        x0, y0 = self._frame.display(rect.left, rect.top)
        x1, y1 = self._frame.display(rect.right, rect.bottom)
        if not all(map(math.isfinite, (x0, y0, x1, y1))):
            return 255.0
        columns = self._pixels_between(min(x0, x1), max(x0, x1), self._width)
        rows = self._pixels_between(min(y0, y1), max(y0, y1), self._height)
        starts = (row * self._stride for row in rows)
        around = sorted(b"".join(self._pixels[start + columns.start : start + columns.stop] for start in starts))
        return float(around[len(around) // 2]) if around else 255.0

    def _pixels_between(self, low: float, high: float, end: int) -> range:
        """The rows or columns of the picture from `low` to `high` points: at least one, if they are on the page."""
        first = max(0, int(low * self._scale))
        return range(first, min(end, max(first + 1, int(high * self._scale))))
