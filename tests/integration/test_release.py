"""A release against real folders: it is resolved only if it is unchanged and fits the bases in place."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.api.classify import find_classifiers, open_named, open_sufficiency, require_names
from services.api.generate import Decoding, Finish, open_generator
from services.core.errors import ModelProblem
from services.core.plan import DEFAULT_PLAN
from services.core.prompt import DEFAULT_PROMPT, Message
from services.core.registry import MANIFEST, Release, read_manifest, resolve_release, verify, write_manifest
from services.core.release import RELEASE, ReleaseForm
from tests.classifiers import make_base, make_classifier
from tests.releases import (
    COMMIT,
    DATA_SHA256,
    PROMPT,
    Places,
    flip_bit,
    make_adapter,
    make_encoder,
    make_generator,
    make_release,
    seal,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return make_release(tmp_path_factory.mktemp("made"))


@pytest.fixture
def places(made: Places, tmp_path: Path) -> Places:
    """A release of one's own to damage."""
    return made.copy(tmp_path)


def resolved(places: Places) -> Release:
    return resolve_release(places.folder, places.models_dir)


def refused(places: Places, match: str) -> None:
    with pytest.raises(ModelProblem, match=match):
        resolved(places)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))


def test_an_unchanged_release_is_resolved(made: Places) -> None:
    release = resolved(made)
    assert (release.name, release.folder) == ("tiny", made.folder)
    assert release.id.startswith("tiny@") and len(release.id) == len("tiny@") + 12
    assert (release.prompt, release.thresholds) == (PROMPT, {"sufficient": 0.6})
    assert (release.data_sha256, release.git_commit) == (DATA_SHA256, COMMIT)
    assert release.classifier == verify(made.folder / "classifier")
    assert release.adapter == verify(made.folder / "adapter")
    assert release.adapter.training is not None
    assert release.adapter.training.base == release.generator == read_manifest(made.models_dir / "generator").id
    assert release.adapter.training.metrics == {"loss": 0.5}
    assert release.encoder.startswith("tiny-encoder@") and release.classifier_base.startswith("tiny-distil@")


def test_the_id_follows_every_part(places: Places) -> None:
    ids = [
        resolved(places).id,
        seal(places).id,
        seal(places, prompt=DEFAULT_PROMPT).id,
        seal(places, sufficient=0.61).id,
    ]
    make_encoder(places.models_dir, dim=16)
    ids.append(seal(places).id)
    shutil.rmtree(places.folder / "adapter")
    make_adapter(places.folder / "adapter", verify(places.models_dir / "generator"), seed=9)
    ids.append(seal(places).id)
    assert ids[0] == ids[1], "the same parts have the same id"
    assert len(set(ids)) == len(ids) - 1


@pytest.mark.parametrize("position", [0, 100, -1])
@pytest.mark.parametrize(
    "name",
    [
        "adapter/adapter_model.safetensors",
        "adapter/adapter_config.json",
        "classifier/model.safetensors",
        "classifier/classifier.json",
        "classifier/config.json",
    ],
)
def test_one_flipped_bit_is_refused(places: Places, name: str, position: int) -> None:
    path = places.folder / name
    flip_bit(path, min(position, path.stat().st_size - 1))
    refused(places, rf"{name} has changed: [\s\S]*git checkout[\s\S]*dvc repro")


@pytest.mark.parametrize("name", ["adapter/adapter_model.safetensors", "classifier/config.json"])
def test_a_missing_file_is_refused(places: Places, name: str) -> None:
    (places.folder / name).unlink()
    refused(places, rf"{name} cannot be read [\s\S]*git checkout")


@pytest.mark.parametrize("role", ["adapter", "classifier"])
def test_a_missing_model_is_refused(places: Places, role: str) -> None:
    shutil.rmtree(places.folder / role)
    refused(places, rf"There is no model in .*{role}: [\s\S]*git checkout")


@pytest.mark.parametrize("name", ["adapter/chat_template.jinja", "classifier/tokenizer.json", "adapter/run.py"])
def test_an_unlisted_file_is_refused(places: Places, name: str) -> None:
    (places.folder / name).write_bytes(b"x")
    refused(places, rf"{name} is not listed")


@pytest.mark.parametrize("name", ["adapter/adapter_model.bin", "classifier/pytorch_model.pt", "classifier/head.pkl"])
def test_a_pickle_is_refused_even_if_listed(places: Places, name: str) -> None:
    path = places.folder / name
    path.write_bytes(b"x")
    manifest = read_manifest(path.parent)
    write_manifest(path.parent, manifest.origin, manifest.training)
    refused(places, f"{name} is of a kind that is never loaded")


def test_models_that_changed_places_are_refused(places: Places) -> None:
    adapter, classifier, aside = (places.folder / name for name in ("adapter", "classifier", "aside"))
    adapter.rename(aside)
    classifier.rename(adapter)
    aside.rename(classifier)
    refused(places, "describes a model for the role 'adapter'")


def test_another_model_with_a_right_manifest_is_refused(places: Places) -> None:
    folder = places.folder / "adapter"
    shutil.rmtree(folder)
    make_adapter(folder, verify(places.models_dir / "generator"), seed=9)
    refused(places, r"release\.json names salty@\w+, and .*adapter holds salty@")


def test_a_base_that_is_another_is_refused(places: Places) -> None:
    make_generator(places.models_dir, seed=8)
    refused(places, r"made for the generator tiny-llama@\w+, and .*generator holds tiny-llama@[\s\S]*capstone fetch")
    shutil.rmtree(places.models_dir / "classifier-base")
    make_base(places.models_dir, seed=8)
    make_encoder(places.models_dir, dim=16)
    refused(places, "made for the encoder-tuned tiny-encoder@")
    make_encoder(places.models_dir)
    for role in ("generator", "classifier-base"):
        shutil.rmtree(places.models_dir / role)
    make_generator(places.models_dir)
    make_base(places.models_dir, seed=8)
    refused(places, "made for the classifier-base tiny-distil@")


def test_bases_that_are_not_there_are_told(places: Places) -> None:
    shutil.rmtree(places.models_dir / "classifier-base")
    refused(places, r"There is no model in .*classifier-base[\s\S]*capstone fetch")


@pytest.mark.parametrize("role", ["adapter", "classifier"])
def test_a_model_trained_from_another_base_is_refused(places: Places, role: str) -> None:
    path = places.folder / role / MANIFEST
    edit(path, lambda body: body["training"].update(base="other@000000000000"))
    refused(places, rf"this {role} was trained from other@000000000000, and the base in place is tiny-")
    edit(path, lambda body: body.pop("training"))
    refused(places, "does not tell what it was trained on")


def test_a_model_trained_on_other_data_is_refused(places: Places) -> None:
    edit(places.folder / "adapter" / MANIFEST, lambda body: body["training"].update(data_sha256="2" * 64))
    refused(places, r"The manifests in .*release tell of training data [\s\S]*, and .*release\.json of 1{64}")


def test_parts_trained_on_different_data_have_a_hash_of_their_own(places: Places) -> None:
    folder, base = places.folder / "adapter", verify(places.models_dir / "generator")
    hashes = {seal(places).data_sha256}
    for data_sha256 in ("2" * 64, "3" * 64):
        shutil.rmtree(folder)
        make_adapter(folder, base, data_sha256=data_sha256)
        hashes.add(seal(places).data_sha256)
    assert len(hashes) == 3 and DATA_SHA256 in hashes


def test_parts_that_do_not_belong_together_are_not_sealed(places: Places) -> None:
    folder = places.folder / "adapter"
    shutil.rmtree(folder)
    other = make_generator(places.models_dir, seed=8)
    make_adapter(folder, other)
    make_generator(places.models_dir)
    with pytest.raises(ModelProblem, match=f"this adapter was trained from {other.id}"):
        seal(places)


# release.json ---------------------------------------------------------------------------------------------------


def test_no_release_tells_how_to_get_one_or_do_without(places: Places, tmp_path: Path) -> None:
    (places.folder / RELEASE).unlink()
    refused(places, r"There is no release in .*release: [\s\S]*dvc repro[\s\S]*CAPSTONE_RELEASE_DIR= ")
    with pytest.raises(ModelProblem, match=r"There is no release in .*nowhere"):
        resolve_release(tmp_path / "nowhere", places.models_dir)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("name", "other"),
        ("id", "tiny@000000000000"),
        ("id", None),
        ("adapter", "other@000000000000"),
        ("generator", "other@000000000000"),
        ("thresholds", {"sufficient": 0.1}),
        ("retrieval", DEFAULT_PLAN.model_dump() | {"rerank_depth": 0}),
        ("prompt", {"user": "{passages}{question}", "stops": [], "abstention": ""}),
        ("data_sha256", "2" * 64),
        ("git_commit", "d" * 40),
    ],
)
def test_an_edited_release_has_a_wrong_id(places: Places, member: str, value: object) -> None:
    edit(places.folder / RELEASE, lambda body: body.update({member: value}))
    refused(places, r"release\.json is damaged: its id should be [\s\S]*git checkout")


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("name", ""),
        ("name", "a b"),
        ("adapter", None),
        ("thresholds", {"sufficient": 1.1}),
        ("thresholds", {"sufficient": "0.5"}),
        ("thresholds", []),
        ("retrieval", DEFAULT_PLAN.model_dump() | {"rerank_depth": -1}),
        ("prompt", {"user": "{question} only", "stops": [], "abstention": ""}),
        ("prompt", {"user": "{passages} {question} {question.__class__}", "stops": [], "abstention": ""}),
        ("prompt", "x"),
        ("data_sha256", "x"),
        ("unknown", 1),
    ],
)
def test_a_release_that_makes_no_sense_is_refused(places: Places, member: str, value: object) -> None:
    edit(places.folder / RELEASE, lambda body: body.update({member: value}))
    refused(places, rf"release\.json is damaged: {member}[\s\S]*git checkout")


def test_a_release_of_another_format_is_refused(places: Places) -> None:
    edit(places.folder / RELEASE, lambda body: body.update(format=1))
    refused(places, r"has format 1; this version reads format 2[\s\S]*dvc repro")


@pytest.mark.parametrize("content", ["", "[]", "null", "{}", '{"format": 2}', "\x00", "\ufeff{}"])
def test_a_release_that_is_not_one_is_refused(places: Places, content: str) -> None:
    (places.folder / RELEASE).write_text(content)
    refused(places, r"release\.json is damaged")


def test_what_is_written_is_what_is_read(places: Places) -> None:
    body = json.loads((places.folder / RELEASE).read_text())
    release_id = body.pop("id")
    assert ReleaseForm.model_validate_json(json.dumps(body)).id == release_id == resolved(places).id
    assert body["prompt"] == {
        "user": PROMPT.user,
        "stops": list(PROMPT.stops),
        "abstention": PROMPT.abstention,
        "sentences": 0,
        "sentences_by": "encoder",
        "passages": True,
    }


# What is made of it ---------------------------------------------------------------------------------------------


def test_the_generator_speaks_with_the_adapter_of_the_release(places: Places) -> None:
    release = resolved(places)

    def said(generator: Any) -> tuple[str, ...]:
        pieces = generator.stream([Message("user", "hello " * 9)], Decoding(max_tokens=8), threading.Event())
        return tuple(piece for piece in pieces if not isinstance(piece, Finish))

    bare = open_generator("transformers", places.models_dir, None, threads=1)
    adapted = open_generator("transformers", places.models_dir, release.adapter, threads=1)
    assert (bare.adapter, adapted.adapter) == (None, release.adapter.id)
    assert bare.id == adapted.id == release.generator
    assert said(bare) != said(adapted)
    make_generator(places.models_dir, seed=8)
    with pytest.raises(ModelProblem, match="this adapter was trained from tiny-llama@"):
        open_generator("transformers", places.models_dir, release.adapter, threads=1)


def opened(places: Places, release: Release | None, *taken: str) -> list[Any]:
    own = open_sufficiency("transformers", release, places.models_dir, threads=1)
    named = open_named(places.models_dir / "classifiers", places.models_dir, threads=1)
    served = [*([own] if own else []), *named]
    require_names(served, taken)
    return served


def test_classifiers_of_the_folder_are_served_beside_that_of_the_release(places: Places) -> None:
    release = resolved(places)
    assert [one.name for one in opened(places, release)] == ["sufficiency"]
    base = verify(places.models_dir / "classifier-base")
    topics = places.models_dir / "classifiers" / "topics-v2"
    make_classifier(topics, base, ("a", "b", "c"), name="topics", temperature=1.5)
    (places.models_dir / "classifiers" / ".staging-x").mkdir()
    (places.models_dir / "classifiers" / ".staging-x" / MANIFEST).write_text("half written")
    (places.models_dir / "classifiers" / "notes.txt").write_text("not a folder")
    first, second = opened(places, release)
    assert (first.name, first.parts.release, first.parts.temperature) == ("sufficiency", release.id, 1.0)
    assert (second.name, second.parts.release, second.parts.temperature) == ("topics", None, 1.5)
    assert second.classifier.labels == ("a", "b", "c")
    for one in (first, second):
        assert (one.parts.classifier, one.parts.classifier_base) == (one.classifier.id, base.id)
        assert one.parts.data_sha256 == DATA_SHA256
    assert first.parts == opened(places, release)[0].parts != second.parts
    assert [one.name for one in opened(places, None)] == ["topics"]


def test_no_release_and_no_folder_serve_no_classifier(places: Places) -> None:
    shutil.rmtree(places.models_dir / "classifier-base")
    assert opened(places, None) == []


@pytest.mark.parametrize("name", ["sufficiency", "topics", "tiny-llama"])
def test_a_name_that_occurs_twice_is_refused(places: Places, name: str) -> None:
    base = verify(places.models_dir / "classifier-base")
    for folder, called in (("one", "topics"), ("two", name)):
        make_classifier(places.models_dir / "classifiers" / folder, base, name=called)
    with pytest.raises(ModelProblem, match=f"Two models are named '{name}'"):
        opened(places, resolved(places), "tiny-llama", "tiny-encoder")


def test_a_changed_or_foreign_model_among_the_classifiers_is_refused(places: Places) -> None:
    folder = places.models_dir / "classifiers"
    files = make_classifier(folder / "topics", verify(places.models_dir / "classifier-base"), name="topics")
    flip_bit(files.folder / "model.safetensors", -1)
    with pytest.raises(ModelProblem, match=r"topics/model\.safetensors has changed: [\s\S]*take its folder away"):
        find_classifiers(folder)
    shutil.rmtree(files.folder)
    shutil.copytree(places.folder / "adapter", folder / "adapter")
    with pytest.raises(ModelProblem, match="for the role 'adapter'; only classifiers may lie in"):
        find_classifiers(folder)


def test_a_classifier_of_another_base_is_refused(places: Places) -> None:
    release = resolved(places)
    shutil.rmtree(places.models_dir / "classifier-base")
    make_base(places.models_dir, seed=8)
    with pytest.raises(ModelProblem, match="trained from tiny-distil@"):
        opened(places, release)
