"""Models and generations, seen from outside: what they are given, and how long they take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing

from services.api.generate import Decoding, Finish, model_name
from services.api.metrics import PROVIDER, ApiMetrics
from services.core.classifier import Classification, Classifier, Input
from services.core.encoder import Encoder, Vectors
from services.core.errors import CapstoneError
from services.core.tracing import CUT_OFF, Spans

Pieces = Generator[str | Finish, None, None]


class WatchedEncoder:
    """Tells `seen` how many texts it is given at once."""

    def __init__(self, encoder: Encoder, seen: Callable[[int], None]) -> None:
        self._encoder = encoder
        self._seen = seen
        self.id, self.dim, self.max_tokens = encoder.id, encoder.dim, encoder.max_tokens

    def encode(self, texts: Sequence[str]) -> Vectors:
        self._seen(len(texts))
        return self._encoder.encode(texts)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        return self._encoder.token_spans(text)


class WatchedClassifier:
    """The same of a classifier."""

    def __init__(self, classifier: Classifier, seen: Callable[[int], None]) -> None:
        self._classifier = classifier
        self._seen = seen
        self.id, self.name, self.labels = classifier.id, classifier.name, classifier.labels
        self.max_tokens = classifier.max_tokens

    def classify(self, inputs: Sequence[Input]) -> list[Classification]:
        self._seen(len(inputs))
        return self._classifier.classify(inputs)

    def close(self) -> None:
        self._classifier.close()


def watched(
    pieces: Pieces,
    generator_id: str,
    decoding: Decoding,
    stop: threading.Event,
    spans: Spans,
    metrics: ApiMetrics | None,
) -> Pieces:
    """The same pieces, with a span and, if there are `metrics`, counted and timed. Waiting for a turn is part of it."""
    model = model_name(generator_id)
    asked: dict[str, str | int | float | bool] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": model,
        "gen_ai.response.model": generator_id,
        "gen_ai.request.max_tokens": decoding.max_tokens,
        "gen_ai.request.temperature": decoding.temperature,
        "gen_ai.request.top_p": decoding.top_p,
    }
    begun, first_s, finish = time.perf_counter(), None, None
    error_type = CUT_OFF  # unless something else is known at the end: whoever reads may stop at any piece
    try:
        with spans.span(f"chat {model}", asked) as span, closing(pieces):
            for piece in pieces:
                if isinstance(piece, Finish):
                    finish = piece
                    span.set_attribute("gen_ai.usage.input_tokens", piece.prompt_tokens)
                    span.set_attribute("gen_ai.usage.output_tokens", piece.completion_tokens)
                    span.set_attribute("gen_ai.response.finish_reasons", [piece.reason])
                elif first_s is None:
                    first_s = time.perf_counter() - begun
                    span.set_attribute("capstone.time_to_first_token_s", round(first_s, 4))
                yield piece
            error_type = CUT_OFF if stop.is_set() else ""
    except CapstoneError as error:
        error_type = error.code
        raise
    except Exception:
        error_type = CapstoneError.code
        raise
    finally:
        if metrics is not None:
            metrics.generated(model, error_type, time.perf_counter() - begun, first_s, finish)
