"""Texts -> unit vectors. Knows nothing of documents, chunks or indexes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from services.core.registry import read_manifest, resolve

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Vectors = NDArray[np.float32]
# Roles of the weights that a setting names: MiniLM as it came, and as it was tuned on questions about manuals.
ENCODERS = {"tuned": "encoder-tuned", "sentence": "encoder"}
EMBED_BATCH = 32  # texts per forward pass: larger batches gain nothing on two cores and pad more


class Encoder(Protocol):
    """Implementations ship as `SentenceEncoder` (MiniLM) and `HashingEncoder` (no weights)."""

    @property
    def id(self) -> str:
        """Name and weight hash. Vectors of two encoders are comparable only if their ids are equal."""

    @property
    def dim(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """Tokens of text the encoder reads at most, special tokens not counted."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Embed `texts`; returns float32 of shape (len(texts), dim), each row of length 1."""

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Character span `(start, end)` of each token of `text`, in order, special tokens left out."""


class SentenceEncoder:
    """A sentence-transformers model read from a local folder of safetensors.

    bfloat16 is used where the processor multiplies it in hardware; vectors are returned as float32 either way.
    """

    def __init__(self, folder: Path, model_id: str, device: str = "cpu") -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        self.id = model_id
        self._model: SentenceTransformer = SentenceTransformer(
            str(folder),
            device=device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"dtype": torch.bfloat16 if has_bfloat16(device) else torch.float32},
        )
        self.dim = int(self._model.get_embedding_dimension() or 0)
        self.max_tokens = int(self._model.max_seq_length or 512) - 2  # [CLS] and [SEP]

    def encode(self, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.empty((0, self.dim), np.float32)
        raw = self._model.encode(list(texts), batch_size=EMBED_BATCH, convert_to_numpy=True, show_progress_bar=False)
        return unit_rows(np.asarray(raw, np.float32))

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        encoded = self._model.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False
        )
        return [(int(start), int(end)) for start, end in encoded["offset_mapping"]]


class HashingEncoder:
    """Bag of hashed word stems: no weights, deterministic, and near texts do get near vectors.

    Signed feature hashing (Weinberger et al. 2009) of lower-cased words and their four-letter prefixes.
    """

    _WORD = re.compile(r"\w+|[^\w\s]")

    def __init__(self, dim: int = 384, max_tokens: int = 254) -> None:
        self.id = f"hashing-{dim}"
        self.dim = dim
        self.max_tokens = max_tokens

    def encode(self, texts: Sequence[str]) -> Vectors:
        out = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(out, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                for feature in (word, "~" + word[:4]):
                    digest = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "little")
                    row[digest % self.dim] += 1.0 if digest >> 63 else -1.0
        return unit_rows(out)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in self._WORD.finditer(text)]


def open_encoder(kind: str, models_dir: Path, threads: int, device: str = "cpu") -> Encoder:
    """The encoder a setting names: one of ENCODERS (verified weights in `models_dir`), or `hashing`.

    Raises ModelProblem.
    `device` is PyTorch's name of one.
    """
    if kind == "hashing":
        return HashingEncoder()
    import torch

    torch.set_num_threads(threads)
    files = resolve(models_dir, ENCODERS[kind])
    return SentenceEncoder(files.folder, files.id, device)


def encoder_id(kind: str, models_dir: Path) -> str:
    """The id of the encoder that a setting names, without its weights. Raises ModelProblem."""
    return HashingEncoder().id if kind == "hashing" else read_manifest(models_dir / ENCODERS[kind]).id


def unit_rows(vectors: Vectors) -> Vectors:
    """Scale each row to length 1; a zero row (an empty text) becomes the first unit vector."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    empty = norms[:, 0] == 0
    if empty.any():
        vectors = vectors.copy()
        vectors[empty, 0] = 1.0
        norms[empty] = 1.0
    return np.asarray(vectors / norms, np.float32)


def has_bfloat16(device: str) -> bool:
    """True where `device`, PyTorch's name of one, multiplies bfloat16 in hardware."""
    if not device.startswith("cuda"):
        return cpu_has_bfloat16()
    import torch

    return bool(torch.cuda.is_bf16_supported())


def cpu_has_bfloat16() -> bool:
    """True where bfloat16 products are done in hardware (AVX-512 BF16 or AMX, Arm BF16)."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags or re.search(r"^Features.*\bbf16\b", flags, re.M) is not None
