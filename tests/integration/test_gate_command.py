"""`capstone gate` with the project's own rules: what it prints, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from services.cli import app

PARAMS = Path(__file__).parents[2] / "params.yaml"
METRICS = {"quality": 0.5, "citation_precision": 0.5, "abstention": 1.0, "latency": 2.0}


def table(path: Path, release: str, questions: int = 40, **changed: float | None) -> str:
    row = METRICS | changed
    scores = {f"q{at}": row for at in range(questions)}
    path.write_text(json.dumps({"release": release, "questions_sha256": "0" * 64, "scores": scores}))
    return str(path)


def gate(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["gate", *words, "--params", str(PARAMS)])
    return done.exit_code, done.stdout, done.stderr


def test_the_exit_code_is_the_verdict(tmp_path: Path) -> None:
    old, new = table(tmp_path / "old.json", "r@old"), table(tmp_path / "new.json", "r@new", quality=0.6)
    code, out, said = gate(old, new)
    verdict = json.loads(out)
    assert (code, verdict["passed"], said) == (0, True, "")
    assert (verdict["champion"]["release"], verdict["challenger"]["release"]) == ("r@old", "r@new")
    code, out, said = gate(new, old)
    assert (code, json.loads(out)["passed"]) == (1, False)
    assert "quality: the difference -0.1 [-0.1, -0.1] does not keep within the margin of 0.02." in said


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"questions": 41}, "r@old was not asked q40"), ({"quality": None}, "quality applies to 0 questions")],
)
def test_bad_input_is_told_in_a_sentence(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    old, new = table(tmp_path / "old.json", "r@old"), table(tmp_path / "new.json", "r@new", **changed)
    code, out, told = gate(old, new)
    assert (code, out) == (2, "")
    assert said in " ".join(told.split())
    assert gate(old, str(tmp_path / "absent.json"))[0] == 2
