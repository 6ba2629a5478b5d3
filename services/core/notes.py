"""What a request's line in the log is to say besides the usual, noted by the code that knows it.

The notes travel in a context variable, which asyncio and starlette carry into the threads that do a request's work.
Outside of a request they go nowhere: an answer in the shadow of another one has no line.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Notes:
    """`with_text`: whether texts of questions may be noted."""

    with_text: bool = False
    fields: dict[str, Any] = field(default_factory=dict)


_notes: ContextVar[Notes | None] = ContextVar("capstone_notes", default=None)


@contextmanager
def noting(notes: Notes) -> Iterator[None]:
    token = _notes.set(notes)
    try:
        yield
    finally:
        _notes.reset(token)


def note(**fields: Any) -> None:
    """Ids, modes and codes. Never a text."""
    notes = _notes.get()
    if notes is not None:
        notes.fields.update(fields)


def note_text(**fields: str) -> None:
    """Texts, which are dropped unless the setting `log_text` lets them through."""
    notes = _notes.get()
    if notes is not None and notes.with_text:
        notes.fields.update(fields)
