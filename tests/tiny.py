"""Bases small enough to train in seconds: random weights; the generator has the real tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from peft import LoraConfig, get_peft_model
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

from models.adapter import save_adapter
from models.files import read_yaml
from models.params import merged
from services.core.registry import ModelFiles, Origin, Training, write_manifest

ROOT = Path(__file__).parent.parent
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def tiny_generator(models_dir: Path, real: Path) -> None:
    """Write `models_dir/generator`, with the tokenizer of the folder `real`."""
    folder = models_dir / "generator"
    folder.mkdir(parents=True)
    for name in TOKENIZER_FILES:
        shutil.copyfile(real / name, folder / name)
    facts = json.loads((real / "config.json").read_bytes())
    config = LlamaConfig(
        vocab_size=facts["vocab_size"],
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        eos_token_id=facts["eos_token_id"],
        pad_token_id=facts["pad_token_id"],
        tie_word_embeddings=True,
    )
    torch.manual_seed(5)
    LlamaForCausalLM(config).save_pretrained(folder)
    write_manifest(folder, Origin("generator", "tiny-llama", "test", "0" * 64, "Apache-2.0"))


def tiny_bert(folder: Path, words: Sequence[str]) -> Path:
    """A sentence-transformers folder: a random BERT that knows these words, mean pooling. Returns `folder`."""
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (folder / "vocab.txt").write_text("\n".join(known))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(known),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        hidden_dropout_prob=0.0,
        initializer_range=0.2,  # with the usual 0.02 all its vectors are the same to three digits
    )
    BertModel(config).save_pretrained(folder)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 32, "do_lower_case": True}))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True})
    )
    return folder


def tiny_lora(folder: Path, base: ModelFiles, dtype: torch.dtype, seed: int = 8) -> None:
    """An adapter for the BERT in `base` as a training leaves it, of random weights."""
    torch.manual_seed(seed)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=["query", "value"], init_lora_weights=False)
    model = get_peft_model(BertModel.from_pretrained(base.folder, local_files_only=True), lora)
    folder.mkdir()
    training = Training(base.id, "a" * 64, "b" * 64, "c" * 40, {})
    save_adapter(folder, model.to(dtype), "tiny-lora", training)


def examples(count: int, document: str = "made.pdf") -> list[dict[str, Any]]:
    """Rows of examples.*.jsonl: each asks for the number that one of three passages gives for a name."""
    rows = []
    for number in range(count):
        names = [f"part {number}-{letter}" for letter in "abc"]
        values = [str(17 * number + 5 * at + 3) for at in range(3)]
        gold = number % 3
        texts = [f"The width of {name} is {value} mm." for name, value in zip(names, values, strict=True)]
        rows.append(
            {
                "id": f"made-{number:03d}",
                "document": document,
                "kind": "number",
                "question": f"How wide is {names[gold]}?",
                "answer": f"It is {values[gold]} mm wide.",
                "short_answers": [f"{values[gold]} mm"],
                "quote": texts[gold],
                "passages": [{"text": text, "page": 1, "document": document} for text in texts],
                "gold": gold,
            }
        )
    return rows


def params_file(path: Path, overlay: dict[str, Any]) -> Path:
    """The project's parameters with some replaced."""
    path.write_text(yaml.safe_dump(merged(read_yaml(ROOT / "params.yaml", remedy=""), overlay)), encoding="utf-8")
    return path
