"""Prepared pairs -> questions with passages that answer them and passages near them that do not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from models.classifier.data import Example
from models.prepare.examples import SUFFICIENT
from services.core.types import embedding_text


class Triple(NamedTuple):
    question: str
    answers: str
    does_not: str


class Asked(NamedTuple):
    """A question about one manual; `right` are indices of its `passages`, as the encoder reads them."""

    text: str
    manual: str
    right: frozenset[int]


def triples_of(rows: Sequence[Example]) -> list[Triple]:
    """One a question that has both kinds of passages: of each the first, which is the nearest."""
    found = []
    for own in by_question(rows).values():
        parts: dict[bool, list[Example]] = {True: [], False: []}
        for row in own:
            parts[row.label == SUFFICIENT].append(row)
        if parts[True] and parts[False]:
            found.append(Triple(own[0].text, passage(parts[True][0]), passage(parts[False][0])))
    return found


def searches_of(rows: Sequence[Example]) -> tuple[list[Asked], Mapping[str, list[str]]]:
    """Every answerable question, and for each manual all passages that `rows` have of it."""
    places: dict[str, dict[str, int]] = defaultdict(dict)
    for row in rows:
        own = places[row.document or ""]
        own.setdefault(passage(row), len(own))
    asked = []
    for own_rows in by_question(rows).values():
        manual = own_rows[0].document or ""
        right = frozenset(places[manual][passage(row)] for row in own_rows if row.label == SUFFICIENT)
        if right:
            asked.append(Asked(own_rows[0].text, manual, right))
    return asked, {manual: list(own) for manual, own in places.items()}


def by_question(rows: Sequence[Example]) -> dict[str, list[Example]]:
    groups: dict[str, list[Example]] = defaultdict(list)
    for row in rows:
        groups[row.group].append(row)
    return groups


def passage(row: Example) -> str:
    return embedding_text(row.section, row.text_pair or "")
