"""Texts, or pairs of texts -> labels with calibrated probabilities. Knows nothing of passages or questions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from services.core.encoder import has_bfloat16
from services.core.errors import ModelProblem
from services.core.registry import ModelFiles, require_base

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from transformers import DistilBertForSequenceClassification

Input = tuple[str, str | None]
BATCH_TOKENS = 8192  # padded tokens of one forward pass; bounds the memory, and about 32 passages fill it
CONFIG = "classifier.json"
WEIGHTS = "model.safetensors"
WORD_EMBEDDINGS = "distilbert.embeddings.word_embeddings.weight"


@dataclass(frozen=True, slots=True)
class Classification:
    """The likeliest label and its probability `score`; `scores` has every label and sums to 1.

    `tokens` counts what was read, special tokens included; `truncated` tells that there was more.
    """

    label: str
    score: float
    scores: dict[str, float]
    tokens: int
    truncated: bool


class Classifier(Protocol):
    """Implementations ship as `TransformersClassifier` (DistilBERT) and `OverlapClassifier` (no weights)."""

    @property
    def id(self) -> str:
        """Name and weight hash."""

    @property
    def name(self) -> str: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def max_tokens(self) -> int:
        """Tokens of one input that are read at most, special tokens included."""

    def classify(self, inputs: Sequence[Input]) -> list[Classification]:
        """Classify each `(text, text_pair)`; results are in the order of `inputs`. `text_pair` may be None."""

    def close(self) -> None:
        """Give the memory of the weights back. Nobody may classify any more."""


@dataclass(frozen=True, slots=True)
class ClassifierConfig:
    """`classifier.json`. Logits are divided by `temperature` before the softmax (Guo et al. 2017)."""

    name: str
    labels: tuple[str, ...]
    temperature: float
    max_tokens: int

    @classmethod
    def read(cls, folder: Path) -> ClassifierConfig:
        """Raises ModelProblem if the file is absent or makes no sense."""
        path = folder / CONFIG
        try:
            raw = json.loads(path.read_bytes())
            config = cls(
                str(raw["name"]),
                tuple(str(label) for label in raw["labels"]),
                float(raw["temperature"]),
                int(raw["max_tokens"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelProblem(f"{path} cannot be read: {type(error).__name__} {error}.") from error
        if len(set(config.labels)) < max(2, len(config.labels)) or not 0 < config.temperature < float("inf"):
            raise ModelProblem(f"{path} is damaged: two different labels and a positive temperature are needed.")
        return config


class TransformersClassifier:
    """A DistilBERT with a classification head; its word embeddings and its tokenizer are those of `base`.

    bfloat16 is used where the processor multiplies it in hardware; the head and the probabilities are float32 either
    way. `device` is PyTorch's name of one.
    """

    def __init__(self, files: ModelFiles, base: ModelFiles, threads: int, device: str = "cpu") -> None:
        """Raises ModelProblem if `files` were trained from another base or do not fit together."""
        import torch

        require_base(files, base.id)
        config = ClassifierConfig.read(files.folder)
        self.id, self.name, self.labels, self.max_tokens = files.id, config.name, config.labels, config.max_tokens
        self._temperature = config.temperature
        torch.set_num_threads(threads)
        self._tokenizer = open_tokenizer(base.folder, config.max_tokens)
        self._model = load_model(files.folder, base.folder)
        if self._model.config.num_labels != len(self.labels):
            raise ModelProblem(f"{files.folder / CONFIG} does not have as many labels as the weights have outputs.")
        model: Any = self._model  # its `to` is not typed
        model.to(device)
        model.distilbert.to(torch.bfloat16 if has_bfloat16(device) else torch.float32)

    def classify(self, inputs: Sequence[Input]) -> list[Classification]:
        encodings = self._tokenizer.encode_batch([text if pair is None else (text, pair) for text, pair in inputs])
        logits = np.empty((len(inputs), len(self.labels)), np.float32)
        for batch in length_batches([len(encoding.ids) for encoding in encodings]):
            logits[batch] = self._logits([encodings[index] for index in batch])
        return [
            _classification(self.labels, row, len(encoding.ids), bool(encoding.overflowing))
            for row, encoding in zip(softmax(logits / self._temperature), encodings, strict=True)
        ]

    def close(self) -> None:
        model: Any = self._model
        model.to("meta")

    def _logits(self, batch: list[Encoding]) -> NDArray[np.float32]:
        """Float32 of shape (len(batch), labels)."""
        import torch

        ids = np.zeros((len(batch), max(len(encoding.ids) for encoding in batch)), np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(batch):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        with torch.inference_mode():
            device = self._model.device
            given, attended = torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
            hidden = self._model.distilbert(given, attention_mask=attended)[0][:, 0]
            logits = self._model.classifier(torch.relu(self._model.pre_classifier(hidden.float())))
        return np.asarray(logits.cpu().numpy(), np.float32)


_WORD = re.compile(r"\w+")
_FUNCTION_WORDS = frozenset(
    _WORD.findall(
        "a about an and any are as at be by can could did do does for from had has have how i if in into is it its "
        "many may me much must my no not of on or our shall should so some than that the their them then there "
        "these they this those to was we were what when where which who whom whose why will with would you your"
    )
)
_STEM_CHARS = 5


def content_stems(text: str) -> set[str]:
    """The first letters of each word of `text` that is no function word: a crude stem, without a language's rules."""
    return _stems(_WORD.findall(text.lower()))


def _stems(words: Iterable[str]) -> set[str]:
    return {word[:_STEM_CHARS] for word in words if word not in _FUNCTION_WORDS}


class OverlapClassifier:
    """Does the pair answer the text? Judged by the share of the text's content words that the pair contains.

    No weights, deterministic. The share is smoothed by Laplace's rule, so that a text without content words gives 1/2.
    """

    def __init__(self, max_tokens: int = 512) -> None:
        self.id = self.name = "sufficiency"
        self.id += "-overlap"
        self.labels: tuple[str, ...] = ("insufficient", "sufficient")
        self.max_tokens = max_tokens

    def classify(self, inputs: Sequence[Input]) -> list[Classification]:
        return [self._classify(text, pair or "") for text, pair in inputs]

    def close(self) -> None:
        """There are no weights."""

    def _classify(self, text: str, pair: str) -> Classification:
        asked = _WORD.findall(text.lower())
        given = _WORD.findall(pair.lower())
        total = len(asked) + len(given)
        asked = asked[: self.max_tokens]
        given = given[: self.max_tokens - len(asked)]
        wanted = _stems(asked)
        found = wanted & {word[:_STEM_CHARS] for word in given}
        sufficient = (len(found) + 1) / (len(wanted) + 2)
        row = np.array([1 - sufficient, sufficient])
        return _classification(self.labels, row, len(asked) + len(given), total > self.max_tokens)


def open_classifier(
    kind: str, files: ModelFiles | None, base: ModelFiles | None, threads: int, device: str = "cpu"
) -> Classifier:
    """The classifier a setting names: `transformers` (verified `files` over their `base`) or `overlap`.

    Raises ModelProblem if the files are not given or do not fit together.
    """
    if kind == "overlap":
        return OverlapClassifier()
    if files is None or base is None:
        raise ModelProblem("A classifier of the kind 'transformers' needs a trained model folder and its base.")
    return TransformersClassifier(files, base, threads, device)


def open_tokenizer(base_folder: Path, max_tokens: int) -> Tokenizer:
    """The tokenizer of a base, cutting at `max_tokens` (the longer of two texts first) and padding nothing."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(base_folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True  # "[SEP]" in a text is those five characters, not the end of the text
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens, strategy="longest_first")
    return tokenizer


def load_model(folder: Path, base_folder: Path) -> DistilBertForSequenceClassification:
    """The classifier in `folder` over the word embeddings of `base_folder`: float32, on the CPU, in evaluation mode.

    Raises ModelProblem if the weights cannot be read, or are not exactly those of the configuration.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    try:
        config: Any = DistilBertConfig.from_pretrained(folder, local_files_only=True)
        state = load_file(folder / WEIGHTS)
        state[WORD_EMBEDDINGS] = word_embeddings(base_folder)
        model: Any = DistilBertForSequenceClassification(config)
        model.load_state_dict({name: tensor.to(torch.float32) for name, tensor in state.items()})
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelProblem(f"The classifier in {folder} does not fit the base in {base_folder}: {error}") from error
    model.eval()
    return cast("DistilBertForSequenceClassification", model)


def word_embeddings(base_folder: Path) -> Any:
    """The word embeddings of a base as a tensor of shape (vocabulary, width). Raises KeyError if there are none.

    The hub's checkpoint has them under the name that a model with a head uses, ours under that of the bare model.
    """
    from safetensors import safe_open

    with safe_open(base_folder / WEIGHTS, framework="pt") as tensors:
        names = set(tensors.keys())
        for name in (WORD_EMBEDDINGS, WORD_EMBEDDINGS.removeprefix("distilbert.")):
            if name in names:
                return tensors.get_tensor(name)
    raise KeyError(f"{base_folder / WEIGHTS} holds no word embeddings of a DistilBERT")


def length_batches(lengths: Sequence[int], budget: int = BATCH_TOKENS) -> Iterator[list[int]]:
    """Indices in batches, longest first, so that a batch holds like lengths; longest times count is within `budget`.

    An index whose length alone is beyond the budget comes in a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


def softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Row-wise, in float64."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)


def _classification(labels: Sequence[str], row: NDArray[np.float64], tokens: int, truncated: bool) -> Classification:
    scores = {label: float(probability) for label, probability in zip(labels, row, strict=True)}
    best = max(scores, key=lambda label: scores[label])
    return Classification(best, scores[best], scores, tokens, truncated)
