"""Pieces of the HTTP schema that more than one service speaks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, StringConstraints

CollectionName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", min_length=1, max_length=64)
]


def _encodable(text: str) -> str:
    """JSON can spell half of a surrogate pair, which is no character: no tokenizer takes it, no file can hold it."""
    text.encode()  # raises UnicodeEncodeError, a ValueError
    return text


Text = Annotated[str, AfterValidator(_encodable)]
# Of a document, job or answer. PostgreSQL refuses to even look for an id with a NUL in it.
Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,40}$")]


class BoxOut(BaseModel):
    """Points from the top left corner of the displayed page."""

    left: float
    top: float
    right: float
    bottom: float


def iso(seconds: float | None) -> str | None:
    """Seconds since the epoch as RFC 3339 in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
