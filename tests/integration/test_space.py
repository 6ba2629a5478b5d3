"""The Hugging Face Space: its front matter, image and start agree. `make e2e-space` builds the image and asks it."""

from __future__ import annotations

import hashlib
import re
import runpy
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.core.settings import Settings
from tests.server import ROOT

DOCKER = ROOT / "infra" / "docker"


def stage() -> str:
    """Of the Dockerfile, what makes the image of the Space what it is."""
    return (DOCKER / "Dockerfile").read_text().partition(" AS space\n")[2].partition("\nFROM ")[0]


def test_the_front_matter_agrees_with_the_image() -> None:
    _, front, text = (ROOT / "infra" / "space" / "README.md").read_text().split("---\n", 2)
    given = yaml.safe_load(front)
    assert given["sdk"] == "docker" and given["title"] and len(given["short_description"]) <= 60
    assert f"EXPOSE {given['app_port']}\n" in stage() and f"CAPSTONE_PORT={given['app_port']} " in stage()
    assert given["base_path"] == "/docs", "the page at / refuses to stand in a frame, and a Space shows one"
    assert "# Capstone" in text
    # The rest of the folder is made when it is uploaded: a Dockerfile that names the image.
    assert [path.name for path in (ROOT / "infra" / "space").iterdir()] == ["README.md"]


def test_its_user_and_settings() -> None:
    assert "USER 1000:1000\n" in stage(), "as the host of Spaces runs it"
    given = dict(re.findall(r"(CAPSTONE_\w+)=(\S+)", stage()))
    assert given.pop("CAPSTONE_ANONYMOUS_SCOPE") == "read"
    assert {name.removeprefix("CAPSTONE_").lower() for name in given} <= Settings.model_fields.keys()
    settings = Settings(**{name.removeprefix("CAPSTONE_").lower(): value for name, value in given.items()})
    assert settings.host == "0.0.0.0" and settings.models_dir == Path("/weights/baked")


@pytest.fixture(scope="module")
def keep_key() -> Any:
    return runpy.run_path(str(DOCKER / "start_space.py"))["keep_key"]


def test_the_key_of_the_example_is_made_at_the_start(keep_key: Any, tmp_path: Path) -> None:
    environment: dict[str, str] = {}
    keep_key(environment, tmp_path / "secrets")
    first = (tmp_path / "secrets" / "capstone_api_key").read_text()
    assert environment == {"CAPSTONE_SECRETS_DIR": str(tmp_path / "secrets")} and len(first) >= 32
    for path in (tmp_path / "secrets").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
    keep_key(environment, tmp_path / "secrets")
    assert (tmp_path / "secrets" / "capstone_api_key").read_text() != first, "a new one at each start"


def test_the_owners_key_is_taken_and_leaves_the_environment(keep_key: Any, tmp_path: Path) -> None:
    environment = {"CAPSTONE_API_KEY": "the owner's own, long enough", "OTHER": "1"}
    keep_key(environment, tmp_path / "secrets")
    assert environment == {"OTHER": "1", "CAPSTONE_SECRETS_DIR": str(tmp_path / "secrets")}
    assert (tmp_path / "secrets" / "capstone_api_key").read_text() == "the owner's own, long enough"
    expected = hashlib.sha256(b"the owner's own, long enough").hexdigest()
    assert (tmp_path / "secrets" / "capstone_admin_key_sha256").read_text() == expected
