"""Corrections as rows of the training questions: what is added to a working copy, and what may not be."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from models.data.fetch import needed
from models.data.sources import check_raw, read_sources
from models.errors import BadInput
from models.feedback import SOURCES, add_feedback
from models.files import sha256_of
from models.params import load_params
from models.paths import PARAMS, RAW
from models.prepare.questions import QUESTIONS, read_questions
from tests.papers import story
from tests.server import ROOT

OWN = "doc_0123"


@pytest.fixture
def working(tmp_path: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working copy, entered, as far as corrections touch it; with fewer questions."""
    folder = tmp_path / "copy"
    (folder / "models" / "data").mkdir(parents=True)
    for path in (PARAMS, SOURCES):
        shutil.copy(ROOT / path, folder / path)
    with (ROOT / QUESTIONS).open() as file:
        (folder / QUESTIONS).write_text("".join(next(file) for _ in range(20)))
    (folder / "data").mkdir()
    (folder / "data" / "models").symlink_to(models_dir)
    monkeypatch.chdir(folder)
    return folder


def candidate(number: int, sha256: str, **changes: Any) -> dict[str, Any]:
    row = {"id": f"feedback-ans_{number}", "document": "as it was uploaded.pdf", "kind": "feedback", "page": 1}
    row |= {"question": f"Where is the lantern number {number} kept?", "answer": "Behind door 7."}
    row |= {"short_answers": ["Behind door 7."], "quote": "is kept behind door 7", "document_id": OWN}
    return row | {"document_sha256": sha256} | changes


def snapshot(folder: Path, *rows: dict[str, Any]) -> Path:
    (folder / "documents").mkdir(parents=True, exist_ok=True)
    (folder / "documents" / f"{OWN}.pdf").write_bytes(story("the lighthouse", 2))
    (folder / "candidates.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_corrections_become_rows_of_the_training_questions(working: Path, tmp_path: Path) -> None:
    listed = {file.name: file for file in read_sources(SOURCES)}
    used = load_params(PARAMS).data
    assert used.documents is not None
    trained = next(name for name in used.documents if name not in (*used.test, *used.validation))
    evaluated = json.loads((ROOT / "models" / "data" / "evaluation_hashes.json").read_bytes())["documents"][0]["sha256"]
    before = QUESTIONS.read_text()
    known = json.loads(before.splitlines()[0])["question"]
    folder = snapshot(tmp_path / "snapshot")
    own = sha256_of(folder / "documents" / f"{OWN}.pdf")
    snapshot(
        folder,
        candidate(1, own),
        candidate(2, listed[trained].sha256),
        candidate(3, listed[used.test[0]].sha256),
        candidate(4, evaluated),
        candidate(5, own, question=known.upper()),
    )
    became = add_feedback(folder, Console(file=io.StringIO()))
    assert became == {"added": 2, "held_out": 1, "of_the_evaluation_set": 1, "known": 1}

    assert QUESTIONS.read_text().startswith(before)
    sources, params = read_sources(SOURCES), load_params(PARAMS)
    added = read_questions(QUESTIONS, [file.name for file in sources])[20:]
    assert [(row.id, row.document) for row in added] == [("feedback-ans_1", f"{OWN}.pdf"), ("feedback-ans_2", trained)]
    [new] = [file for file in sources if file.name not in listed]
    assert (new.name, new.sha256, new.document) == (f"{OWN}.pdf", own, OWN)
    assert check_raw([new], RAW)[new.name].is_file(), "it is where the next stage looks"
    assert new in needed(sources, params.data)
    assert params.data.model_copy(update={"documents": used.documents}) == used
    body = yaml.safe_load(PARAMS.read_text())
    body["data"]["documents"].remove(new.name)
    assert body == yaml.safe_load((ROOT / PARAMS).read_text()), "nothing else has changed"

    again = add_feedback(folder, Console(file=io.StringIO()))
    assert again["added"] == 0 and again["known"] == 3
    assert len(QUESTIONS.read_text().splitlines()) == 22


def test_a_snapshot_without_corrections_changes_nothing_and_a_bad_one_is_refused(working: Path, tmp_path: Path) -> None:
    texts = [path.read_text() for path in (PARAMS, SOURCES, QUESTIONS)]
    assert not add_feedback(snapshot(tmp_path / "empty"), Console(file=io.StringIO()))
    with pytest.raises(BadInput, match="not the document"):
        add_feedback(snapshot(tmp_path / "other", candidate(1, "0" * 64)), Console(file=io.StringIO()))
    assert [path.read_text() for path in (PARAMS, SOURCES, QUESTIONS)] == texts
