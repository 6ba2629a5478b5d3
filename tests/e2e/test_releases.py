"""`capstone up` with a release: what it tells of it, and that it does not start with one that is damaged."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services.core.registry import resolve_release
from tests.calls import client_of, ingest
from tests.papers import story, story_page
from tests.releases import Places, flip_bit, make_generator, make_release
from tests.server import CAPSTONE, Server, free_port, start

TOPIC = "the windmill"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return make_release(tmp_path_factory.mktemp("made"))


def env_of(places: Places) -> dict[str, str]:
    """Everything that the release brings is served; the encoder, which it only names, is not."""
    folders = {"CAPSTONE_RELEASE_DIR": str(places.folder), "CAPSTONE_MODELS_DIR": str(places.models_dir)}
    return {**folders, "CAPSTONE_ENCODER": "hashing", "CAPSTONE_JOB_POLL_S": "0.05"}


@pytest.fixture(scope="module")
def server(places: Places, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start(env_of(places), tmp_path_factory.mktemp("released"))
    try:
        yield server.wait_ready()
    finally:
        server.kill()


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with client_of(server.url) as http:
        yield http


def test_an_answer_and_a_classification_name_the_release(http: httpx.Client, places: Places) -> None:
    release = resolve_release(places.folder, places.models_dir)
    ingest(http, story(TOPIC, 3), "windmill.pdf")
    body = {"question": story_page(TOPIC, 2), "max_tokens": 12}
    answer = http.post("/v1/answers", json=body).raise_for_status().json()
    assert answer["usage"]["completion_tokens"] > 0
    parts = {"release": release.id, "classifier": release.classifier.id, "data_sha256": release.data_sha256}
    words = {"adapter": release.adapter.id, "generator": release.generator, "prompt": release.prompt.id}
    assert answer["lineage"].items() >= (parts | words).items()
    assert http.get(f"/v1/answers/{answer['id']}").json()["lineage"] == answer["lineage"]
    classified = http.post("/v1/classify", json={"model": "sufficiency", "inputs": ["x", "y " * 3_000]}).json()
    short, long = classified["results"]
    assert (short["truncated"], long["truncated"], long["tokens"]) == (False, True, 512)
    base = {"classifier_base": release.classifier_base, "temperature": 1.0}
    assert classified["lineage"].items() >= (parts | base).items()


def test_status_tells_the_release(server: Server, places: Places) -> None:
    release = resolve_release(places.folder, places.models_dir)
    env = {**os.environ, "COLUMNS": "160", "NO_COLOR": "1"}
    command = [CAPSTONE, "status", "--url", server.url]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    for line in (
        f"release {release.id}",
        f"model tiny-llama (generator, adapter {release.adapter.id})",
        "model hashing-384 (encoder)",
        "model sufficiency (classifier)",
    ):
        assert f"  {line}\n" in done.stdout, done.stdout


def up(places: Places, data_dir: Path) -> str:
    """What `capstone up` says when it refuses to start."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("CAPSTONE_")}
    env |= env_of(places) | {"CAPSTONE_DATA_DIR": str(data_dir), "COLUMNS": "500"}
    command = [CAPSTONE, "up", "--port", str(free_port())]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return " ".join(done.stdout.split())


@pytest.mark.parametrize("name", ["adapter/adapter_model.safetensors", "classifier/model.safetensors", "release.json"])
def test_up_refuses_a_release_with_a_changed_byte(places: Places, tmp_path: Path, name: str) -> None:
    damaged = places.copy(tmp_path)
    flip_bit(damaged.folder / name, -20)
    said = up(damaged, tmp_path / "data")
    assert name in said and "git checkout" in said, said


def test_up_refuses_a_release_for_another_base(places: Places, tmp_path: Path) -> None:
    other = places.copy(tmp_path)
    make_generator(other.models_dir, seed=8)
    said = up(other, tmp_path / "data")
    assert "was made for the generator tiny-llama@" in said and "capstone fetch" in said


def test_up_without_a_release_says_how_to_get_one_or_do_without(places: Places, tmp_path: Path) -> None:
    said = up(Places(tmp_path / "nowhere", places.models_dir), tmp_path / "data")
    assert "There is no release in" in said and "dvc repro" in said and "CAPSTONE_RELEASE_DIR=" in said
