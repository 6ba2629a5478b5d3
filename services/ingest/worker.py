"""The process that does the ingest jobs: `python -m services.ingest.worker`."""

from __future__ import annotations

import functools
import threading

from services.core.catalog import Catalog
from services.core.encoder import open_encoder
from services.core.errors import DocumentProblem
from services.core.lease import Lease
from services.core.settings import Settings
from services.core.types import JobKind
from services.core.worker import JobWorker, work
from services.ingest.files import FileStore
from services.ingest.pipeline import IngestPipeline
from services.ingest.resources import parse_limits


class Worker(JobWorker):
    kind = JobKind.ingest
    lock = "worker.lock"

    def __init__(self, settings: Settings, catalog: Catalog, stopping: threading.Event) -> None:
        super().__init__(settings, catalog, stopping)
        self._files = FileStore(settings.files_dir)
        encoder = functools.cache(
            lambda: open_encoder(settings.encoder, settings.models_dir, settings.torch_threads, settings.device)
        )
        self._pipeline = IngestPipeline(catalog, encoder, parse_limits(settings))

    def do(self, lease: Lease) -> None:
        path = self._files.path(lease.job.subject_id)
        if not path.exists():
            raise DocumentProblem("file_missing", "The uploaded file is no longer on the disk of the service.")
        self._pipeline.run(lease, path)

    def tidy(self) -> None:
        self._files.sweep(self._catalog.known_document_ids())


if __name__ == "__main__":
    work(Worker)
