"""Archives from strangers, and sources that are not pinned."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from models.sources import Source, unpack, weights_file
from services.core.errors import ModelProblem


@pytest.mark.parametrize(
    "name", ["../evil.json", "/evil.json", "pkg/../../evil.json", "pkg\\..\\evil.json", "C:/evil.txt"]
)
def test_archive_member_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "evil.whl"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(name, "{}")
    into = tmp_path / "deep" / "into"
    into.mkdir(parents=True)
    with pytest.raises(ModelProblem, match="leaves the folder"):
        unpack(archive, into, lambda units: None)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [archive]


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04broken"])
def test_damaged_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / "damaged.whl"
    archive.write_bytes(content)
    with pytest.raises(ModelProblem, match="not a usable archive"):
        unpack(archive, tmp_path / "into", lambda units: None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tiny",
        "wheel:tiny",
        "wheel:tiny>=1",
        "wheel:--index-url=x==1",
        "hub:org/name",
        "hub:name@v1",
        "path:",
        "role:",
        "role:../x",
    ],
)
def test_source_that_pins_nothing_is_refused(text: str) -> None:
    with pytest.raises(ModelProblem, match="is not a model source"):
        Source.parse(text)


def test_two_weights_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "model.gguf").touch()
    with pytest.raises(ModelProblem, match=r"found model\.gguf, model\.safetensors"):
        weights_file(tmp_path, "generator")
