"""Verdicts of the gate in the catalog. Rows are added, never changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select

from services.core.database import Database
from services.core.errors import NotFound
from services.core.tables import evaluations, verdicts
from services.core.within import ALL, Within, among


@dataclass(frozen=True, slots=True)
class Stored:
    """`champion` and `challenger` are ids of releases; `body` is the Verdict as JSON."""

    id: str
    champion: str
    challenger: str
    champion_evaluation_id: str
    challenger_evaluation_id: str
    dataset_sha256: str
    passed: bool
    body: dict[str, Any]
    created_at: float

    def facts(self) -> dict[str, Any]:
        """What a client is told: the verdict, with its id and the two evaluations that it is made from."""
        own = {"id": self.id, "champion_evaluation_id": self.champion_evaluation_id}
        return own | {"challenger_evaluation_id": self.challenger_evaluation_id} | self.body


_FIELDS = tuple(verdicts.c[name] for name in Stored.__dataclass_fields__)


class VerdictStore:
    """Methods block."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(
        self, connection: Connection, verdict_id: str, body: dict[str, Any], champion: str, challenger: str
    ) -> None:
        """Keep a verdict, a Verdict as JSON, in the caller's transaction; `champion` and `challenger` are the ids of
        the evaluations."""
        connection.execute(
            insert(verdicts).values(
                id=verdict_id,
                champion=body["champion"]["release"],
                challenger=body["challenger"]["release"],
                champion_evaluation_id=champion,
                challenger_evaluation_id=challenger,
                dataset_sha256=body["questions"]["sha256"],
                passed=body["passed"],
                body=body,
                created_at=self._db.now(connection),
            )
        )

    def get(self, verdict_id: str, within: Within = ALL) -> Stored:
        """A verdict is of the collection that both releases were asked in."""
        query = select(*_FIELDS).where(verdicts.c.id == verdict_id)
        if within is not None:
            mine = select(evaluations.c.id).where(among(evaluations.c.collection, within))
            query = query.where(verdicts.c.challenger_evaluation_id.in_(mine))
        with self._db.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise NotFound(f"There is no verdict {verdict_id!r}.")
        return Stored(**row._mapping)

    def counts(self) -> dict[bool, int]:
        """Verdicts by whether they passed."""
        query = select(verdicts.c.passed, func.count()).group_by(verdicts.c.passed)
        with self._db.read() as connection:
            return {False: 0, True: 0} | {bool(passed): count for passed, count in connection.execute(query)}

    def newest(self, champion: str, challenger: str) -> Stored | None:
        """What was said last of exactly these two releases."""
        mine = (verdicts.c.champion == champion) & (verdicts.c.challenger == challenger)
        with self._db.read() as connection:
            row = connection.execute(select(*_FIELDS).where(mine).order_by(verdicts.c.id.desc()).limit(1)).first()
        return None if row is None else Stored(**row._mapping)
