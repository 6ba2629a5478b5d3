"""The classifier's base computes what the encoder computes, token by token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, BertModel, DistilBertModel

from models.distil import hidden_states
from services.core.classifier import word_embeddings
from services.core.registry import read_manifest, resolve

TEXTS = [
    "Which option copies folders? The option -r copies folders with all their files.",
    "The river rises in the mountains and flows south for two hundred miles before it reaches the sea. " * 12,
    "naïve café, 東京 — 3.14 % of ½ «quotes»; a_b-c/d\\e\n\n\ttabs   and spaces",
    "R CMD build --compact-vignettes=gs+qpdf pkg_1.0.tar.gz",
    "x",
    "",
]


@pytest.fixture(scope="module")
def base_dir(models_dir: Path) -> Path:
    if not (models_dir / "classifier-base" / "manifest.json").is_file():
        pytest.skip("the classifier's base is not fetched: run `make weights`")
    return models_dir


def test_hidden_states_are_those_of_bert(base_dir: Path) -> None:
    bert, distil = resolve(base_dir, "encoder"), resolve(base_dir, "classifier-base")
    loaded: list[Any] = [
        kind.from_pretrained(files.folder, dtype=torch.float32, local_files_only=True)
        for kind, files in ((BertModel, bert), (DistilBertModel, distil))
    ]
    tokenizer = AutoTokenizer.from_pretrained(distil.folder, local_files_only=True)
    expected, found = (hidden_states(model, tokenizer, TEXTS) for model in loaded)
    assert found.shape == expected.shape and found.shape[0] > 250 and found.shape[1] == 384
    assert float(expected.abs().max()) > 1  # no trivial zeros are compared
    assert float((found - expected).abs().max()) < 1e-5


def test_pairs_are_read_alike_too(base_dir: Path) -> None:
    """With token type 0 everywhere, which is what a DistilBERT reads a pair with."""
    bert = BertModel.from_pretrained(resolve(base_dir, "encoder").folder, dtype=torch.float32, local_files_only=True)
    files = resolve(base_dir, "classifier-base")
    distil = DistilBertModel.from_pretrained(files.folder, dtype=torch.float32, local_files_only=True)
    ids = AutoTokenizer.from_pretrained(files.folder)(TEXTS[0], TEXTS[3], return_tensors="pt").input_ids
    with torch.inference_mode():
        difference = (bert(ids).last_hidden_state - distil(ids).last_hidden_state).abs().max()
    assert float(difference) < 1e-5


def test_base_names_the_encoder_it_was_made_from(base_dir: Path) -> None:
    origin = read_manifest(base_dir / "classifier-base").origin
    assert origin.source == "role:encoder"
    assert origin.source_sha256 == resolve(base_dir, "encoder").manifest_sha256


def test_tokenizer_neither_cuts_nor_pads(base_dir: Path) -> None:
    """That of the encoder pads to 128 and cuts there."""
    tokenizer = AutoTokenizer.from_pretrained(base_dir / "classifier-base", local_files_only=True)
    assert len(tokenizer("one word").input_ids) == 4
    assert len(tokenizer("word " * 300).input_ids) == 302
    assert tokenizer.model_max_length == 512


def test_word_embeddings_are_found(base_dir: Path) -> None:
    assert tuple(word_embeddings(base_dir / "classifier-base").shape) == (30522, 384)
