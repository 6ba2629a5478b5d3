"""sources.yaml: every raw file of the training data with its hash, licence and origin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, ValidationError, model_validator

from models.errors import BadInput
from models.files import read_yaml, sha256_of, told
from models.section import Section

SOURCES = Path(__file__).with_name("sources.yaml")
REMEDY = "Correct the file; the one in models/data of the project is an example that works."
FETCH_REMEDY = "Run `python -m models.data.fetch`."


class RawFile(Section):
    """One file. It comes from `path` in the Debian package `package` (NAME=VERSION), or from `url`; or it was a
    `document` of the platform, by its id, whose retraining has put it into place: see models/feedback.py."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(gt=0)
    licence: str = Field(min_length=1)
    copyright: str = Field(min_length=1)
    package: str | None = Field(None, pattern=r"^[a-z0-9][a-z0-9.+-]*=[A-Za-z0-9.+~:-]+$")
    path: str | None = Field(None, pattern=r"^[^/].*$")
    url: str | None = Field(None, pattern=r"^https?://")
    document: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{1,40}$")

    @model_validator(mode="after")
    def _has_one_origin(self) -> RawFile:
        origins = [origin for origin in (self.package, self.url, self.document) if origin is not None]
        if (self.package is None) != (self.path is None) or len(origins) != 1:
            raise ValueError("give either package and path, or url, or document")
        return self


class _Sources(Section):
    files: tuple[RawFile, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> _Sources:
        names = [file.name for file in self.files]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{', '.join(sorted(twice))} is listed twice")
        return self


def read_sources(path: Path = SOURCES) -> tuple[RawFile, ...]:
    """The raw files, in the order of the list. Raises BadInput if the list cannot be used."""
    try:
        return _Sources.model_validate_json(json.dumps(read_yaml(path, remedy=REMEDY))).files
    except ValidationError as error:
        raise BadInput(path, told(error), remedy=REMEDY) from error


def check_raw(files: Sequence[RawFile], raw: Path) -> dict[str, Path]:
    """The paths of `files` in the folder `raw` by name. Raises BadInput if one is missing or has another hash."""
    paths = {}
    for file in files:
        path = raw / file.name
        if not path.is_file():
            raise BadInput(path, "this file of the training data is missing", remedy=FETCH_REMEDY)
        if (found := sha256_of(path)) != file.sha256:
            raise BadInput(path, f"its SHA-256 should be {file.sha256} and is {found}", remedy=FETCH_REMEDY)
        paths[file.name] = path
    return paths


def attributions(files: Sequence[RawFile]) -> list[str]:
    """One line a file, as a model card or a notice states it: name, copyright, licence, origin."""
    return [f"{f.name}: © {f.copyright}. {f.licence}. From {_origin(f)}" for f in files]


def _origin(file: RawFile) -> str:
    return file.url or (f"Debian package {file.package}" if file.package else f"document {file.document}")
