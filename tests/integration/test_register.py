"""From a release and its reports to a version in a real MLflow registry on SQLite."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from models.errors import BadInput
from models.files import write_json
from models.register import register
from models.tracking import mlflow_client
from services.core.aliases import CHALLENGER, MODEL
from services.core.errors import ModelProblem
from services.core.registry import resolve_release
from tests.releases import Places, make_release, seal
from tests.tiny import ROOT


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)  # a bare SQLite registry keeps artifacts below the working folder
    return make_release(tmp_path)


def reports(places: Places, **changes: Any) -> Path:
    folder = places.folder.parent / "reports"
    folder.mkdir(exist_ok=True)
    verdict = {
        "release": resolve_release(places.folder, places.models_dir).id,
        "passes": {"classifier_beats_tfidf": True, "generator": True},
        "figures": {"lora_rougeL": 0.4, "encoder_hit@1": 0.5},
    }
    write_json(folder / "metrics.json", verdict | changes)
    return folder


def registered(places: Places, folder: Path, **options: bool) -> str:
    console = Console(file=io.StringIO())
    done = register(ROOT / "params.yaml", places.models_dir, places.folder, folder, console, **options)
    assert done.release == resolve_release(places.folder, places.models_dir).id
    assert done.below_bar == (("generator",) if options else ())
    return done.version


def test_a_release_that_passes_becomes_the_challenger_once(places: Places) -> None:
    folder = reports(places)
    assert registered(places, folder) == "1"
    client = mlflow_client()
    version = client.get_model_version_by_alias(MODEL, CHALLENGER)
    release = resolve_release(places.folder, places.models_dir)
    assert version.tags["release"] == release.id
    run = client.get_run(version.run_id)
    assert run.data.tags["data"] == release.data_sha256
    assert run.data.tags["git_commit"]
    assert run.data.metrics == pytest.approx({"final.lora_rougeL": 0.4, "final.encoder_hit_at_1": 0.5})
    assert run.data.params["generator.lora.rank"].isdigit()
    kept = {item.path for item in client.list_artifacts(version.run_id, "release")}
    assert "release/release.json" in kept

    assert registered(places, folder) == "1"  # again: the same version
    seal(places, name="other")
    assert registered(places, reports(places)) == "2"
    assert str(client.get_model_version_by_alias(MODEL, CHALLENGER).version) == "2"


def test_a_release_that_does_not_pass_is_registered_only_where_the_gate_decides(places: Places) -> None:
    folder = reports(places, passes={"classifier_beats_tfidf": True, "generator": False})
    with pytest.raises(BadInput, match=r"metrics\.json: .* does not pass: generator"):
        registered(places, folder)
    assert mlflow_client().search_registered_models() == []
    assert registered(places, folder, below_bar=True) == "1"


def test_reports_on_another_release_are_refused(places: Places) -> None:
    folder = reports(places, release="another@000000000000")
    with pytest.raises(BadInput, match="about another@000000000000"):
        registered(places, folder)


@pytest.mark.parametrize("body", ["", "[]", json.dumps({"release": "x"})])
def test_a_file_that_is_no_verdict_is_refused(places: Places, body: str) -> None:
    folder = reports(places)
    (folder / "metrics.json").write_text(body)
    with pytest.raises(BadInput, match="no verdict"):
        registered(places, folder)


def test_a_changed_byte_is_refused(places: Places) -> None:
    folder = reports(places)
    path = places.folder / "adapter" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(ModelProblem, match="has changed"):
        registered(places, folder)
