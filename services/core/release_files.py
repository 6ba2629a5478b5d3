"""The files of a release, from where they are to a folder of this machine: all of them or none.

Nothing here is proved to be what it says: `registry.py` hashes every byte afterwards.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from services.core.errors import ModelProblem, Unavailable
from services.core.release import RELEASE

_FOLDERS = ("classifier", "adapter")
_PART = ".part-"  # of a folder that is being filled
_ABANDONED_AFTER_S = 3600.0
_MAX_FILES = 1_000
_MAX_DEPTH = 4


class Listed(NamedTuple):
    """`name` is that of a file or folder inside the one that was listed."""

    name: str
    is_folder: bool


def placed(release: str, folder: Path, fill: Callable[[Path], None]) -> Path:
    """`folder/release`, which `fill` is given an empty folder for if it is not there.

    It gets its name when it is full, so a crash leaves none that is half full; what crashes have left is taken away.
    Several processes may do that at once. Raises what `fill` raises, and Unavailable if nothing can be written.
    """
    place = folder / release
    if place.is_dir():
        return place
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _clean(folder)
        part = Path(tempfile.mkdtemp(prefix=_PART, dir=folder))
        try:
            fill(part)
            _rename(part, place)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise Unavailable(f"The files of {release} cannot be stored ({error.strerror}).", retry_after_s=30) from error
    return place


def copy_release(source: Path, to: Path) -> None:
    """Copy the release in the folder `source`. Raises ModelProblem if there is none, or a link in it."""
    names = [RELEASE, *(name for part in _FOLDERS for name in _below(source, part))]
    try:
        for name in names:
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, to / name)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ModelProblem(f"There is no whole release in {source}: {error.strerror}.") from error


def download_release(
    list_folder: Callable[[str], list[Listed]], get: Callable[[str, Path], None], root: str, to: Path
) -> None:
    """Bring the release in the folder `root` of a server here; `get` writes a file of it to a path.

    Raises ModelProblem if there is none, or one with names that leave their folder.
    """
    if RELEASE not in {entry.name for entry in list_folder(root)}:
        raise ModelProblem(f"There is no release at {root!r}: it holds no {RELEASE}.")
    names = [RELEASE, *(name for part in _FOLDERS for name in _listed(list_folder, root, part, _MAX_DEPTH))]
    if len(names) > _MAX_FILES:
        raise ModelProblem(f"The release at {root!r} has more than {_MAX_FILES} files.")
    for name in names:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        get(f"{root}/{name}", to / name)


def _listed(list_folder: Callable[[str], list[Listed]], root: str, folder: str, depth: int) -> Iterator[str]:
    for entry in list_folder(f"{root}/{folder}"):
        if entry.name in ("", ".", "..") or PurePosixPath(entry.name).name != entry.name or "\\" in entry.name:
            raise ModelProblem(f"The release at {root!r} lists {entry.name!r}, which is no name of a file.")
        if not entry.is_folder:
            yield f"{folder}/{entry.name}"
        elif depth:
            yield from _listed(list_folder, root, f"{folder}/{entry.name}", depth - 1)


def _below(source: Path, folder: str) -> Iterator[str]:
    """Paths of files, relative to `source`. A link could lead anywhere; none is followed."""
    for path in (source, source / RELEASE, source / folder, *sorted((source / folder).rglob("*"))):
        if path != source and path.is_symlink():
            raise ModelProblem(f"{path} is a link; a release holds plain files only.")
        if path.is_file() and path.parent != source:
            yield path.relative_to(source).as_posix()


def _rename(part: Path, place: Path) -> None:
    try:
        part.rename(place)
    except OSError:
        if not place.is_dir():  # else another process was faster
            raise


def _clean(folder: Path) -> None:
    for part in folder.glob(f"{_PART}*"):
        with contextlib.suppress(FileNotFoundError):  # another process takes it away at the same time
            if time.time() - part.stat().st_mtime > _ABANDONED_AFTER_S:
                shutil.rmtree(part, ignore_errors=True)
