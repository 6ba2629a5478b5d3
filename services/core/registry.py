"""Folder of weights -> the same folder, proved unchanged. Loads nothing itself.

A model folder holds safetensors, its configuration and tokenizer, and `manifest.json`, which lists every other file
with its SHA-256 and size. A folder with a missing, changed or unlisted file is refused, because loaders pick up files
by name: one more `adapter_config.json` or `chat_template.jinja` would silently give another model.

A release is a folder with a fine-tuned classifier, an adapter for the generator, and `release.json`, which ties them
to their bases by id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from services.core.errors import ModelProblem
from services.core.plan import Plan, SentencePlan
from services.core.prompt import Prompt
from services.core.release import RELEASE, RELEASE_REMEDY, ReleaseForm, read_release

MANIFEST = "manifest.json"
FORMAT = 1
# Formats whose loaders run no code. Anything else, a pickle above all, is refused even if the manifest lists it.
SAFE_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".jinja", ".md"})
REMEDY = "Run `capstone fetch` to put it right."
_BASES = ("encoder-tuned", "generator", "classifier-base")
_BASE_REMEDY = "Run `capstone fetch` to get the base it needs, or train it again from this one with `dvc repro`."


class FileFacts(NamedTuple):
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the files of a model came from. `source_sha256` is the hash of what was downloaded or copied."""

    role: str
    name: str
    source: str
    source_sha256: str
    licence: str


@dataclass(frozen=True, slots=True)
class Training:
    """How a fine-tuned model came about: `base` is the id of the model it was trained from, hashes are SHA-256."""

    base: str
    data_sha256: str
    params_sha256: str
    git_commit: str
    metrics: Mapping[str, float]  # on the validation split


@dataclass(frozen=True, slots=True)
class Manifest:
    """`files` maps paths inside the folder, with `/`, to their facts; it never holds the manifest itself.

    `training` is None for a base.
    """

    origin: Origin
    files: Mapping[str, FileFacts]
    training: Training | None = None

    @property
    def id(self) -> str:
        """Name and first 12 hex digits of the SHA-256 of the table of files: equal ids mean equal bytes."""
        table = json.dumps({path: self.files[path] for path in sorted(self.files)}, separators=(",", ":"))
        return f"{self.origin.name}@{hashlib.sha256(table.encode()).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A verified model folder."""

    role: str
    name: str
    id: str
    folder: Path
    manifest_sha256: str
    training: Training | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """A verified release. `encoder`, `generator` and `classifier_base` are ids of bases that are in place.

    `thresholds` maps a label to the probability from which it is believed.
    """

    name: str
    id: str
    folder: Path
    classifier: ModelFiles
    adapter: ModelFiles
    encoder: str
    generator: str
    classifier_base: str
    prompt: Prompt
    thresholds: Mapping[str, float]
    plan: Plan
    sentences: SentencePlan
    data_sha256: str
    git_commit: str


def resolve(models_dir: Path, role: str) -> ModelFiles:
    """Verify `models_dir/role` and return it.

    Raises ModelProblem, naming the file and the remedy, if the folder is not there, is not a model of that role, or
    does not match its manifest.
    """
    return _verified(models_dir / role, role, REMEDY)


def resolve_release(folder: Path, models_dir: Path) -> Release:
    """Verify every byte of the release in `folder`, and that it fits the bases in `models_dir`.

    Of the bases only the ids are compared: their bytes are verified when they are loaded. Raises ModelProblem, naming
    the file and the remedy, at the first thing that is missing, changed, or made for something else.
    """
    form = read_release(folder)
    for role, wanted in zip(_BASES, (form.encoder, form.generator, form.classifier_base), strict=True):
        found = read_manifest(models_dir / role).id
        if found != wanted:
            raise ModelProblem(
                f"{folder / RELEASE} was made for the {role} {wanted}, and {models_dir / role} holds {found}. "
                f"{_BASE_REMEDY}"
            )
    classifier, adapter = _members(folder)
    for files, wanted in ((classifier, form.classifier), (adapter, form.adapter)):
        if files.id != wanted:
            raise ModelProblem(
                f"{folder / RELEASE} names {wanted}, and {files.folder} holds {files.id}. {RELEASE_REMEDY}"
            )
    if (trained_on := _data_sha256(classifier, adapter)) != form.data_sha256:
        raise ModelProblem(
            f"The manifests in {folder} tell of training data {trained_on}, and {folder / RELEASE} of "
            f"{form.data_sha256}. {RELEASE_REMEDY}"
        )
    require_base(classifier, form.classifier_base)
    require_base(adapter, form.generator)
    return Release(
        name=form.name,
        id=form.id,
        folder=folder,
        classifier=classifier,
        adapter=adapter,
        encoder=form.encoder,
        generator=form.generator,
        classifier_base=form.classifier_base,
        prompt=form.prompt,
        thresholds=form.thresholds,
        plan=form.retrieval,
        sentences=form.sentences,
        data_sha256=form.data_sha256,
        git_commit=form.git_commit,
    )


def write_release(
    folder: Path,
    models_dir: Path,
    *,
    name: str,
    prompt: Prompt,
    thresholds: Mapping[str, float],
    git_commit: str,
    plan: Plan,
    sentences: SentencePlan,
) -> Release:
    """Write `release.json` over `folder/classifier` and `folder/adapter`, and resolve the result.

    Ids and the hash of the training data are read from the manifests. Raises ModelProblem if the parts do not belong
    together; the caller moves `folder` to its place only when this has returned.
    """
    classifier, adapter = _members(folder)
    encoder, generator, classifier_base = (read_manifest(models_dir / role).id for role in _BASES)
    form = ReleaseForm(
        name=name,
        classifier=classifier.id,
        adapter=adapter.id,
        encoder=encoder,
        generator=generator,
        classifier_base=classifier_base,
        prompt=prompt,
        thresholds=dict(thresholds),
        retrieval=plan,
        sentences=sentences,
        data_sha256=_data_sha256(classifier, adapter),
        git_commit=git_commit,
    )
    form.write(folder)
    return resolve_release(folder, models_dir)


def require_base(files: ModelFiles, base_id: str) -> None:
    """Raises ModelProblem unless `files` were trained from the base with the id `base_id`."""
    if files.training is None or files.training.base != base_id:
        trained = "no base that it names" if files.training is None else files.training.base
        raise ModelProblem(
            f"{files.folder / MANIFEST}: this {files.role} was trained from {trained}, and the base in place is "
            f"{base_id}. {_BASE_REMEDY}"
        )


def verify(folder: Path, remedy: str = REMEDY) -> ModelFiles:
    """Hash every file of a model folder and compare with its manifest; raises ModelProblem at the first difference.

    `remedy` is the sentence that tells what to do then.
    """
    manifest = read_manifest(folder, remedy)
    for name in _names(folder):
        if name not in manifest.files:
            raise ModelProblem(f"{folder / name} is not listed in {MANIFEST}, so it may not lie there. {remedy}")
    for name, expected in manifest.files.items():
        if PurePosixPath(name).suffix not in SAFE_SUFFIXES:
            raise ModelProblem(f"{folder / name} is of a kind that is never loaded; allowed are safetensors and text.")
        try:
            found = _facts(folder / name)
        except OSError as error:
            raise ModelProblem(f"{folder / name} cannot be read ({error.strerror}). {remedy}") from error
        if found != expected:
            raise ModelProblem(
                f"{folder / name} has changed: its SHA-256 should be {expected.sha256} and is {found.sha256}. {remedy}"
            )
    manifest_sha256 = _facts(folder / MANIFEST).sha256
    origin, training = manifest.origin, manifest.training
    return ModelFiles(origin.role, origin.name, manifest.id, folder, manifest_sha256, training)


def read_manifest(folder: Path, remedy: str = REMEDY) -> Manifest:
    """Read `manifest.json` without looking at the files it lists; raises ModelProblem if it is absent or damaged."""
    path = folder / MANIFEST
    try:
        raw = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelProblem(f"There is no model in {folder}: {MANIFEST} cannot be read. {remedy}") from error
    except ValueError as error:
        raise ModelProblem(f"{path} is damaged: {error}. {remedy}") from error
    try:
        if raw["format"] != FORMAT:
            raise ModelProblem(f"{path} has format {raw['format']!r}; this version reads format {FORMAT}. {remedy}")
        origin = Origin(**{key: str(raw[key]) for key in Origin.__slots__})
        files = {str(name): FileFacts(str(f["sha256"]), int(f["bytes"])) for name, f in raw["files"].items()}
        training = _training(raw.get("training"))
        recorded_id = raw["id"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelProblem(f"{path} is damaged: {type(error).__name__} {error}. {remedy}") from error
    for name in files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ModelProblem(f"{path} lists {name!r}, which lies outside its folder. {remedy}")
    manifest = Manifest(origin, files, training)
    if manifest.id != recorded_id:
        raise ModelProblem(f"{path} is damaged: its id should be {manifest.id} and is {recorded_id}. {remedy}")
    return manifest


def write_manifest(folder: Path, origin: Origin, training: Training | None = None) -> Manifest:
    """Hash every file that lies in `folder` and write the manifest. The caller makes the folder durable."""
    manifest = Manifest(origin, {name: _facts(folder / name) for name in _names(folder)}, training)
    body = {
        "format": FORMAT,
        "id": manifest.id,
        **asdict(origin),
        **({"training": asdict(training)} if training else {}),
        "files": {name: facts._asdict() for name, facts in manifest.files.items()},
    }
    (folder / MANIFEST).write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    return manifest


def _members(folder: Path) -> tuple[ModelFiles, ModelFiles]:
    """The verified classifier and adapter of the release in `folder`."""
    classifier, adapter = (_verified(folder / role, role, RELEASE_REMEDY) for role in ("classifier", "adapter"))
    return classifier, adapter


def _data_sha256(classifier: ModelFiles, adapter: ModelFiles) -> str:
    """The hash of what both were trained on; of the two hashes, if that was not the same.

    Raises ModelProblem for one that does not tell.
    """
    hashes = []
    for files in (classifier, adapter):
        if files.training is None:
            raise ModelProblem(f"{files.folder / MANIFEST} does not tell what it was trained on. {RELEASE_REMEDY}")
        hashes.append(files.training.data_sha256)
    return hashes[0] if hashes[0] == hashes[1] else hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def _verified(folder: Path, role: str, remedy: str) -> ModelFiles:
    files = verify(folder, remedy)
    if files.role != role:
        raise ModelProblem(f"{folder / MANIFEST} describes a model for the role {files.role!r}. {remedy}")
    return files


def _training(raw: Any) -> Training | None:
    """Raises KeyError, TypeError, ValueError or AttributeError if `raw` is not what `write_manifest` wrote."""
    if raw is None:
        return None
    metrics = {str(name): float(value) for name, value in raw["metrics"].items()}
    return Training(**{key: str(raw[key]) for key in Training.__slots__ if key != "metrics"}, metrics=metrics)


def _names(folder: Path) -> list[str]:
    """Every entry below `folder` that is not a plain directory: a linked directory counts, so that it is refused."""
    entries = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(name for path in entries if (name := path.relative_to(folder).as_posix()) != MANIFEST)


def _facts(path: Path) -> FileFacts:
    with path.open("rb") as file:
        return FileFacts(hashlib.file_digest(file, "sha256").hexdigest(), file.tell())
