"""Engine 2: DBOS. A workflow is a document, a step is a page, the last step commits in a datasource transaction.

Its system tables share the catalog's SQLite file, which is what lets `enqueue_in_transaction` commit a document and
its workflow together. The queue polls as often as the other engine does.
"""

# DBOS is installed in the benchmark's own environment only, so it is untyped here.
# mypy: disable-error-code="import-not-found, untyped-decorator"

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, EnqueueOptions, SQLAlchemyDatasource

from job_engine_children.catalog import POLL_S, PageDone, ReadPage, documents, index_rows, metadata, open_sqlite, pages

QUEUE = "documents"


class OnDbos:
    """`separate=True` keeps the system tables in a file of their own, which is DBOS's default."""

    def __init__(
        self, folder: Path, worker: str, read_page: ReadPage, page_done: PageDone, *, separate: bool = False
    ) -> None:
        self._db = open_sqlite(folder / "catalog.sqlite")
        system = open_sqlite(folder / "system.sqlite") if separate else self._db
        self._separate = separate
        metadata.create_all(self._db, tables=[documents, pages, index_rows])
        DBOS(
            config={
                "name": "job-engines",
                "system_database_url": str(system.url),
                "system_database_engine": system,
                "executor_id": worker,
                # Fixed: the default is a hash of the workflow's source, and recovery skips other versions.
                "application_version": "1",
                "console_log_level": "ERROR",
            }
        )
        # An engine of its own: a datasource changes the isolation level of the connections it borrows.
        source = SQLAlchemyDatasource.create(str(self._db.url))

        @DBOS.step(name="page")
        def page(document_id: str, number: int) -> str:
            return read_page(document_id, number)

        @source.transaction(name="commit")
        def commit(document_id: str, texts: list[str]) -> None:
            session = source.sql_session()
            key = {"document_id": document_id}
            session.execute(
                sa.insert(pages), [key | {"number": number, "text": text} for number, text in enumerate(texts)]
            )
            session.execute(sa.insert(index_rows), [key | {"number": number} for number in range(len(texts))])

        @DBOS.workflow(name="ingest")
        def ingest(document_id: str, page_count: int) -> None:
            texts = []
            for number in range(page_count):
                texts.append(page(document_id, number))
                page_done(document_id, number)
            commit(document_id, texts)

        DBOS.listen_queues([QUEUE])
        DBOS.launch()
        DBOS.register_queue(QUEUE, worker_concurrency=1, polling_interval_sec=POLL_S, on_conflict="always_update")
        self._client = DBOSClient(system_database_engine=system)

    def enqueue(self, document_id: str, page_count: int, *, parked: bool = False) -> None:
        options: EnqueueOptions = {
            "workflow_name": "ingest",
            "queue_name": "parked" if parked else QUEUE,
            "workflow_id": document_id,
            "app_version": "1",
        }
        try:
            with self._db.begin() as tx:
                tx.execute(sa.insert(documents).values(id=document_id, page_count=page_count))
                if not self._separate:
                    self._client.enqueue_in_transaction(tx, options, document_id, page_count)
        except sa.exc.IntegrityError:
            return
        if self._separate:
            self._client.enqueue(options, document_id, page_count)

    def close(self) -> None:
        self._client.destroy()
        DBOS.destroy()
