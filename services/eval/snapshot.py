"""What a retraining is made from, written to a folder: once, whole, from what was fixed when its alert came.

evaluation.jsonl   questions to judge on, as /v1/evaluations takes them
candidates.jsonl   questions to train on, as models/data/questions.jsonl has them
documents/<id>.pdf the files that the candidates are about
facts.json         counts and hashes; the last file to be written
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import select

from services.core.catalog import Catalog
from services.core.feedback import FeedbackLog
from services.core.settings import Settings
from services.core.tables import documents, pages
from services.core.types import Hit
from services.eval.cases import PageText, cases_of, key_of, rows_of
from services.eval.dataset import Question, digest, read_questions
from services.eval.retraining import Run
from services.eval.store import EvaluationStore

FACTS, EVALUATION, CANDIDATES, DOCUMENTS = "facts.json", "evaluation.jsonl", "candidates.jsonl", "documents"


def make_snapshot(
    settings: Settings, catalog: Catalog, run: Run, base: list[Question], folder: Path
) -> tuple[dict[str, Any], list[Question]]:
    """Write the snapshot of `run`, unless it is there; returns its facts, and the questions to judge on: `base`, and
    what feedback adds to them."""
    if not (folder / FACTS).exists():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / DOCUMENTS).mkdir(parents=True)
        _write(settings, catalog, run, base, folder)
    rows = (folder / EVALUATION).read_bytes()
    return json.loads((folder / FACTS).read_bytes()), read_questions(rows) if rows else []


def _write(settings: Settings, catalog: Catalog, run: Run, base: list[Question], folder: Path) -> None:
    collection = str(run.snapshot["collection"])
    given = FeedbackLog(catalog.database).with_answers(run.snapshot["feedback"])
    chunk_ids = {chunk_id for _, answer in given for chunk_id in answer["passages"]}
    found = catalog.passages([Hit(chunk_id, 0.0) for chunk_id in sorted(chunk_ids)])
    read = {passage.chunk_id: (passage.document_id, passage.page) for passage in found}
    names = EvaluationStore(catalog).document_names(collection)
    cases = cases_of(given, read, _pages(catalog, collection), {key_of(question.question) for question in base})
    added = [case for case in cases.evaluation if case.document in names]
    gone = len(cases.evaluation) - len(added)
    candidates, missing = [], 0
    for row in cases.candidates:
        file = f"{row['document_id']}.pdf"
        if _keep_document(settings.files_dir / file, folder / DOCUMENTS / file):
            candidates.append(row)
        else:
            missing += 1
    questions = [*base, *added]
    unusable = dict(cases.unusable) | {"document_gone": gone, "file_not_here": missing}
    facts = {
        "feedback": len(given),
        "evaluation_questions": len(questions),
        "evaluation_from_feedback": len(added),
        "evaluation_sha256": digest(questions),
        "training_candidates": len(candidates),
        "unusable": {why: count for why, count in sorted(unusable.items()) if count},
    }
    _write_rows(folder / EVALUATION, rows_of(questions))
    _write_rows(folder / CANDIDATES, candidates)
    written = folder / f"{FACTS}.part"
    written.write_text(json.dumps(facts, indent=2))
    written.replace(folder / FACTS)


def _pages(catalog: Catalog, collection: str) -> Iterator[PageText]:
    """Of every document of the collection that can be asked, oldest first."""
    columns = (documents.c.id, documents.c.name, documents.c.sha256, pages.c.number, pages.c.text)
    query = select(*columns).join(pages, pages.c.document_id == documents.c.id)
    query = query.where(documents.c.collection == collection).order_by(documents.c.id, pages.c.number)
    with catalog.database.read() as connection:
        for row in connection.execution_options(yield_per=200).execute(query):
            yield PageText(*row)


def _keep_document(stored: Path, kept: Path) -> bool:
    """False if the file is not on this machine."""
    if kept.exists():
        return True
    try:
        os.link(stored, kept)
    except FileNotFoundError:
        return False
    except OSError:  # another file system
        shutil.copyfile(stored, kept)
    return True


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
