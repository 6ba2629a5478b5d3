"""Uploaded files on a real disk: whole or not at all, also when the disk is full."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.core.errors import CapstoneError, EmptyFile, NotAPdf, TooLarge
from services.ingest.files import FileStore

MIB = 1024 * 1024
DATA = b"%PDF-1.7\n" + bytes(range(256)) * 8192  # 2 MiB


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "files")


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "files").iterdir())


class WatchedStream(io.BytesIO):
    """Notes, at each read, what the folder holds by its final name."""

    def __init__(self, data: bytes, folder: Path) -> None:
        super().__init__(data)
        self.folder = folder
        self.seen: list[list[str]] = []

    def read(self, size: int | None = -1, /) -> bytes:
        self.seen.append([path.name for path in self.folder.glob("*.pdf")])
        return super().read(size)


def test_a_file_gets_its_name_only_when_it_is_whole(store: FileStore, tmp_path: Path) -> None:
    stream = WatchedStream(DATA, tmp_path / "files")
    stored = store.receive("doc_1", stream, 10 * MIB)
    assert len(stream.seen) >= 3 and not any(stream.seen)
    assert (stored.path, stored.bytes, stored.sha256) == (
        store.path("doc_1"),
        len(DATA),
        hashlib.sha256(DATA).hexdigest(),
    )
    assert stored.path.read_bytes() == DATA
    assert names(tmp_path) == ["doc_1.pdf"]


class BrokenStream(io.BytesIO):
    """A client that hangs up after the first block."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise ConnectionResetError
        return super().read(size)


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (io.BytesIO(b""), EmptyFile),
        (io.BytesIO(b"Dear reader"), NotAPdf),
        (io.BytesIO(DATA), TooLarge),
        (BrokenStream(DATA), ConnectionResetError),
    ],
)
def test_a_refused_file_leaves_nothing(
    store: FileStore, tmp_path: Path, stream: io.BytesIO, error: type[Exception]
) -> None:
    with pytest.raises(error):
        store.receive("doc_1", stream, MIB + 1)
    assert names(tmp_path) == []


def test_the_limit_is_told_in_words(store: FileStore) -> None:
    with pytest.raises(CapstoneError, match="1 MiB"):
        store.receive("doc_1", io.BytesIO(DATA), MIB)
    assert store.receive("doc_1", io.BytesIO(DATA), len(DATA)).bytes == len(DATA)


FULL_DISK = """
import io, resource, sys
from pathlib import Path
from services.core.errors import StorageFull
from services.ingest.files import FileStore

folder = Path(sys.argv[1])
if sys.argv[2] == "limited":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * 1024, 1024 * 1024))
store = FileStore(folder)
try:
    store.receive("doc_1", io.BytesIO(b"%PDF-1.7" + bytes(3 * 1024 * 1024)), 10 * 1024 * 1024)
except (StorageFull, OSError) as error:
    print(type(error).__name__, [path.name for path in folder.iterdir()])
print(store.receive("doc_2", io.BytesIO(b"%PDF-1.7 small"), 1024).bytes)
"""


def test_a_write_that_the_system_refuses_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path, "limited"], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == ["OSError []", "14"], done.stderr


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """On a real disk of 2 MiB, in a mount namespace of its own."""
    inside = 'mount -t tmpfs -o size=2m tmpfs "$1" && exec "$2" -c "$3" "$1" full'
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", inside, "sh", str(tmp_path)]
    try:
        done = subprocess.run([*command, sys.executable, FULL_DISK], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("there is no `unshare` here")
    if done.returncode and ("unshare" in done.stderr or "mount" in done.stderr):
        pytest.skip(f"no mount namespace may be made here: {done.stderr.strip()}")
    assert done.stdout.splitlines() == ["StorageFull []", "14"], done.stderr


def test_sweep_removes_what_crashes_left_and_nothing_else(store: FileStore, tmp_path: Path) -> None:
    for name in ("doc_known", "doc_orphan", "doc_young"):
        store.receive(name, io.BytesIO(DATA), 10 * MIB)
    (tmp_path / "files" / "doc_cut.part").write_bytes(b"%PDF")
    (tmp_path / "files" / "doc_now.part").write_bytes(b"%PDF")
    long_ago = time.time() - 2 * 3600
    for name in ("doc_known.pdf", "doc_orphan.pdf", "doc_cut.part"):
        os.utime(tmp_path / "files" / name, (long_ago, long_ago))
    assert store.sweep({"doc_known"}) == 2
    assert names(tmp_path) == ["doc_known.pdf", "doc_now.part", "doc_young.pdf"]
    assert store.sweep({"doc_known"}) == 0


def test_a_file_is_deleted_once(store: FileStore, tmp_path: Path) -> None:
    store.receive("doc_1", io.BytesIO(DATA), 10 * MIB)
    store.delete("doc_1")
    store.delete("doc_1")
    assert names(tmp_path) == []
