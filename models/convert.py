"""Files of a source -> a model folder the services load: safetensors, configuration, tokenizer.

The result depends on the input bytes only, not on when or where it is made. Needs the `train` extra (gguf).
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import pre_tokenizers
from transformers import AutoConfig, AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging as transformers_logging

from models.progress import Steps
from models.sources import weights_file
from services.core.encoder import SentenceEncoder
from services.core.errors import ModelProblem

PROMPT = "The manual says that the option -r copies a folder with 12 files.\n\n1. Question: what does -r do? Answer:"
# Largest difference of a logit that halving the precision may make; about 0.03 is usual, a wrong tensor makes > 1.
MAX_LOGIT_DIFFERENCE = 0.1
# Keys that say how the files were made, not what they are: they would give equal models unequal ids.
VOLATILE_KEYS = frozenset(
    {"transformers_version", "_name_or_path", "_model_name_or_path", "name_or_path", "is_local", "local_files_only"}
)


def prepare(role: str, files: Path, out: Path, steps: Steps) -> None:
    """Make the model folder `out` (which must not exist) for `role` from `files`, then load and try it.

    `files` may be moved from. Raises ModelProblem if the files are not a model of that role or the result differs
    from what the source computes.
    """
    with _quiet():
        if role == "encoder":
            _prepare_encoder(files, out, steps)
        elif role == "generator":
            _prepare_generator(files, out, steps)
        else:
            raise ModelProblem(f"There is no role {role!r} for a base; use encoder or generator.")


def _prepare_encoder(files: Path, out: Path, steps: Steps) -> None:
    if not (files / "modules.json").is_file():
        raise ModelProblem("encoder: modules.json is missing, so this is not a sentence-transformers folder.")
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the bars and notices of transformers out of ours."""
    log: Any = transformers_logging  # its functions are not typed
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()
