"""Embeds stored documents anew, which another encoder has embedded: beside ingest, which it does not hold up."""

from __future__ import annotations

import threading

from services.core import chunks
from services.core.catalog import Catalog
from services.core.errors import JobProblem, NotFound
from services.core.jobs import JobCancelled
from services.core.lease import Lease
from services.core.reindex import replace_vectors
from services.core.settings import Settings
from services.core.types import JobKind
from services.core.worker import JobWorker
from services.ingest.batches import embed
from services.ingest.shared_encoder import SharedEncoder


class Embedder(JobWorker):
    kind = JobKind.embed
    lock = "embeddings.lock"

    def __init__(
        self, settings: Settings, catalog: Catalog, stopping: threading.Event, encoder: SharedEncoder | None = None
    ) -> None:
        super().__init__(settings, catalog, stopping)
        self._encoder = encoder or SharedEncoder()

    def do(self, lease: Lease) -> None:
        """Until the last step the document stays as it is, with its old vectors."""
        document_id = lease.job.subject_id
        try:
            document = self._catalog.document(document_id)
        except NotFound:  # whoever deleted it has stopped this job as well
            raise JobCancelled(lease.job.id) from None
        encoder = self._encoder.open(self._settings)
        if document.encoder_id == encoder.id:
            detail = f"The worker's encoder is {encoder.id}, which has made the vectors that are there."
            raise JobProblem("other_encoder", f"{detail} Another one was meant when this was asked for.")
        _, texts = chunks.texts(self._catalog.database, document_id)
        vectors = embed(self._catalog.jobs, lease, encoder, texts, lambda embedded: embedded, len(texts))
        lease.check()
        replace_vectors(self._catalog, lease.job, lease.owner, vectors, encoder.id)
