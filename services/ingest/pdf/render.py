"""One page -> PNG, with boxes marked as by a highlighter. Runs in the parser child only."""

from __future__ import annotations

import ctypes
import io
from typing import Any

import pypdfium2.raw as pdfium
from PIL import Image, ImageChops, ImageDraw

from services.ingest.pdf.protocol import Job, Refused

HIGHLIGHT = (255, 231, 92)  # multiplied into the page, so that the text under it stays black
MARGIN_PT = 1.0

Image.preinit()  # Pillow loads its writers when first used, which the confined process no longer can


def render_png(document: Any, job: Job) -> bytes:
    """PNG of page `job.page` at `job.dpi`, fewer if it would exceed `job.max_pixels`. Raises Refused."""
    if not 1 <= job.page <= pdfium.FPDF_GetPageCount(document):
        raise Refused("no_such_page", pdfium.FPDF_GetPageCount(document))
    page = pdfium.FPDF_LoadPage(document, job.page - 1)
    if not page:
        raise Refused("damaged", job.page)
    width_pt, height_pt = pdfium.FPDF_GetPageWidthF(page), pdfium.FPDF_GetPageHeightF(page)
    scale = job.dpi / 72
    scale *= min(1.0, (job.max_pixels / max(1.0, width_pt * scale * height_pt * scale)) ** 0.5)
    width, height = max(1, int(width_pt * scale)), max(1, int(height_pt * scale))
    image = _paint(page, width, height)
    if job.highlight:
        marks = Image.new("RGB", image.size, "white")
        draw = ImageDraw.Draw(marks)
        for left, top, right, bottom in job.highlight:
            draw.rectangle(
                (
                    (left - MARGIN_PT) * scale,
                    (top - MARGIN_PT) * scale,
                    (right + MARGIN_PT) * scale,
                    (bottom + MARGIN_PT) * scale,
                ),
                fill=HIGHLIGHT,
            )
        image = ImageChops.multiply(image, marks)
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=6)
    return out.getvalue()


def _paint(page: Any, width: int, height: int) -> Image.Image:
    bitmap = pdfium.FPDFBitmap_CreateEx(width, height, pdfium.FPDFBitmap_BGRx, None, 0)
    if not bitmap:
        raise MemoryError
    pdfium.FPDFBitmap_FillRect(bitmap, 0, 0, width, height, 0xFFFFFFFF)
    pdfium.FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, 0, pdfium.FPDF_ANNOT)
    stride = pdfium.FPDFBitmap_GetStride(bitmap)
    pixels = ctypes.string_at(pdfium.FPDFBitmap_GetBuffer(bitmap), stride * height)
    return Image.frombuffer("RGB", (width, height), pixels, "raw", "BGRX", stride, 1)
