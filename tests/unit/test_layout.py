"""Raw lines -> page text: what is joined, what is removed, what a page is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from services.core.types import Box, DocumentInfo, Page, PageKind
from services.ingest.layout import assemble
from services.ingest.pdf.protocol import LINE_END_HYPHEN
from services.ingest.pdf.raw import OutlineEntry, RawInfo, RawLine, RawPage, RawWord, page_from_json, page_to_json

CHAR_PT = 5.0
LEFT, RIGHT = 100.0, 400.0
HEIGHT = 800.0


def line(
    text: str, y: float, *, x: float = LEFT, size: float = 10.0, mono: bool = False, fill: bool = False
) -> RawLine:
    """Words of 5 points a character; `fill` stretches the spaces so that the line ends at the right edge."""
    parts = text.split(" ")
    space = CHAR_PT
    if fill and len(parts) > 1:
        space = (RIGHT - x - CHAR_PT * sum(map(len, parts))) / (len(parts) - 1)
    words = []
    for part in parts:
        words.append(RawWord(part, Box(x, y - size, x + CHAR_PT * len(part), y)))
        x += CHAR_PT * len(part) + space
    return RawLine(tuple(words), size, mono, False)


def paragraph(texts: Sequence[str], y: float, *, x: float = LEFT) -> list[RawLine]:
    """Justified lines, 12 points apart, the last one ragged."""
    last = len(texts) - 1
    return [line(text, y + 12 * row, x=x, fill=row < last) for row, text in enumerate(texts)]


PROSE = [
    "The quick brown fox jumps over the lazy dog and then it goes",
    "back home to sleep until the sun rises over the hills again and",
    "all of the animals of the forest wake up for another day of",
    "running about.",
]


def pages_of(*pages: Sequence[RawLine], outline: Sequence[OutlineEntry] = ()) -> tuple[Page, ...]:
    raw = [RawPage(number, 500.0, HEIGHT, bool(lines), tuple(lines)) for number, lines in enumerate(pages, 1)]
    labels = tuple(str(page.number) for page in raw)
    return assemble(RawInfo(DocumentInfo(len(raw), None, None, None), labels, tuple(outline), True), raw)


def text_of(*lines: RawLine) -> str:
    return pages_of(lines)[0].text


def check_words(page: Page) -> None:
    for word in page.words:
        text = page.text[word.start : word.end]
        assert text and not text[0].isspace() and not text[-1].isspace()


def test_full_lines_are_joined_and_short_ones_kept() -> None:
    lines = [*paragraph(PROSE, 100), line("first item", 160), line("second item", 172)]
    assert text_of(*lines) == " ".join(PROSE) + "\n\nfirst item\nsecond item"


def test_a_wider_gap_begins_a_paragraph() -> None:
    text = text_of(*paragraph(PROSE, 100), *paragraph(PROSE, 156))
    assert text == " ".join(PROSE) + "\n\n" + " ".join(PROSE)


def test_an_indent_begins_a_paragraph() -> None:
    first, second = paragraph(PROSE, 100), paragraph(PROSE, 148)
    second[0] = line(PROSE[0], 148, x=LEFT + 15, fill=True)
    assert text_of(*first, *second) == " ".join(PROSE) + "\n\n" + " ".join(PROSE)


def test_an_indent_after_a_full_line_begins_a_new_one_if_the_text_goes_back_out() -> None:
    first = [line(text, 100 + 12 * row, fill=True) for row, text in enumerate(PROSE[:3])]
    second = paragraph(PROSE, 136)
    second[0] = line(PROSE[0], 136, x=LEFT + 15, fill=True)
    assert text_of(*first, *second) == " ".join(PROSE[:3]) + "\n" + " ".join(PROSE)


def test_a_hanging_indent_does_not() -> None:
    item = [line("• " + PROSE[0], 100, fill=True), *paragraph(PROSE[1:], 112, x=LEFT + 10)]
    assert text_of(*item) == "• " + " ".join(PROSE)


def test_code_keeps_its_lines_and_indents() -> None:
    code = [line("if x:", 154, mono=True), line("go()", 166, x=LEFT + 21, mono=True)]
    assert text_of(*paragraph(PROSE, 100), *code).endswith("running about.\nif x:\n    go()")


@pytest.mark.parametrize(
    ("left", "right", "elsewhere", "expected"),
    [
        ("infor", "mation", "", "information"),
        ("command", "line", "the command-line is", "command-line"),
        ("back", "ground", "the background is", "background"),
        ("UTF", "8", "", "UTF-8"),
        ("Levenberg", "Marquardt", "", "Levenberg-Marquardt"),
    ],
)
def test_hyphens_of_line_ends(left: str, right: str, elsewhere: str, expected: str) -> None:
    lines = [
        line("one more line here with " + elsewhere + " between its words and more", 100, fill=True),
        line("which is full up to its right edge and ends with " + left + LINE_END_HYPHEN, 112, fill=True),
        line(right + " and then goes on", 124),
    ]
    page = pages_of(lines)[0]
    assert f" with {expected} and then" in page.text
    halves = [page.text[word.start : word.end] for word in page.words if word.box.bottom in (112, 124)]
    assert "".join(halves[halves.index("with") + 1 :][:2]) == expected
    check_words(page)


def test_ligatures_and_stray_accents_are_undone() -> None:
    assert text_of(line("e\ufb03cient \u0300 \ufb01le \u0300stable", 100)) == "efficient file stable"


def test_a_web_address_is_put_together_again() -> None:
    lines = paragraph(["Look at the long description under https://www.", "example.org/a for more."], 112)
    assert "https://www.example.org/a for" in text_of(line(PROSE[0], 100, fill=True), *lines)


def test_running_headers_and_footers_go_but_text_stays() -> None:
    pages = [
        [line(f"Chapter {1 + n // 4}: Of things {n}", 40), *paragraph(PROSE, 150), line(str(n), 780)]
        for n in range(1, 9)
    ]
    pages[3] = [line("Chapter 9: Short one 4", 40), *pages[3][1:]]  # seen once, where the others stand
    for page in pages_of(*pages):
        assert page.text == " ".join(PROSE)


def test_left_and_right_pages_may_differ() -> None:
    pages = [[line(f"{n} The Manual" if n % 2 else f"Part One {n}", 40), *paragraph(PROSE, 150)] for n in range(1, 9)]
    assert {page.text for page in pages_of(*pages)} == {" ".join(PROSE)}


def test_a_first_line_of_text_at_the_height_of_others_is_no_header() -> None:
    pages = [[line(f"{name} begins the page", 60), *paragraph(PROSE, 72)] for name in ("Ann", "Bob", "Cleo", "Dan")]
    assert [page.text.split()[0] for page in pages_of(*pages)] == ["Ann", "Bob", "Cleo", "Dan"]


CONTENTS = [line("Contents", 100, size=14)] + [
    line(f"1.{n} About things of kind {n} . . . . . . . . . {n + 3}", 120 + 12 * n) for n in range(1, 12)
]
INDEX = [line(f"{letter}lpha beta, {n}, {n + 7}", 100 + 12 * n) for n, letter in enumerate("abcdefghijklmno", 1)]


def test_contents_and_index_are_marked_and_keep_their_text_without_dots() -> None:
    contents, body, index = pages_of(CONTENTS, paragraph(PROSE, 100), INDEX)
    assert [contents.kind, body.kind, index.kind] == [PageKind.contents, PageKind.body, PageKind.contents]
    assert "1.1 About things of kind 1 4\n1.2 About" in contents.text
    assert ". ." not in contents.text
    assert "alpha beta, 1, 8\n" in index.text


def test_a_table_of_numbers_is_no_index() -> None:
    rows = [line(f"sample {37 * n % 11} weight, {91 * n % 57}", 100 + 12 * n) for n in range(1, 15)]
    assert pages_of(rows)[0].kind is PageKind.body


def test_an_ellipsis_is_no_dot_leader() -> None:
    assert text_of(line("c(1, 2, ..., 30) and a . . . b", 100)) == "c(1, 2, ..., 30) and a . . . b"


def test_pages_without_text_are_marked_not_dropped() -> None:
    info = RawInfo(DocumentInfo(3, None, None, None), ("1", "2", "3"), (), True)
    raw = [
        RawPage(1, 500, 800, True, ()),
        RawPage(2, 500, 800, False, ()),
        RawPage(3, 500, 800, True, (line("x", 90),)),
    ]
    assert [page.kind for page in assemble(info, raw)] == [PageKind.no_text_layer, PageKind.blank, PageKind.body]


def test_sections_carry_over_pages_and_begin_at_their_headings() -> None:
    outline = [
        OutlineEntry(0, "Basics", 1, 80.0),
        OutlineEntry(1, "Reading", 1, 150.0),
        OutlineEntry(1, "Writing", 3, 95.0),
        OutlineEntry(0, "Appendix", 3, None),
    ]
    first = [
        line("1 Basics", 100, size=14),
        *paragraph(PROSE, 120),
        line("1.1 Reading", 190, size=14),
        *paragraph(PROSE, 210),
    ]
    third = [line("1.2 Writing", 100, size=14), *paragraph(PROSE, 120), line("A Appendix", 190, size=14)]
    one, two, three = pages_of(first, paragraph(PROSE, 100), third, outline=outline)
    assert one.sections == ((0, ("Basics",)), (one.text.index("1.1"), ("Basics", "Reading")))
    assert two.sections == ((0, ("Basics", "Reading")),)
    assert three.sections == ((0, ("Basics", "Writing")), (three.text.index("A App"), ("Appendix",)))


def test_large_type_stands_in_for_a_missing_outline() -> None:
    body = [row for at in (120, 190, 260) for row in paragraph(PROSE, at)]
    one, two = pages_of([line("Basics of it", 100, size=16), *body], [line("Reading on", 100, size=13), *body])
    assert one.sections == ((0, ("Basics of it",)),)
    assert two.sections == ((0, ("Basics of it", "Reading on")),)


def test_columns_are_read_one_after_the_other() -> None:
    left = [line(text, 100 + 12 * row) for row, text in enumerate(["Here are", "a few words", "of text."])]
    right = [line(text, 100 + 12 * row, x=300) for row, text in enumerate(["And here", "is the other", "column."])]
    assert text_of(*left, *right) == "Here are\na few words of text.\n\nAnd here\nis the other column."


def test_a_page_survives_its_json_form() -> None:
    page = RawPage(3, 500.0, 800.0, True, tuple(paragraph(PROSE, 100)), hidden=7, scanned=True)
    assert page_from_json(page_to_json(page)) == page


def test_nonsense_from_the_child_is_a_value_error() -> None:
    for text in ("", "{}", "[1,2]", "[1,2,3,4,[],0]", "[1,2,3,4,[[1,0,0,[[5]]]],0,0]", "null"):
        with pytest.raises(ValueError):
            page_from_json(text)
