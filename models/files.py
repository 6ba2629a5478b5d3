"""Outputs that appear whole or not at all, and rows of JSON whose errors name the row.

Whatever is written is made in a scratch folder beside its target, made durable, and renamed into place. A killed run
leaves the old output, or none, and a scratch folder that the next run sweeps away.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from models.errors import BadInput

STAGING = ".staging-"
REPLACED = ".replaced-"
BLOCK_BYTES = 1 << 20
Row = TypeVar("Row", bound=BaseModel)


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Yield a new empty folder that takes the place of `target` when the block ends without an exception."""
    with scratch_beside(target) as scratch:
        made = scratch / target.name
        made.mkdir()
        yield made
        replace_folder(made, target)


@contextmanager
def staged_file(target: Path) -> Iterator[Path]:
    """Yield a path to write to; the file takes the place of `target` when the block ends without an exception."""
    with scratch_beside(target) as scratch:
        made = scratch / target.name
        yield made
        made.chmod(0o644)
        _sync(made)
        made.replace(target)
        _sync(target.parent)


@contextmanager
def scratch_beside(target: Path) -> Iterator[Path]:
    """Yield a new folder on the same file system as `target` and remove it afterwards.

    What killed runs left there is swept first; a scratch folder of a living process is locked and stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target.parent)
    with _locked(target.parent):
        scratch = Path(tempfile.mkdtemp(prefix=STAGING, dir=target.parent))
        lock = os.open(scratch, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(lock)


def replace_folder(made: Path, target: Path) -> None:
    """Make the folder `made` durable and put it in the place of `target`, on the same file system.

    A kill between the two renames leaves the old folder aside, from where the next `sweep` brings it back.
    """
    for path in [*made.rglob("*"), made]:
        path.chmod(0o755 if path.is_dir() else 0o644)  # some libraries write files that only their owner may read
        _sync(path)
    aside = target.with_name(f"{REPLACED}{target.name}")
    with _locked(target.parent):
        if target.exists():
            shutil.rmtree(aside, ignore_errors=True)
            target.rename(aside)
        made.rename(target)
        _sync(target.parent)
        shutil.rmtree(aside, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Clear what killed runs left in `folder`; an output that was moved aside and not replaced goes back."""
    with _locked(folder):
        for path in folder.glob(f"{REPLACED}*"):
            target = folder / path.name.removeprefix(REPLACED)
            if target.exists():
                shutil.rmtree(path)
            else:
                path.rename(target)
        for path in folder.glob(f"{STAGING}*"):
            try:
                with _opened(path) as descriptor:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
            except (BlockingIOError, FileNotFoundError):
                continue  # its process is at work, or has just cleared it


def sha256_of(path: Path, advance: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a file in hexadecimal; `advance` is told the bytes read since its last call."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            if advance is not None:
                advance(len(block))
    return digest.hexdigest()


def sha256_of_json(value: Any) -> str:
    """SHA-256 in hexadecimal of `value` as canonical JSON: sorted keys, no white space, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value`, indented, keys in the order given; NaN and infinity are refused (ValueError)."""
    with staged_file(path) as made:
        made.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any] | BaseModel]) -> None:
    """Replace `path` by one JSON object a line."""
    with staged_file(path) as made, made.open("w", encoding="utf-8") as file:
        for row in rows:
            value = row.model_dump(mode="json") if isinstance(row, BaseModel) else row
            file.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")


def read_jsonl(path: Path, *, remedy: str) -> list[tuple[int, dict[str, Any]]]:
    """Number, from 1, and content of every line that is not blank.

    Raises BadInput, with `remedy`, if the file cannot be read, holds no row, or a row is not a JSON object.
    """
    rows = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    rows.append((number, _object(path, number, line, remedy)))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(path, f"it cannot be read ({_reason(error)})", remedy=remedy) from error
    if not rows:
        raise BadInput(path, "it holds no rows", remedy=remedy)
    return rows


def read_yaml(path: Path, *, remedy: str) -> dict[str, Any]:
    """The mapping that a YAML file holds. Raises BadInput if it cannot be read or is anything else."""
    try:
        body = yaml.safe_load(path.read_bytes())
        json.dumps(body)  # a date or a set is legal YAML
    except OSError as error:
        raise BadInput(path, f"it cannot be read ({error.strerror})", remedy=remedy) from error
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise BadInput(path, f"it is not usable YAML ({' '.join(str(error).split())})", remedy=remedy) from error
    if not isinstance(body, dict):
        raise BadInput(path, "it is not a mapping", remedy=remedy)
    return body


def read_rows(path: Path, kind: type[Row], *, remedy: str) -> list[Row]:
    """The rows of a JSONL file as values of the pydantic model `kind`. Raises BadInput for the first bad row."""
    rows = []
    for number, row in read_jsonl(path, remedy=remedy):
        try:
            rows.append(kind.model_validate_json(json.dumps(row)))
        except ValidationError as error:
            raise BadInput(path, told(error), row=number, remedy=remedy) from error
    return rows


def told(error: ValidationError) -> str:
    """What pydantic found, in one line: `member: what is wrong; ...`, at most three."""
    found = [f"{'.'.join(str(part) for part in e['loc']) or 'the value'}: {e['msg']}" for e in error.errors()]
    return "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")


def _object(path: Path, number: int, line: str, remedy: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise BadInput(path, f"it is not JSON ({error})", row=number, remedy=remedy) from error
    if not isinstance(value, dict):
        raise BadInput(path, "it is not a JSON object", row=number, remedy=remedy)
    return value


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return str(error.strerror if isinstance(error, OSError) else error)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Held only while entries of `folder` are made or moved, never while their content is."""
    with _opened(folder) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    with _opened(path) as descriptor:
        os.fsync(descriptor)
