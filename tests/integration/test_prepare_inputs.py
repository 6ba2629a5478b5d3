"""Inputs that stage `prepare` must refuse: file, row and remedy are named, exit code 2, the output stays as it was."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.data.sources import read_sources
from models.errors import BadInput
from models.overlap import main, read_list, read_set, refuse_near_questions, write_list
from models.params import load_params
from models.prepare.questions import read_questions
from services.core.encoder import HashingEncoder, open_encoder
from services.core.registry import resolve
from tests.prepared import MANUAL, make_inputs, questions, run, squad, write_params, write_questions, write_rows
from tests.prepared import write_sources as list_again

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(600)  # minutes where other work has the cores


@pytest.fixture
def folder(tmp_path: Path, models_dir: Path) -> Path:
    make_inputs(tmp_path / "in", models_dir)
    (tmp_path / "in" / "out").mkdir()
    (tmp_path / "in" / "out" / "facts.json").write_text("of an earlier run")
    return tmp_path / "in"


@pytest.fixture
def refused(folder: Path, models_dir: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the stage, which must refuse, and return what it said."""

    def attempt(*more: str) -> str:
        names = {"params": "params.yaml", "questions": "questions.jsonl", "sources": "sources.yaml", "raw": "raw"}
        arguments = [item for option, name in names.items() for item in (f"--{option}", str(folder / name))]
        arguments += ["--evaluation", str(folder / "evaluation"), "--models-dir", str(models_dir)]
        assert run([*arguments, "--out", str(folder / "out"), *more]) == 2
        assert {p.name: p.read_text() for p in (folder / "out").iterdir()} == {"facts.json": "of an earlier run"}
        assert not [name for name in os.listdir(folder) if name.startswith(".")]
        return " ".join(capsys.readouterr().err.split())

    return attempt


def with_row(folder: Path, number: int, **changes: Any) -> None:
    rows = questions()
    rows[number - 1] |= changes
    write_questions(folder, rows)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"page": 0}, "page: Input should be greater than or equal to 1"),
        ({"page": "4"}, "page: Input should be a valid integer"),
        ({"short_answers": []}, "needs a quote and short_answers"),
        ({"quote": ""}, "needs a quote and short_answers"),
        ({"page": None}, "may have neither quote nor short_answers"),
        ({"document": "nowhere.pdf"}, "nowhere.pdf is not among the sources"),
        ({"id": questions()[0]["id"]}, "is in row 1 already"),
        ({"question": questions()[0]["question"].upper()}, "is in row 1 already"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
    ],
)
def test_a_bad_question(folder: Path, refused: Callable[..., str], changes: dict[str, Any], problem: str) -> None:
    with_row(folder, 3, **changes)
    told = refused()
    assert f"{folder / 'questions.jsonl'}, row 3:" in told and problem in told
    assert "Correct" in told


def test_a_torn_row(folder: Path, refused: Callable[..., str]) -> None:
    path = folder / "questions.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert f"questions.jsonl, row {len(questions())}: it is not JSON" in refused()
    path.write_text("")
    assert "questions.jsonl: it holds no rows" in refused()
    path.unlink()
    assert "questions.jsonl: it cannot be read (No such file or directory)" in refused()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"test": ["castel.pdf"]}, "data names castel.pdf, but there are no questions about it. Correct the name."),
        ({"documents": [MANUAL.name, "harbour.pdf"]}, "the split 'test' has no answerable question"),
        ({"documents": ["castle.pdf", "harbour.pdf"]}, "the split 'train' has no answerable question"),
        ({"validation": ["castle.pdf"]}, "castle.pdf is in test and in validation"),
        ({"test": []}, "data.test: Tuple should have at least 1 item"),
        ({"no_gold_share": 2}, "data.no_gold_share"),
        ({"seeds": 2}, "data.seeds: Extra inputs are not permitted"),
    ],
)
def test_bad_parameters(folder: Path, refused: Callable[..., str], data: dict[str, Any], problem: str) -> None:
    write_params(folder, data)
    told = refused()
    assert str(folder / "params.yaml") in told and problem in told


def test_a_bad_overlay_is_named_itself(folder: Path, refused: Callable[..., str]) -> None:
    overlay = folder / "small.yaml"
    overlay.write_text("data: {negatives: 0}\n")
    told = refused("--overlay", str(overlay))
    assert told.startswith(f"{overlay}: data.negatives: ")
    assert "nothing.yaml: it cannot be read" in refused("--overlay", str(folder / "nothing.yaml"))


def test_raw_files_must_be_there_and_right(folder: Path, refused: Callable[..., str]) -> None:
    path = folder / "raw" / "castle.pdf"
    content = path.read_bytes()
    path.write_bytes(content + b" ")
    assert f"{path}: its SHA-256 should be" in (told := refused()) and "python -m models.data.fetch" in told
    path.unlink()
    assert f"{path}: this file of the training data is missing" in refused()
    path.write_bytes(content)
    (folder / "raw" / "xquad.en.json").unlink()
    assert "xquad.en.json: this file of the training data is missing" in refused()
    list_again(folder)
    assert "sources.yaml: it does not list xquad.en.json" in refused()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda body: body["data"][0].pop("title"), "it is not in SQuAD format (data.0.title: Field required)"),
        (lambda body: body.clear(), "it is not in SQuAD format (data: Field required)"),
        (
            lambda body: body["data"][0]["paragraphs"][1]["qas"][0]["answers"][0].update(answer_start=3),
            "the answer of question Bees-2 is not where the file says",
        ),
    ],
)
def test_a_bad_squad_file(
    folder: Path, refused: Callable[..., str], change: Callable[[dict[str, Any]], Any], problem: str
) -> None:
    body = squad()
    change(body)
    (folder / "raw" / "xquad.en.json").write_text(json.dumps(body))
    list_again(folder)
    assert f"{folder / 'raw' / 'xquad.en.json'}: {problem}" in refused()


def test_a_quote_that_is_nowhere(folder: Path, refused: Callable[..., str]) -> None:
    with_row(folder, 3, quote="These words are on no page of this or any other manual.")
    told = refused()
    assert "for 1 of 12 answerable questions no passage holds the quote" in told and questions()[2]["id"] in told


def test_a_manual_that_cannot_be_ingested(folder: Path, refused: Callable[..., str]) -> None:
    path = folder / "raw" / "castle.pdf"
    path.write_bytes(path.read_bytes()[:400])
    list_again(folder)
    assert f"{path}: ingest failed: " in refused()


def test_a_document_of_the_evaluation_set(folder: Path, refused: Callable[..., str]) -> None:
    shutil.copyfile(folder / "raw" / "castle.pdf", folder / "evaluation" / "pdf" / "renamed.pdf")
    assert f"{folder / 'raw' / 'castle.pdf'}: it is the document renamed.pdf of the evaluation set" in refused()
    (folder / "evaluation" / "pdf" / "renamed.pdf").unlink()
    (folder / "evaluation" / "pdf" / "Castle.PDF".lower().replace("c", "C", 1)).write_bytes(b"another edition")
    assert "it is the document Castle.pdf of the evaluation set" in refused()


@pytest.mark.parametrize(
    "planted",
    [
        "Who feeds the goats of the monastery?",  # the same
        "WHO FEEDS the goats  of the monastery ?!",  # the same to a reader
        "In the monastery, who is it that feeds the goats?",  # the same in another order
        "Which person gives the monastery's goats their food?",  # the same in other words
    ],
)
def test_a_question_of_the_evaluation_set(folder: Path, refused: Callable[..., str], planted: str) -> None:
    with_row(folder, 3, question=planted)
    told = refused()
    assert f"{questions()[2]['id']} is nearly e1 (" in told and "take it out of the training data" in told


def test_questions_are_recognised_without_the_set(folder: Path, models_dir: Path, refused: Callable[..., str]) -> None:
    """The list of hashes is enough, and says nothing that a person could read."""
    hashes, evaluation = folder / "hashes.json", folder / "evaluation"
    assert main([str(evaluation), "--models-dir", str(models_dir), "--out", str(hashes)]) == 0
    assert not any(word in hashes.read_text().lower() for word in ("goats", "monastery", "feeds"))
    write_rows(evaluation / "questions.jsonl", [{"id": "e2", "question": "What colour is the lid of the well?"}])
    with_row(folder, 3, question="Which person gives the monastery's goats their food?")
    assert "is nearly e1 (" in refused("--hashes", str(hashes))


def test_a_list_that_cannot_be_used(folder: Path, models_dir: Path, refused: Callable[..., str]) -> None:
    hashes = folder / "hashes.json"
    assert "hashes.json: it cannot be read" in refused("--hashes", str(hashes))
    write_list(read_set(folder / "evaluation", HashingEncoder()), "hashing-384", hashes)
    assert "it was made with the encoder hashing-384" in refused("--hashes", str(hashes))
    body = json.loads(hashes.read_text()) | {"encoder": resolve(models_dir, "encoder").id}
    body["questions"][0]["pieces"] = "AAAA"
    hashes.write_text(json.dumps(body))
    assert "a signature has 3 bytes instead of 128" in refused("--hashes", str(hashes))


@pytest.mark.parametrize(("name", "problem"), [("pdf", "it holds no PDF"), ("questions.jsonl", "it cannot be read")])
def test_an_evaluation_set_that_is_none(folder: Path, refused: Callable[..., str], name: str, problem: str) -> None:
    path = folder / "evaluation" / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert f"{path}: {problem}" in refused()


def real_questions(path: Path) -> list[tuple[str, str]]:
    return [(row["id"], row["question"]) for row in map(json.loads, path.read_text().splitlines())]


def test_the_real_questions_pass(models_dir: Path) -> None:
    path = ROOT / "models" / "data" / "questions.jsonl"
    sources = {file.name for file in read_sources()}
    assert len(read_questions(path, sources)) > 800
    encoder = open_encoder("sentence", models_dir, 1)
    listed = read_list(encoder.id)
    assert not sources & set(listed.documents)
    limits = load_params(ROOT / "params.yaml").data.overlap
    refuse_near_questions(real_questions(path), encoder, listed, limits, path)

    local = ROOT / "../shared/trainset/questions.jsonl"
    if not local.exists():
        pytest.skip("the shared training set is not here")
    with pytest.raises(
        BadInput
    ) as caught:  # as it was handed over it had two that ask what an evaluation question asks
        refuse_near_questions(real_questions(local), encoder, listed, limits, local)
    taken_out = dict(real_questions(local)).keys() - dict(real_questions(path)).keys()
    assert len(taken_out) == 2 and all(question_id in caught.value.problem for question_id in taken_out)
    assert caught.value.problem.count("is nearly") == 2


def test_the_list_is_of_the_real_set(models_dir: Path) -> None:
    local = ROOT / "../shared/evalset"
    if not local.is_dir():
        pytest.skip("the shared evaluation set is not here")
    listed, here = read_list(resolve(models_dir, "encoder").id), read_set(local, HashingEncoder())
    assert dict(here.documents) == dict(listed.documents) and here.ids == listed.ids
    assert (here.pieces == listed.pieces).all()
