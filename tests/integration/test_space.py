"""The Hugging Face Space: what is uploaded holds together. `make e2e-space` builds its image and asks it."""

from __future__ import annotations

import hashlib
import re
import stat
from pathlib import Path

import pytest
import yaml

from infra.space.assemble import assemble
from infra.space.start import keep_key
from services.core.settings import Settings
from tests.server import ROOT

# What a visitor without a key may do. Where there is no such setting yet, it is passed over.
VISITORS = "CAPSTONE_ANONYMOUS_SCOPE"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("space") / "folder"
    assemble(made)
    return made


def test_its_front_matter_agrees_with_its_image(folder: Path) -> None:
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    given = yaml.safe_load(front)
    dockerfile = (folder / "Dockerfile").read_text()
    assert given["sdk"] == "docker" and given["title"] and len(given["short_description"]) <= 60
    assert f"EXPOSE {given['app_port']}\n" in dockerfile and f"CAPSTONE_PORT={given['app_port']} " in dockerfile
    assert given["base_path"] == "/docs", "there is no page at / to show"
    assert "# Capstone" in text


def test_the_folder_builds_itself(folder: Path) -> None:
    dockerfile = (folder / "Dockerfile").read_text()
    assert "ARG SERVICE=space\n" in dockerfile and "ARG WEIGHTS=baked\n" in dockerfile
    assert re.search(r"^ARG GIT_COMMIT=[0-9a-f]{40}$", dockerfile, re.M)
    for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.M):
        *sources, _ = line.split()
        for source in sources:
            assert (folder / source).exists(), line
    assert (folder / "services" / "api" / "app.py").read_bytes() == (ROOT / "services" / "api" / "app.py").read_bytes()
    assert not (folder / "tests").exists() and not (folder / ".git").exists()


def test_its_user_and_settings(folder: Path) -> None:
    stage = (folder / "Dockerfile").read_text().partition("AS space\n")[2].partition("\nFROM ")[0]
    assert "USER 1000:1000\n" in stage, "as the host of Spaces runs it"
    given = dict(re.findall(r"(CAPSTONE_\w+)=(\S+)", stage))
    assert given.pop(VISITORS) == "read"
    assert {name.removeprefix("CAPSTONE_").lower() for name in given} <= Settings.model_fields.keys()
    settings = Settings(**{name.removeprefix("CAPSTONE_").lower(): value for name, value in given.items()})
    assert settings.host == "0.0.0.0" and settings.models_dir == Path("/weights/baked")


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        assemble(tmp_path)


def test_the_key_of_the_example_is_made_at_the_start(tmp_path: Path) -> None:
    environment: dict[str, str] = {}
    keep_key(environment, tmp_path / "secrets")
    first = (tmp_path / "secrets" / "capstone_api_key").read_text()
    assert environment == {"CAPSTONE_SECRETS_DIR": str(tmp_path / "secrets")} and len(first) >= 32
    for path in (tmp_path / "secrets").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
    keep_key(environment, tmp_path / "secrets")
    assert (tmp_path / "secrets" / "capstone_api_key").read_text() != first, "a new one at each start"


def test_the_owners_key_is_taken_and_leaves_the_environment(tmp_path: Path) -> None:
    environment = {"CAPSTONE_API_KEY": "the owner's own, long enough", "OTHER": "1"}
    keep_key(environment, tmp_path / "secrets")
    assert environment == {"OTHER": "1", "CAPSTONE_SECRETS_DIR": str(tmp_path / "secrets")}
    assert (tmp_path / "secrets" / "capstone_api_key").read_text() == "the owner's own, long enough"
    expected = hashlib.sha256(b"the owner's own, long enough").hexdigest()
    assert (tmp_path / "secrets" / "capstone_admin_key_sha256").read_text() == expected
