"""What every artifact says of its making: data, parameters, source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import BadInput
from models.files import sha256_of_json, told
from services.core.registry import ModelFiles, Training, read_manifest
from services.core.version import git_commit

FACTS = "facts.json"
REMEDY = "Make it again with `dvc repro prepare`."


def facts_of(files: ModelFiles) -> dict[str, Any]:
    """What a card says of a fine-tuned model: its id and how it came about."""
    assert files.training is not None
    return {"id": files.id, "licence": read_manifest(files.folder).origin.licence, **asdict(files.training)}


class _MadeOf(BaseModel):
    model_config = ConfigDict(frozen=True)

    sources: dict[str, str] = {}  # SHA-256 by name


class DataFacts(BaseModel):
    """What stage `prepare` wrote of its output; it holds more, which only people read."""

    model_config = ConfigDict(frozen=True)

    data_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    made_of: _MadeOf = _MadeOf()


def read_facts(prepared: Path) -> DataFacts:
    """Raises BadInput if `prepared` is no output of stage `prepare`."""
    path = prepared / FACTS
    try:
        return DataFacts.model_validate(json.loads(path.read_bytes()))
    except OSError as error:
        raise BadInput(path, f"it cannot be read ({error.strerror})", remedy=REMEDY) from error
    except ValidationError as error:
        raise BadInput(path, told(error), remedy=REMEDY) from error
    except ValueError as error:
        raise BadInput(path, f"it is not JSON ({error})", remedy=REMEDY) from error


def training_of(base_id: str, data_sha256: str, section: Mapping[str, Any], metrics: Mapping[str, float]) -> Training:
    """`section` are the parameters of the training, `metrics` figures on the validation split."""
    return Training(base_id, data_sha256, sha256_of_json(dict(section)), git_commit(), dict(metrics))
