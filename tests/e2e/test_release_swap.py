"""`capstone up` while the alias `champion` moves, over HTTP: what is live, in answers, models, metrics and status."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from services.core.registry import Release, resolve_release
from tests.calls import client_of, ingest, problem_of
from tests.papers import story, story_page
from tests.planted_registry import PlantedRegistry
from tests.releases import Places, make_another, make_release
from tests.server import Server, start

TOPIC = "the water wheel"
ASKED = {"question": story_page(TOPIC, 2), "max_tokens": 8}
WITHIN_S = 60.0


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return make_release(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def two(one: Places, tmp_path_factory: pytest.TempPathFactory) -> Places:
    return make_another(one, tmp_path_factory.mktemp("two"), seed=11, sufficient=0.7)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> PlantedRegistry:
    return PlantedRegistry(tmp_path_factory.mktemp("registry") / "mlflow.db")


@pytest.fixture(scope="module")
def server(one: Places, registry: PlantedRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folders = {"CAPSTONE_RELEASE_DIR": str(one.folder), "CAPSTONE_MODELS_DIR": str(one.models_dir)}
    follows = {"CAPSTONE_MLFLOW_URI": registry.uri, "CAPSTONE_RELEASE_POLL_S": "0.1", "CAPSTONE_SHADOW_SHARE": "1"}
    env = {**folders, **follows, "CAPSTONE_ENCODER": "hashing", "CAPSTONE_JOB_POLL_S": "0.05"}
    server = start(env, tmp_path_factory.mktemp("swapping"))
    try:
        yield server.wait_ready()
    finally:
        server.kill()


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with client_of(server.url) as http:
        ingest(http, story(TOPIC, 3), "wheel.pdf")
        yield http


def resolved(places: Places) -> Release:
    return resolve_release(places.folder, places.models_dir)


def asked(http: httpx.Client, **more: Any) -> dict[str, Any]:
    return dict(http.post("/v1/answers", json=ASKED | more).raise_for_status().json())


def until_metrics_say(http: httpx.Client, *lines: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while missing := set(lines) - set((said := http.get("/metrics").text).splitlines()):
        assert time.monotonic() < deadline, f"{missing} not in\n{said}"
        time.sleep(0.05)


def test_a_challenger_is_asked_by_name_and_in_the_shadow_then_promoted_and_rolled_back(
    http: httpx.Client, one: Places, two: Places, registry: PlantedRegistry
) -> None:
    first, second = resolved(one), resolved(two)
    problem_of(http.post("/v1/answers", json=ASKED | {"release": "challenger"}), 404, "unknown_release")
    registry.point("challenger", registry.add(two.folder))
    live, named = asked(http), asked(http, release="challenger")
    assert (live["lineage"]["release"], named["lineage"]["release"]) == (first.id, second.id)
    until_metrics_say(http, 'shadow_answers_total{outcome="logged"} 1.0')
    shadow = http.get(f"/v1/lineage/{live['id']}").json()["shadow"]
    assert (shadow["release"], shadow["answer"]["answer"]) == (second.id, named["answer"])

    registry.point("champion", "1")
    role = f'release_info{{release="{second.id}",role="champion"}} 1.0'
    until_metrics_say(http, role, "release_swaps_total 1.0", "release_refusals_total 0.0")
    again = asked(http)
    assert (again["lineage"]["release"], again["answer"]) == (second.id, named["answer"])
    models = {model["role"]: model for model in http.get("/v1/models").json()["data"]}
    assert (models["generator"]["release"], models["generator"]["adapter"]) == (second.id, second.adapter.id)

    registry.unpoint("champion")
    until_metrics_say(http, f'release_info{{release="{first.id}",role="champion"}} 1.0', "release_swaps_total 2.0")
    back = asked(http)
    assert (back["lineage"]["release"], back["answer"]) == (first.id, live["answer"])
