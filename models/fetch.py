"""Base weights: params.yaml -> verified model folders. `python -m models.fetch`, or `capstone fetch`.

A base that is in place and unchanged is left alone, without touching the network. Otherwise it is built in a temporary
folder beside its target, made durable, and renamed into place, so a killed run leaves the old model or none.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.console import Console

from models.progress import Steps
from models.sources import Source, obtain
from services.core.errors import CapstoneError, ModelProblem
from services.core.registry import REMEDY, ModelFiles, Origin, read_manifest, resolve, write_manifest

STAGING = ".staging-"
REPLACED = ".replaced-"


class Base(BaseModel):
    """One entry of `bases:` in params.yaml. What `sha256` covers is told at `models.sources.Source`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[\w.-]+$")
    source: str
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    licence: str = Field(min_length=1)


class _Bases(BaseModel):
    bases: dict[Literal["encoder", "generator"], Base]


def read_bases(params_path: Path) -> dict[str, Base]:
    """The bases by role. Raises ModelProblem if the file cannot be read, or a wheel or hub source has no hash."""
    try:
        bases = _Bases.model_validate(yaml.safe_load(params_path.read_bytes())).bases
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise ModelProblem(f"{params_path} has no usable `bases:` section: {error}") from error
    for role, base in bases.items():
        if Source.parse(base.source).kind != "path" and base.sha256 is None:
            raise ModelProblem(f"{role}: sha256 is required in {params_path} for {base.source}.")
    return {str(role): base for role, base in bases.items()}


def fetch_all(params_path: Path, models_dir: Path, console: Console) -> None:
    """Put every base that `params_path` names into `models_dir/<role>`; does nothing for those already there.

    Raises ModelProblem if a source cannot be reached, has a wrong hash, or is not a model of its role; what was in
    place before stays.
    """
    bases = read_bases(params_path)
    steps = Steps(console)
    if not _due(bases, models_dir, steps):
        return  # before any write: a read-only mount of finished weights is fine
    models_dir.mkdir(parents=True, exist_ok=True)
    with _lock(models_dir, steps):
        _sweep(models_dir)
        for role, base in _due(bases, models_dir, None).items():
            _fetch(role, base, params_path.resolve().parent, models_dir, steps)


def _due(bases: Mapping[str, Base], models_dir: Path, steps: Steps | None) -> dict[str, Base]:
    """The bases to fetch; tells `steps` what was found."""
    due = {}
    for role, base in bases.items():
        found, reason = _look(models_dir, role, base)
        if found is None:
            due[role] = base
        if steps is not None:
            steps.note(f"{role}: {found.id} is in place, nothing to do" if found else f"{role}: {reason}")
    return due


def _look(models_dir: Path, role: str, base: Base) -> tuple[ModelFiles | None, str]:
    """The verified files of `role` if they are those that `base` asks for, else None and why not."""
    folder = models_dir / role
    if not folder.exists():
        return None, "not there yet"
    try:
        origin = read_manifest(folder).origin
        if origin != Origin(role, base.name, base.source, base.sha256 or origin.source_sha256, base.licence):
            return None, "another model or source is asked for now"
        return resolve(models_dir, role), ""
    except ModelProblem as problem:
        return None, problem.detail.removesuffix(REMEDY) + "It is fetched again."


def _fetch(role: str, base: Base, base_dir: Path, models_dir: Path, steps: Steps) -> None:
    work = Path(tempfile.mkdtemp(prefix=STAGING, dir=models_dir))
    try:
        files, sha256 = obtain(Source.parse(base.source), base.sha256, role, base_dir, work, steps)
        model = work / "model"
        try:
            with steps.step(f"{role}: start PyTorch"):
                from models.convert import prepare  # takes seconds, and is not needed to find all in place
            prepare(role, files, model, steps)
        except ImportError as error:
            raise ModelProblem(f"{role}: {error}. Converting weights needs `pip install 'capstone[train]'`.") from error
        with steps.step(f"{role}: write to disk"):
            manifest = write_manifest(model, Origin(role, base.name, base.source, sha256, base.licence))
            _make_durable(model)
            _put(model, models_dir, role)
        steps.note(f"{role}: {manifest.id} is ready in {models_dir / role}")
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _lock(models_dir: Path, steps: Steps) -> Iterator[None]:
    """Only one fetch at a time writes to `models_dir`. The kernel releases the lock of a killed process."""
    with (models_dir / ".fetch.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            steps.note("Another fetch is running; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sweep(models_dir: Path) -> None:
    """Clear what a killed run left; needs the lock. A model that was moved aside and not replaced goes back."""
    for path in models_dir.glob(f"{REPLACED}*"):
        target = models_dir / path.name.removeprefix(REPLACED)
        if not target.exists():
            path.rename(target)
    for pattern in (f"{STAGING}*", f"{REPLACED}*"):
        for path in models_dir.glob(pattern):
            shutil.rmtree(path)


def _put(model: Path, models_dir: Path, role: str) -> None:
    target, aside = models_dir / role, models_dir / f"{REPLACED}{role}"
    if target.exists():
        target.rename(aside)
    model.rename(target)
    _sync(models_dir)
    shutil.rmtree(aside, ignore_errors=True)


def _make_durable(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o755 if path.is_dir() else 0o644)  # safetensors writes files that only their owner may read
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns 0, or 2 after a message if a model could not be put in place."""
    parser = argparse.ArgumentParser(prog="python -m models.fetch", description="Fetch and verify the base weights.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--models-dir", type=Path, default=Path("data/models"))
    options = parser.parse_args(arguments)
    try:
        fetch_all(options.params, options.models_dir, Console())
    except (CapstoneError, OSError) as error:
        Console(stderr=True).print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
