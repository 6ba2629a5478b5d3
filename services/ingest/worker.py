"""The process that does the ingest jobs, and embeds documents anew: `python -m services.ingest.worker`."""

from __future__ import annotations

import threading
from functools import partial

from services.core.catalog import Catalog
from services.core.errors import DocumentProblem
from services.core.lease import Lease
from services.core.settings import Settings
from services.core.types import JobKind
from services.core.worker import JobWorker, work
from services.ingest.embedder import Embedder
from services.ingest.files import FileStore
from services.ingest.pipeline import IngestPipeline
from services.ingest.resources import parse_limits
from services.ingest.shared_encoder import SharedEncoder


class Worker(JobWorker):
    kind = JobKind.ingest
    lock = "worker.lock"

    def __init__(
        self, settings: Settings, catalog: Catalog, stopping: threading.Event, encoder: SharedEncoder | None = None
    ) -> None:
        super().__init__(settings, catalog, stopping)
        self._files = FileStore(settings.files_dir)
        shared = encoder or SharedEncoder()
        self._pipeline = IngestPipeline(catalog, lambda: shared.open(settings), parse_limits(settings))

    def do(self, lease: Lease) -> None:
        path = self._files.path(lease.job.subject_id)
        if not path.exists():
            raise DocumentProblem("file_missing", "The uploaded file is no longer on the disk of the service.")
        self._pipeline.run(lease, path)

    def tidy(self) -> None:
        self._files.sweep(self._catalog.known_document_ids())


if __name__ == "__main__":
    shared = SharedEncoder()
    work(partial(Worker, encoder=shared), partial(Embedder, encoder=shared))
