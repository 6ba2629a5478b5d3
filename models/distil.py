"""BERT -> DistilBERT with the same hidden states.

A DistilBERT block is a BERT block under other names. What it lacks is the pooler, which a classifier does not use, and
the token types: a BERT that only ever sees type 0 adds one constant vector to every position, so the sum of the two
tables is exact. Segment B of a pair is type 0 too, as in every DistilBERT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig, DistilBertConfig

from services.core.errors import ModelProblem

LAYER_NORM_EPS = 1e-12  # fixed in DistilBERT, a setting of BERT
BLOCK = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}


def distil_config(bert: BertConfig) -> DistilBertConfig:
    """The configuration that gives the same computation; raises ModelProblem if there is none."""
    if bert.layer_norm_eps != LAYER_NORM_EPS:
        raise ModelProblem(
            f"A BERT with layer_norm_eps {bert.layer_norm_eps} has no DistilBERT form: {LAYER_NORM_EPS} is built in."
        )
    if bert.hidden_act not in ("gelu", "relu"):
        raise ModelProblem(f"A BERT with the activation {bert.hidden_act!r} has no DistilBERT form.")
    if bert.is_decoder or getattr(bert, "position_embedding_type", "absolute") != "absolute":
        raise ModelProblem("Only a BERT encoder with absolute positions has a DistilBERT form.")
    config = DistilBertConfig(
        vocab_size=bert.vocab_size,
        max_position_embeddings=bert.max_position_embeddings,
        sinusoidal_pos_embds=False,
        n_layers=bert.num_hidden_layers,
        n_heads=bert.num_attention_heads,
        dim=bert.hidden_size,
        hidden_dim=bert.intermediate_size,
        dropout=bert.hidden_dropout_prob,
        attention_dropout=bert.attention_probs_dropout_prob,
        activation=bert.hidden_act,
        initializer_range=bert.initializer_range,
        pad_token_id=bert.pad_token_id,
    )
    config.architectures = ["DistilBertModel"]
    config.dtype = torch.float32
    return config


def distil_weights(bert: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Weights of a BertModel under the names of a DistilBertModel, float32. Raises KeyError if one is missing."""
    full = {name: tensor.to(torch.float32) for name, tensor in bert.items()}
    positions = full["embeddings.position_embeddings.weight"] + full["embeddings.token_type_embeddings.weight"][0]
    out = {
        "embeddings.word_embeddings.weight": full["embeddings.word_embeddings.weight"],
        "embeddings.position_embeddings.weight": positions,
    }
    modules = {"embeddings.LayerNorm": "embeddings.LayerNorm"}
    for layer in range(layers):
        for theirs, ours in BLOCK.items():
            modules[f"encoder.layer.{layer}.{theirs}"] = f"transformer.layer.{layer}.{ours}"
    for theirs, ours in modules.items():
        for kind in ("weight", "bias"):
            out[f"{ours}.{kind}"] = full[f"{theirs}.{kind}"]
    return {name: tensor.contiguous() for name, tensor in out.items()}


def hidden_states(model: Any, tokenizer: Any, texts: Sequence[str]) -> Tensor:
    """Last hidden states of the real tokens of `texts`, one after the other: float32 of shape (tokens, width)."""
    batch = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt", return_token_type_ids=False)
    with torch.inference_mode():
        states: Tensor = model(**batch).last_hidden_state
    return states[batch["attention_mask"].bool()].float()
