"""Engine 1: a jobs table beside the documents, with leases and fencing tokens."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import sqlalchemy as sa

from job_engine_children.catalog import POLL_S, PageDone, ReadPage, documents, index_rows, metadata, open_sqlite, pages

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("document_id", sa.Text, sa.ForeignKey("documents.id"), unique=True),
    sa.Column("status", sa.Text),
    sa.Column("owner", sa.Text),
    sa.Column("token", sa.Integer, default=0),  # grows with every lease: an older holder can no longer write
    sa.Column("lease_until", sa.Float, default=0.0),
)


class LostLease(Exception):
    """Another worker holds the job now."""


class JobsTable:
    def __init__(
        self, folder: Path, worker: str, read_page: ReadPage, page_done: PageDone, *, lease_s: float = 30.0
    ) -> None:
        self._db = open_sqlite(folder / "catalog.sqlite")
        self._worker, self._lease_s = worker, lease_s
        self._read_page, self._page_done = read_page, page_done
        metadata.create_all(self._db)
        with self._db.begin() as tx:  # a worker that starts under its own name knows its earlier self is dead
            tx.execute(sa.update(jobs).where(jobs.c.owner == worker).values(lease_until=0.0))
        self._stop = threading.Event()
        threading.Thread(target=self._work, daemon=True).start()

    def enqueue(self, document_id: str, page_count: int, *, parked: bool = False) -> None:
        try:
            with self._db.begin() as tx:
                tx.execute(sa.insert(documents).values(id=document_id, page_count=page_count))
                tx.execute(sa.insert(jobs).values(document_id=document_id, status="parked" if parked else "queued"))
        except sa.exc.IntegrityError:
            return

    def close(self) -> None:
        self._stop.set()

    def _work(self) -> None:
        while not self._stop.is_set():
            leased = self._lease()
            if leased is None:
                self._stop.wait(POLL_S)
                continue
            try:
                self._process(*leased)
            except LostLease:
                continue

    def _lease(self) -> tuple[str, int] | None:
        now = time.time()
        free = (jobs.c.status == "queued") | ((jobs.c.status == "running") & (jobs.c.lease_until < now))
        oldest = sa.select(jobs.c.id).where(free).order_by(jobs.c.id).limit(1)
        with self._db.connect() as db:
            if db.execute(oldest).first() is None:
                return None
        take = sa.update(jobs).where(jobs.c.id == oldest.scalar_subquery()).values(
            status="running", owner=self._worker, token=jobs.c.token + 1, lease_until=now + self._lease_s
        )  # fmt: skip
        with self._db.begin() as tx:
            row = tx.execute(take.returning(jobs.c.document_id, jobs.c.token)).first()
        return None if row is None else (row.document_id, row.token)

    def _process(self, document_id: str, token: int) -> None:
        with self._db.connect() as db:
            page_count = db.execute(sa.select(documents.c.page_count).where(documents.c.id == document_id)).scalar_one()
            done = set(db.execute(sa.select(pages.c.number).where(pages.c.document_id == document_id)).scalars())
        for number in range(page_count):
            if number in done:
                continue
            text = self._read_page(document_id, number)
            with self._db.begin() as tx:
                self._hold(tx, document_id, token, lease_until=time.time() + self._lease_s)
                tx.execute(sa.insert(pages).values(document_id=document_id, number=number, text=text))
            self._page_done(document_id, number)
        numbers = sa.select(pages.c.document_id, pages.c.number).where(pages.c.document_id == document_id)
        with self._db.begin() as tx:
            self._hold(tx, document_id, token, status="succeeded")
            tx.execute(sa.insert(index_rows).from_select(["document_id", "number"], numbers))

    def _hold(self, tx: sa.Connection, document_id: str, token: int, **values: object) -> None:
        """Write to the job if this lease still holds; raises LostLease, which rolls the transaction back, if not."""
        mine = (jobs.c.document_id == document_id) & (jobs.c.token == token) & (jobs.c.status == "running")
        if tx.execute(sa.update(jobs).where(mine).values(**values)).rowcount != 1:
            raise LostLease(document_id)
