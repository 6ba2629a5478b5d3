"""Stage `prepare` on a piece of a real manual and two papers, with the real encoder and the platform started for it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from models.files import sha256_of
from services.core.answer_metrics import contains_any
from tests.prepared import MANUAL, make_inputs, questions, run

SPLITS = ("train", "validation", "test")
pytestmark = pytest.mark.timeout(600)  # minutes where other work has the cores


def rows(out: Path, kind: str, split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / f"{kind}.{split}.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Path:
    """Inputs, and what two runs made of them."""
    folder = tmp_path_factory.mktemp("prepare")
    arguments = make_inputs(folder, models_dir)
    assert run(arguments) == 0
    assert run([*arguments, "--out", str(folder / "again")]) == 0
    return folder


def test_two_runs_give_the_same_bytes(folder: Path) -> None:
    names = sorted(os.listdir(folder / "out"))
    expected = {f"{kind}.{split}.jsonl" for kind in ("examples", "pairs") for split in SPLITS}
    assert set(names) == expected | {"facts.json"}
    for name in names:
        assert (folder / "out" / name).read_bytes() == (folder / "again" / name).read_bytes()
    assert not [name for name in os.listdir(folder) if name.startswith(".")]


def test_every_split_has_its_own_documents(folder: Path) -> None:
    for kind in ("examples", "pairs"):
        seen = {split: {row["document"] for row in rows(folder / "out", kind, split)} for split in SPLITS}
        assert seen["test"] == {"castle.pdf"} and seen["validation"] == {"harbour.pdf"}
        assert seen["train"] == {MANUAL.name, "xquad.en.json/Bees", "xquad.en.json/Bells"}


def test_the_gold_passage_is_the_one_with_the_quote(folder: Path) -> None:
    asked = {question["id"]: question for question in questions()}
    gold_rows = 0
    for split in SPLITS:
        for row in rows(folder / "out", "examples", split):
            if row["gold"] is not None:
                gold = row["passages"][row["gold"]]
                assert contains_any(gold["text"], [row["quote"]])
                assert row["id"].startswith("squad-") or gold["page"] == asked[row["id"]]["page"]
                gold_rows += 1
            texts = [passage["text"] for passage in row["passages"]]
            assert len(set(texts)) == len(texts) and {p["document"] for p in row["passages"]} == {row["document"]}
    assert gold_rows >= 12


def test_pairs_are_ranked_as_the_platform_does(folder: Path) -> None:
    for split in SPLITS:
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in rows(folder / "out", "pairs", split):
            groups.setdefault(row["group"], []).append(row)
        for found in groups.values():
            ranks = [row["retrieval_rank"] for row in found if row["retrieval_rank"]]
            assert len(set(ranks)) == len(ranks) and min(ranks) >= 1
            others = [row["retrieval_rank"] for row in found if row["label"] == "insufficient"]
            assert others == sorted(others) and len(others) <= 10  # the nearest that do not answer
            assert all(-1 <= row["retrieval_score"] <= 1 for row in found if row["retrieval_rank"])
            assert all(isinstance(row["section"], list) for row in found)
    squad = [row for row in rows(folder / "out", "pairs", "train") if row["document"].startswith("xquad")]
    assert [row["label"] for row in squad].count("sufficient") == 6


def test_the_facts_are_those_of_the_files(folder: Path) -> None:
    facts = json.loads((folder / "out" / "facts.json").read_text())
    assert facts["lost"] == [] and len(facts["data_sha256"]) == 64
    for name, sha256 in facts["files"].items():
        assert sha256_of(folder / "out" / name) == sha256
    assert facts["made_of"]["sources"][MANUAL.name] == sha256_of(folder / "raw" / MANUAL.name)
    counts = facts["counts"]
    asked = {row["id"].removesuffix("/withheld") for row in rows(folder / "out", "examples", "train")}
    assert len(asked) == 16 <= counts["train"]["examples"] and counts["test"]["sufficient"] == 2
