"""One file that is either whole or recognised as damaged: how a view survives a restart.

Layout, little-endian: magic (8 bytes) | header length (uint32) | SHA-256 of the header (32) | header (JSON) | payload.
The header holds the catalog sequence number, the caller's `meta`, and the length and SHA-256 of the payload, so every
byte of the file is covered and the header can be trusted without reading the payload. Nothing here decodes the
payload: a reader gets verified bytes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

_MAGIC = b"CAPSNAP1"
_PREFIX = struct.Struct("<8sI32s")


class DamagedSnapshot(ValueError):
    """The file is not what a completed write left: cut short, changed, or never a snapshot."""


@dataclass(frozen=True, slots=True)
class Header:
    seq: int  # catalog sequence number up to which the payload holds everything
    meta: dict[str, Any]
    payload_bytes: int
    payload_sha256: str


def write_snapshot(path: Path, *, seq: int, meta: Mapping[str, Any], parts: Sequence[memoryview]) -> bool:
    """Replace the snapshot at `path` by the concatenation of `parts`, or leave the one there exactly as it is.

    Writers in any number of processes take turns on a lock file beside it. Returns False, and writes nothing, if a
    whole snapshot with a larger `seq` is there. Raises OSError if the disk refuses; the earlier snapshot then stays.
    Once it returns True the new file survives a power cut.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    payload_bytes = sum(part.nbytes for part in parts)
    header = json.dumps(
        {"seq": seq, "meta": dict(meta), "payload_bytes": payload_bytes, "payload_sha256": digest.hexdigest()}
    ).encode()
    with _turn(path):
        if _holds_more(path, seq):
            return False
        # One fixed name, safe under the lock: what a killed writer leaves behind is overwritten by the next.
        temporary = path.with_name(path.name + ".tmp")
        try:
            with temporary.open("wb") as file:
                file.write(_PREFIX.pack(_MAGIC, len(header), hashlib.sha256(header).digest()) + header)
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
                written = os.fstat(file.fileno()).st_size
            if written != _PREFIX.size + len(header) + payload_bytes:
                raise OSError(f"{temporary.name} has {written} bytes after a write of more")
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    return True


def read_snapshot(path: Path) -> tuple[Header, bytearray]:
    """The header and the payload, both verified.

    Raises FileNotFoundError, DamagedSnapshot, or OSError if the disk cannot be read.
    """
    with path.open("rb") as file:
        header = _read_header(file)
        payload = bytearray(header.payload_bytes)
        if file.readinto(payload) != header.payload_bytes:
            raise DamagedSnapshot("the payload ends early")
    if hashlib.sha256(payload).hexdigest() != header.payload_sha256:
        raise DamagedSnapshot("the payload does not match its checksum")
    return header, payload


def delete_snapshot(path: Path) -> None:
    """Remove the snapshot at `path`, if any, for good."""
    if path.parent.is_dir():
        with _turn(path):
            path.unlink(missing_ok=True)
            _sync_folder(path.parent)


def _read_header(file: BinaryIO) -> Header:
    prefix = file.read(_PREFIX.size)
    if len(prefix) != _PREFIX.size:
        raise DamagedSnapshot("the file is too short")
    magic, header_bytes, header_sha256 = _PREFIX.unpack(prefix)
    size = os.fstat(file.fileno()).st_size
    if magic != _MAGIC or _PREFIX.size + header_bytes > size:
        raise DamagedSnapshot("this is not a snapshot")
    raw = file.read(header_bytes)
    if hashlib.sha256(raw).digest() != header_sha256:
        raise DamagedSnapshot("the header does not match its checksum")
    try:
        header = Header(**json.loads(raw))
    except (TypeError, ValueError) as problem:
        raise DamagedSnapshot("the header has an unknown shape") from problem
    if _PREFIX.size + header_bytes + header.payload_bytes != size:
        raise DamagedSnapshot("the file is shorter or longer than its header says")
    return header


def _holds_more(path: Path, seq: int) -> bool:
    """True if the snapshot at `path` is whole and has a larger number; its payload is read only if the number is."""
    try:
        with path.open("rb") as file:
            if _read_header(file).seq <= seq:
                return False
        read_snapshot(path)
    except (FileNotFoundError, DamagedSnapshot):
        return False
    return True


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Hold the lock file of `path`. The kernel lets go of it when its holder dies, however it dies."""
    with path.with_name(path.name + ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sync_folder(folder: Path) -> None:
    """Make a rename or removal in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
