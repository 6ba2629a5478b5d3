"""Where the offline path reads and writes, from the project's root; dvc.yaml names the same."""

from __future__ import annotations

from pathlib import Path

PARAMS = Path("params.yaml")
MODELS = Path("data/models")  # bases, put there by `capstone fetch`
RAW = Path("data/train/raw")
PREPARED = Path("data/train/prepared")
CLASSIFIER = Path("data/train/classifier")
GENERATOR = Path("data/train/generator")
ENCODER = Path("models/encoder/adapter")  # committed, as the release is
RELEASE = Path("release")
REPORTS = Path("reports")
MLFLOW_DB = Path("data/mlflow/mlflow.db")
