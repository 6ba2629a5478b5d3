"""From what ships back to what the trainings left: enough for the stages after them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from models.errors import BadInput
from models.evaluate import form_before
from models.export import export
from models.params import load_params
from models.restore import restore
from services.core.registry import resolve_release
from tests.tiny import ROOT


@pytest.fixture(scope="module")
def folders(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("restored")
    classifier, generator = place / "classifier", place / "generator"
    assert restore(models_dir, ROOT / "release", ROOT / "reports", classifier, generator) == [classifier, generator]
    return classifier, generator


def test_exporting_again_makes_the_models_that_ship(
    models_dir: Path, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    params = load_params(ROOT / "params.yaml")
    export(params, models_dir, *folders, tmp_path / "release", Console())
    shipped, again = (resolve_release(folder, models_dir) for folder in (ROOT / "release", tmp_path / "release"))
    assert (again.classifier.id, again.adapter.id) == (shipped.classifier.id, shipped.adapter.id)
    assert again.thresholds == shipped.thresholds
    assert (again.plan, again.sentences) == (shipped.plan, shipped.sentences)


def test_curves_are_those_of_the_reports(folders: tuple[Path, Path]) -> None:
    for folder in folders:
        curve = json.loads((folder / "curve.json").read_bytes())
        for part in ("train", "validation"):
            _, *lines = (ROOT / "reports" / "curves" / f"{folder.name}.{part}.csv").read_text().splitlines()
            told = [tuple(map(float, line.split(","))) for line in lines]
            assert [(point["step"], point["loss"]) for point in curve[part]] == told
        assert curve["steps"] == curve["validation"][-1]["step"]
        best = min(curve["validation"], key=lambda point: point["loss"])
        assert curve["best_step"] == best["step"]


def test_a_report_remembers_the_form_that_was_trained(models_dir: Path, tmp_path: Path) -> None:
    adapter = resolve_release(ROOT / "release", models_dir).adapter
    form = {"trained": "smollm2-grounded@000000000000", "shipped": adapter.id, "same_answers": 91}
    report = tmp_path / "generator.json"
    assert form_before(report, adapter) is None
    for told, expected in (
        (form, form),
        (form | {"shipped": form["trained"]}, None),  # that was another adapter
        (form | {"trained": adapter.id}, None),  # compared with itself
        (None, None),
    ):
        report.write_text(json.dumps({"form": told}))
        assert form_before(report, adapter) == expected


def test_what_is_there_stays(models_dir: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "classifier").mkdir()
    made = restore(models_dir, ROOT / "release", ROOT / "reports", tmp_path / "classifier", folders[1])
    assert made == [] and list((tmp_path / "classifier").iterdir()) == []


def test_without_curves_nothing_is_made(models_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "classifier", tmp_path / "generator"
    with pytest.raises(BadInput, match=r"classifier\.train\.csv.*no curve.*git checkout"):
        restore(models_dir, ROOT / "release", tmp_path / "reports", *out)
    assert list(tmp_path.iterdir()) == []
