"""Messages -> the token ids that a causal language model reads. Training and serving share them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Any

from services.core.prompt import Message


def chat_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """The chat in the tokenizer's template, up to where the answer begins.

    Only the template opens and closes turns. A special token that is spelt out in a message, say in a document, is
    read letter by letter.
    """
    texts = {secrets.token_hex(16): message.content for message in messages}
    chat = [{"role": message.role, "content": mark} for message, mark in zip(messages, texts, strict=True)]
    template = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    ids: list[int] = []
    for piece in re.split(f"({'|'.join(texts)})", template):
        ids += spelt_ids(tokenizer, texts[piece]) if piece in texts else _ids(tokenizer, piece, spelt=False)
    return ids


def spelt_ids(tokenizer: Any, text: str) -> list[int]:
    """`text` alone, special tokens in it letter by letter."""
    return _ids(tokenizer, text, spelt=True)


def _ids(tokenizer: Any, text: str, *, spelt: bool) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=spelt)["input_ids"])
