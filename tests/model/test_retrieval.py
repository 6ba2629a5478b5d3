"""Minimum quality of retrieval on the gold questions: our parser, chunks and encoder, exact dense search."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from services.core.encoder import open_encoder
from services.ingest.chunk import chunk_pages
from services.ingest.layout import assemble
from services.ingest.pdf.sandbox import open_pdf

EVALSET = Path(__file__).parents[3] / "shared" / "evalset"
K = 10


@pytest.mark.timeout(600)
@pytest.mark.skipif(not EVALSET.is_dir(), reason="the gold set ../shared/evalset is not here")
def test_the_right_page_is_found(models_dir: Path) -> None:
    """hit@5 >= 0.75 and MRR@10 >= 0.64, the figures of dense search that this stage promises."""
    encoder = open_encoder("tuned", models_dir, threads=2)
    places: list[tuple[str, int]] = []
    texts: list[str] = []
    for path in sorted((EVALSET / "pdf").glob("*.pdf")):
        with open_pdf(path) as reader:
            raw_pages = list(reader.pages())
            pages = assemble(reader.info, raw_pages)
        for chunk in chunk_pages(pages, encoder.token_spans, encoder.max_tokens):
            places.append((path.name, chunk.page))
            texts.append(chunk.embedding_text())
    lines = (EVALSET / "questions.jsonl").read_text().splitlines()
    questions = [question for line in lines if (question := json.loads(line))["pages"]]
    scores = encoder.encode([question["question"] for question in questions]) @ encoder.encode(texts).T
    ranks = []
    for question, row in zip(questions, scores, strict=True):
        right = {(question["document"], page) for page in question["pages"]}
        best = np.argsort(-row, kind="stable")[:K]
        ranks.append(next((rank for rank, index in enumerate(best, 1) if places[index] in right), None))
    hit_at_5 = np.mean([rank is not None and rank <= 5 for rank in ranks])
    mrr_at_10 = np.mean([1 / rank if rank else 0.0 for rank in ranks])
    assert hit_at_5 >= 0.75
    assert mrr_at_10 >= 0.64
