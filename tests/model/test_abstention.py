"""Questions from another world, asked of a manual: the shipped release does not answer them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.core.classifier import TransformersClassifier
from services.core.encoder import open_encoder
from services.core.evidence import answerability, evidence_of, sufficiency
from services.core.registry import resolve, resolve_release
from services.core.release import ANSWER
from services.ingest.chunk import chunk_pages
from services.ingest.layout import assemble
from services.ingest.pdf.sandbox import open_pdf
from tests.calls import EXAMPLE
from tests.tiny import ROOT

QUESTIONS = Path(__file__).with_name("elsewhere.txt").read_text(encoding="utf-8").splitlines()
READ = 3


@pytest.mark.timeout(600)
def test_they_are_not_answered(models_dir: Path) -> None:
    """Of 60 at least 95 %."""
    release = resolve_release(ROOT / "release", models_dir)
    judge = TransformersClassifier(release.classifier, resolve(models_dir, "classifier-base"), threads=2)
    encoder = open_encoder("tuned", models_dir, threads=2)
    with open_pdf(EXAMPLE) as reader:
        pages = assemble(reader.info, list(reader.pages()))
    chunks = chunk_pages(pages, encoder.token_spans, encoder.max_tokens)
    cosines = encoder.encode(QUESTIONS) @ encoder.encode([chunk.embedding_text() for chunk in chunks]).T
    assert len(QUESTIONS) == 60
    refused = 0
    for question, row in zip(QUESTIONS, cosines, strict=True):
        read = [chunks[at] for at in np.argsort(-row, kind="stable")[:READ]]
        sure = answerability(sufficiency(question, read, judge), evidence_of(question, read, judge))
        refused += sure < release.thresholds[ANSWER]
    assert refused >= 0.95 * len(QUESTIONS)
