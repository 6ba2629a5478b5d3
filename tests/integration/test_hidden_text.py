"""Text that a reader cannot see on the page: found, counted, and kept out of the stored text."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.core.types import Page, PageKind
from services.ingest.layout import assemble
from services.ingest.pdf.sandbox import open_pdf
from tests import poison
from tests.pdfs import text_pdf
from tests.poison import Manner

HONEST, ORDER = poison.SUBJECTS[0].honest, poison.KNOWN[0]
LETTERS = len(ORDER.replace(" ", ""))


def page_of(folder: Path, data: bytes) -> Page:
    path = folder / "file.pdf"
    path.write_bytes(data)
    with open_pdf(path) as reader:
        (page,) = assemble(reader.info, list(reader.pages()))
    return page


def test_visible_text_is_not_touched(tmp_path: Path) -> None:
    page = page_of(tmp_path, poison.poisoned_pdf(HONEST, ORDER, Manner.visible))
    assert " ".join(page.text.split()) == f"{HONEST} {ORDER}"
    assert (page.hidden_chars, page.scanned) == (0, False)


@pytest.mark.parametrize("manner", [manner for manner in Manner if manner is not Manner.visible])
def test_hidden_text_is_counted_and_not_stored(tmp_path: Path, manner: Manner) -> None:
    page = page_of(tmp_path, poison.poisoned_pdf(HONEST, ORDER, manner))
    assert " ".join(page.text.split()) == HONEST
    assert (page.hidden_chars, page.scanned) == (LETTERS, False)
    assert len(page.words) == len(HONEST.split())


def test_white_text_is_judged_by_what_lies_behind_it(tmp_path: Path) -> None:
    page = page_of(tmp_path, poison.boxed_pdf("Seen in a box", "Not seen at all"))
    assert page.text == "Seen in a box"
    assert page.hidden_chars == len("Notseenatall")


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_page_is_judged_as_it_is_displayed(tmp_path: Path, quarters: int) -> None:
    page = page_of(tmp_path, poison.turned(poison.boxed_pdf("Seen in a box", "Not seen at all"), quarters))
    assert page.text == "Seen in a box"
    assert page.hidden_chars == len("Notseenatall")


def test_text_inside_a_form_is_judged_by_its_size_on_the_page(tmp_path: Path) -> None:
    page = page_of(tmp_path, poison.form_pdf("Large enough to read", 10.0))
    assert (page.text, page.hidden_chars) == ("Large enough to read", 0)
    page = page_of(tmp_path, poison.form_pdf("A speck", 1.0))
    assert (page.text, page.hidden_chars) == ("", len("Aspeck"))


def test_the_text_of_a_scan_stays(tmp_path: Path) -> None:
    page = page_of(tmp_path, poison.scanned_pdf("Read from a picture."))
    assert (page.text, page.kind) == ("Read from a picture.", PageKind.body)
    assert (page.hidden_chars, page.scanned) == (0, True)


def test_a_hidden_letter_does_not_hide_its_word(tmp_path: Path) -> None:
    page = page_of(tmp_path, poison.speckled_pdf("light", "ho0use"))
    assert page.text.split() == ["light", "house"]
    assert page.hidden_chars == 1


def test_spaces_that_are_not_painted_are_nothing(tmp_path: Path) -> None:
    page = page_of(tmp_path, poison.poisoned_pdf("Only words.", "   ", Manner.invisible))
    assert (page.text, page.hidden_chars) == ("Only words.", 0)


def test_an_ordinary_page_has_nothing_hidden(tmp_path: Path) -> None:
    page = page_of(tmp_path, text_pdf([["One line.", "And another."]], headers=True))
    assert page.hidden_chars == 0
