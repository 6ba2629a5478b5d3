"""Files of a source -> a model folder the services load: safetensors, configuration, tokenizer.

The result depends on the input bytes only, not on when or where it is made. Needs the `train` extra (gguf).
"""

from __future__ import annotations

import io
import json
import shutil
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import pre_tokenizers
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from models.bases import ROLES
from models.distil import distil_config, distil_weights, hidden_states
from models.encoder.merge import merge
from models.progress import Steps
from models.quiet import quiet
from models.sources import weights_file
from services.core.encoder import ENCODERS, SentenceEncoder
from services.core.errors import ModelProblem

PROMPT = "The manual says that the option -r copies a folder with 12 files.\n\n1. Question: what does -r do? Answer:"
# Largest difference of a logit that halving the precision may make; about 0.03 is usual, a wrong tensor makes > 1.
MAX_LOGIT_DIFFERENCE = 0.1
# Largest difference of a hidden state that the order of float32 sums may make; hidden states are about 1.
MAX_HIDDEN_DIFFERENCE = 1e-4
TEXTS = (PROMPT, "A shorter text.")
# Keys that say how the files were made, not what they are: they would give equal models unequal ids.
VOLATILE_KEYS = frozenset(
    {"transformers_version", "_name_or_path", "_model_name_or_path", "name_or_path", "is_local", "local_files_only"}
)


def prepare(role: str, files: Path, out: Path, steps: Steps, adapter: Path | None = None) -> None:
    """Make the model folder `out` (which must not exist) for `role` from `files`, then load and try it.

    `files` may be moved from; `adapter` is the folder of a LoRA adapter to add to an encoder. Raises ModelProblem if
    the files are not a model of that role or the result differs from what the source computes.
    """
    with quiet():
        if role in ENCODERS.values():
            _prepare_encoder(files, out, steps, adapter)
        elif role == "generator":
            _prepare_generator(files, out, steps)
        elif role == "classifier-base":
            _prepare_classifier_base(files, out, steps)
        else:
            raise ModelProblem(f"There is no role {role!r} for a base; use {', '.join(ROLES)}.")


def _prepare_encoder(files: Path, out: Path, steps: Steps, adapter: Path | None) -> None:
    if not (files / "modules.json").is_file():
        raise ModelProblem("encoder: modules.json is missing, so this is not a sentence-transformers folder.")
    if adapter is not None:
        with steps.step("encoder: add the adapter"):
            merge(adapter, files)
    shutil.move(files, out)
    with steps.step("encoder: load and try"):
        try:
            vectors = SentenceEncoder(out, "unverified").encode(["A first text.", "Another."])
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelProblem(f"encoder: the files cannot be loaded: {error}") from error
        if not np.isfinite(vectors).all():
            raise ModelProblem("encoder: the vectors of a test text are not finite numbers.")


def _prepare_generator(files: Path, out: Path, steps: Steps) -> None:
    weights = weights_file(files, "generator")
    from_gguf: dict[str, Any] = {"gguf_file": weights.name} if weights.suffix == ".gguf" else {}
    try:
        with steps.step("generator: read the tokenizer"):
            # Padding goes left, since a batch continues at its right end. Setting it later would not be saved.
            tokenizer = AutoTokenizer.from_pretrained(files, local_files_only=True, padding_side="left", **from_gguf)
        if from_gguf:
            _restore_pre_tokenizer(tokenizer, weights)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        if not tokenizer.chat_template:
            raise ModelProblem("generator: the tokenizer has no chat template, so this is not an instruct model.")
        if not isinstance(AutoConfig.from_pretrained(files, local_files_only=True, **from_gguf), LlamaConfig):
            raise ModelProblem("generator: only models of the Llama architecture are supported.")
        if from_gguf:
            _dequantise(files, weights.name, tokenizer, out, steps)
        else:
            shutil.move(files, out)
            with steps.step("generator: load and try"):
                _logits(_load(out), tokenizer)
    except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        raise ModelProblem(f"generator: the files cannot be loaded: {error}") from error
    tokenizer.save_pretrained(out)
    for path in sorted(out.glob("*.json")):
        _drop_volatile_keys(path)


def _prepare_classifier_base(files: Path, out: Path, steps: Steps) -> None:
    """A DistilBERT is taken as it is; a BERT is rewritten as one."""
    if weights_file(files, "classifier-base").suffix != ".safetensors":
        raise ModelProblem("classifier-base: the weights must be safetensors.")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(files, local_files_only=True)
        config: Any = AutoConfig.from_pretrained(files, local_files_only=True)
        if isinstance(config, BertConfig):
            _rewrite_as_distilbert(files, config, tokenizer, out, steps)
        elif isinstance(config, DistilBertConfig):
            shutil.move(files, out)
            with steps.step("classifier-base: load and try"):
                states = hidden_states(_load_distilbert(out), tokenizer, TEXTS)
                if not torch.isfinite(states).all():
                    raise ModelProblem("classifier-base: the hidden states of a test text are not finite numbers.")
        else:
            raise ModelProblem("classifier-base: only models of the architectures DistilBERT and BERT are supported.")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelProblem(f"classifier-base: the files cannot be loaded: {error}") from error
    tokenizer.backend_tokenizer.no_padding()  # a sentence encoder's says where to cut and pad; who uses it decides that
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.model_max_length = config.max_position_embeddings
    for key in ("max_length", "stride", "truncation_strategy", "pad_to_multiple_of"):
        tokenizer.init_kwargs.pop(key, None)
    tokenizer.save_pretrained(out)
    for path in sorted(out.glob("*.json")):
        _drop_volatile_keys(path)


def _rewrite_as_distilbert(files: Path, config: BertConfig, tokenizer: Any, out: Path, steps: Steps) -> None:
    with steps.step("classifier-base: rewrite BERT as DistilBERT"):
        bert: Any = BertModel.from_pretrained(
            files, dtype=torch.float32, local_files_only=True, use_safetensors=True, add_pooling_layer=False
        )
        out.mkdir()
        distil_config(config).save_pretrained(out)
        weights = distil_weights(bert.state_dict(), config.num_hidden_layers)
        save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    with steps.step("classifier-base: compare with the source"):
        written = _load_distilbert(out)
        found, expected = (hidden_states(model, tokenizer, TEXTS) for model in (written, bert))
        difference = float((found - expected).abs().max())
        if not difference <= MAX_HIDDEN_DIFFERENCE:
            raise ModelProblem(
                f"classifier-base: a hidden state of the DistilBERT differs by {difference:.6f} from that of the BERT; "
                f"at most {MAX_HIDDEN_DIFFERENCE} is expected."
            )


def _load_distilbert(folder: Path) -> Any:
    """Raises ModelProblem if the folder lacks a weight: transformers would start it at random."""
    loaded: Any = DistilBertModel.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise ModelProblem(f"classifier-base: the weights lack {', '.join(missing[:3])}.")
    return model


def _dequantise(files: Path, gguf_file: str, tokenizer: Any, out: Path, steps: Steps) -> None:
    """Write the GGUF weights as float16 safetensors; float16 keeps 3 more bits of the mantissa than bfloat16."""
    # The reader draws a bar of its own on standard error, which cannot be switched off.
    with steps.step("generator: dequantise"), redirect_stderr(io.StringIO()):
        source = LlamaForCausalLM.from_pretrained(
            files, gguf_file=gguf_file, dtype=torch.float32, local_files_only=True
        )
        expected = _logits(source, tokenizer)
    with steps.step("generator: write safetensors"):
        facts = source.config.to_dict()
        config = LlamaConfig(**{key: value for key, value in facts.items() if key != "quantization_config"})
        config.architectures = ["LlamaForCausalLM"]
        config.dtype = torch.float16
        config.pad_token_id = tokenizer.pad_token_id  # the generation config is derived from this one
        tokenizer.model_max_length = config.max_position_embeddings
        # Saving `source` itself fails: it remembers that it was quantised. The copy never was.
        with torch.device("meta"):
            clean = LlamaForCausalLM(config)
        halves = {name: tensor.to(torch.float16) for name, tensor in source.state_dict().items()}
        del source
        clean.load_state_dict(halves, assign=True)
        clean.tie_weights()
        clean.save_pretrained(out)
        del clean, halves
    with steps.step("generator: compare with the source"):
        written = _load(out)
        if config.tie_word_embeddings and written.lm_head.weight is not written.model.embed_tokens.weight:
            raise ModelProblem("generator: the written model does not share its input and output embeddings.")
        difference = float((_logits(written, tokenizer) - expected).abs().max())
        if not difference <= MAX_LOGIT_DIFFERENCE:
            raise ModelProblem(
                f"generator: a logit of the written model differs by {difference:.3f} from the dequantised one; "
                f"at most {MAX_LOGIT_DIFFERENCE} is expected."
            )


def _restore_pre_tokenizer(tokenizer: Any, weights: Path) -> None:
    """Split digits as SmolLM does. transformers reads the merges of a GGUF, but not how it splits text before them.

    The difference shows in "\\n\\n1.": without it two tokens for the empty line, where the model was trained on one.
    """
    from gguf import GGUFReader

    field = GGUFReader(weights).get_field("tokenizer.ggml.pre")
    if field is not None and field.contents() == "smollm":
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )


def _load(folder: Path) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True, use_safetensors=True)


def _logits(model: LlamaForCausalLM, tokenizer: Any) -> torch.Tensor:
    """Logits of a fixed prompt, float32 of shape (tokens, vocabulary); raises ModelProblem if one is not finite."""
    with torch.inference_mode():
        logits: torch.Tensor = model(**tokenizer(PROMPT, return_tensors="pt")).logits[0]
    if not torch.isfinite(logits).all():
        raise ModelProblem("generator: the logits of a test prompt are not finite numbers.")
    return logits


def _drop_volatile_keys(path: Path) -> None:
    body = json.loads(path.read_bytes())
    if isinstance(body, dict) and VOLATILE_KEYS & body.keys():
        kept = {key: value for key, value in body.items() if key not in VOLATILE_KEYS}
        path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
