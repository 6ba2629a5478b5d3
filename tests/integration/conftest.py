"""Releases to swap between, and a registry that names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.planted_registry import PlantedRegistry
from tests.shelf import Shelf, make_shelf


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return make_shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture
def registry(tmp_path: Path) -> PlantedRegistry:
    return PlantedRegistry(tmp_path / "mlflow.db")
