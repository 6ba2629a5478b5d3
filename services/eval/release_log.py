"""The history of the release that is live, in the catalog. Rows are added, never changed.

A change begins with an `intent`, before anything else is touched, and ends with `done` or `failed`. An intent without
an end is at work, or its process died; `promote.py` finds out which. Sequence numbers have no gaps, so that of two who
begin or end at once only one succeeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.exc import IntegrityError

from services.core.database import Database
from services.core.errors import ReleaseInProgress
from services.core.tables import new_id, release_events

Kind = Literal["promotion", "rollback"]
End = Literal["done", "failed"]
INTENT = "intent"
_BUSY = "Another promotion or rollback is under way. Look at the history, and try again."
_RETRY_AFTER_S = 10


@dataclass(frozen=True, slots=True)
class Change:
    """`body` is what was meant: its members are those of `promote.Meant`. `end` is None while it is not known how it
    ended; `told` is what is to be said of that. Times are in seconds since the epoch."""

    id: str
    seq: int  # of the intent
    kind: Kind
    body: dict[str, Any]
    created_at: float
    end: End | None = None
    told: dict[str, Any] | None = None
    ended_at: float | None = None


class ReleaseLog:
    """Methods block."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def begin(self, kind: Kind, body: dict[str, Any]) -> Change:
        """Add an intent. Raises ReleaseInProgress if another one has no end yet."""
        change_id = new_id("rel")
        try:
            with self._db.write() as connection:
                newest = release_events.c.seq.desc()
                last = connection.execute(select(release_events).order_by(newest).limit(1)).first()
                if last is not None and last.step == INTENT:
                    raise ReleaseInProgress(_BUSY, retry_after_s=_RETRY_AFTER_S)
                seq, now = (last.seq if last else 0) + 1, self._db.now(connection)
                _add(connection, seq=seq, change_id=change_id, kind=kind, step=INTENT, created_at=now, body=body)
        except IntegrityError:
            raise ReleaseInProgress(_BUSY, retry_after_s=_RETRY_AFTER_S) from None
        return Change(change_id, seq, kind, body, now)

    def end(self, change: Change, end: End, told: dict[str, Any]) -> Change:
        """Say how a change ended. Raises ReleaseInProgress if somebody else has said so meanwhile."""
        try:
            with self._db.write() as connection:
                now = self._db.now(connection)
                row = {"seq": change.seq + 1, "change_id": change.id, "kind": change.kind, "step": end}
                _add(connection, **row, created_at=now, body=told)
        except IntegrityError:
            raise ReleaseInProgress(_BUSY, retry_after_s=_RETRY_AFTER_S) from None
        return Change(change.id, change.seq, change.kind, change.body, change.created_at, end, told, now)

    def unfinished(self) -> Change | None:
        """The change whose end is not known; there is at most one."""
        newest = self.newest(after=None, limit=1)
        return newest[0] if newest and newest[0].end is None else None

    def newest(self, *, after: str | None, limit: int) -> list[Change]:
        """The newest first; `after` is the id of the last change of the page before."""
        begun, ended = release_events.alias("begun"), release_events.alias("ended")
        query = (
            select(
                begun.c.change_id.label("id"),
                begun.c.seq,
                begun.c.kind,
                begun.c.body,
                begun.c.created_at,
                ended.c.step.label("end"),
                ended.c.body.label("told"),
                ended.c.created_at.label("ended_at"),
            )
            .outerjoin(ended, (ended.c.change_id == begun.c.change_id) & (ended.c.step != INTENT))
            .where(begun.c.step == INTENT)
            .order_by(begun.c.seq.desc())
            .limit(limit)
        )
        if after is not None:
            at = select(func.min(release_events.c.seq)).where(release_events.c.change_id == after)
            query = query.where(begun.c.seq < at.scalar_subquery())
        with self._db.read() as connection:
            return [Change(**row._mapping) for row in connection.execute(query)]


def _add(connection: Connection, **row: Any) -> None:
    connection.execute(insert(release_events).values(row))
