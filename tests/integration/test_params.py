"""params.yaml and files put over it."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import BadInput
from models.params import load_params

PARAMS = Path(__file__).parents[2] / "params.yaml"


def test_the_projects_own_file() -> None:
    params = load_params(PARAMS)
    assert params.bases["encoder"].name == "all-MiniLM-L6-v2"
    assert set(params.data.test).isdisjoint(params.data.validation)


def test_an_overlay(tmp_path: Path) -> None:
    overlay = tmp_path / "over.yaml"
    overlay.write_text("data: {seed: 11, documents: [a.pdf]}\n")
    plain, params = load_params(PARAMS), load_params(PARAMS, overlay)
    assert params.data.seed == 11 and params.data.documents == ("a.pdf",)
    assert params.data.test == plain.data.test and params.bases == plain.bases


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("data: {seed: seven}", "data.seed: Input should be a valid integer"),
        ("data: {seed: '7'}", "data.seed: Input should be a valid integer"),
        ("data: {no_gold_share: 1e-1}", "data.no_gold_share: Input should be a valid number"),  # YAML wants 1.0e-1
        ("date: {seed: 7}", "date: Extra inputs are not permitted"),
        ("bases: {decoder: {}}", "bases.decoder"),
        ("data: 7", "data: "),
        ("[]", "it is not a mapping"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, problem: str) -> None:
    overlay = tmp_path / "over.yaml"
    overlay.write_text(text)
    with pytest.raises(BadInput) as caught:
        load_params(PARAMS, overlay)
    assert str(caught.value).startswith(f"{overlay}: ") and problem in str(caught.value)
    with pytest.raises(BadInput, match="it cannot be read"):
        load_params(tmp_path / "missing.yaml")
