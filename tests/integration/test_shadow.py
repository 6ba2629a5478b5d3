"""What the challenger says in the shadow of live answers: the api service in this process, with tiny weights."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from services.api.admission import Admission
from services.api.answer import Answerer, Question
from services.api.app import create_app
from services.api.generate import Decoding, Finish
from services.api.releases import Releases
from services.api.resources import ApiResources, open_resources
from services.api.served import Served
from services.api.shadow import Shadow, ShadowLog, shadowed
from services.api.sources import Sources
from services.core.aliases import open_aliases
from services.core.prompt import Message
from services.core.registry import Release
from services.core.settings import Settings
from services.core.telemetry import Telemetry
from tests import samples
from tests.calls import problem_of
from tests.planted_registry import PlantedRegistry
from tests.shelf import ASKED, TEXT, Shelf, answered, made_by, opened
from tests.waiting import until

WHOLE = {"shadow_share": 1.0}


def challenged(shelf: Shelf, registry: PlantedRegistry) -> Release:
    registry.point("challenger", registry.add(shelf.two.folder))
    return shelf.release(shelf.two)


def shadow_of(http: TestClient, answer_id: str) -> Any:
    return http.get(f"/v1/lineage/{answer_id}").json()["shadow"]


def test_the_challenger_answers_too_and_only_the_lineage_tells(
    tmp_path: Path, shelf: Shelf, registry: PlantedRegistry
) -> None:
    two = challenged(shelf, registry)
    with opened(tmp_path, shelf, registry, **WHOLE) as (resources, http):
        live = http.post("/v1/answers", json=ASKED).json()
        assert live["lineage"].items() >= made_by(shelf.release(shelf.one)).items()
        until(lambda: resources.shadow.outcomes() == {"logged": 1})
        shadow = shadow_of(http, live["id"])
        assert shadow["release"] == two.id and shadow["created_at"].endswith("+00:00")
        assert shadow["answer"]["lineage"].items() >= made_by(two).items()
        assert shadow["answer"]["mode"] in ("generated", "extractive") and shadow["answer"]["answer"]
        problem_of(http.get(f"/v1/answers/{shadow['answer']['lineage']['id']}"), 404, "not_found")
        assert http.get(f"/v1/answers/{live['id']}").json()["lineage"] == live["lineage"]


def test_only_live_answers_of_the_champion_have_a_shadow(
    tmp_path: Path, shelf: Shelf, registry: PlantedRegistry
) -> None:
    challenged(shelf, registry)
    with opened(tmp_path, shelf, registry, **WHOLE) as (resources, http):
        by_name = answered(http, release="challenger")["id"]
        live = answered(http)["id"]
        replayed = http.post(f"/v1/lineage/{live}/replay").json()["replay"]
        until(lambda: resources.shadow.outcomes() == {"logged": 1} and not resources.shadow.waiting())
        assert [shadow_of(http, one) is not None for one in (by_name, live, replayed)] == [False, True, False]


@pytest.mark.parametrize("challenger", ["none", "the champion itself"])
def test_without_another_challenger_there_is_no_shadow(
    tmp_path: Path, shelf: Shelf, registry: PlantedRegistry, challenger: str
) -> None:
    if challenger != "none":
        registry.point("challenger", registry.add(shelf.one.folder))
    with opened(tmp_path, shelf, registry, **WHOLE) as (resources, http):
        live = answered(http)["id"]
        until(lambda: resources.shadow.outcomes() == {"no_challenger": 1})
        assert shadow_of(http, live) is None


def test_with_a_share_of_nothing_nobody_is_asked(tmp_path: Path, shelf: Shelf, registry: PlantedRegistry) -> None:
    challenged(shelf, registry)
    with opened(tmp_path, shelf, registry) as (resources, http):
        answered(http)
        time.sleep(0.3)
        assert (resources.shadow.outcomes(), resources.shadow.waiting()) == ({}, 0)
        assert resources.releases.in_memory() == [("champion", shelf.release(shelf.one).id)]


def test_the_newest_are_kept(tmp_path: Path, shelf: Shelf, registry: PlantedRegistry) -> None:
    challenged(shelf, registry)
    with opened(tmp_path, shelf, registry, **WHOLE, shadow_log_rows=2) as (resources, http):

        def logged(count: int) -> str:
            answer_id: str = answered(http)["id"]
            until(lambda: resources.shadow.outcomes() == {"logged": count})
            return answer_id

        ids = [logged(count) for count in (1, 2, 3)]
        assert [shadow_of(http, one) is not None for one in ids] == [False, True, True]


def test_what_does_not_fit_the_queue_is_dropped(tmp_path: Path, shelf: Shelf, registry: PlantedRegistry) -> None:
    challenged(shelf, registry)
    with opened(tmp_path, shelf, registry, **WHOLE) as (resources, http):
        live = http.post("/v1/answers", json=ASKED)
        until(lambda: resources.shadow.outcomes() == {"logged": 1})
        with resources.releases.lease():  # somebody is being answered, so it does not begin
            for _ in range(20):
                assert http.post("/v1/answers", json=ASKED).is_success
            assert resources.shadow.waiting() == 16
            assert 3 <= resources.shadow.outcomes()["dropped"] <= 4, "one may be in its hands already"
        assert live.is_success


# Giving way -----------------------------------------------------------------------------------------------------


class Rambling:
    """A generator that goes on until it is stopped, and is brief when it is asked again."""

    id = "rambling"
    adapter: str | None = None

    def __init__(self) -> None:
        self.begun = 0
        self.stopped = 0

    def stream(self, messages: Sequence[Message], decoding: Decoding, stop: threading.Event) -> Iterator[str | Finish]:
        self.begun += 1
        while self.begun == 1:
            if stop.is_set():
                self.stopped += 1
                break
            time.sleep(0.005)
        yield "The bell is rung every 12 minutes when there is fog."
        yield Finish("stop", 1, 10)

    def check(self) -> None:
        """It is always there."""

    def close(self) -> None:
        """There are no weights."""


@dataclasses.dataclass
class Ready:
    """Loads nothing: every release is `served` with its own id."""

    served: Served

    def load_tested(self, release: Release | None) -> Served:
        return dataclasses.replace(self.served, release=release)


def rambling(resources: ApiResources, release: Release, generator: Rambling) -> Served:
    live = resources.live
    answerer = Answerer(
        resources.catalog,
        live.retriever,
        generator,
        resources.admission,
        resources.reading,
        encoder=resources.encoder,
        judge=live.classifiers.named("sufficiency").classifier,
        release=release,
        git_commit="c" * 40,
    )
    return dataclasses.replace(live, generator=generator, answerer=answerer)


def test_a_request_that_wants_the_generator_gets_it_from_the_shadow_at_once(
    tmp_path: Path, shelf: Shelf, registry: PlantedRegistry
) -> None:
    two, generator = challenged(shelf, registry), Rambling()
    settings = Settings(
        data_dir=tmp_path / "data",
        models_dir=shelf.one.models_dir,
        release_dir=shelf.one.folder,
        encoder="hashing",
        generator="scripted",
        torch_threads=1,
        mlflow_uri=registry.uri,
        max_waiting_generations=0,
    )
    with open_resources(settings, Telemetry()) as resources, TestClient(create_app(settings, resources)) as http:
        samples.publish(resources.catalog, TEXT, encoder=resources.encoder)
        sources = Sources(open_aliases(settings), resources.live.release, settings.releases_dir, settings.models_dir)
        loader = Ready(rambling(resources, two, generator))
        releases = Releases(resources.live, sources, loader, Admission("release", 1, 1.0, usual_s=1.0))
        database = resources.catalog.database
        log = ShadowLog(database, 10)
        with Shadow(releases, resources.admission, log, settings.model_copy(update=WHOLE)) as shadow:
            question = Question(ASKED["question"], "default", 2, Decoding(max_tokens=6))
            live = resources.live.answerer.answer(question, threading.Event())
            shadow.offer(question, live)
            until(lambda: generator.begun == 1)
            begun = time.monotonic()
            assert http.post("/v1/answers", json=ASKED).is_success, "and is not refused, though nobody may wait"
            assert time.monotonic() - begun < 30.0, "it would have waited for 60 s, and then been refused"
            assert generator.stopped == 1
            until(lambda: shadow.outcomes() == {"logged": 1})
            assert generator.begun == 2
        found = shadowed(database, live.id)
        assert found is not None and found.release == two.id


def test_the_shadow_ends_with_the_service(tmp_path: Path, shelf: Shelf, registry: PlantedRegistry) -> None:
    challenged(shelf, registry)
    with opened(tmp_path, shelf, registry, **WHOLE) as (resources, http), resources.releases.lease():
        for _ in range(3):
            answered(http)
        assert resources.shadow.waiting() >= 2
    assert not [thread.name for thread in threading.enumerate() if thread.name in ("shadow", "release-follower")]
