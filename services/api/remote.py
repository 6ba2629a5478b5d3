"""A generator that is somewhere else: any server that speaks OpenAI's dialect, such as vLLM with LoRA adapters.

What it is told are the same messages that a local model reads; the server puts them into its own chat template. Nothing
else leaves this machine: no passages besides those in the prompt, no ids, and the key only as a header.
"""

from __future__ import annotations

import asyncio
import json
import queue
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from services.api.generate import Decoding, Finish, StopCutter
from services.core.errors import (
    CapstoneError,
    GeneratorProblem,
    GeneratorUnavailable,
    InvalidRequest,
    ModelProblem,
)
from services.core.prompt import Message
from services.core.registry import ModelFiles
from services.core.settings import Settings

ADAPTER = "{adapter}"  # in the name of the model: the id of the release's adapter
_CONNECT_S, _CHECK_S = 5.0, 5.0
_POLL_S = 0.05  # between two looks whether anybody still waits
_RETRY_AFTER_S = 5
_CHARS_PER_TOKEN = 4  # about, where the server does not count
_MAX_STOPS = 4  # as many as OpenAI takes; all of them are looked for here as well
_SAID_MAX_CHARS = 300
_NOT_OURS = (400, 413, 422)  # the prompt or the decoding is not to its liking
_LATER = (408, 425, 429)
# Spelt out in a text, many servers take these for the tokens that open and close turns. A blank is all it takes.
_SPELT = re.compile(
    r"<(?=\||/?(?:s|bos|eos|pad|unk|(?:start|end)_of_turn|im_(?:start|end))>|<)|\[(?=/?(?:INST|SYSTEM_PROMPT)\])"
)


class RemoteGenerator:
    """Several calls at once are possible. `id` is the name of the model there and the server's host and port."""

    def __init__(
        self, url: str, model: str, *, adapter: str | None = None, key: str | None = None, timeout_s: float = 60.0
    ) -> None:
        """`url` is what OpenAI's clients call the base URL, such as http://host:8000/v1. After `timeout_s` without a
        piece of text it is given up on."""
        self.id = f"{model}@{urlsplit(url).netloc}"
        self.adapter = adapter
        self._model = model
        self._timeout_s = timeout_s
        self._loop = asyncio.new_event_loop()
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(None, connect=_CONNECT_S),
            trust_env=False,
        )
        # Calls are coroutines of one thread: such a call can be broken off at any moment, also before the server has
        # said a word, and then its connection is closed, which is how the server is told.
        self._thread = threading.Thread(target=self._loop.run_forever, name="remote-generator", daemon=True)
        self._thread.start()

    def stream(self, messages: Sequence[Message], decoding: Decoding, stop: threading.Event) -> Iterator[str | Finish]:
        """As the Protocol says; raises GeneratorUnavailable and GeneratorProblem as well."""
        body, cutter = _request(self._model, messages, decoding), StopCutter(decoding.stop)
        reply, read = _Reply(), 0
        if not stop.is_set():
            for piece in self._pieces(body, reply, stop):
                read += 1
                if text := cutter.feed(piece):
                    yield text
                if cutter.hit:
                    break
            if text := cutter.flush():
                yield text
        yield reply.finish(messages, read, cut=cutter.hit or stop.is_set())

    def check(self) -> None:
        """Raises GeneratorUnavailable if the server does not answer, or does not have the model."""
        response = asyncio.run_coroutine_threadsafe(self._get_models(), self._loop).result()
        names = {str(one.get("id")) for one in response if isinstance(one, dict)}
        if self._model not in names:
            raise GeneratorUnavailable(f"The generator's server does not have the model {self._model!r}.")

    def close(self) -> None:
        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._http.aclose(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _pieces(self, body: dict[str, Any], reply: _Reply, stop: threading.Event) -> Iterator[str]:
        said: queue.SimpleQueue[str | CapstoneError | None] = queue.SimpleQueue()
        call = asyncio.run_coroutine_threadsafe(self._ask(body, reply, said), self._loop)
        give_up_at = time.monotonic() + self._timeout_s
        try:
            while not stop.is_set():
                try:
                    piece = said.get(timeout=_POLL_S)
                except queue.Empty:
                    if call.done() and said.empty():
                        call.result()  # raises what nobody has foreseen
                    if time.monotonic() > give_up_at:
                        raise _away(f"said nothing for {self._timeout_s:.0f} s") from None
                    continue
                if piece is None:
                    return
                if isinstance(piece, CapstoneError):
                    raise piece
                give_up_at = time.monotonic() + self._timeout_s
                yield piece
        finally:
            call.cancel()

    async def _ask(
        self, body: dict[str, Any], reply: _Reply, said: queue.SimpleQueue[str | CapstoneError | None]
    ) -> None:
        """Put what the server says into `said`, and None or what went wrong at the end."""
        try:
            async with self._http.stream("POST", "chat/completions", json=body) as response:
                if response.is_error:
                    await response.aread()
                    raise _refused(response.status_code, response.text, response.headers.get("Retry-After"))
                async for data in _events(response):
                    if text := reply.read(data):
                        said.put(text)
            reply.require_end()
        except CapstoneError as error:
            said.put(error)
        except httpx.HTTPError as error:
            said.put(_away(f"does not answer ({type(error).__name__})"))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            said.put(GeneratorProblem(f"The generator's server said what cannot be read ({type(error).__name__})."))
        else:
            said.put(None)

    async def _get_models(self) -> list[Any]:
        try:
            response = await self._http.get("models", timeout=_CHECK_S)
            if response.is_error:
                raise _refused(response.status_code, response.text, response.headers.get("Retry-After"))
            return list(response.json()["data"])
        except httpx.HTTPError as error:
            raise _away(f"does not answer ({type(error).__name__})") from error
        except (GeneratorProblem, InvalidRequest) as error:
            raise GeneratorUnavailable(error.detail) from error
        except (ValueError, KeyError, TypeError) as error:
            raise GeneratorUnavailable("The generator's server does not say which models it has.") from error


class _Reply:
    """What is known of an answer that comes in chunks."""

    def __init__(self) -> None:
        self._reason: str | None = None
        self._usage: dict[str, Any] | None = None

    def read(self, data: str) -> str:
        """The text of one chunk, which may be none."""
        chunk = json.loads(data)
        if error := chunk.get("error"):
            status = error.get("status", error.get("code")) if isinstance(error, dict) else None
            message = error.get("message", "") if isinstance(error, dict) else str(error)
            raise _refused(status if isinstance(status, int) else 500, str(message), None)
        self._usage = chunk.get("usage") or self._usage
        if not chunk["choices"]:
            return ""
        choice = chunk["choices"][0]
        self._reason = choice.get("finish_reason") or self._reason
        text = choice.get("delta", {}).get("content") or ""
        if not isinstance(text, str):
            raise TypeError("content is no text")
        return text

    def require_end(self) -> None:
        """Raises GeneratorUnavailable if the answer was cut off."""
        if self._reason is None:
            raise _away("broke off in the middle of an answer")

    def finish(self, messages: Sequence[Message], read: int, *, cut: bool) -> Finish:
        """What the server counted; where it has not, or was not let come to that, what can be told from here: each of
        the pieces that were `read` is about a token, and so are four characters of the prompt. Whatever ended it
        besides the model and a stop string (a length, a filter) has cut it off."""
        reason: Literal["stop", "length"] = "stop" if cut or self._reason == "stop" else "length"
        usage = self._usage or {}
        asked, said = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if not cut and isinstance(asked, int) and isinstance(said, int):
            return Finish(reason, asked, said)
        chars = sum(len(message.content) for message in messages) if read else 0
        return Finish(reason, -(-chars // _CHARS_PER_TOKEN), read)


def open_remote(settings: Settings, adapter: ModelFiles | None) -> RemoteGenerator:
    """The generator at `generator_url`. Asks nothing yet: it need not be there.

    Raises ModelProblem if the model is named by the release's adapter and there is none.
    """
    assert settings.generator_url is not None and settings.generator_model is not None, "checked with the settings"
    model, named = settings.generator_model, ADAPTER in settings.generator_model
    if named and adapter is None:
        raise ModelProblem(f"CAPSTONE_GENERATOR_MODEL names the model by {ADAPTER}, and nothing brings an adapter.")
    if named and adapter is not None:
        model = model.replace(ADAPTER, adapter.id)
    key = settings.generator_key.get_secret_value().strip() if settings.generator_key else None
    return RemoteGenerator(
        settings.generator_url,
        model,
        adapter=adapter.id if named and adapter else None,
        key=key,
        timeout_s=settings.generator_timeout_s,
    )


def _request(model: str, messages: Sequence[Message], decoding: Decoding) -> dict[str, Any]:
    """The body of a request. Members that OpenAI does not have are in it only where they make a difference."""
    if decoding.num_beams > 1:
        raise InvalidRequest("num_beams: the generator is on another server, which is not asked for beam search.")
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": message.role, "content": spelt_out(message.content)} for message in messages],
        "max_tokens": decoding.max_tokens,
        "temperature": decoding.temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if decoding.temperature > 0:
        body |= {"top_p": decoding.top_p} | ({"top_k": decoding.top_k} if decoding.top_k else {})
    if decoding.seed is not None:
        body["seed"] = decoding.seed
    if decoding.stop:
        body["stop"] = list(decoding.stop[:_MAX_STOPS])
    return body


def spelt_out(text: str) -> str:
    """`text` in which no server finds a token that opens or closes a turn: a document may spell one."""
    return _SPELT.sub(lambda found: f"{found[0]} ", text)


async def _events(response: httpx.Response) -> AsyncIterator[str]:
    """The data of server-sent events, up to [DONE]. Raises ValueError if they are none."""
    if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
        raise ValueError("no stream")
    async for line in response.aiter_lines():
        if line.startswith("data:"):
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                return
            yield data


def _away(what: str) -> GeneratorUnavailable:
    return GeneratorUnavailable(f"The generator's server {what}.", retry_after_s=_RETRY_AFTER_S)


def _refused(status: int, text: str, retry_after: str | None) -> CapstoneError:
    """What an error of the server is here. Its words are told only where the request is to blame."""
    if status in _NOT_OURS:
        return InvalidRequest(f"The generator's server does not take this: {_message(text)}")
    if status in _LATER or status >= 500:
        wait_s = int(retry_after) if retry_after and retry_after.isdecimal() else _RETRY_AFTER_S
        return GeneratorUnavailable(f"The generator's server answered {status}.", retry_after_s=wait_s)
    return GeneratorProblem(f"The generator's server answered {status}. Its settings here or there are not right.")


def _message(text: str) -> str:
    try:
        body = json.loads(text)
        found = body.get("error", body)
        text = found.get("message") or found.get("detail") or text if isinstance(found, dict) else str(found)
    except (ValueError, AttributeError):
        pass
    return str(text)[:_SAID_MAX_CHARS]
