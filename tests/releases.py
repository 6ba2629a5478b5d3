"""Releases of a few kilobytes over random bases: a tiny Llama, a tiny DistilBERT, and an encoder that is only named."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from services.core.plan import DEFAULT_PLAN, DEFAULT_SENTENCES, Plan
from services.core.prompt import Prompt
from services.core.registry import (
    ModelFiles,
    Origin,
    Release,
    Training,
    read_manifest,
    verify,
    write_manifest,
    write_release,
)
from tests.classifiers import make_base, make_classifier

DATA_SHA256 = "1" * 64  # what `make_classifier` says it was trained on
COMMIT = "c" * 40
PROMPT = Prompt("Read this: {passages}\n\nNow: {question}", ("\n\n", "###"), "It is not said.")
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


@dataclass(frozen=True)
class Places:
    folder: Path  # of the release
    models_dir: Path

    def copy(self, to: Path) -> Places:
        """The same bytes somewhere else, to be damaged there."""
        shutil.copytree(self.folder, to / "release")
        shutil.copytree(self.models_dir, to / "models")
        return Places(to / "release", to / "models")


def make_release(root: Path) -> Places:
    """Bases in `root/models`, and a release over them in `root/release`."""
    places = Places(root / "release", root / "models")
    base = make_base(places.models_dir)
    make_encoder(places.models_dir)
    generator = make_generator(places.models_dir)
    make_classifier(places.folder / "classifier", base)
    make_adapter(places.folder / "adapter", generator)
    seal(places)
    return places


def make_another(
    places: Places, folder: Path, *, seed: int, name: str = "tiny", sufficient: float = 0.6, prompt: Prompt = PROMPT
) -> Places:
    """A release in `folder` over the same bases, with an adapter and a classifier of its own."""
    other = Places(folder, places.models_dir)
    make_classifier(folder / "classifier", verify(places.models_dir / "classifier-base"), seed=seed)
    make_adapter(folder / "adapter", verify(places.models_dir / "generator"), seed=seed)
    seal(other, name=name, sufficient=sufficient, prompt=prompt)
    return other


def spoil(places: Places, part: str, weights: str) -> None:
    """Make every weight of a part NaN, and the manifests right again: only who tries it out notices."""
    path = places.folder / part / weights
    tensors = {key: torch.full_like(tensor, torch.nan) for key, tensor in load_file(path).items()}
    save_file(tensors, path, {"format": "pt"})
    manifest = read_manifest(path.parent)
    write_manifest(path.parent, manifest.origin, manifest.training)
    seal(places)


def seal(
    places: Places, name: str = "tiny", prompt: Prompt = PROMPT, sufficient: float = 0.6, plan: Plan = DEFAULT_PLAN
) -> Release:
    """Write `release.json` over what lies there."""
    return write_release(
        places.folder,
        places.models_dir,
        name=name,
        prompt=prompt,
        thresholds={"sufficient": sufficient},
        git_commit=COMMIT,
        plan=plan,
        sentences=DEFAULT_SENTENCES,
    )


def make_encoder(models_dir: Path, dim: int = 8) -> None:
    """Enough for the registry, not to encode with."""
    folder = models_dir / "encoder-tuned"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(f'{{"hidden_size": {dim}}}\n')
    write_manifest(folder, Origin("encoder-tuned", "tiny-encoder", "path:tiny", "0" * 64, "Apache-2.0"))


def make_generator(models_dir: Path, seed: int = 3) -> ModelFiles:
    """A Llama that speaks bytes, at random; an existing one is replaced."""
    folder = models_dir / "generator"
    shutil.rmtree(folder, ignore_errors=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(["</s>", *alphabet])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    ends = {"eos_token": "</s>", "pad_token": "</s>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **ends)  # type: ignore[no-untyped-call]
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(alphabet) + 1,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=8192,
        eos_token_id=0,
        pad_token_id=0,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    write_manifest(folder, Origin("generator", "tiny-llama", "path:tiny", "0" * 64, "Apache-2.0"))
    return verify(folder)


def make_adapter(
    folder: Path, base: ModelFiles, *, name: str = "salty", data_sha256: str = DATA_SHA256, seed: int = 0
) -> ModelFiles:
    """A LoRA adapter with random weights for the generator `base`."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base.folder, local_files_only=True)
    config = LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(str(folder))
    training = Training(base.id, data_sha256, "2" * 64, COMMIT, {"loss": 0.5})
    write_manifest(folder, Origin("adapter", name, "test rows", data_sha256, "Apache-2.0"), training)
    return verify(folder)


def flip_bit(path: Path, position: int) -> None:
    """Change one bit of a file; a negative position counts from the end."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
