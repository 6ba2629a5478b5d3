"""The official `openai` client against the platform, with the real models."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from tests.server import Server

CHAT, EMBED = "SmolLM2-135M-Instruct", "all-MiniLM-L6-v2-manuals"
PASSAGE = "The harbour master counts boats, nets, lamps, ropes, barrels, sails and anchors every morning at dawn."
ASKED: Any = [
    {"role": "system", "content": "You are brief."},
    {
        "role": "user",
        "content": f"Context:\n{PASSAGE}\n\nWhat does the harbour master count? Answer in one sentence.",
    },
]


def client_for(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0, timeout=120) as client:
        yield client


@pytest.fixture(scope="module")
def client(system: Server) -> Iterator[openai.OpenAI]:
    yield from client_for(system)


@pytest.fixture(scope="module")
def quick_client(quick_system: Server) -> Iterator[openai.OpenAI]:
    yield from client_for(quick_system)


def said(client: openai.OpenAI, **more: Any) -> str:
    completion = client.chat.completions.create(model=CHAT, messages=ASKED, **{"max_tokens": 16} | more)
    return completion.choices[0].message.content or ""


def reason(error: openai.APIStatusError) -> str:
    """The sentence for a person; the client passes the body on as it is."""
    assert isinstance(error.body, dict)
    return str(error.body["detail"])


# Chat -----------------------------------------------------------------------------------------------------------


def test_a_chat_is_completed(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(model=CHAT, messages=ASKED, max_tokens=12)
    (choice,) = completion.choices
    assert (completion.object, completion.model, choice.index, choice.message.role) == (
        "chat.completion",
        CHAT,
        0,
        "assistant",
    )
    assert "boats" in (choice.message.content or "")
    assert choice.finish_reason == "length"
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 12
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + 12
    assert completion.id.startswith("chatcmpl") and completion.created > 1_700_000_000


def test_a_streamed_chat_says_the_same(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model=CHAT, messages=ASKED, max_tokens=16, stream=True, stream_options={"include_usage": True}
        )
    )
    *parts, last = chunks
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert parts[0].choices[0].delta.role == "assistant"
    assert "".join(part.choices[0].delta.content or "" for part in parts) == said(client)
    assert [part.choices[0].finish_reason for part in parts] == [None] * (len(parts) - 1) + ["length"]
    assert (last.choices, last.usage and last.usage.completion_tokens) == ([], 16)
    plain = list(client.chat.completions.create(model=CHAT, messages=ASKED, max_tokens=2, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in plain)


def test_a_chat_ends_before_a_stop_string(client: openai.OpenAI) -> None:
    whole = said(client)
    word = whole.split()[2]
    assert said(client, stop=word) == said(client, stop=["never said", word]) == whole[: whole.index(word)]
    completion = client.chat.completions.create(model=CHAT, messages=ASKED, max_tokens=16, stop=word)
    assert completion.choices[0].finish_reason == "stop"


def test_a_seed_repeats_a_sample(client: openai.OpenAI) -> None:
    first = said(client, temperature=1.4, seed=11)
    assert first == said(client, temperature=1.4, seed=11)
    assert len({first, *(said(client, temperature=1.4, seed=seed) for seed in (12, 13))}) > 1


def test_options_beyond_openai_are_taken_from_the_extra_body(client: openai.OpenAI) -> None:
    narrow = [said(client, temperature=1.4, seed=seed, extra_body={"top_k": 1}) for seed in (1, 2)]
    assert narrow[0] == narrow[1]
    assert said(client, extra_body={"num_beams": 2}, max_tokens=6)


def test_content_may_come_in_parts(client: openai.OpenAI) -> None:
    parts: Any = [ASKED[0], {"role": "user", "content": [{"type": "text", "text": ASKED[1]["content"]}]}]
    completion = client.chat.completions.create(model=CHAT, messages=parts, max_completion_tokens=16)
    assert completion.choices[0].message.content == said(client)


def test_a_prompt_longer_than_the_context_is_refused(client: openai.OpenAI) -> None:
    long: Any = [{"role": "user", "content": "word " * 9_000}]
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.chat.completions.create(model=CHAT, messages=long, max_tokens=5)
    assert refused.value.code == "invalid_request"
    with pytest.raises(openai.APIError, match="tokens"):
        list(client.chat.completions.create(model=CHAT, messages=long, max_tokens=5, stream=True))


@pytest.mark.parametrize(
    "more",
    [
        {"messages": []},
        {"messages": [{"role": "robot", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"max_tokens": 0},
        {"temperature": 3},
        {"n": 2},
        {"logprobs": True},
        {"stop": ["a"] * 5},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
    ],
    ids=str,
)
def test_what_cannot_be_honoured_is_refused(quick_client: openai.OpenAI, more: dict[str, Any]) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        quick_client.chat.completions.create(**{"model": "scripted", "messages": ASKED} | more)
    assert refused.value.code == "invalid_request"


# Embeddings -----------------------------------------------------------------------------------------------------


def test_embeddings_are_unit_vectors_of_meaning(client: openai.OpenAI) -> None:
    texts = ["The cat sleeps on the sofa.", "A kitten is napping on the couch.", "Interest rates rose last quarter."]
    reply = client.embeddings.create(model=EMBED, input=texts)  # the client asks for base64 by itself
    vectors = np.array([item.embedding for item in reply.data], np.float32)
    assert vectors.shape == (3, 384)
    assert [item.index for item in reply.data] == [0, 1, 2]
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3
    assert reply.usage.total_tokens == reply.usage.prompt_tokens > 15


def test_floats_and_base64_are_the_same_vector(client: openai.OpenAI, system: Server) -> None:
    floats = client.embeddings.create(model=EMBED, input="one text", encoding_format="float").data[0].embedding
    body = {"model": EMBED, "input": "one text", "encoding_format": "base64"}
    raw = httpx.post(f"{system.url}/v1/embeddings", json=body, trust_env=False).json()["data"][0]["embedding"]
    assert np.frombuffer(base64.b64decode(raw), "<f4").tolist() == pytest.approx(floats, abs=1e-6)
    assert client.embeddings.create(model=EMBED, input="one text").data[0].embedding == pytest.approx(floats, abs=1e-6)


def test_a_text_longer_than_the_encoder_reads_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.embeddings.create(model=EMBED, input=["short", "word " * 300])
    assert "300 tokens" in reason(refused.value)


@pytest.mark.parametrize(
    "more", [{"input": []}, {"dimensions": 10}, {"input": "x", "encoding_format": "int8"}], ids=str
)
def test_a_bad_embedding_request_is_refused(quick_client: openai.OpenAI, more: dict[str, Any]) -> None:
    with pytest.raises(openai.UnprocessableEntityError):
        quick_client.embeddings.create(**{"model": "hashing-384", "input": "x"} | more)


# Models ---------------------------------------------------------------------------------------------------------


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    models = client.models.list().data
    assert [model.id for model in models[:2]] == [CHAT, EMBED]
    assert [model.role for model in models[:2]] == ["generator", "encoder"]  # type: ignore[attr-defined]
    assert {model.role for model in models[2:]} <= {"classifier"}  # type: ignore[attr-defined]
    assert all(model.object == "model" for model in models)
    assert client.models.retrieve(EMBED) == models[1]


def test_an_unknown_model_is_not_found(quick_client: openai.OpenAI) -> None:
    calls: list[Callable[[], object]] = [
        lambda: quick_client.models.retrieve("gpt-4"),
        lambda: quick_client.chat.completions.create(model="gpt-4", messages=ASKED),
        lambda: quick_client.chat.completions.create(model="gpt-4", messages=ASKED, stream=True),
        lambda: quick_client.embeddings.create(model="gpt-4", input="x"),
        lambda: quick_client.embeddings.create(model="scripted", input="x"),
    ]
    for call in calls:
        with pytest.raises(openai.NotFoundError) as refused:
            call()
        assert refused.value.code == "not_found"
        assert "gpt-4" in reason(refused.value) or "scripted" in reason(refused.value)
