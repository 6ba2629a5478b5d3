"""A window onto what stands beside a passage: which sentences are whole only with it, and where their parts are."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.classifier import OverlapClassifier
from services.core.evidence import evidence_of
from services.core.neighbours import JOINED_MAX_CHARS, Joined, Placed, Window, runs_on, window_of
from services.core.sentences import sentence_spans
from services.core.types import Box, Page, PageKind, Passage, Word

JUDGE = OverlapClassifier()
COLUMN = 300.0  # points from the left edge of a column to its right one
LEFT = "The bell of the old harbour is rung every\nnight. The keeper counts the boats that come home and"
RIGHT = "writes their names into a book."


def page(number: int, text: str, *, right_pt: float = COLUMN, section: str = "Duties") -> Page:
    """A page of one word a character run, each line of `text` a line; the last one ends at `right_pt`."""
    words, start = [], 0
    lines = text.split("\n")
    for row, line in enumerate(lines):
        width = (right_pt if row == len(lines) - 1 else COLUMN) / max(1, len(line))
        column = 0
        for token in line.split(" "):
            left = 72 + column * width
            words.append(
                Word(start, start + len(token), Box(left, 20.0 * row, left + len(token) * width, 20.0 * row + 12))
            )
            start, column = start + len(token) + 1, column + len(token) + 1
    return Page(number, str(number), 612.0, 792.0, PageKind.body, text, tuple(words), ((0, (section,)),))


def placed(of: Page, start: int = 0, end: int | None = None, document: str = "doc") -> Placed:
    return Placed(document, of, start, len(of.text) if end is None else end)


def passage(chunk: Placed, chunk_id: int = 1) -> Passage:
    text = chunk.page.text[chunk.char_start : chunk.char_end]
    where = (chunk.page.number, ("Duties",), chunk.char_start, chunk.char_end)
    return Passage(chunk_id, chunk.document_id, "a.pdf", *where, text, (), 0.5)


def texts(window: Window) -> list[str]:
    return [" ".join(joined.text.split()) for joined in window.sentences()]


# Between pages --------------------------------------------------------------------------------------------------


def test_a_sentence_that_crosses_a_page_is_whole_on_both_sides() -> None:
    left, right = placed(page(4, LEFT)), placed(page(5, RIGHT + " Fog is not counted as a boat."))
    whole = "The keeper counts the boats that come home and writes their names into a book."
    from_left, from_right = window_of(None, left, right), window_of(left, right, None)
    assert texts(from_left) == ["The bell of the old harbour is rung every", whole]
    assert texts(from_right) == [whole, "Fog is not counted as a boat."]
    last, first = list(from_left.sentences())[-1], next(from_right.sentences())
    assert last.parts == first.parts
    assert [part.page for part in last.parts] == [4, 5]
    for part, of in zip(last.parts, (left.page, right.page), strict=True):
        assert of.text[part.char_start : part.char_end] == part.text
    assert [part.text for part in last.parts] == [LEFT[LEFT.index("The keeper") :], RIGHT]
    assert left.page.text[last.start : last.end] == last.parts[0].text
    assert right.page.text[first.start : first.end] == last.parts[1].text


@pytest.mark.parametrize(
    ("last", "first"),
    [
        ("and all of this is the end.", "it begins anew"),
        ("(and all of this is the end.)", "it begins anew"),
        ("and he said “this is the end.”", "it begins anew"),
        ("what is to be done is this:", "trim the lamp"),
    ],
)
def test_where_a_sentence_ends_none_goes_on(last: str, first: str) -> None:
    assert not runs_on(page(1, last), page(2, first))


def test_only_a_full_line_goes_on() -> None:
    above = "A line of the page that is as long as any\n"
    code, full = page(1, above + "x = harbour(1)", right_pt=120.0), page(1, above + "a line without an end of it")
    assert not runs_on(code, page(2, "y = x + 1"))
    assert runs_on(full, page(2, "y = x + 1"))
    nearly = page(1, above + "nearly at the edge of it", right_pt=COLUMN - 30)
    assert not runs_on(nearly, page(2, "of it all in this long line here"))
    assert runs_on(nearly, page(2, "nevertheless\nall"))


def test_sections_pages_without_words_and_pages_apart_do_not_go_on() -> None:
    left = page(1, LEFT)
    assert runs_on(left, page(2, RIGHT))
    assert not runs_on(left, page(2, RIGHT, section="Boats"))
    assert not runs_on(left, page(3, RIGHT))
    assert not runs_on(left, replace(page(2, RIGHT), words=()))
    assert not runs_on(replace(left, sections=()), page(2, RIGHT))
    assert runs_on(replace(left, sections=()), replace(page(2, RIGHT), sections=((5, ("Later",)),)))


@pytest.mark.parametrize(
    ("last", "first", "joined"),
    [
        ("the lamp is lit and trans-", "mitted light is seen", "trans-mitted"),
        ("the lamp is lit - and -", "mitted light is seen", "- mitted"),
        ("the lamp of Hythe-", "Miramar is seen from here", "Hythe- Miramar"),
    ],
)
def test_a_word_that_was_cut_is_joined_without_a_space(last: str, first: str, joined: str) -> None:
    [sentence] = window_of(None, placed(page(1, last)), placed(page(2, first))).sentences()
    assert joined in sentence.text


def test_a_neighbour_of_another_document_or_none_changes_nothing() -> None:
    own = placed(page(4, LEFT))
    alone = [Joined(start, end, LEFT[start:end], ()) for start, end in sentence_spans(LEFT) if end - start >= 20]
    assert [*window_of(None, own, None).sentences()] == alone
    other = placed(page(5, RIGHT), document="other")
    assert [*window_of(None, own, other).sentences()] == alone


# Inside a page --------------------------------------------------------------------------------------------------

LETTERS = st.text("ab .!\nA1\"')(-", min_size=1, max_size=120)


@given(LETTERS, st.lists(st.integers(0, 120), min_size=2, max_size=2), st.integers(0, 6))
def test_however_a_page_is_cut_its_sentences_are_those_of_the_page(text: str, cuts: list[int], overlap: int) -> None:
    """Three chunks of one page, which may overlap: the middle one's sentences are the page's that touch it."""
    first, second = sorted(min(cut, len(text)) for cut in cuts)
    spans = [(0, first), (max(0, first - overlap), second), (max(0, second - overlap), len(text))]
    trimmed = [trim(text, *span) for span in spans]
    of = page(1, text)
    chunks = [placed(of, *span) if span else None for span in trimmed]
    if chunks[1] is None:
        return
    window = window_of(chunks[0], chunks[1], chunks[2])
    own_start, own_end = chunks[1].char_start, chunks[1].char_end
    assert window.text[window.start : window.end] == text[own_start:own_end]
    touching = [text[start:end] for start, end in sentence_spans(text) if start < own_end and end > own_start]
    long = [sentence for sentence in touching if len(sentence) >= 20] or touching
    assert [joined.text for joined in window.sentences()] == long
    for joined in window.sentences():
        whole = own_start + joined.start, own_start + joined.end
        [(start, end, quote)] = [part[1:] for part in joined.parts] or [(*whole, joined.text)]
        assert text[start:end] == quote == joined.text


def trim(text: str, start: int, end: int) -> tuple[int, int] | None:
    part = text[start:end]
    if not part.strip():
        return None
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())


@given(st.lists(st.text("abc.A\n ", min_size=1, max_size=40).filter(str.strip), min_size=3, max_size=3))
def test_parts_are_quotes_and_nothing_is_said_twice(three: list[str]) -> None:
    pages = [page(number, text.strip()) for number, text in enumerate(three, 1)]
    before, own, after = (placed(of) for of in pages)
    by_number = {of.number: of.text for of in pages}
    for joined in window_of(before, own, after).sentences():
        for part in joined.parts:
            assert by_number[part.page][part.char_start : part.char_end] == part.text != ""
        assert [part.page for part in joined.parts] == sorted({part.page for part in joined.parts})
        assert all(one.page + 1 == other.page for one, other in pairwise(joined.parts))
        if joined.parts:
            assert " ".join(part.text for part in joined.parts) == joined.text
            assert own.page.text[joined.start : joined.end] in [part.text for part in joined.parts]


def test_what_is_too_long_to_be_a_sentence_stays_as_it_was_cut() -> None:
    long = page(1, "ax " * (JOINED_MAX_CHARS // 3 + 20) + "end")
    cut = len(long.text) // 2 // 3 * 3
    [sentence] = window_of(None, placed(long, 0, cut - 1), placed(long, cut)).sentences()
    assert sentence == Joined(0, cut - 1, long.text[: cut - 1], ())


# Evidence -------------------------------------------------------------------------------------------------------


def test_evidence_has_a_sentence_that_crosses_once_and_for_the_first_passage() -> None:
    left, right = placed(page(4, LEFT)), placed(page(5, RIGHT + " Fog is not counted as a boat."))
    windows = [window_of(left, right, None), window_of(None, left, right)]
    read = [passage(right, 2), passage(left, 1)]
    question = "What does the keeper write into a book of boats?"
    evidence = evidence_of(question, read, JUDGE, windows)
    whole = "The keeper counts the boats that come home and writes their names into a book."
    assert [sentence.text for sentence in evidence.sentences].count(whole) == 1
    [best] = evidence.best(1)
    assert (best.text, best.passage) == (whole, 0)
    assert read[0].text[best.start : best.end] == RIGHT
    [judged] = JUDGE.classify([(question, "Duties\n" + whole)])
    assert best.score == judged.scores["sufficient"]
    assert all("keeper" not in sentence.text for sentence in evidence.sentences if sentence is not best)


def test_the_same_text_in_two_documents_is_given_for_each() -> None:
    pairs = [(placed(page(4, LEFT), document=name), placed(page(5, RIGHT), document=name)) for name in ("one", "two")]
    read = [passage(left, number) for number, (left, _) in enumerate(pairs)]
    windows = [window_of(None, left, right) for left, right in pairs]
    joined = [sentence for sentence in evidence_of("boats", read, JUDGE, windows).sentences if sentence.parts]
    assert [sentence.passage for sentence in joined] == [0, 1]


def test_a_passage_without_a_window_is_read_by_itself() -> None:
    read = [passage(placed(page(4, LEFT)))]
    assert evidence_of("boats", read, JUDGE, [None]) == evidence_of("boats", read, JUDGE)
