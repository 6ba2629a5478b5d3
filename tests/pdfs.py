"""Small PDFs made for a test: good ones with known words in known places, and each way a file can be bad."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence

from pypdf import PdfWriter
from pypdf.constants import PageLabelStyle
from pypdf.generic import ArrayObject, DecodedStreamObject, NameObject, RectangleObject
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen import canvas

WIDTH, HEIGHT = A4
LINE_PT = 14.0
TOP_PT = 100.0  # display height of the first line of text
LEFT_PT = 72.0


def text_pdf(
    pages: Sequence[Sequence[str]], *, title: str | None = None, headers: bool = False, outline: Sequence[str] = ()
) -> bytes:
    """One page for each sequence of lines, in Helvetica 11; entry `outline[i]` leads to the top of page i + 1."""
    out = io.BytesIO()
    pdf = canvas.Canvas(out, pagesize=A4, invariant=True)
    if title:
        pdf.setTitle(title)
    for number, lines in enumerate(pages, 1):
        pdf.setFont("Helvetica", 11)
        if headers:
            pdf.drawString(LEFT_PT, HEIGHT - 40, f"The Example Manual, page {number}")
            pdf.drawCentredString(WIDTH / 2, 40, str(number))
        if number <= len(outline):
            pdf.bookmarkPage(f"page{number}", fit="XYZ", left=0, top=HEIGHT - TOP_PT + 12)
            pdf.addOutlineEntry(outline[number - 1], f"page{number}", level=0)
        for row, line in enumerate(lines):
            pdf.drawString(LEFT_PT, HEIGHT - TOP_PT - row * LINE_PT, line)
        pdf.showPage()
    pdf.save()
    return out.getvalue()


def turned_pdf(quarters: int, crop: tuple[float, float, float, float]) -> bytes:
    """A page with the word TARGET and, mostly cut away by `crop` (left, bottom, right, top), one more; rotated."""
    out = io.BytesIO()
    pdf = canvas.Canvas(out, pagesize=(400, 600), invariant=True)
    pdf.setFont("Helvetica", 20)
    pdf.drawString(150, 420, "TARGET")
    pdf.drawString(2, 2, "OUTSIDE")
    pdf.showPage()
    pdf.save()
    writer = PdfWriter(clone_from=io.BytesIO(out.getvalue()))
    writer.pages[0].cropbox = RectangleObject(crop)
    writer.pages[0].rotate(90 * quarters)
    return _written(writer)


def picture_pdf(with_text_page: bool) -> bytes:
    """A page on which only a shape is drawn, an empty page, and, if asked for, one with text."""
    out = io.BytesIO()
    pdf = canvas.Canvas(out, pagesize=A4, invariant=True)
    pdf.rect(100, 100, 200, 200, fill=1)
    pdf.showPage()
    pdf.showPage()
    if with_text_page:
        pdf.drawString(LEFT_PT, HEIGHT - TOP_PT, "Some words.")
        pdf.showPage()
    pdf.save()
    return out.getvalue()


def encrypted_pdf(user_password: str) -> bytes:
    writer = PdfWriter(clone_from=io.BytesIO(text_pdf([["Secret words."]], title="Sealed", outline=["Only part"])))
    writer.encrypt(user_password, "owner", algorithm="AES-256")
    return _written(writer)


def labelled_pdf() -> bytes:
    """Three pages with the labels i, ii and 1."""
    writer = PdfWriter(clone_from=io.BytesIO(text_pdf([["One."], ["Two."], ["Three."]])))
    writer.set_page_label(0, 1, style=PageLabelStyle.LOWERCASE_ROMAN)
    writer.set_page_label(2, 2, style=PageLabelStyle.DECIMAL)
    return _written(writer)


def no_pages_pdf() -> bytes:
    return _written(PdfWriter())


def bomb_pdf(unit: bytes, times: int) -> bytes:
    """A page whose content stream is `unit`, repeated so often, in a few bytes of file for each repetition."""
    packer = zlib.compressobj(9)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(unit) + packer.flush(zlib.Z_FULL_FLUSH)  # refers to nothing before it
    tail = packer.flush()
    stream = DecodedStreamObject()
    stream.set_data(head + block * times + tail)
    stream[NameObject("/Filter")] = ArrayObject([NameObject("/FlateDecode")])
    writer = PdfWriter()
    page = writer.add_blank_page(200, 200)
    page[NameObject("/Contents")] = writer._add_object(stream)
    return _written(writer)


def _written(writer: PdfWriter) -> bytes:
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()
