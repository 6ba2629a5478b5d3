"""A base -> a classifier that is to be trained, and rows -> batches of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from models.classifier.data import Example
from models.classifier.params import ClassifierParams
from models.training import padded
from services.core.classifier import WEIGHTS, open_tokenizer
from services.core.errors import ModelProblem
from services.core.registry import ModelFiles

LENGTH_STEP = 32  # lengths are multiples of this
PREFIX = "distilbert."
IGNORED = ("vocab_",)  # the masked-language head of the hub's checkpoint


def new_classifier(
    params: ClassifierParams, labels: Sequence[str], base: ModelFiles
) -> DistilBertForSequenceClassification:
    """The base with a head of random weights; word embeddings are frozen. Raises ModelProblem if the base lacks one."""
    config: Any = DistilBertConfig.from_pretrained(
        base.folder,
        local_files_only=True,
        num_labels=len(labels),
        dropout=params.dropout,
        attention_dropout=params.attention_dropout,
        seq_classif_dropout=params.head_dropout,
    )
    torch.manual_seed(params.training.seed)
    model: Any = DistilBertForSequenceClassification(config)
    state = {
        name.removeprefix(PREFIX): tensor.to(torch.float32)
        for name, tensor in load_file(base.folder / WEIGHTS).items()
        if not name.startswith(IGNORED)
    }
    try:
        model.distilbert.load_state_dict(state)
    except RuntimeError as error:
        raise ModelProblem(f"The base in {base.folder} is not a whole DistilBERT: {error}") from error
    model.distilbert.embeddings.word_embeddings.weight.requires_grad_(False)
    return cast("DistilBertForSequenceClassification", model)


def tokenised(
    base: ModelFiles, max_tokens: int, examples: Sequence[Example], targets: Sequence[int]
) -> list[dict[str, Any]]:
    """Each row as `ids` and `label`."""
    tokenizer = open_tokenizer(base.folder, max_tokens)
    inputs = [text if pair is None else (text, pair) for text, pair in (example.input for example in examples)]
    encodings = tokenizer.encode_batch(inputs)
    return [{"ids": encoding.ids, "label": target} for encoding, target in zip(encodings, targets, strict=True)]


def collate(batch: Sequence[Any]) -> dict[str, torch.Tensor]:
    """input_ids and attention_mask of shape (batch, longest and some padding), labels of shape (batch,)."""
    ids = torch.zeros((len(batch), padded(max(len(row["ids"]) for row in batch), LENGTH_STEP)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(batch):
        ids[index, : len(row["ids"])] = torch.tensor(row["ids"])
        mask[index, : len(row["ids"])] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([row["label"] for row in batch])}


def summed_loss(outputs: Any, labels: torch.Tensor) -> torch.Tensor:
    return cross_entropy(outputs.logits.float(), labels, reduction="sum")
