"""A folder that is whole or recognised as damaged: every byte of it is covered by SHA256SUMS, which is written last.

A changed list is noticed too: it would name a file that is not there, leave one out, or tell another hash.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from services.core.errors import BackupDamaged, CannotBackUp

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  ([^\\\x00-\x1f\x7f]+)")
_PIECE_BYTES = 1024 * 1024

Tell = Callable[[str, int, int | None], None]  # what is being done, how much of it is, of how much


class Part(NamedTuple):
    sha256: str
    bytes: int


@contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `place` when the caller is done with it, and vanishes if it fails.

    Raises CannotBackUp if `place` is there. What a killed process left beside it has another name, begins with a dot,
    holds no SHA256SUMS, and is taken away by the next one.
    """
    if place.exists() or place.is_symlink():
        raise CannotBackUp(f"{place} is there already. A backup is a folder of its own: give it a new name.")
    place.parent.mkdir(parents=True, exist_ok=True)
    _clean(place)
    part = Path(tempfile.mkdtemp(prefix=_prefix(place), dir=place.parent))
    held = os.open(part, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)  # the kernel lets go of it if this process dies: then it may be taken away
        yield part
        part.rename(place)
        sync_folder(place.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        os.close(held)


def seal(folder: Path) -> Mapping[str, Part]:
    """Hash everything in `folder`, make it durable, and write SHA256SUMS. Raises CannotBackUp for an odd name."""
    parts = {}
    for name in _names(folder):
        if _LINE.fullmatch(f"{'0' * 64}  {name}") is None:
            raise CannotBackUp(f"{name!r} is no name that a backup can hold.")
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
            parts[name] = Part(hashlib.file_digest(file, "sha256").hexdigest(), file.tell())
    with (folder / SUMS).open("w", encoding="utf-8") as file:
        file.writelines(f"{part.sha256}  {name}\n" for name, part in parts.items())
        file.flush()
        os.fsync(file.fileno())
    for path in (*folder.rglob("*"), folder):
        if path.is_dir():
            sync_folder(path)
    return parts


def checked(folder: Path, tell: Tell) -> Mapping[str, str]:
    """The SHA-256 of every file of the backup in `folder`, by its path, after all of them were read and compared.

    Raises BackupDamaged, naming what is wrong, at the first difference.
    """
    listed = _listed(folder)
    there = {name: (folder / name).lstat().st_size for name in _names(folder)}
    if missing := sorted(set(listed) - set(there)):
        raise BackupDamaged(f"{folder / missing[0]} is missing. This backup cannot be restored.")
    if unknown := sorted(set(there) - set(listed)):
        raise BackupDamaged(f"{folder / unknown[0]} is not in {SUMS}. This backup cannot be restored.")
    done, total = 0, sum(there.values())
    for name, sha256 in listed.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise BackupDamaged(f"{path} is not a plain file. This backup cannot be restored.")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise BackupDamaged(f"{path} has changed since it was written. This backup cannot be restored.")
        done += there[name]
        tell("checking", done, total)
    return listed


def copy(source: Path, to: Path) -> Part:
    """Copy a file so that it survives a power cut, once its folder is synced; `to` is there as a whole or not at all.

    Raises FileNotFoundError if `source` is not there.
    """
    with source.open("rb") as stream:
        to.parent.mkdir(parents=True, exist_ok=True)
        part = to.with_name(f"{to.name}.part")
        with part.open("wb") as out:
            copied = _pour(stream, out)
            out.flush()
            os.fsync(out.fileno())
        part.replace(to)
    return copied


def sync_folder(folder: Path) -> None:
    """Make what was made, renamed or removed in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pour(stream: BinaryIO, out: BinaryIO) -> Part:
    digest, size = hashlib.sha256(), 0
    while piece := stream.read(_PIECE_BYTES):
        digest.update(piece)
        size += len(piece)
        out.write(piece)
    return Part(digest.hexdigest(), size)


def _listed(folder: Path) -> dict[str, str]:
    try:
        text = (folder / SUMS).read_bytes().decode()
    except OSError as error:
        raise BackupDamaged(f"There is no whole backup in {folder}: {SUMS} cannot be read.") from error
    except UnicodeDecodeError as error:
        raise BackupDamaged(f"{folder / SUMS} is damaged.") from error
    listed: dict[str, str] = {}
    for line in text.removesuffix("\n").split("\n"):
        found = _LINE.fullmatch(line)
        path = PurePosixPath(found[2]) if found else PurePosixPath("/")
        if found is None or path.is_absolute() or ".." in path.parts or str(path) != found[2] or found[2] in listed:
            raise BackupDamaged(f"{folder / SUMS} is damaged.")
        listed[found[2]] = found[1]
    if not text.endswith("\n"):
        raise BackupDamaged(f"{folder / SUMS} is damaged.")
    return listed


def _names(folder: Path) -> list[str]:
    """Everything below `folder` that is no folder, but the list itself."""
    entries = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(name for path in entries if (name := path.relative_to(folder).as_posix()) != SUMS)


def _prefix(place: Path) -> str:
    return f".{place.name}.part-"


def _clean(place: Path) -> None:
    """Take away what killed processes have left of a backup with this name; one that is being written is locked."""
    for part in place.parent.glob(f"{_prefix(place)}*"):
        with suppress(OSError):
            held = os.open(part, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(part)
            finally:
                os.close(held)
