"""docs/openapi.json says what the services say, and a change that breaks a client is told from one that does not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from schema_diff.openapi.diff import diff_openapi

from infra.openapi import FILE, generated

Surface = dict[str, Any]


def wanted(surface: Surface) -> Surface:
    """The schema of what POST /v1/search takes."""
    reference = surface["paths"]["/v1/search"]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    return dict(surface["components"]["schemas"][reference.rpartition("/")[2]])


def test_the_committed_description_is_that_of_the_code() -> None:
    assert FILE.read_text(encoding="utf-8") == generated(), "run `make openapi`"


def without_path(surface: Surface) -> None:
    del surface["paths"]["/v1/search"]


def without_method(surface: Surface) -> None:
    del surface["paths"]["/v1/documents/{document_id}"]["delete"]


def wants_more(surface: Surface) -> None:
    wanted(surface)["properties"]["language"] = {"type": "string"}
    wanted(surface)["required"].append("language")


def wants_another_type(surface: Surface) -> None:
    name = wanted(surface)["required"][0]
    wanted(surface)["properties"][name] = {"type": "integer"}


def says_less(surface: Surface) -> None:
    del surface["components"]["schemas"]["SearchOut"]["properties"]["results"]


def takes_more(surface: Surface) -> None:
    wanted(surface)["properties"]["language"] = {"type": "string"}


def with_path(surface: Surface) -> None:
    surface["paths"]["/v1/find"] = surface["paths"]["/v1/search"]


@pytest.mark.parametrize(
    ("change", "breaks"),
    [
        (without_path, True),
        (without_method, True),
        (wants_more, True),
        (wants_another_type, True),
        (says_less, True),
        (takes_more, False),
        (with_path, False),
    ],
)
def test_breaking_changes_are_told_from_others(change: Callable[[Surface], None], breaks: bool) -> None:
    before = json.loads(FILE.read_text(encoding="utf-8"))
    after = copy.deepcopy(before)
    change(after)
    assert diff_openapi(before, after).has_breaking_changes() is breaks
