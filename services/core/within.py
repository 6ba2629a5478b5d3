"""Which collections somebody may see, as a condition of every query that reads for them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, true

Within = frozenset[str] | None  # names of collections; None: all of them
ALL: Within = None


def among(collection: ColumnElement[Any], within: Within) -> ColumnElement[bool]:
    """Is the collection in that column one of them? What belongs to none (NULL) is seen by those who see all."""
    return true() if within is None else collection.in_(sorted(within))
