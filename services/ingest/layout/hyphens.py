"""Decides whether a hyphen at a line end belongs to the word or was put there by the typesetter. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from services.ingest.layout.lines import Line
from services.ingest.pdf.protocol import LINE_END_HYPHEN

HYPHENS = "-\u2010\u2011"
_WORD = re.compile(rf"[^\W\d_]+(?:[{HYPHENS}][^\W\d_]+)*")
_HYPHEN = re.compile(f"[{HYPHENS}]")
_TAIL = re.compile(r"[^\W\d_]+$")
_HEAD = re.compile(r"[^\W\d_]+")


class Vocabulary:
    """The words of one document as they stand inside its lines."""

    def __init__(self, pages: Iterable[Sequence[Line]]) -> None:
        joined: list[str] = []
        hyphenated: list[tuple[str, str]] = []
        for lines in pages:
            for line in lines:
                inner = " ".join([word.text for word in line.words[1:-1]])  # those at the ends may be halves
                for found in _WORD.findall(inner.casefold()):
                    if _HYPHEN.search(found):
                        parts = _HYPHEN.split(found)
                        joined += parts
                        hyphenated += pairwise(parts)
                    else:
                        joined.append(found)
        self._joined = Counter(joined)
        self._hyphenated = Counter(hyphenated)

    def keeps_hyphen(self, left: str, right: str) -> bool:
        """True if `left-right`, cut by a line end, is written with its hyphen; `left` comes without it."""
        tail, head = _TAIL.search(left), _HEAD.match(right)
        if tail is None or head is None:
            return True  # a number, a path, an option
        first, second = tail.group().casefold(), head.group().casefold()
        with_hyphen, without = self._hyphenated[first, second], self._joined[first + second]
        if with_hyphen or without:
            return with_hyphen > without
        if not head.group().islower() or set(left) & set("-/_.=@"):
            return True  # a name or an identifier, which no typesetter divides
        # Both halves are words, and the whole is none: `line-` `based`, but not `inter-` `active`.
        return len(first) > 3 and len(second) > 3 and self._joined[first] > 1 and self._joined[second] > 1


def is_cut(word: str) -> bool:
    """True if the PDF says that `word` goes on in the next line."""
    return word.endswith(LINE_END_HYPHEN)


def may_be_cut(word: str) -> bool:
    """True if `word` ends with a plain hyphen after a letter, which may be one of a line end."""
    return len(word) > 2 and word[-1] in HYPHENS and word[-2].isalpha()
