"""What people said of answers. Rows are added, never changed: whoever says something else of the same answer adds a
version, and the newest of each counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Select, and_, func, insert, select
from sqlalchemy.exc import IntegrityError

from services.core.database import Database
from services.core.errors import Conflict, NotFound
from services.core.tables import answers, feedback, new_id
from services.core.within import ALL, Within, among

Verdict = Literal["up", "down"]


@dataclass(frozen=True, slots=True)
class Said:
    """`corrected` is the answer that should have been given, `quote` where the document says so, `wrong_citation` the
    place of a citation in the answer, from 0."""

    verdict: Verdict
    corrected: str | None = None
    quote: str | None = None
    wrong_citation: int | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Feedback:
    """`by` is what the client says of itself: nothing proves it. `version` counts what it said of this answer, from 1.
    `created_at` is in seconds since the epoch."""

    id: str
    answer_id: str
    by: str
    version: int
    said: Said
    created_at: float


class FeedbackLog:
    """Methods block."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, answer_id: str, by: str, said: Said, within: Within = ALL) -> tuple[Feedback, bool]:
        """Keep it as the newest version; returns it, and False if that says the same already. Raises NotFound for an
        unknown answer, and Conflict if the same client says two things at once."""
        mine = and_(feedback.c.answer_id == answer_id, feedback.c.by == by)
        newest = select(feedback).where(mine).order_by(feedback.c.version.desc()).limit(1)
        try:
            with self._db.write() as connection:
                if connection.execute(_answer(answer_id, within)).first() is None:
                    raise NotFound(f"There is no answer {answer_id!r}.")
                row = connection.execute(newest).first()
                if row is not None and (last := _feedback_of(row)).said == said:
                    return last, False
                now, version = self._db.now(connection), row.version + 1 if row else 1
                added = Feedback(new_id("fb"), answer_id, by, version, said, now)
                values = asdict(added)
                body = values.pop("said")
                connection.execute(insert(feedback).values(**values, verdict=said.verdict, body=body))
        except IntegrityError:
            raise Conflict("This client is giving other feedback on the same answer at this moment.") from None
        return added, True

    def of_answer(self, answer_id: str, within: Within = ALL) -> list[Feedback]:
        """All versions, oldest first. Raises NotFound for an unknown answer."""
        with self._db.read() as connection:
            if connection.execute(_answer(answer_id, within)).first() is None:
                raise NotFound(f"There is no answer {answer_id!r}.")
            rows = connection.execute(select(feedback).where(feedback.c.answer_id == answer_id))
            return sorted((_feedback_of(row) for row in rows), key=lambda one: (one.created_at, one.id))

    def current(self, connection: Connection, collection: str) -> list[str]:
        """Ids of what counts now, of answers in `collection`, oldest first."""
        return list(connection.execute(_current(collection)).scalars())

    def with_answers(self, ids: Sequence[str]) -> list[tuple[Feedback, dict[str, Any]]]:
        """In the order of `ids`, each with the answer as it was logged."""
        found: dict[str, tuple[Feedback, dict[str, Any]]] = {}
        with self._db.read() as connection:
            for start in range(0, len(ids), _SQL_LIST_MAX):
                query = select(feedback, answers.c.body.label("answer")).join(answers)
                for row in connection.execute(query.where(feedback.c.id.in_(ids[start : start + _SQL_LIST_MAX]))):
                    found[row.id] = _feedback_of(row), dict(row.answer)
        return [found[one] for one in ids]


_SQL_LIST_MAX = 500


def _answer(answer_id: str, within: Within) -> Select[Any]:
    return select(answers.c.id).where(answers.c.id == answer_id, among(answers.c.collection, within))


def _current(collection: str) -> Select[Any]:
    newest = (
        select(feedback.c.answer_id, feedback.c.by, func.max(feedback.c.version).label("version"))
        .group_by(feedback.c.answer_id, feedback.c.by)
        .subquery()
    )
    same = and_(*(feedback.c[name] == newest.c[name] for name in ("answer_id", "by", "version")))
    query = select(feedback.c.id).join(newest, same).join(answers, answers.c.id == feedback.c.answer_id)
    return query.where(answers.c.collection == collection).order_by(feedback.c.created_at, feedback.c.id)


def _feedback_of(row: Any) -> Feedback:
    return Feedback(row.id, row.answer_id, row.by, row.version, Said(**row.body), row.created_at)
