"""Folder of weights -> the same folder, proved unchanged. Loads nothing itself.

A model folder holds safetensors, its configuration and tokenizer, and `manifest.json`, which lists every other file
with its SHA-256 and size. A folder with a missing, changed or unlisted file is refused, because loaders pick up files
by name: one more `adapter_config.json` or `chat_template.jinja` would silently give another model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from services.core.errors import ModelProblem

MANIFEST = "manifest.json"
FORMAT = 1
# Formats whose loaders run no code. Anything else, a pickle above all, is refused even if the manifest lists it.
SAFE_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".jinja", ".md"})
REMEDY = "Run `capstone fetch` to put it right."


class FileFacts(NamedTuple):
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the files of a model came from. `source_sha256` is the hash of what was downloaded or copied."""

    role: str
    name: str
    source: str
    source_sha256: str
    licence: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """`files` maps paths inside the folder, with `/`, to their facts; it never holds the manifest itself."""

    origin: Origin
    files: Mapping[str, FileFacts]

    @property
    def id(self) -> str:
        """Name and first 12 hex digits of the SHA-256 of the table of files: equal ids mean equal bytes."""
        table = json.dumps({path: self.files[path] for path in sorted(self.files)}, separators=(",", ":"))
        return f"{self.origin.name}@{hashlib.sha256(table.encode()).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A verified model folder."""

    role: str
    name: str
    id: str
    folder: Path
    manifest_sha256: str


def resolve(models_dir: Path, role: str) -> ModelFiles:
    """Verify `models_dir/role` and return it.

    Raises ModelProblem, naming the file and the remedy, if the folder is not there, is not a model of that role, or
    does not match its manifest.
    """
    files = verify(models_dir / role)
    if files.role != role:
        raise ModelProblem(f"{files.folder / MANIFEST} describes a model for the role {files.role!r}. {REMEDY}")
    return files


def verify(folder: Path) -> ModelFiles:
    """Hash every file of a model folder and compare with its manifest; raises ModelProblem at the first difference."""
    manifest = read_manifest(folder)
    for name in _names(folder):
        if name not in manifest.files:
            raise ModelProblem(f"{folder / name} is not listed in {MANIFEST}, so it may not lie there. {REMEDY}")
    for name, expected in manifest.files.items():
        if PurePosixPath(name).suffix not in SAFE_SUFFIXES:
            raise ModelProblem(f"{folder / name} is of a kind that is never loaded; allowed are safetensors and text.")
        try:
            found = _facts(folder / name)
        except OSError as error:
            raise ModelProblem(f"{folder / name} cannot be read ({error.strerror}). {REMEDY}") from error
        if found != expected:
            raise ModelProblem(
                f"{folder / name} has changed: its SHA-256 should be {expected.sha256} and is {found.sha256}. {REMEDY}"
            )
    manifest_sha256 = _facts(folder / MANIFEST).sha256
    return ModelFiles(manifest.origin.role, manifest.origin.name, manifest.id, folder, manifest_sha256)


def read_manifest(folder: Path) -> Manifest:
    """Read `manifest.json` without looking at the files it lists; raises ModelProblem if it is absent or damaged."""
    path = folder / MANIFEST
    try:
        raw = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelProblem(f"There is no model in {folder}: {MANIFEST} cannot be read. {REMEDY}") from error
    except ValueError as error:
        raise ModelProblem(f"{path} is damaged: {error}. {REMEDY}") from error
    try:
        if raw["format"] != FORMAT:
            raise ModelProblem(f"{path} has format {raw['format']!r}; this version reads format {FORMAT}. {REMEDY}")
        origin = Origin(**{key: str(raw[key]) for key in Origin.__slots__})
        files = {str(name): FileFacts(str(f["sha256"]), int(f["bytes"])) for name, f in raw["files"].items()}
        recorded_id = raw["id"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelProblem(f"{path} is damaged: {type(error).__name__} {error}. {REMEDY}") from error
    for name in files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ModelProblem(f"{path} lists {name!r}, which lies outside its folder. {REMEDY}")
    manifest = Manifest(origin, files)
    if manifest.id != recorded_id:
        raise ModelProblem(f"{path} is damaged: its id should be {manifest.id} and is {recorded_id}. {REMEDY}")
    return manifest


def write_manifest(folder: Path, origin: Origin) -> Manifest:
    """Hash every file that lies in `folder` and write the manifest. The caller makes the folder durable."""
    manifest = Manifest(origin, {name: _facts(folder / name) for name in _names(folder)})
    body = {
        "format": FORMAT,
        "id": manifest.id,
        **asdict(origin),
        "files": {name: facts._asdict() for name, facts in manifest.files.items()},
    }
    (folder / MANIFEST).write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    return manifest


def _names(folder: Path) -> list[str]:
    """Every entry below `folder` that is not a plain directory: a linked directory counts, so that it is refused."""
    entries = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(name for path in entries if (name := path.relative_to(folder).as_posix()) != MANIFEST)


def _facts(path: Path) -> FileFacts:
    with path.open("rb") as file:
        return FileFacts(hashlib.file_digest(file, "sha256").hexdigest(), file.tell())
