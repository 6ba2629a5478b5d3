"""A generator on another server, over a real connection: what it is told, and all the ways in which it can fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.api.generate import Decoding, Finish, model_name
from services.api.remote import RemoteGenerator, open_remote, spelt_out
from services.core.errors import (
    GeneratorProblem,
    GeneratorUnavailable,
    InvalidRequest,
    ModelProblem,
    SettingsProblem,
)
from services.core.prompt import Message
from services.core.registry import ModelFiles
from services.core.settings import load_settings
from tests.openai_server import MODEL, Line, begin, chunk, chunks, openai_server, refusal, say, silent

ASKED = [Message("user", "Who lights the lamp?")]


@pytest.fixture
def line() -> Iterator[Line]:
    with openai_server() as line:
        yield line


@pytest.fixture
def remote(line: Line) -> Iterator[RemoteGenerator]:
    generator = RemoteGenerator(line.url, MODEL, key="geheim", timeout_s=1.0)
    yield generator
    generator.close()


def run(remote: RemoteGenerator, *, messages: list[Message] = ASKED, **decoding: Any) -> tuple[str, Finish]:
    *pieces, finish = remote.stream(messages, Decoding(**decoding), threading.Event())
    assert isinstance(finish, Finish)
    return "".join(map(str, pieces)), finish


def test_it_is_told_the_messages_the_decoding_and_the_key(line: Line, remote: RemoteGenerator) -> None:
    line.answer = lambda handler: chunks(
        handler, "The keeper", " does.", usage={"prompt_tokens": 9, "completion_tokens": 5}
    )
    assert run(remote, max_tokens=7) == ("The keeper does.", Finish("stop", 9, 5))
    assert line.headers[0]["Authorization"] == "Bearer geheim"
    assert line.bodies[0] == {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Who lights the lamp?"}],
        "max_tokens": 7,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    run(remote, temperature=0.5, top_p=0.9, top_k=3, seed=0, stop=("a", "b", "c", "d", "e"))
    told = {"temperature": 0.5, "top_p": 0.9, "top_k": 3, "seed": 0, "stop": ["a", "b", "c", "d"]}
    assert line.bodies[1].items() >= told.items()
    with pytest.raises(InvalidRequest, match="num_beams"):
        run(remote, num_beams=2)
    assert len(line.bodies) == 2


def test_its_name_says_where_it_is_and_no_secret(line: Line, remote: RemoteGenerator) -> None:
    host = line.url.removeprefix("http://").removesuffix("/v1")
    assert (remote.id, model_name(remote.id), remote.adapter) == (f"{MODEL}@{host}", MODEL, None)


def test_without_a_count_there_is_an_estimate(line: Line, remote: RemoteGenerator) -> None:
    line.answer = lambda handler: chunks(handler, "The", " keeper", " does.")
    assert run(remote)[1] == Finish("stop", 5, 3)


@pytest.mark.parametrize(("said", "reason"), [("length", "length"), ("content_filter", "length"), ("stop", "stop")])
def test_what_ended_it(line: Line, remote: RemoteGenerator, said: str, reason: str) -> None:
    line.answer = lambda handler: chunks(handler, "The keeper", reason=said)
    assert run(remote)[1].reason == reason


def test_a_stop_string_that_the_server_does_not_honour_ends_it_all_the_same(
    line: Line, remote: RemoteGenerator
) -> None:
    line.answer = lambda handler: chunks(
        handler, "The keeper.", "\n", "\nQuestion: and", usage={"completion_tokens": 9}
    )
    assert run(remote, stop=("1", "2", "3", "4", "\n\n")) == ("The keeper.", Finish("stop", 5, 3))


@pytest.mark.parametrize(
    "text",
    ["<|im_end|>", "</s>", "<s>", "[INST]", "[/INST]", "<<SYS>>", "<start_of_turn>user", "<|eot_id|>", "<eos>"],
)
def test_a_token_that_a_document_spells_out_is_none_there(line: Line, remote: RemoteGenerator, text: str) -> None:
    run(remote, messages=[Message("user", f"Before.{text}\nafter")])
    content = line.bodies[0]["messages"][0]["content"]
    assert text not in content
    assert content.replace("< ", "<").replace("[ ", "[") == f"Before.{text}\nafter"


def test_other_text_goes_as_it_is() -> None:
    text = "if a < b and c > d: x[1] = <filename> [INSTALL] <span>y</span> <https://x.org>"
    assert spelt_out(text) == text


def broken(handler: Any) -> None:
    begin(handler)
    say(handler, chunk("The"))
    say(handler, "{no json")


def in_the_middle(error: Any) -> Callable[[Any], None]:
    def answer(handler: Any) -> None:
        begin(handler)
        say(handler, chunk("The"))
        say(handler, {"error": error})

    return answer


@pytest.mark.parametrize(
    ("answer", "kind", "retry_after_s"),
    [
        (refusal(500), GeneratorUnavailable, 5),
        (refusal(503, Retry_After="17"), GeneratorUnavailable, 17),
        (refusal(429, Retry_After="3"), GeneratorUnavailable, 3),
        (lambda handler: chunks(handler, "The keeper", reason=None), GeneratorUnavailable, 5),
        (in_the_middle({"status": 429, "message": "busy"}), GeneratorUnavailable, 5),
        (in_the_middle("out of memory"), GeneratorUnavailable, 5),
        (refusal(401), GeneratorProblem, None),
        (refusal(404, {"detail": "no such model"}), GeneratorProblem, None),
        (refusal(200, {"choices": []}), GeneratorProblem, None),
        (broken, GeneratorProblem, None),
        (refusal(400, {"error": {"message": "maximum context length"}}), InvalidRequest, None),
        (refusal(422, {"detail": "maximum context length"}), InvalidRequest, None),
        (in_the_middle({"status": 422, "message": "maximum context length"}), InvalidRequest, None),
    ],
)
def test_every_failure_has_a_name(
    line: Line, remote: RemoteGenerator, answer: Any, kind: type[Any], retry_after_s: int | None
) -> None:
    line.answer = answer
    with pytest.raises(kind) as failed:
        run(remote)
    assert type(failed.value) is kind and failed.value.retry_after_s == retry_after_s
    assert ("maximum context length" in failed.value.detail) == (kind is InvalidRequest)
    assert "geheim" not in failed.value.detail
    line.answer = lambda handler: chunks(handler, "Again.")
    assert run(remote)[0] == "Again.", "the next one is not spoilt by it"


def test_a_server_that_is_away(line: Line) -> None:
    gone = RemoteGenerator("http://127.0.0.1:9/v1", MODEL)
    for act in (lambda: run(gone), gone.check):
        with pytest.raises(GeneratorUnavailable, match="does not answer") as failed:
            act()
        assert (failed.value.status, failed.value.code) == (503, "generator_unavailable")
    gone.close()
    gone.close()


def test_a_server_that_says_nothing_is_given_up_on(line: Line, remote: RemoteGenerator) -> None:
    line.answer = silent(line, lambda handler: None)
    with pytest.raises(GeneratorUnavailable, match="said nothing for 1 s"):
        run(remote)
    assert line.hung_up.wait(30), "and is told so"


@pytest.mark.parametrize("spoken", [False, True], ids=["before a word", "after some"])
def test_whoever_hangs_up_frees_the_server(line: Line, spoken: bool) -> None:
    def first(handler: Any) -> None:
        if spoken:
            begin(handler)
            say(handler, chunk("The keeper"))

    line.answer = silent(line, first)
    remote, stop = RemoteGenerator(line.url, MODEL, timeout_s=60), threading.Event()
    stream = remote.stream(ASKED, Decoding(), stop)
    if spoken:
        assert next(stream) == "The keeper"
    threading.Timer(0.2, stop.set).start()
    begun = time.monotonic()
    (finish,) = stream
    assert finish == Finish("stop", 5 if spoken else 0, int(spoken))
    assert line.hung_up.wait(30) and time.monotonic() - begun < 30
    remote.close()


def test_several_at_once(line: Line, remote: RemoteGenerator) -> None:
    together = threading.Barrier(3)

    def answer(handler: Any) -> None:
        together.wait(30)
        chunks(handler, "Hello.")

    line.answer = answer
    said: list[str] = []
    slow = RemoteGenerator(line.url, MODEL, timeout_s=60)
    threads = [threading.Thread(target=lambda: said.append(run(slow)[0])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == ["Hello."] * 3
    slow.close()


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (refusal(200, {"data": [{"id": "small"}]}), f"does not have the model '{MODEL}'"),
        (refusal(401), "answered 401"),
        (refusal(200, ["no", "models"]), "does not say"),
        (refusal(503), "answered 503"),
    ],
)
def test_it_is_ready_if_the_server_has_the_model(line: Line, remote: RemoteGenerator, answer: Any, what: str) -> None:
    line.answer = refusal(200, {"data": [{"id": "small"}, {"id": MODEL}]})
    remote.check()
    assert line.headers[-1]["Authorization"] == "Bearer geheim"
    line.answer = answer
    with pytest.raises(GeneratorUnavailable, match=what):
        remote.check()


# Settings -------------------------------------------------------------------------------------------------------


def test_it_is_set_with_the_key_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: Line) -> None:
    (tmp_path / "capstone_generator_key").write_text("geheim\n")
    for name, value in (("", "openai"), ("_URL", line.url), ("_MODEL", MODEL)):
        monkeypatch.setenv(f"CAPSTONE_GENERATOR{name}", value)
    monkeypatch.setenv("CAPSTONE_SECRETS_DIR", str(tmp_path))
    settings = load_settings()
    remote = open_remote(settings, None)
    assert run(remote)[0] == "Hello there."
    assert line.headers[0]["Authorization"] == "Bearer geheim"
    assert "geheim" not in repr(settings)
    remote.close()


def test_the_release_names_the_adapter_that_is_asked_for(line: Line) -> None:
    settings = load_settings(generator="openai", generator_url=line.url, generator_model="lora-{adapter}")
    adapter = ModelFiles("adapter", "salty", "salty@0123", Path("nowhere"), "0" * 64)
    remote = open_remote(settings, adapter)
    run(remote)
    assert (line.bodies[0]["model"], remote.adapter) == ("lora-salty@0123", "salty@0123")
    remote.close()
    with pytest.raises(ModelProblem, match="nothing brings an adapter"):
        open_remote(settings, None)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"generator": "openai"}, "CAPSTONE_GENERATOR:"),
        ({"generator": "openai", "generator_url": "http://x/v1"}, "CAPSTONE_GENERATOR:"),
        ({"generator_url": "ftp://x/v1"}, "CAPSTONE_GENERATOR_URL:"),
        ({"generator_url": "http://user:geheim@x/v1"}, "CAPSTONE_GENERATOR_URL:"),
    ],
)
def test_settings_that_do_not_say_where_are_refused(wrong: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsProblem, match=named) as refused:
        load_settings(**wrong)
    assert "geheim" not in refused.value.detail
