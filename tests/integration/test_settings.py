"""Settings come from the environment, from secret files, and from what a caller overrides."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.core.settings import load_settings


def test_the_environment_sets_and_a_caller_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPSTONE_PORT", "9001")
    monkeypatch.setenv("CAPSTONE_DATA_DIR", "/somewhere")
    assert load_settings().port == 9001
    assert load_settings(port=9002).port == 9002
    assert load_settings().catalog_url == "sqlite:////somewhere/catalog.db"


def test_a_secret_is_read_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "capstone_database_url").write_text("postgresql://user:word@db/capstone\n")
    monkeypatch.setenv("CAPSTONE_SECRETS_DIR", str(tmp_path))
    assert load_settings().catalog_url == "postgresql://user:word@db/capstone"


def test_a_value_out_of_range_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPSTONE_MAX_PAGES", "0")
    with pytest.raises(ValidationError, match="max_pages"):
        load_settings()
