"""Places a raw file may be taken from. Each either writes a file for the caller to hash, or says why it cannot."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import BinaryIO

import httpx

from models.data.sources import RawFile
from models.files import BLOCK_BYTES

APT_WITHIN_S = 300
APT_OPTIONS = ("-q", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20", "-o", "Acquire::https::Timeout=20")
HTTP_TIMEOUT_S = 30.0
Bring = Callable[[RawFile, Path], None]


class NotHere(Exception):
    """A place does not have the file; the text says why, in a few words."""


@contextmanager
def places(raw: Path, local: Path | None) -> Iterator[dict[str, Bring]]:
    """The places by name, in the order to try them. `raw` is where the files are to lie in the end."""
    found: dict[str, Bring] = {}
    if local is not None:
        found[f"folder {local}"] = partial(_from_folder, local)
    if (root := dvc_root(raw)) is not None:
        found["DVC"] = partial(_from_dvc, root, raw.resolve().relative_to(root))
    with tempfile.TemporaryDirectory(prefix="capstone-deb-") as unpacked:
        found["Debian"] = partial(_from_debian, cache(partial(_unpacked, Path(unpacked))))
        yield {**found, "URL": _from_url}


def dvc_root(path: Path) -> Path | None:
    """The DVC repository that `path` lies in."""
    return next((parent for parent in path.resolve().parents if (parent / ".dvc" / "config").is_file()), None)


def _from_folder(folder: Path, file: RawFile, into: Path) -> None:
    for path in (folder / file.name, folder / "pdf" / file.name):
        if path.is_file():
            shutil.copyfile(path, into)
            return
    raise NotHere("not in it" if folder.is_dir() else "there is no such folder")


def _from_dvc(root: Path, raw: Path, file: RawFile, into: Path) -> None:
    """From DVC's cache, or from the remote that .dvc/config names, as recorded in dvc.lock."""
    try:
        from dvc.exceptions import DvcException
        from dvc.repo import Repo
        from dvc_data.index import DataIndexError
    except ImportError as error:
        raise NotHere(f"it is not installed ({error})") from error
    try:
        with Repo(str(root)) as repo, repo.datafs.open((raw / file.name).as_posix(), mode="rb") as source:
            _copy(source, into, file)
    except (DvcException, DataIndexError, OSError) as error:
        raise NotHere(f"not in its cache or remote ({_last_line(str(error))})") from error


def _from_debian(unpacked: Callable[[str], Path | str], file: RawFile, into: Path) -> None:
    if file.package is None or file.path is None:
        raise NotHere("not in a package")
    folder = unpacked(file.package)
    if isinstance(folder, str):
        raise NotHere(f"{file.package}: {folder}")
    member = (folder / file.path).resolve()
    if not member.is_relative_to(folder.resolve()) or not member.is_file():
        raise NotHere(f"{file.package} has no {file.path}")
    try:
        with gzip.open(member) if member.suffix == ".gz" else member.open("rb") as source:
            _copy(source, into, file)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise NotHere(f"{file.path} in {file.package} is damaged ({error})") from error


def _unpacked(into: Path, package: str) -> Path | str:
    """The folder with the content of a package, or why there is none. apt checks the signatures of the archive."""
    folder = into / package
    folder.mkdir()
    try:
        _run(["apt-get", *APT_OPTIONS, "download", package], folder)
        _run(["dpkg-deb", "-x", *(path.name for path in folder.glob("*.deb")), "content"], folder)
    except FileNotFoundError as error:
        return f"there is no {error.filename} here"
    except subprocess.TimeoutExpired:
        return f"no answer within {APT_WITHIN_S} s"
    except subprocess.CalledProcessError as error:
        return f"{error.cmd[0]} said: {_last_line(error.stderr)}"
    return folder / "content"


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=APT_WITHIN_S)


def _from_url(file: RawFile, into: Path) -> None:
    if file.url is None:
        raise NotHere("none is known")
    try:
        with httpx.stream("GET", file.url, follow_redirects=True, timeout=HTTP_TIMEOUT_S) as response:
            response.raise_for_status()
            with into.open("wb") as out:
                for block in response.iter_bytes(BLOCK_BYTES):
                    out.write(block)
                    if out.tell() > file.bytes:
                        raise NotHere(f"{file.url} is larger than {file.bytes} bytes")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotHere(f"{file.url}: {_last_line(str(error)) or type(error).__name__}") from error


def _copy(source: BinaryIO | gzip.GzipFile, into: Path, file: RawFile) -> None:
    """Copy at most one byte more than is expected: enough to be of another hash, whatever the archive claims."""
    with into.open("wb") as out:
        left = file.bytes + 1
        while left and (block := source.read(min(BLOCK_BYTES, left))):
            out.write(block)
            left -= len(block)


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
