"""The platform in one process, with a generator of the caller's choice: PDFs go in, answers come out."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from pathlib import Path

from services.api.admission import Admission
from services.api.answer import Answerer, Question
from services.api.classify import SUFFICIENCY
from services.api.generate import Decoding, Generator
from services.api.resources import ApiResources
from services.api.schemas import AnswerOut
from services.core.catalog import Document, new_document_id
from services.core.classifier import Classifier, OverlapClassifier
from services.core.lease import Lease
from services.core.plan import DEFAULT_PLAN, DEFAULT_SENTENCES, SentencePlan
from services.core.prompt import Prompt
from services.core.registry import ModelFiles, Release
from services.core.settings import Settings
from services.ingest.files import FileStore
from services.ingest.pipeline import IngestPipeline
from services.ingest.resources import parse_limits


def release_of(prompt: Prompt, sentences: SentencePlan = DEFAULT_SENTENCES, **thresholds: float) -> Release:
    """A release that is nowhere on disk: what an answerer needs to know of one."""
    files = ModelFiles("adapter", "none", "none@0", Path("nowhere"), "0" * 64)
    return Release(
        name="test",
        id="test@0",
        folder=Path("nowhere"),
        classifier=files,
        adapter=files,
        encoder="hashing",
        generator="none",
        classifier_base="none",
        prompt=prompt,
        thresholds=thresholds,
        plan=DEFAULT_PLAN,
        sentences=sentences,
        data_sha256="1" * 64,
        git_commit="c" * 40,
    )


@dataclass(frozen=True)
class Desk:
    """`release` answers; that of `parts` if there is none."""

    settings: Settings
    parts: ApiResources
    release: Release | None = None

    @property
    def judge(self) -> Classifier:
        served = self.parts.live.classifiers.find(SUFFICIENCY)
        return served.classifier if served else OverlapClassifier()

    def ingest(self, data: bytes, collection: str) -> Document:
        """Take in a PDF as the upload route and a worker do. The queue must be empty before."""
        catalog, files, document_id = self.parts.catalog, FileStore(self.settings.files_dir), new_document_id()
        stored = files.receive(document_id, io.BytesIO(data), self.settings.max_upload_bytes)
        catalog.add_document(document_id, collection, "a.pdf", stored.sha256, stored.bytes)
        job = catalog.jobs.claim("desk", lease_s=60)
        assert job is not None and job.subject_id == document_id
        pipeline = IngestPipeline(catalog, lambda: self.parts.encoder, parse_limits(self.settings))
        with Lease(catalog.jobs, job, "desk", 60, threading.Event()) as lease:
            pipeline.run(lease, files.path(document_id))
        return catalog.document(document_id)

    def ask(self, question: str, collection: str, generator: Generator | None = None) -> AnswerOut:
        """The answer, written by `generator` or, without one, by that of the settings."""
        answerer = Answerer(
            self.parts.catalog,
            self.parts.live.retriever,
            generator or self.parts.live.generator,
            Admission("generator", 1, 1.0, usual_s=1.0),
            self.parts.reading,
            encoder=self.parts.encoder,
            judge=self.judge,
            release=self.release or self.parts.live.release,
            git_commit="c" * 40,
        )
        return answerer.answer(Question(question, collection, 3, Decoding(max_tokens=64)), threading.Event())
