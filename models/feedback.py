"""Corrections by users -> rows of the training questions, in a working copy. `python -m models.feedback SNAPSHOT`.

Left out, and counted by why: a question that is there already, a document that is held out for validation or test, and
whatever belongs to the evaluation set or is nearly the same as a question of it: a user may ask that, and a retraining
must not end for it. A document that is not among the sources becomes one.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from rich.console import Console

from models.data.sources import read_sources
from models.errors import BadInput
from models.files import read_jsonl, read_yaml, sha256_of, staged_file, told, write_jsonl
from models.overlap import HASHES, near_questions, read_list
from models.params import load_params
from models.paths import MODELS, PARAMS, RAW
from models.prepare.params import DataParams
from models.prepare.questions import QUESTIONS, Question, split_of
from models.progress import Steps
from models.quiet import quiet
from models.stage import run_stage
from services.core.encoder import open_encoder

CANDIDATES, DOCUMENTS = "candidates.jsonl", "documents"  # in a snapshot
SOURCES = Path("models/data/sources.yaml")  # of the working folder, never of the module that runs
REMEDY = "It is written by the retraining, services/eval/snapshot.py; look there."
_ID, _SHA256 = "document_id", "document_sha256"


def add_feedback(snapshot: Path, console: Console) -> Counter[str]:
    """Add the candidates of a snapshot to the questions of the working folder; returns how many were, by what became
    of them. Done twice it adds nothing. Raises BadInput if the snapshot cannot be used."""
    path = snapshot / CANDIDATES
    rows = [body for _, body in read_jsonl(path, remedy=REMEDY)] if path.stat().st_size else []
    became: Counter[str] = Counter()
    steps = Steps(console)
    if rows:
        with steps.step(f"look at {len(rows)} corrections"):
            kept = _allowed(rows, load_params(PARAMS).data, became)
        if kept:
            _add(kept, snapshot / DOCUMENTS, path)
        became["added"] = len(kept)
    steps.note(f"corrections: {json.dumps(dict(sorted(became.items())))}")
    return became


def _allowed(rows: Sequence[dict[str, Any]], data: DataParams, became: Counter[str]) -> list[dict[str, Any]]:
    """Those that may be trained on, each under the name that its document has among the sources."""
    names = {file.sha256: file.name for file in read_sources(SOURCES)}
    known = {question["id"] for _, question in read_jsonl(QUESTIONS, remedy=REMEDY)}
    known |= {question["question"].casefold() for _, question in read_jsonl(QUESTIONS, remedy=REMEDY)}
    with quiet():
        encoder = open_encoder("sentence", MODELS, threads=1)
    evaluation = read_list(encoder.id, HASHES)
    texts = [str(row["question"]) for row in rows]
    near = {one.at for one in near_questions(texts, encoder, evaluation, data.overlap)}
    kept = []
    for at, row in enumerate(rows):
        row["document"] = names.get(row[_SHA256], f"{row[_ID]}.pdf")
        if row["id"] in known or row["question"].casefold() in known:
            became["known"] += 1
        elif row[_SHA256] in evaluation.documents.values() or at in near:
            became["of_the_evaluation_set"] += 1
        elif split_of(row["document"], data) != "train":
            became["held_out"] += 1
        else:
            known |= {row["id"], row["question"].casefold()}
            kept.append(row)
    return kept


def _add(rows: Sequence[Mapping[str, Any]], documents: Path, path: Path) -> None:
    """The order makes a second try harmless: what names a file is written after it, and the questions last."""
    questions = [_question({name: row[name] for name in Question.model_fields}, path) for row in rows]
    sources, params = read_yaml(SOURCES, remedy=REMEDY), read_yaml(PARAMS, remedy=REMEDY)
    listed = {file["name"] for file in sources["files"]}
    for row in rows:
        if row["document"] not in listed:
            listed.add(row["document"])
            sources["files"].append(_source(row, documents / f"{row[_ID]}.pdf"))
    used = params["data"]["documents"]
    if used is not None:
        params["data"]["documents"] = list(dict.fromkeys([*used, *(row["document"] for row in rows)]))
    _write_yaml(SOURCES, sources)
    _write_yaml(PARAMS, params)
    write_jsonl(QUESTIONS, [*(body for _, body in read_jsonl(QUESTIONS, remedy=REMEDY)), *questions])


def _question(body: dict[str, Any], path: Path) -> Question:
    try:
        return Question.model_validate_json(json.dumps(body))
    except ValidationError as error:
        raise BadInput(path, f"{body.get('id')}: {told(error)}", remedy=REMEDY) from error


def _source(row: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Put the document where the stage `fetch` finds it, and say what it is."""
    if sha256_of(file) != row[_SHA256]:
        raise BadInput(file, "it is not the document that the correction is about", remedy=REMEDY)
    with staged_file(RAW / str(row["document"])) as made:
        shutil.copyfile(file, made)
    whose = {"licence": "as its owner has it; not to be passed on", "copyright": "see the document"}
    name = {"name": row["document"], "sha256": row[_SHA256], "bytes": file.stat().st_size}
    return name | whose | {"document": row[_ID]}


def _write_yaml(path: Path, body: Mapping[str, Any]) -> None:
    with staged_file(path) as made:
        made.write_text(yaml.safe_dump(dict(body), sort_keys=False, allow_unicode=True), encoding="utf-8")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("snapshot", type=Path)
    add_feedback(options.parse_args().snapshot, Console())


if __name__ == "__main__":
    run_stage(main)
