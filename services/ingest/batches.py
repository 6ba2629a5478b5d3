"""Texts of a job -> their vectors, batch by batch. Each is a checkpoint, so a restart repeats at most one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from services.core import codec
from services.core.encoder import Encoder, Vectors
from services.core.jobs import JobQueue
from services.core.lease import Lease

VECTORS = "vectors"  # kind of the checkpoints
ENCODE_BATCH = 32  # texts between two of them
_DIGEST_BYTES = 32


def embed(
    jobs: JobQueue, lease: Lease, encoder: Encoder, texts: Sequence[str], done: Callable[[int], int], total: int
) -> Vectors:
    """Float32 of shape (len(texts), dim). What the leased job has kept of the same texts and encoder is used again.

    `done(n)` is what to show as done, of `total`, when the first n texts are embedded. Raises LeaseLost, JobCancelled
    or WorkerStopping.
    """
    kept = jobs.checkpoints(lease.job.id, VECTORS)
    parts = [np.empty((0, encoder.dim), np.float32)]
    for start in range(0, len(texts), ENCODE_BATCH):
        some = texts[start : start + ENCODE_BATCH]
        digest = hashlib.sha256("\0".join([encoder.id, *some]).encode()).digest()
        payload = kept.get(start, b"")
        if payload[:_DIGEST_BYTES] != digest:  # not encoded yet, or by other code before an upgrade
            lease.check()
            payload = digest + codec.pack_vectors(encoder.encode(some))
            shown = done(start + len(some))
            jobs.checkpoint(lease.job.id, lease.owner, VECTORS, start, payload, done=shown, total=total)
        parts.append(codec.unpack_vectors(payload[_DIGEST_BYTES:], encoder.dim))
    return np.concatenate(parts)
