"""Uploaded files on disk, one per document, named by the document's id."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from services.core.errors import EmptyFile, NotAPdf, StorageFull, TooLarge
from services.ingest.pdf.sandbox import looks_like_pdf

_CHUNK_BYTES = 1024 * 1024
_HEAD_BYTES = 1024
_ORPHAN_AGE_S = 3600.0  # an upload in flight is younger than this


@dataclass(frozen=True, slots=True)
class StoredFile:
    path: Path
    sha256: str
    bytes: int


class FileStore:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, document_id: str) -> Path:
        return self._folder / f"{document_id}.pdf"

    def receive(self, document_id: str, stream: BinaryIO, max_bytes: int) -> StoredFile:
        """Copy `stream` to disk so that it survives a power cut: written, fsynced, renamed, folder fsynced.

        Raises EmptyFile, NotAPdf, TooLarge or StorageFull, and leaves nothing behind when it does.
        """
        part = self._folder / f"{document_id}.part"
        try:
            with part.open("xb") as out:
                sha256, size = _copy(stream, out, max_bytes)
                out.flush()
                os.fsync(out.fileno())
            part.rename(self.path(document_id))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull("The disk of the service is full. Nothing was kept.") from error
            raise
        finally:
            part.unlink(missing_ok=True)
        self._sync_folder()
        return StoredFile(self.path(document_id), sha256, size)

    def delete(self, document_id: str) -> None:
        self.path(document_id).unlink(missing_ok=True)

    def sweep(self, known_ids: Collection[str]) -> int:
        """Remove what crashes left: old files without a document. Returns how many."""
        removed = 0
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):  # renamed or deleted by somebody else a moment ago
                if path.stem not in known_ids and path.stat().st_mtime < time.time() - _ORPHAN_AGE_S:
                    path.unlink()
                    removed += 1
        return removed

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _copy(stream: BinaryIO, out: BinaryIO, max_bytes: int) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while block := stream.read(_CHUNK_BYTES):
        if size == 0 and not looks_like_pdf(block[:_HEAD_BYTES]):
            raise NotAPdf("The file does not begin like a PDF (%PDF-). Only PDF files can be ingested.")
        size += len(block)
        if size > max_bytes:
            raise TooLarge(f"The file is larger than {max_bytes // (1024 * 1024)} MiB, the limit of this service.")
        digest.update(block)
        out.write(block)
    if size == 0:
        raise EmptyFile("The file has no bytes.")
    return digest.hexdigest(), size
