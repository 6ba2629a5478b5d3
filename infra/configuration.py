"""The page docs/configuration.md, from the settings class: groups are its comments, the rest are its fields."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from services.core.settings import Settings

_PREFIX = str(Settings.model_config["env_prefix"])
_HEAD = """# Configuration

Written by `python -m infra.build` from `services/core/settings.py`; a test compares.

Every service reads the same settings, once, when it starts: from environment variables, then from files of the same names in small
letters (`capstone_database_url`) in the folder that `CAPSTONE_SECRETS_DIR` names, which is the place for passwords and tokens. A
value that is not allowed ends the start, with the name of the setting and without its value. Defaults are those of one machine. Names
end in their unit: `_s` seconds, `_bytes`, `_mb` MiB, `_chars` characters.
"""
_TAIL = """
## What is no setting of a service

| name | read by | meaning |
|---|---|---|
| `CAPSTONE_SECRETS_DIR` | every service | the folder of the secret files |
| `CAPSTONE_URL` | `capstone` | where the platform answers; `--url` overrules it |
| `CAPSTONE_GIT_COMMIT` | every service | the commit that a lineage tells, where there is no checkout; compose bakes it into the images |
| `CAPSTONE_BIND`, `CAPSTONE_GRAFANA_PORT` | compose | the address that the gateway is published on (127.0.0.1), and Grafana's port (3000) |
| `CAPSTONE_WEIGHTS` | compose | `volume`: the first start fetches the weights; `baked`: building the images does |
| `CAPSTONE_BACKUPS` | compose | a folder for backups, instead of a volume |
| `CAPSTONE_TEST_POSTGRES` | tests | URL of a PostgreSQL server to test with, instead of one from PyPI |
| `CAPSTONE_MLFLOW_ARTIFACTS` | the trainings | where files of a run go, where the registry is no server |
| `CAPSTONE_TRAIN_DATA`, `CAPSTONE_EVAL_SET` | `dvc repro` | folders of the manuals and of a set of questions that must not be trained on |

What changes the result of a training, the gate or the judgement on drift is in `params.yaml`, with comments.
"""


class Group(NamedTuple):
    """A heading, what is said below it, and the names of its fields."""

    title: str
    note: str
    fields: list[str]


def page() -> str:
    parts = [_HEAD]
    for group in groups():
        note = f"{group.note}\n\n" if group.note else ""
        rows = "\n".join(_row(name, Settings.model_fields[name]) for name in group.fields)
        parts.append(f"## {group.title}\n\n{note}| name | type | default | meaning |\n|---|---|---|---|\n{rows}\n")
    return "\n".join(parts) + _TAIL


def groups() -> list[Group]:
    """The fields in their order, each below the last comment that stands alone before it."""
    found: list[Group] = []
    for line in inspect.getsource(Settings).splitlines():
        comment = re.fullmatch(r"    # (?P<title>[^.]+)(?:\. (?P<note>.+))?", line)
        field = re.match(r"    (\w+): ", line)
        if comment:
            found.append(Group(comment["title"], comment["note"] or "", []))
        elif field and field[1] in Settings.model_fields:
            found[-1].fields.append(field[1])
    return found


def _row(name: str, field: FieldInfo) -> str:
    cells = (f"`{_PREFIX}{name.upper()}`", _type(field), _default(field), field.description or "")
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _type(field: FieldInfo) -> str:
    bounds = ", ".join(_bounds(field))
    return " or ".join(_names(field.annotation)) + (f", {bounds}" if bounds else "")


def _names(annotation: Any) -> Iterator[str]:
    """Each kind of value; that a setting may be unset is told by its default."""
    if get_origin(annotation) in (Union, UnionType):
        for kind in get_args(annotation):
            yield from _names(kind)
    elif get_origin(annotation) is Literal:
        yield from (f"`{value}`" for value in get_args(annotation))
    elif annotation is not NoneType:
        named = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
        yield (named | {SecretStr: "secret text"})[annotation]


def _bounds(field: FieldInfo) -> Iterator[str]:
    signs = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    for limit in field.metadata:
        for name, words in signs.items():
            if (value := getattr(limit, name, None)) is not None:
                yield f"{words} {value:,}"


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None or field.default is None:
        return "unset"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"
