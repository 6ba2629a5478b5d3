"""Settings come from the environment, from secret files, and from what a caller overrides."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli import app
from services.core.errors import SettingsProblem
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
    with pytest.raises(SettingsProblem, match=r"^CAPSTONE_MAX_PAGES: Input should be greater than 0\.$"):
        load_settings()


def test_all_wrong_values_are_named_and_none_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPSTONE_PORT", "geheim")
    monkeypatch.setenv("CAPSTONE_RETRIEVAL", "geheim")
    with pytest.raises(SettingsProblem) as refused:
        load_settings()
    assert "CAPSTONE_PORT" in refused.value.detail
    assert "CAPSTONE_RETRIEVAL" in refused.value.detail
    assert "geheim" not in refused.value.detail


@pytest.mark.parametrize("command", ["up", "fetch"])
def test_a_wrong_value_ends_a_command_with_a_sentence(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("CAPSTONE_PORT", "")
    done = CliRunner().invoke(app, [command])
    assert done.exit_code == 2
    assert "CAPSTONE_PORT" in done.output
    assert "Traceback" not in done.output


def test_the_release_is_opened_where_something_is_read_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().wanted_release == Path("release")
    assert load_settings(generator="scripted").wanted_release == Path("release")
    assert load_settings(classifier="overlap").wanted_release == Path("release")
    assert load_settings(generator="scripted", classifier="overlap").wanted_release is None
    monkeypatch.setenv("CAPSTONE_RELEASE_DIR", "elsewhere")
    assert load_settings().wanted_release == Path("elsewhere")
    monkeypatch.setenv("CAPSTONE_RELEASE_DIR", "")
    assert load_settings().wanted_release is None


def test_further_classifiers_lie_with_the_models_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPSTONE_MODELS_DIR", "/models")
    monkeypatch.setenv("CAPSTONE_CLASSIFIERS_DIR", "")
    assert load_settings().named_classifiers == Path("/models/classifiers")
    monkeypatch.setenv("CAPSTONE_CLASSIFIERS_DIR", "/mine")
    assert load_settings().named_classifiers == Path("/mine")
    assert load_settings(classifier="overlap").named_classifiers is None
