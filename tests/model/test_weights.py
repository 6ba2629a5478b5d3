"""What the really fetched weights can do. Needs `python -m models.fetch` to have run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from models.fetch import read_bases
from services.core.encoder import SentenceEncoder
from services.core.registry import ModelFiles, read_manifest, resolve

ROOT = Path(__file__).resolve().parents[2]
MODELS_DIR = ROOT / "data" / "models"

pytestmark = pytest.mark.skipif(
    not all((MODELS_DIR / role / "manifest.json").is_file() for role in ("encoder", "generator")),
    reason="no weights in data/models: run `python -m models.fetch` first",
)


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    files = resolve(MODELS_DIR, "encoder")
    return SentenceEncoder(files.folder, files.id)


@pytest.fixture(scope="module")
def generator_files() -> ModelFiles:
    return resolve(MODELS_DIR, "generator")


@pytest.fixture(scope="module")
def tokenizer(generator_files: ModelFiles) -> Any:
    return AutoTokenizer.from_pretrained(generator_files.folder, local_files_only=True)


@pytest.fixture(scope="module")
def generator(generator_files: ModelFiles) -> Any:
    return LlamaForCausalLM.from_pretrained(generator_files.folder, dtype=torch.float32, local_files_only=True)


def test_weights_are_those_of_params() -> None:
    for role, base in read_bases(ROOT / "params.yaml").items():
        origin = read_manifest(MODELS_DIR / role).origin
        assert (origin.name, origin.source) == (base.name, base.source)
        assert base.sha256 in (None, origin.source_sha256)


@pytest.mark.parametrize(
    ("text", "related", "unrelated"),
    [
        ("How do I remove a package?", "Use apt to uninstall software.", "The moon goes around the earth."),
        ("A cat sat on the mat.", "A kitten rests on a rug.", "Stock prices fell sharply on Monday."),
        ("The car does not start.", "My vehicle's engine is dead.", "She painted the wall blue."),
    ],
)
def test_related_sentences_are_nearer(encoder: SentenceEncoder, text: str, related: str, unrelated: str) -> None:
    vectors = encoder.encode([text, related, unrelated])
    assert vectors.shape == (3, 384)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.1


def test_encoder_reads_256_tokens(encoder: SentenceEncoder) -> None:
    assert encoder.max_tokens == 254
    assert encoder.token_spans("The cat  sat.") == [(0, 3), (4, 7), (9, 12), (12, 13)]


def test_tokenizer_is_ready_for_batches(tokenizer: Any) -> None:
    batch = tokenizer(["Yes", "A longer line of text"], padding=True)
    assert tokenizer.padding_side == "left" and batch["attention_mask"][0][0] == 0
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (2, 2)


def test_chat_template_is_kept(tokenizer: Any) -> None:
    prompt = tokenizer.apply_chat_template(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert prompt == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokenizer(prompt).input_ids[0] == 1


def test_text_survives_the_tokenizer(tokenizer: Any) -> None:
    text = "Costs 1,250 € , see § 3.2\n\n1. naïve – “quoted”  text\t'tis ."
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.tokenize("\n\n12") == ["ĊĊ", "1", "2"]


def test_plain_english_is_likely(generator: Any, tokenizer: Any) -> None:
    """A wrongly read tensor or tokenizer brings the loss towards that of guessing, ln(49152) = 10.8 nats a token."""
    text = (
        "The river rises in the mountains and flows south for two hundred miles before it reaches the sea. "
        "Many birds live along its banks, and farmers use its water for their fields."
    )
    tokens = tokenizer(text, return_tensors="pt").input_ids
    with torch.inference_mode():
        assert float(generator(tokens, labels=tokens).loss) < 4.0


def test_generator_answers_from_passages(generator: Any, tokenizer: Any) -> None:
    """Six easy questions in one batch, greedily; so small a model is allowed one miss."""
    cases = [
        ("The museum opens at nine. A ticket costs 12 euros.", "How much does a ticket cost?", "12"),
        ("The package manager of Debian is called apt.", "What is the package manager of Debian called?", "apt"),
        ("The bridge was built in 1932 by an engineer named Ada Holm.", "Who built the bridge?", "Ada Holm"),
        ("The file is stored in the folder /var/lib/mail.", "In which folder is the file stored?", "/var/lib/mail"),
        ("The capital of the island is Port Elsa.", "What is the capital of the island?", "Port Elsa"),
        ("The option -r copies folders with all their files.", "Which option copies folders?", "-r"),
    ]
    chats = [
        [{"role": "user", "content": f"Passage: {passage}\n\nAnswer from the passage. {question}"}]
        for passage, question, _ in cases
    ]
    inputs = tokenizer.apply_chat_template(chats, add_generation_prompt=True, return_tensors="pt", padding=True)
    with torch.inference_mode():
        output = generator.generate(**inputs, max_new_tokens=24, do_sample=False)
    replies = [tokenizer.decode(row, skip_special_tokens=True) for row in output[:, inputs["input_ids"].shape[1] :]]
    hits = [answer in reply for (_, _, answer), reply in zip(cases, replies, strict=True)]
    assert sum(hits) >= 5, replies
    assert (output[:, -1] == 2).sum() >= 5, "the model does not stop by itself"
