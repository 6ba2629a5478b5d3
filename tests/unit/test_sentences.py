from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.core.sentences import quotable_spans, sentence_spans


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


def test_sentences_end_at_full_stops_before_capitals_and_at_lines() -> None:
    text = 'See e.g. the manual. It says "yes." Then stop!\n• first item\n• second item'
    assert sentences(text) == ["See e.g. the manual.", 'It says "yes."', "Then stop!", "• first item", "• second item"]


def test_versions_and_paths_are_not_cut() -> None:
    assert sentences("Use version 3.0.1 of /etc/rc.d now. Done.") == ["Use version 3.0.1 of /etc/rc.d now.", "Done."]


@given(st.text(max_size=200))
def test_spans_cover_everything_but_white_space(text: str) -> None:
    spans = sentence_spans(text)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert all(text[start:end] == text[start:end].strip() for start, end in spans)
    kept = {i for start, end in spans for i in range(start, end)}
    assert all(text[i].isspace() for i in range(len(text)) if i not in kept)


def test_headings_are_no_quotes_unless_there_is_nothing_else() -> None:
    text = "Title\nThis sentence is long enough to be evidence."
    assert [text[a:b] for a, b in quotable_spans(text)] == ["This sentence is long enough to be evidence."]
    assert quotable_spans("Title") == [(0, 5)]
