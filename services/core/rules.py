"""Sections of params.yaml that services judge by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from services.core.errors import SettingsProblem


class Rules(BaseModel):
    """A section, or a part of one. Refuses members that it does not know, and values of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


T = TypeVar("T", bound=Rules)


def read_rules(params: Path, section: str, kind: type[T]) -> T:
    """A section of a params.yaml. Raises SettingsProblem, naming the member, if there is no usable one."""
    try:
        body = yaml.safe_load(params.read_bytes())
        return kind.model_validate_json(json.dumps(body[section]))  # JSON, because strict Python input wants tuples
    except OSError as error:
        raise SettingsProblem(f"CAPSTONE_PARAMS: {params} cannot be read ({error.strerror}).") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, (section, *first["loc"])))
        raise SettingsProblem(f"CAPSTONE_PARAMS: {params}: {where}: {first['msg']}.") from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise SettingsProblem(f"CAPSTONE_PARAMS: {params} has no usable section `{section}`.") from error
