"""Models that are asked each thing once: the same passages and pairs come up again and again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.core.classifier import Classification, Classifier, Input
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


class RememberedClassifier:
    """The classifications of `classifier`, kept in memory as long as this lives."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._known: dict[Input, Classification] = {}
        self.id, self.name = classifier.id, classifier.name
        self.labels, self.max_tokens = classifier.labels, classifier.max_tokens

    def classify(self, inputs: Sequence[Input]) -> list[Classification]:
        new = [each for each in dict.fromkeys(inputs) if each not in self._known]
        self._known.update(zip(new, self._classifier.classify(new), strict=True))
        return [self._known[each] for each in inputs]

    def close(self) -> None:
        self._classifier.close()
