"""One encoder for all workers of a process: its weights are the largest thing that they hold."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from services.core.encoder import Encoder, Vectors, open_encoder
from services.core.settings import Settings


class SharedEncoder:
    """Opened when the first worker needs it: idle ones hold no model. All get the same, and use it in turn."""

    def __init__(self) -> None:
        self._opening = threading.Lock()
        self._encoder: Encoder | None = None

    def open(self, settings: Settings) -> Encoder:
        """The encoder that the settings name, from the first call on. Raises ModelProblem."""
        with self._opening:
            if self._encoder is None:
                opened = open_encoder(settings.encoder, settings.models_dir, settings.torch_threads, settings.device)
                self._encoder = InTurn(opened)
            return self._encoder


class InTurn:
    """An encoder that may be called from several threads: a tokenizer that one of them uses refuses another
    ("Already borrowed"), and two at once would only share the same cores."""

    def __init__(self, encoder: Encoder) -> None:
        self.id, self.dim, self.max_tokens = encoder.id, encoder.dim, encoder.max_tokens
        self._encoder = encoder
        self._turn = threading.Lock()

    def encode(self, texts: Sequence[str]) -> Vectors:
        with self._turn:
            return self._encoder.encode(texts)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        with self._turn:
            return self._encoder.token_spans(text)
