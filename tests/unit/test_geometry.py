"""Boxes of a span of text."""

from __future__ import annotations

from services.core.geometry import boxes_for, merge_lines
from services.core.types import Box, Word

# "one two\nthree four", two lines of two words
WORDS = (
    Word(0, 3, Box(10, 10, 30, 20)),
    Word(4, 7, Box(34, 9, 60, 20)),
    Word(8, 13, Box(10, 24, 40, 34)),
    Word(14, 18, Box(44, 24, 70, 35)),
)


def test_one_box_a_line() -> None:
    assert boxes_for(WORDS, 0, 18) == (Box(10, 9, 60, 20), Box(10, 24, 70, 35))


def test_words_that_only_touch_the_span_are_left_out() -> None:
    assert boxes_for(WORDS, 3, 8) == (Box(34, 9, 60, 20),)
    assert boxes_for(WORDS, 7, 8) == ()


def test_a_word_counts_if_one_character_is_inside() -> None:
    assert boxes_for(WORDS, 6, 9) == (Box(34, 9, 60, 20), Box(10, 24, 40, 34))


def test_the_next_column_at_the_same_height_is_a_line_of_its_own() -> None:
    right, left = Box(300, 10, 340, 20), Box(10, 10, 40, 20)
    assert merge_lines([right, left]) == (right, left)


def test_a_raised_footnote_mark_joins_its_line() -> None:
    assert merge_lines([Box(10, 10, 40, 20), Box(40, 8, 44, 14)]) == (Box(10, 8, 44, 20),)
