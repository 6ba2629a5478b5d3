"""Releases that swap while requests are answered: the api service in this process, with tiny weights and a registry."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient

from services.api.generate import Decoding, TransformersGenerator, open_generator
from services.core.prompt import Message
from services.core.registry import resolve_release
from tests.calls import SSE, problem_of
from tests.planted_registry import PlantedRegistry
from tests.releases import Places, flip_bit, spoil
from tests.shelf import ASKED, WITHIN_S, Shelf, answered, live, made_by, opened
from tests.waiting import until

PAIR: dict[str, Any] = {"model": "sufficiency", "inputs": ["Is the lamp lit?"]}


# Swaps ----------------------------------------------------------------------------------------------------------


def test_a_moved_alias_makes_another_release_live_and_frees_the_old_one(
    tmp_path: Path, shelf: Shelf, registry: PlantedRegistry
) -> None:
    one, two = shelf.release(shelf.one), shelf.release(shelf.two)
    with opened(tmp_path, shelf, registry) as (resources, http):
        before = resources.live.generator
        assert isinstance(before, TransformersGenerator)
        assert answered(http).items() >= made_by(one).items(), "no alias: the shipped one"
        registry.point("champion", registry.add(shelf.two.folder))
        live(resources, two)
        assert answered(http).items() >= made_by(two).items()
        classified = http.post("/v1/classify", json=PAIR).json()["lineage"]
        assert (classified["release"], classified["classifier"]) == (two.id, two.classifier.id)
        models = {model["role"]: model["release"] for model in http.get("/v1/models").json()["data"]}
        assert (models["generator"], models["classifier"]) == (two.id, two.id)
        until(lambda: all(weights.is_meta for weights in before._model.parameters()))
        registry.unpoint("champion")
        live(resources, one)
        assert answered(http).items() >= made_by(one).items()
        assert resources.releases.swaps == 2


def test_an_answer_that_has_begun_ends_on_the_release_it_began_with(
    tmp_path: Path, shelf: Shelf, registry: PlantedRegistry
) -> None:
    one, two = shelf.release(shelf.one), shelf.release(shelf.two)
    lineages: list[dict[str, Any]] = []
    with opened(tmp_path, shelf, registry) as (resources, http):
        with resources.admission.slot(threading.Event()):  # the answer has read, and waits for the generator
            thread = threading.Thread(target=lambda: lineages.append(answered(http)))
            thread.start()
            until(lambda: resources.admission.waiting() == 1)
            registry.point("champion", registry.add(shelf.two.folder))
            until(lambda: resources.live.id == two.id)
            assert resources.releases.in_memory() == [("champion", two.id), ("draining", one.id)]
            assert http.post("/v1/classify", json=PAIR).json()["lineage"]["release"] == two.id
        thread.join(WITHIN_S)
        live(resources, two)
    assert [lineage.items() >= made_by(one).items() for lineage in lineages] == [True]


def test_requests_all_along_many_swaps_are_answered_by_one_release_each(
    tmp_path: Path, shelf: Shelf, registry: PlantedRegistry
) -> None:
    numbers = [registry.add(places.folder) for places in (shelf.one, shelf.two, shelf.three)]
    known = {release.id: made_by(release) for release in map(shelf.release, (shelf.one, shelf.two, shelf.three))}
    lineages: list[dict[str, Any]] = []
    ended, failed = threading.Event(), list[BaseException]()

    def ask(http: TestClient) -> None:
        try:
            while not ended.is_set():
                lineages.append(answered(http))
        except BaseException as error:  # noqa: BLE001 - it is told below
            failed.append(error)

    with opened(tmp_path, shelf, registry) as (resources, http):

        def wait(swaps: int) -> None:
            until(lambda: resources.releases.swaps == swaps)
            seen = len(lineages)
            until(lambda: len(lineages) > seen + 3)

        threads = [threading.Thread(target=ask, args=(http,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for swap, number in enumerate(numbers[1:] + numbers + numbers, 1):
            registry.point("champion", number)
            wait(swap)
        ended.set()
        for thread in threads:
            thread.join(WITHIN_S)
        live(resources, shelf.release(shelf.three))
    assert not failed
    assert {lineage["release"] for lineage in lineages} == known.keys()
    assert all(lineage.items() >= known[lineage["release"]].items() for lineage in lineages)


# Releases that are refused --------------------------------------------------------------------------------------


def damaged(shelf: Shelf, folder: Path) -> Path:
    shutil.copytree(shelf.two.folder, folder)
    flip_bit(folder / "adapter" / "adapter_model.safetensors", -8)
    return folder


def without_numbers(shelf: Shelf, folder: Path, part: str, weights: str) -> Path:
    shutil.copytree(shelf.two.folder, folder)
    spoil(Places(folder, shelf.one.models_dir), part, weights)
    return folder


BAD: dict[str, Callable[[Shelf, Path], Path]] = {
    "has changed": damaged,
    "says nothing": lambda shelf, folder: without_numbers(shelf, folder, "adapter", "adapter_model.safetensors"),
    "'sufficient': nan": lambda shelf, folder: without_numbers(shelf, folder, "classifier", "model.safetensors"),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_release_that_cannot_be_served_is_refused_once_and_the_old_one_stays(
    tmp_path: Path, shelf: Shelf, registry: PlantedRegistry, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    one, three = shelf.release(shelf.one), shelf.release(shelf.three)
    good, bad = registry.add(shelf.three.folder), registry.add(BAD[reason](shelf, tmp_path / "bad"))
    with opened(tmp_path, shelf, registry) as (resources, http), caplog.at_level(logging.WARNING, "capstone.api"):
        registry.point("champion", bad)
        until(lambda: resources.releases.refusals == 1)
        time.sleep(0.3)  # a dozen looks more
        assert answered(http).items() >= made_by(one).items()
        assert resources.releases.in_memory() == [("champion", one.id)]
        (told,) = [vars(record)["fields"] for record in caplog.records if record.getMessage() == "release refused"]
        assert reason in told["reason"]
        assert reason in problem_of(http.post("/v1/search", json=named(bad)), 409, "release_refused")["detail"]
        registry.point("champion", good)
        live(resources, three)
        assert answered(http).items() >= made_by(three).items()
        registry.point("champion", bad)
        until(lambda: resources.releases.refusals == 2)  # the alias has moved, so it is tried again
        assert resources.live.id == three.id


def test_a_copy_that_was_damaged_here_is_brought_again(tmp_path: Path, shelf: Shelf, registry: PlantedRegistry) -> None:
    two = shelf.release(shelf.two)
    place = tmp_path / "data" / "releases" / two.id
    shutil.copytree(shelf.two.folder, place)
    flip_bit(place / "classifier" / "model.safetensors", -8)
    registry.point("champion", registry.add(shelf.two.folder))
    with opened(tmp_path, shelf, registry) as (resources, _):
        assert resources.live.id == two.id
    assert resolve_release(place, shelf.one.models_dir) == shelf.release(Places(place, shelf.one.models_dir))


def test_files_of_another_release_than_the_registry_says_are_refused(
    tmp_path: Path, shelf: Shelf, registry: PlantedRegistry
) -> None:
    folder = tmp_path / "moving"
    shutil.copytree(shelf.two.folder, folder)
    number = registry.add(folder)
    shutil.rmtree(folder)
    shutil.copytree(shelf.three.folder, folder)
    with opened(tmp_path, shelf, registry) as (_, http):
        told = problem_of(http.post("/v1/search", json=named(number)), 409, "release_refused")["detail"]
    assert shelf.release(shelf.two).id in told and shelf.release(shelf.three).id in told


def test_without_a_registry_serving_goes_on_and_that_is_told_once(
    tmp_path: Path, shelf: Shelf, registry: PlantedRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = shelf.release(shelf.one), shelf.release(shelf.two)
    number = registry.add(shelf.two.folder)
    with opened(tmp_path, shelf, registry) as (resources, http), caplog.at_level(logging.WARNING, "capstone.api"):
        registry.break_down()
        until(lambda: "releases are not followed for now" in caplog.messages)
        time.sleep(0.3)
        assert caplog.messages == ["releases are not followed for now"]
        assert answered(http).items() >= made_by(one).items()
        assert answered(http, release=one.id).items() >= made_by(one).items(), "it is in memory"
        problem_of(http.post("/v1/answers", json=ASKED | {"release": number}), 503, "unavailable")
        registry.repair()
        registry.point("champion", number)
        live(resources, two)
        assert caplog.messages == ["releases are not followed for now", "releases are followed again"]


# At start -------------------------------------------------------------------------------------------------------


def test_at_start_the_champion_is_loaded(tmp_path: Path, shelf: Shelf, registry: PlantedRegistry) -> None:
    registry.point("champion", registry.add(shelf.two.folder))
    with opened(tmp_path, shelf, registry, release_poll_s=0) as (resources, http):
        assert answered(http).items() >= made_by(shelf.release(shelf.two)).items()
        one = shelf.release(shelf.one)
        assert answered(http, release=one.id).items() >= made_by(one).items(), "shipped, and in no registry"
        registry.unpoint("champion")
        time.sleep(0.2)
        assert resources.releases.swaps == 0, "with 0 it is looked at no more"


@pytest.mark.parametrize("reason", BAD)
def test_at_start_an_unusable_champion_gives_way_to_the_shipped_release(
    tmp_path: Path, shelf: Shelf, registry: PlantedRegistry, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    registry.point("champion", registry.add(BAD[reason](shelf, tmp_path / "bad")))
    with opened(tmp_path, shelf, registry) as (resources, http):
        assert answered(http).items() >= made_by(shelf.release(shelf.one)).items()
        time.sleep(0.2)
        assert resources.releases.refusals == 0, "it was tried at start, and is not tried again"
    assert [message for message in caplog.messages if "refused" in message] == [
        "release refused at start; the shipped one is served"
    ]


def test_at_start_a_registry_that_is_away_gives_way_to_the_shipped_release_until_it_is_back(
    tmp_path: Path, shelf: Shelf, registry: PlantedRegistry
) -> None:
    registry.point("champion", registry.add(shelf.two.folder))
    registry.break_down()
    with opened(tmp_path, shelf, registry) as (resources, http):
        assert answered(http).items() >= made_by(shelf.release(shelf.one)).items()
        registry.repair()
        live(resources, shelf.release(shelf.two))


# Releases that requests name ------------------------------------------------------------------------------------


def named(release: str) -> dict[str, Any]:
    return {"query": "bell", "release": release}


def test_a_request_may_name_a_release_by_alias_number_or_id(
    tmp_path: Path, shelf: Shelf, registry: PlantedRegistry
) -> None:
    one, two = shelf.release(shelf.one), shelf.release(shelf.two)
    number = registry.add(shelf.two.folder)
    registry.point("challenger", number)
    with opened(tmp_path, shelf, registry) as (resources, http):
        for name in ("challenger", number, two.id):
            assert answered(http, release=name).items() >= made_by(two).items()
            classified = http.post("/v1/classify", json=PAIR | {"release": name}).json()["lineage"]
            assert (classified["release"], classified["classifier"]) == (two.id, two.classifier.id)
            assert len(http.post("/v1/search", json=named(name)).json()["results"]) == 2
        for name in ("champion", one.id):
            assert answered(http, release=name).items() >= made_by(one).items()
        assert resources.releases.in_memory() == [("champion", one.id), ("besides", two.id)]
        assert resources.releases.swaps == 0


def test_only_one_release_is_kept_besides_the_champion_and_promoting_it_loads_nothing(
    tmp_path: Path, shelf: Shelf, registry: PlantedRegistry
) -> None:
    one, three = shelf.release(shelf.one), shelf.release(shelf.three)
    numbers = [registry.add(places.folder) for places in (shelf.two, shelf.three)]
    with opened(tmp_path, shelf, registry) as (resources, http):
        for number in numbers:
            answered(http, release=number)
        until(lambda: resources.releases.in_memory() == [("champion", one.id), ("besides", three.id)])
        with resources.releases.lease(numbers[1]) as loaded:
            registry.point("champion", numbers[1])
            until(lambda: resources.live is loaded)
        live(resources, three)


@pytest.mark.parametrize("name", ["challenger", "previous", "7", "tiny@000000000000"])
@pytest.mark.parametrize("headers", [{}, SSE], ids=["json", "stream"])
def test_an_unknown_release_is_not_found(
    tmp_path: Path, shelf: Shelf, registry: PlantedRegistry, name: str, headers: dict[str, str]
) -> None:
    with opened(tmp_path, shelf, registry) as (_, http):
        for path, body in (("answers", ASKED), ("search", {"query": "bell"}), ("classify", PAIR)):
            response = http.post(f"/v1/{path}", json=body | {"release": name}, headers=headers)
            assert repr(name) in problem_of(response, 404, "unknown_release")["detail"]


def test_what_is_no_name_of_a_release_is_invalid(tmp_path: Path, shelf: Shelf, registry: PlantedRegistry) -> None:
    with opened(tmp_path, shelf, registry) as (_, http):
        for name in ("", "a b", "../x", 3):
            problem_of(http.post("/v1/search", json={"query": "bell", "release": name}), 422, "invalid_request")


# What a load could do to an answer ------------------------------------------------------------------------------


def test_what_is_said_does_not_depend_on_the_default_dtype_that_a_load_sets_for_all_threads(shelf: Shelf) -> None:
    """transformers sets it for the moment in which a model is made, and requests are answered meanwhile."""
    release = shelf.release(shelf.one)
    generator = open_generator("transformers", shelf.one.models_dir, release.adapter, 1)
    ways = (
        Decoding(max_tokens=24),
        Decoding(max_tokens=24, temperature=1.0, seed=3),
        Decoding(max_tokens=8, num_beams=3),
    )

    def said() -> list[list[Any]]:
        return [list(generator.stream([Message("user", "hello " * 9)], way, threading.Event())) for way in ways]

    usual = said()
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert said() == usual
    finally:
        torch.set_default_dtype(torch.float32)
