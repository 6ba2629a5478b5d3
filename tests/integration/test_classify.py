"""The api service in this process: how classifications wait for each other, and what a release brings."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from services.api.app import create_app
from services.api.resources import ApiResources, open_resources
from services.core.errors import ModelProblem
from services.core.plan import DEFAULT_PLAN
from services.core.prompt import DEFAULT_PROMPT
from services.core.registry import Release, resolve_release
from services.core.telemetry import Telemetry
from services.core.types import DocumentInfo
from tests.calls import problem_of
from tests.releases import PROMPT, Places, make_release, seal
from tests.samples import add, chunk, page
from tests.weightless import weightless

BODY = {"model": "sufficiency", "inputs": ["Is the lamp lit?"]}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return make_release(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def release(places: Places) -> Release:
    return resolve_release(places.folder, places.models_dir)


@contextmanager
def opened(folder: Path, **more: Any) -> Iterator[tuple[ApiResources, TestClient]]:
    """The api service without weights, unless asked otherwise."""
    settings = weightless(folder, **more)
    with open_resources(settings, Telemetry()) as resources, TestClient(create_app(settings, resources)) as http:
        yield resources, http


def test_more_requests_than_may_wait_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path, max_waiting_classifications=0) as (resources, http):
        with resources.classifying.slot(threading.Event()):
            refused = http.post("/v1/classify", json=BODY)
            assert "classifier" in problem_of(refused, 429, "overloaded")["detail"]
            assert int(refused.headers["retry-after"]) >= 1
            problem_of(http.post("/v1/classify", json=BODY | {"model": "x"}), 404, "not_found")
            assert http.post("/v1/answers", json={"question": "x"}).is_success, "the generator is another queue"
        assert http.post("/v1/classify", json=BODY).is_success


def test_more_searches_and_answers_than_may_wait_to_read_are_refused(tmp_path: Path) -> None:
    search, question = {"query": "lamp"}, {"question": "Which lamp is lit?"}
    with opened(tmp_path / "reads", max_waiting_readings=0) as (resources, http):
        publish(resources, "The lamp of the mill is lit at dusk.")
        with resources.reading.slot(threading.Event()):
            for path, body in (("/v1/search", search), ("/v1/answers", question)):
                refused = http.post(path, json=body)
                assert "reader" in problem_of(refused, 429, "overloaded")["detail"]
                assert int(refused.headers["retry-after"]) >= 1
            assert http.post("/v1/classify", json=BODY).is_success, "the classifier is another queue"
        assert http.post("/v1/search", json=search).is_success and http.post("/v1/answers", json=question).is_success
    does_not: dict[str, Any] = {"max_waiting_readings": 0, "rerank_depth": 0}
    with opened(tmp_path / "not", **does_not) as (resources, http), resources.reading.slot(threading.Event()):
        assert http.post("/v1/search", json=search).is_success, "nothing is read"


def test_a_request_waits_for_its_turn(tmp_path: Path) -> None:
    answers = []
    with opened(tmp_path, max_waiting_classifications=1) as (resources, http), ExitStack() as held:
        held.enter_context(resources.classifying.slot(threading.Event()))
        thread = threading.Thread(target=lambda: answers.append(http.post("/v1/classify", json=BODY)))
        thread.start()
        deadline = time.monotonic() + 10
        while not resources.classifying.waiting() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert resources.classifying.waiting() == 1
        problem_of(http.post("/v1/classify", json=BODY), 429, "overloaded")
        assert answers == []
        held.close()
        thread.join(10)
        assert [answer.status_code for answer in answers] == [200]


def test_waiting_ends_after_the_timeout(tmp_path: Path) -> None:
    with opened(tmp_path, queue_timeout_s=0.1) as (resources, http):
        with resources.classifying.slot(threading.Event()):
            problem_of(http.post("/v1/classify", json=BODY), 429, "overloaded")
        assert http.post("/v1/classify", json=BODY).is_success


# What is opened -------------------------------------------------------------------------------------------------


def test_parts_without_weights_open_no_release(tmp_path: Path) -> None:
    with opened(tmp_path, release_dir=tmp_path / "nowhere", models_dir=tmp_path / "none") as (resources, _):
        assert resources.live.release is None
        assert [one.name for one in resources.live.classifiers.all()] == ["sufficiency"]


@pytest.mark.parametrize("kinds", [{"generator": "transformers"}, {"classifier": "transformers"}], ids=str)
def test_a_missing_release_stops_the_start(tmp_path: Path, places: Places, kinds: dict[str, str]) -> None:
    nowhere = {"release_dir": tmp_path / "nowhere", "models_dir": places.models_dir}
    with pytest.raises(ModelProblem, match=r"There is no release in .*nowhere"), opened(tmp_path, **nowhere, **kinds):
        pytest.fail("it started")


def test_bases_alone_are_served_when_no_release_is_wanted(tmp_path: Path, places: Places) -> None:
    alone: dict[str, Any] = {"release_dir": None, "models_dir": places.models_dir, "classifier": "transformers"}
    with opened(tmp_path, generator="transformers", **alone) as (resources, http):
        assert (resources.live.release, resources.live.generator.adapter) == (None, None)
        told = problem_of(http.post("/v1/classify", json=BODY), 404, "not_found")["detail"]
        assert "None is served" in told
        lineage = http.post("/v1/answers", json={"question": "x", "max_tokens": 2}).json()["lineage"]
    # Shared words judge what a trained classifier would.
    assert (lineage["release"], lineage["classifier"], lineage["data_sha256"]) == (None, "sufficiency-overlap", None)
    assert lineage["prompt"] == DEFAULT_PROMPT.id


def test_a_release_brings_its_index_settings_and_the_environment_overrules_them(tmp_path: Path, places: Places) -> None:
    own = places.copy(tmp_path / "own")
    plan = DEFAULT_PLAN.model_copy(update={"retrieval": "lexical", "rerank_depth": 0, "answer_passages": 1})
    sealed = seal(own, plan=plan)
    whole: dict[str, Any] = {"release_dir": own.folder, "models_dir": own.models_dir, "classifier": "transformers"}
    for number, said in enumerate([{}, {"rerank_depth": 2, "answer_passages": 2}]):
        with opened(tmp_path / str(number), **whole, **said) as (resources, http):
            publish(resources, "The lamp of the mill is lit at dusk.")
            publish(resources, "The lamp of the barn is lit at dawn.")
            search = http.post("/v1/search", json={"query": "lamp"}).json()["results"]
            answer = http.post("/v1/answers", json={"question": "Which lamp is lit?"}).json()
            read = http.get(f"/v1/lineage/{answer['id']}").json()["passages"]
        assert answer["lineage"]["release"] == sealed.id
        assert answer["lineage"]["retrieval"] == plan.model_copy(update=said).model_dump()
        assert search[0]["ranks"].keys() == {"lexical", *(["rerank"] if said else [])}
        assert len(read) == (2 if said else 1)


def test_a_release_brings_adapter_classifier_and_prompt(tmp_path: Path, places: Places, release: Release) -> None:
    whole: dict[str, Any] = {"release_dir": places.folder, "models_dir": places.models_dir}
    kinds = {"generator": "transformers", "classifier": "transformers"}
    with opened(tmp_path, **whole, **kinds) as (_, http):
        answer = http.post("/v1/answers", json={"question": "x", "max_tokens": 2}).json()
        classified = http.post("/v1/classify", json=BODY).json()
        models = http.get("/v1/models").json()["data"]
    assert answer["answer"] == PROMPT.abstention
    parts = {"release": release.id, "classifier": release.classifier.id, "data_sha256": release.data_sha256}
    lineage = answer["lineage"]
    assert lineage.items() >= {**parts, "adapter": release.adapter.id, "generator": release.generator}.items()
    assert lineage["prompt"] == PROMPT.id != DEFAULT_PROMPT.id
    assert classified["lineage"].items() >= {**parts, "classifier_base": release.classifier_base}.items()
    assert classified["lineage"]["temperature"] == 1.0
    assert [(model["id"], model["role"], model["release"]) for model in models] == [
        ("tiny-llama", "generator", release.id),
        ("hashing-384", "encoder", None),
        ("sufficiency", "classifier", release.id),
    ]
    assert models[0]["adapter"] == release.adapter.id
    assert models[2]["weights"] == release.classifier.id


def test_the_generator_reads_the_words_of_the_release_and_stops_at_its_stops(
    tmp_path: Path, places: Places, release: Release
) -> None:
    whole: dict[str, Any] = {"release_dir": places.folder, "models_dir": places.models_dir}
    with opened(tmp_path, **whole, classifier="transformers") as (resources, http):
        publish(resources, "The lamp of the mill ### is lit at dusk.")
        answer = http.post("/v1/answers", json={"question": "Which lamp is lit?"}).json()
    assert answer["answer"] == "Read this: The lamp of the mill"
    lineage = answer["lineage"]
    assert (lineage["adapter"], lineage["release"], lineage["prompt"]) == (None, release.id, PROMPT.id)


def publish(resources: ApiResources, text: str) -> None:
    """A document of one page."""
    catalog, encoder = resources.catalog, resources.encoder
    add(catalog, text)
    job = catalog.jobs.claim("worker", lease_s=60)
    assert job is not None
    only, info = page(1, text), DocumentInfo(1, None, None, None)
    catalog.publish(job, "worker", info, [only], [chunk(0, only)], encoder.encode([text]), encoder.id)
