"""An encoder that embeds every text once: the same passages come up in many examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.core.encoder import Encoder, Vectors


class Remembered:
    """The vectors of `encoder`, kept in memory as long as this lives."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._known: dict[str, Vectors] = {}
        self.id, self.dim, self.max_tokens = encoder.id, encoder.dim, encoder.max_tokens

    def encode(self, texts: Sequence[str]) -> Vectors:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, self._encoder.encode(new), strict=True))
        return np.stack([self._known[text] for text in texts]) if texts else self._encoder.encode(texts)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        return self._encoder.token_spans(text)
