"""Pages -> chunks: coverage, limits, places of the cuts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.core.encoder import HashingEncoder
from services.core.types import Box, Chunk, Page, PageKind, Word
from services.ingest.chunk import CHARACTER, LINE, PARAGRAPH, SECTION, SENTENCE, WORD, chunk_pages

spans = HashingEncoder().token_spans
SENTENCE_TEXT = "The worker reads one page of the file and writes down all that it has found there. "


def page(text: str, number: int = 1, *, kind: PageKind = PageKind.body, sections: dict[int, str] | None = None) -> Page:
    words = tuple(
        Word(found.start(), found.end(), Box(10.0 * found.start(), 0, 10.0 * found.end(), 10))
        for found in re.finditer(r"\S+", text)
    )
    paths = tuple((start, tuple(path.split("/"))) for start, path in sorted((sections or {}).items()))
    return Page(number, str(number), 500, 800, kind, text, words, paths)


def check(pages: list[Page], chunks: list[Chunk], max_tokens: int) -> None:
    """What holds for any input."""
    texts = {one.number: one.text for one in pages}
    covered = {number: [0] * len(text) for number, text in texts.items()}
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    for chunk in chunks:
        assert chunk.text == texts[chunk.page][chunk.char_start : chunk.char_end]
        assert chunk.text == chunk.text.strip() != ""
        assert len(spans(chunk.embedding_text())) <= max_tokens
        for position in range(chunk.char_start, chunk.char_end):
            covered[chunk.page][position] += 1
    for one in pages:
        wanted = one.kind is PageKind.body
        for char, count in zip(one.text, covered[one.number], strict=True):
            assert count == (1 if wanted else 0) or (char.isspace() and count <= 1)
    places = [(chunk.page, chunk.char_start) for chunk in chunks]
    assert places == sorted(places)


pieces = st.sampled_from(
    ["word", "Two words.", "\n", "\n\n", " ", "a,b;c", "x" * 90, "é中文字", "\u00a0", "1.2 Title\n\n", SENTENCE_TEXT]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(pieces, max_size=60).map("".join), max_size=3), st.integers(16, 80), st.data())
def test_every_character_is_in_one_chunk_and_no_chunk_is_too_long(
    texts: list[str], max_tokens: int, data: st.DataObject
) -> None:
    pages = []
    for number, text in enumerate(texts, 1):
        starts = data.draw(st.lists(st.integers(0, len(text)), max_size=4))
        sections = {start: f"Part {start}/A title of section {start}/{'deep ' * (start % 40)}" for start in starts}
        kind = data.draw(st.sampled_from([PageKind.body, PageKind.body, PageKind.contents]))
        pages.append(page(text, number, kind=kind, sections=sections))
    chunks = chunk_pages(pages, spans, max_tokens)
    check(pages, chunks, max_tokens)
    assert chunks == chunk_pages(pages, spans, max_tokens)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab .\n-中", max_size=400))
def test_an_encoder_whose_tokens_depend_on_what_is_around_them(text: str) -> None:
    def uneven(part: str) -> list[tuple[int, int]]:  # more tokens in a part than the same characters give in the whole
        return (
            [(at, at + 1) for at in range(len(part))]
            if len(part) < 40
            else [(at, at + 2) for at in range(0, len(part), 2)]
        )

    for chunk in chunk_pages([page(text)], uneven, 20):
        assert len(uneven(chunk.embedding_text())) <= 20


def test_a_short_page_is_one_chunk_with_its_place() -> None:
    text = "One line.\nAnother line."
    (chunk,) = chunk_pages([page(text, 7, sections={0: "Manual/Start"})], spans, 254)
    assert (chunk.page, chunk.section, chunk.char_start, chunk.char_end) == (7, ("Manual", "Start"), 0, len(text))
    assert chunk.text == text
    assert chunk.boxes == (Box(0, 0, 230, 10),)
    assert chunk.embedding_text() == "Manual > Start\n" + text


def test_cuts_prefer_paragraphs_to_sentences() -> None:
    paragraph = (SENTENCE_TEXT * 6).strip()
    chunks = chunk_pages([page("\n\n".join([paragraph] * 4))], spans, 254)
    assert len(chunks) > 1
    assert all(chunk.text.startswith("The worker") and chunk.text.count(paragraph) >= 1 for chunk in chunks)
    assert SECTION < PARAGRAPH < LINE < SENTENCE < WORD < CHARACTER


def test_cuts_prefer_sentences_to_words() -> None:
    for chunk in chunk_pages([page((SENTENCE_TEXT * 40).strip())], spans, 254):
        assert chunk.text.startswith("The worker") and chunk.text.endswith("there.")


def test_pieces_are_even() -> None:
    sizes = [len(spans(chunk.text)) for chunk in chunk_pages([page((SENTENCE_TEXT * 20).strip())], spans, 254)]
    assert len(sizes) == 2 and max(sizes) - min(sizes) <= 2 * len(spans(SENTENCE_TEXT))


def test_a_chunk_keeps_to_its_section_where_there_is_enough_text() -> None:
    one = "1 First\n\n" + SENTENCE_TEXT * 8
    text = one + "2 Second\n\n" + SENTENCE_TEXT * 8
    chunks = chunk_pages([page(text, sections={0: "First", len(one): "Second"})], spans, 254)
    assert [chunk.section for chunk in chunks] == [("First",), ("Second",)]
    assert chunks[1].char_start == len(one)


def test_tiny_sections_share_a_chunk() -> None:
    text = "A\n\nShort.\n\nB\n\nAlso short."
    assert len(chunk_pages([page(text, sections={0: "A", 11: "B"})], spans, 254)) == 1


def test_a_long_path_loses_its_outer_titles() -> None:
    path = "/".join(["A very long title of a part that goes on and on"] * 6 + ["Inner"])
    (chunk,) = chunk_pages([page("Some text.", sections={0: path})], spans, 64)
    assert chunk.section[-1] == "Inner"
    assert 1 <= len(chunk.section) < 7


def test_a_run_without_spaces_is_split_by_characters() -> None:
    text = "x" * 10_000
    chunks = chunk_pages([page(text)], spans, 64)
    assert "".join(chunk.text for chunk in chunks) == text
    assert max(len(chunk.text) for chunk in chunks) < 64 * 40


def test_contents_pages_and_empty_pages_give_no_chunks() -> None:
    assert chunk_pages([page("Contents 1 2 3", kind=PageKind.contents), page(" \n ", 2), page("", 3)], spans, 254) == []


def test_a_limit_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="max_tokens"):
        chunk_pages([], spans, 8)
