"""The base as it is trained and judged: frozen, with or without an adapter."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.device import device
from models.errors import BadInput
from models.generator.params import GeneratorParams
from services.core.encoder import cpu_has_bfloat16
from services.core.registry import ModelFiles


def load_tokenizer(base: ModelFiles) -> Any:
    return AutoTokenizer.from_pretrained(base.folder, local_files_only=True)


def load_base(base: ModelFiles) -> Any:
    """The base in bfloat16 where the processor multiplies it in hardware, else in float32."""
    half = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else cpu_has_bfloat16()
    model: Any = AutoModelForCausalLM.from_pretrained(
        base.folder, dtype=torch.bfloat16 if half else torch.float32, local_files_only=True, use_safetensors=True
    )
    return model.to(device())


def load_four_bit(base: ModelFiles) -> Any:
    """The base in 4-bit NormalFloat (Dettmers et al. 2023). Raises BadInput where that cannot run, and says why."""
    remedy = "Set generator.base_precision to bfloat16, or train on a machine with an NVIDIA GPU."
    if not torch.cuda.is_available():
        raise BadInput("params.yaml", "generator.base_precision nf4 needs an NVIDIA GPU, none is here", remedy=remedy)
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        remedy = "`pip install bitsandbytes`, or set generator.base_precision to bfloat16."
        raise BadInput("params.yaml", f"generator.base_precision nf4: {error}", remedy=remedy) from error
    import peft
    import transformers

    library: Any = transformers  # not typed
    four_bit = library.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = AutoModelForCausalLM.from_pretrained(
        base.folder, quantization_config=four_bit, device_map={"": torch.cuda.current_device()}, local_files_only=True
    )
    untyped: Any = peft
    return untyped.prepare_model_for_kbit_training(model)


def with_new_adapter(params: GeneratorParams, base: ModelFiles) -> Any:
    """The base with a LoRA adapter that changes nothing yet (B is 0). Raises BadInput if it has no such layers."""
    model = load_four_bit(base) if params.base_precision == "nf4" else load_base(base)
    layers, first = int(model.config.num_hidden_layers), params.lora.first_layer
    if first >= layers:
        raise BadInput(
            "params.yaml",
            f"generator.lora.first_layer is {first}, but {base.id} has {layers} layers, counted from 0",
            remedy=f"Choose one from 0 to {layers - 1}.",
        )
    config = LoraConfig(
        r=params.lora.rank,
        lora_alpha=params.lora.alpha,
        lora_dropout=params.lora.dropout,
        target_modules=list(params.lora.targets),
        layers_to_transform=list(range(first, layers)),
        task_type="CAUSAL_LM",
    )
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:
        raise BadInput(
            "params.yaml",
            f"generator.lora.targets do not fit {base.id} ({error})",
            remedy="Name linear layers of the base: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj.",
        ) from error
    return adapted


def with_adapter(model: Any, adapter: ModelFiles) -> Any:
    """`model` with the weights of `adapter` added to its own."""
    return PeftModel.from_pretrained(model, str(adapter.folder), local_files_only=True).merge_and_unload()
