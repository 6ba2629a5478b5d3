"""Boxes of a stretch of text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.core.types import Box, Word


def boxes_for(words: Sequence[Word], start: int, end: int) -> tuple[Box, ...]:
    """Boxes that cover the characters `[start, end)` of a page: one a line, in reading order.

    `words` are those of the page, in the order of their text. A word counts if one of its characters lies inside.
    """
    return merge_lines(word.box for word in words if word.start < end and word.end > start)


def merge_lines(boxes: Iterable[Box]) -> tuple[Box, ...]:
    """Join boxes that follow each other on one line, that is, share half of the lower one's height."""
    lines: list[Box] = []
    for box in boxes:
        if lines and _same_line(lines[-1], box):
            last = lines[-1]
            lines[-1] = Box(
                min(last.left, box.left),
                min(last.top, box.top),
                max(last.right, box.right),
                max(last.bottom, box.bottom),
            )
        else:
            lines.append(box)
    return tuple(lines)


def _same_line(line: Box, box: Box) -> bool:
    shared = min(line.bottom, box.bottom) - max(line.top, box.top)
    return shared * 2 >= min(line.bottom - line.top, box.bottom - box.top) and box.left >= line.left
