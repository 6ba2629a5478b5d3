"""What ships in release/: whole, small, and the very thing that the reports are about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.export import MAX_BYTES
from models.paths import ENCODER
from services.core.registry import Release, resolve, resolve_release, verify
from tests.tiny import ROOT


@pytest.fixture(scope="module")
def release(models_dir: Path) -> Release:
    return resolve_release(ROOT / "release", models_dir)


def test_it_is_small_enough_to_ship_together_with_the_encoders_adapter(release: Release) -> None:
    files = [path for folder in (release.folder, ROOT / ENCODER) for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MAX_BYTES


def test_the_reports_are_about_it(release: Release) -> None:
    verdict = json.loads((ROOT / "reports" / "metrics.json").read_bytes())
    assert verdict["release"] == release.id
    encoder = verify(ROOT / ENCODER)
    parts = {"encoder": encoder, "classifier": release.classifier, "generator": release.adapter}
    for name, files in parts.items():
        report = json.loads((ROOT / "reports" / f"{name}.json").read_bytes())
        assert report["model"]["id"] == files.id
        card = (ROOT / "reports" / f"{name}.md").read_text(encoding="utf-8")
        assert files.id in card
        assert files.training is not None and files.training.data_sha256 in card


def test_the_encoder_finds_more_than_the_one_it_was_tuned_from(release: Release, models_dir: Path) -> None:
    report = json.loads((ROOT / "reports" / "encoder.json").read_bytes())
    assert report["encoder"] == release.encoder == resolve(models_dir, "encoder-tuned").id
    for metric in ("hit@1", "hit@5", "mrr@10"):
        assert report["tuned_is_better_by"][metric]["low"] > 0


def test_the_adapter_answers_better_than_the_base_and_than_copying_a_sentence() -> None:
    not_first = json.loads((ROOT / "reports" / "generator.json").read_bytes())["placements"]["not_first"]
    for metric in ("contains", "rougeL"):
        for name in ("base", "lead", "best_sentence"):
            assert not_first["lora_is_better_by"][name][metric]["low"] > 0


def test_the_classifier_ranks_better_than_bags_of_words() -> None:
    better = json.loads((ROOT / "reports" / "classifier.json").read_bytes())["classifier_is_better_by"]
    for name in ("tfidf", "overlap", "passage_only"):
        assert better[name]["roc_auc"]["low"] > 0
