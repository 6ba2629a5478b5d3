"""A generator base small enough to train in seconds: the real tokenizer, a Llama of random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

from models.files import read_yaml
from models.params import merged
from services.core.registry import Origin, write_manifest

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
