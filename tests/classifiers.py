"""A random DistilBERT base of a few kilobytes, and classifiers over it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import DistilBertConfig, DistilBertForSequenceClassification, DistilBertModel

from models.classifier.save import Facts, save_classifier
from services.core.classifier import ClassifierConfig
from services.core.registry import ModelFiles, Origin, Training, verify, write_manifest

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,:;?!'-"


def make_base(models_dir: Path, seed: int = 1) -> ModelFiles:
    """`models_dir/classifier-base`: every letter is a token."""
    folder = models_dir / "classifier-base"
    folder.mkdir(parents=True)
    words = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(seed)
    # A standard deviation so large that random weights tell texts apart.
    config = DistilBertConfig(
        vocab_size=len(words), dim=32, n_layers=2, n_heads=2, hidden_dim=64, initializer_range=0.3
    )
    model = DistilBertModel(config)
    config.save_pretrained(folder)
    save_file(model.state_dict(), folder / "model.safetensors", {"format": "pt"})
    write_manifest(folder, Origin("classifier-base", "tiny-distil", "path:tiny", "0" * 64, "Apache-2.0"))
    return verify(folder)


def make_classifier(
    folder: Path,
    base: ModelFiles,
    labels: tuple[str, ...] = ("insufficient", "sufficient"),
    *,
    name: str = "sufficiency",
    temperature: float = 1.0,
    max_tokens: int = 512,
    dtype: torch.dtype = torch.float32,
    seed: int = 2,
) -> ModelFiles:
    """A classifier with a random head over `base`, in `folder`."""
    torch.manual_seed(seed)
    config: Any = DistilBertConfig.from_pretrained(base.folder, num_labels=len(labels))
    model = DistilBertForSequenceClassification(config)
    loaded = DistilBertModel.from_pretrained(base.folder)
    model.distilbert.load_state_dict(loaded.state_dict())
    folder.mkdir(parents=True)
    training = Training(base.id, "1" * 64, "2" * 64, "0" * 40, {"loss": 0.5})
    facts = Facts(ClassifierConfig(name, labels, temperature, max_tokens), training, "test rows", "Apache-2.0")
    save_classifier(folder, model, facts, dtype)
    return verify(folder)
