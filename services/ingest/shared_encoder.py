"""One encoder for all workers of a process: its weights are the largest thing that they hold."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from services.core.encoder import Encoder, Vectors, open_encoder
from services.core.settings import Settings


def of_settings(settings: Settings) -> Encoder:
    return open_encoder(settings.encoder, settings.models_dir, settings.torch_threads, settings.device)


class SharedEncoder:
    """Made by `make` when the first worker needs it: idle ones hold no model. All get the same, and use it in turn."""

    def __init__(self, make: Callable[[Settings], Encoder] = of_settings) -> None:
        self._make = make
        self._making = threading.Lock()
        self._encoder: Encoder | None = None

    def open(self, settings: Settings) -> Encoder:
        """The encoder that the settings name, from the first call on. Raises ModelProblem."""
        with self._making:
            if self._encoder is None:
                self._encoder = InTurn(self._make(settings))
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
