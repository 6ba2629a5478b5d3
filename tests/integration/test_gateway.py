"""The gateway's configuration against the routes that the services declare: each path goes to the one that has it.

nginx itself runs in `make e2e-compose`; here its file is read by the same rules: `=` first, then the expressions in
order, then the longest prefix.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from fastapi import FastAPI

from services.api import app as api
from services.core.http import JSON_BODY_MAX_BYTES
from services.core.settings import MIB, Settings
from services.eval import app as evaluation
from services.eval.routes import rouge
from services.ingest import app as ingest
from tests.server import ROOT

CONFIGURATION = ROOT / "infra" / "gateway" / "nginx.conf"
INSIDE_ONLY = ("/v1/alerts",)  # Alertmanager calls it, not a client
_LOCATION = re.compile(r"^    location (?:(=|~) )?(\S+) \{\n(.*?)^    \}", re.M | re.S)


class Location(NamedTuple):
    kind: str  # "=", "~" or "" for a prefix
    path: str
    service: str | None
    body_max_bytes: int
    refuses: bool


def read(configuration: Path) -> list[Location]:
    text = configuration.read_text()
    usual = re.search(r"^    client_max_body_size (\d+)m;", text, re.M)
    assert usual is not None
    found = []
    for kind, path, body in _LOCATION.findall(text):
        service, limit = re.search(r"set \$service (\w+);", body), re.search(r"client_max_body_size (\d+)m;", body)
        megabytes = int((limit or usual)[1])
        refuses = "return 404" in body and "internal" not in body
        found.append(Location(kind, path, service[1] if service else None, megabytes * MIB, refuses))
    return found


def location_of(path: str, locations: list[Location]) -> Location:
    for one in locations:
        if one.kind == "=" and one.path == path:
            return one
    for one in locations:
        if one.kind == "~" and re.search(one.path, path):
            return one
    prefixes = [one for one in locations if one.kind == "" and path.startswith(one.path)]
    return max(prefixes, key=lambda one: len(one.path))


def paths_of(app: FastAPI) -> list[str]:
    """Each path below /v1 with names in the place of its parameters."""
    found = [re.sub(r"\{[^}]+\}", "one_1", path) for path in app.openapi()["paths"] if path.startswith("/v1/")]
    assert len(found) > 3
    return found


@pytest.fixture(scope="module")
def apps() -> dict[str, FastAPI]:
    settings = Settings()
    return {
        "api": api.create_app(settings),
        "ingest": ingest.create_app(settings),
        "eval": evaluation.create_app(settings),
    }


def test_each_path_of_a_service_goes_to_it(apps: dict[str, FastAPI]) -> None:
    locations, wrong = read(CONFIGURATION), []
    for name, app in apps.items():
        for path in paths_of(app):
            found = location_of(path, locations)
            if path.startswith(INSIDE_ONLY):
                wrong += [] if found.refuses else [f"{path} can be reached from outside"]
            elif found.service != name:
                wrong.append(f"{path} of {name} goes to {found.service}")
    assert wrong == []


def test_no_path_belongs_to_two_services(apps: dict[str, FastAPI]) -> None:
    owners: dict[str, set[str]] = {}
    for name, app in apps.items():
        for path in paths_of(app):
            owners.setdefault(path, set()).add(name)
    assert {path: names for path, names in owners.items() if len(names) > 1} == {}


def test_what_is_for_the_inside_is_refused() -> None:
    locations = read(CONFIGURATION)
    for path in ("/metrics", "/v1/alerts", "/v1/alerts/one"):
        assert location_of(path, locations).refuses, path


def test_a_name_that_only_begins_like_one_of_theirs_is_not_theirs() -> None:
    assert location_of("/v1/documentsx", read(CONFIGURATION)).service == "api"


@pytest.mark.parametrize(
    ("path", "max_bytes"),
    [
        ("/v1/documents", ingest.max_body_bytes(Settings())),
        ("/v1/evaluations", evaluation.MAX_BODY_BYTES),
        ("/v1/rouge", rouge.BODY_MAX_BYTES),
        ("/v1/answers", JSON_BODY_MAX_BYTES),
        ("/v1/releases", JSON_BODY_MAX_BYTES),
    ],
)
def test_a_body_that_its_service_takes_passes(path: str, max_bytes: int) -> None:
    limit = location_of(path, read(CONFIGURATION)).body_max_bytes
    assert max_bytes <= limit <= max_bytes + MIB
