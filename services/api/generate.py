"""Chat messages -> text, piece by piece. Knows nothing of documents, passages or HTTP."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from services.core.chat import chat_ids
from services.core.encoder import has_bfloat16
from services.core.errors import InvalidRequest, ModelProblem
from services.core.prompt import Message
from services.core.registry import ModelFiles, require_base, resolve
from services.core.release import RELEASE_REMEDY

_PROMPT_LOOKUP_TOKENS = 5  # drafts copied from the prompt: greedy grounded answers decode almost twice as fast
_STREAM_TIMEOUT_S = 300.0  # a single token never takes this long; a dead generation thread must not hang us


@dataclass(frozen=True, slots=True)
class Decoding:
    """How to choose tokens. Greedy unless `temperature` > 0; `num_beams` > 1 searches instead and cannot sample."""

    max_tokens: int = 256
    temperature: float = 0.0
    top_k: int = 0  # 0: no limit
    top_p: float = 1.0
    num_beams: int = 1
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """Ends a generation. `stop`: the model or a stop string ended it; `length`: max_tokens did."""

    reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int


class Generator(Protocol):
    """Implementations ship as `TransformersGenerator` (SmolLM2), `RemoteGenerator` (another server: remote.py) and
    `ScriptedGenerator` (no weights)."""

    @property
    def id(self) -> str:
        """Name and weight hash of the base model; of one that is elsewhere, its name and where that is."""

    @property
    def adapter(self) -> str | None:
        """Id of the LoRA adapter on top of it."""

    def stream(self, messages: Sequence[Message], decoding: Decoding, stop: threading.Event) -> Iterator[str | Finish]:
        """Yield pieces of text as they are decided, then one Finish. Ends early once `stop` is set.

        Raises InvalidRequest when the prompt and `max_tokens` do not fit the model's context.
        One call at a time, unless the implementation says otherwise: the caller admits requests.
        """

    def check(self) -> None:
        """Raises Unavailable if nothing can be generated now."""

    def close(self) -> None:
        """Give the memory of the weights back. Nobody may generate any more."""


class TransformersGenerator:
    """A causal language model from a verified local folder, optionally with a verified PEFT LoRA adapter merged in.

    Uses bfloat16 where the processor multiplies it in hardware, else float32. `device` is PyTorch's name of one.
    """

    def __init__(self, files: ModelFiles, adapter: ModelFiles | None, threads: int, device: str = "cpu") -> None:
        """Raises ModelProblem if the adapter was trained from another base or does not fit it."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        if adapter is not None:
            require_base(adapter, files.id)
        torch.set_num_threads(threads)
        self.id = files.id
        self.adapter = adapter.id if adapter else None
        self._tokenizer: Any = AutoTokenizer.from_pretrained(files.folder, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(
            files.folder,
            dtype=torch.bfloat16 if has_bfloat16(device) else torch.float32,
            local_files_only=True,
            use_safetensors=True,
        )
        if adapter is not None:
            model = _with_adapter(model, adapter.folder)
        self._model = model.eval().to(device)
        self._context_tokens = int(model.config.max_position_embeddings)

    def stream(self, messages: Sequence[Message], decoding: Decoding, stop: threading.Event) -> Iterator[str | Finish]:
        inputs = self._inputs(messages)
        prompt_tokens = int(inputs["input_ids"].shape[1])
        if prompt_tokens + decoding.max_tokens > self._context_tokens:
            raise InvalidRequest(
                f"The prompt has {prompt_tokens} tokens and max_tokens is {decoding.max_tokens}; "
                f"together they must not exceed {self._context_tokens}."
            )
        run = _Run(self._model, self._tokenizer, inputs, decoding, stop)
        cutter = StopCutter(decoding.stop)
        try:
            for piece in run.pieces():
                if text := cutter.feed(piece):
                    yield text
                if cutter.hit:
                    break
            if text := cutter.flush():
                yield text
        finally:
            completion_tokens = run.end()
        full = completion_tokens >= decoding.max_tokens and not cutter.hit
        yield Finish("length" if full else "stop", prompt_tokens, completion_tokens)

    def check(self) -> None:
        """It is in this process."""

    def close(self) -> None:
        # The model refers to itself: without this it would wait for a collection of all generations, and that stops
        # every thread for a third of a second.
        self._model.to("meta")

    def _inputs(self, messages: Sequence[Message]) -> dict[str, Any]:
        """The chat as token ids, and which of them to read: int64 of shape (1, n)."""
        import torch

        ids = chat_ids(self._tokenizer, messages)
        read = torch.tensor([ids], device=self._model.device)
        return {"input_ids": read, "attention_mask": torch.ones_like(read)}


class _Run:
    """One call of `generate` in a thread of its own, read as an iterator of text pieces."""

    def __init__(self, model: Any, tokenizer: Any, inputs: Any, decoding: Decoding, stop: threading.Event) -> None:
        from transformers import StoppingCriteriaList, TextIteratorStreamer

        self._model, self._tokenizer, self._inputs = model, tokenizer, inputs
        self._decoding = decoding
        self._stop, self._ended = stop, threading.Event()
        self._criteria = StoppingCriteriaList([self._must_stop])
        self._streamer = TextIteratorStreamer(
            tokenizer, skip_prompt=True, timeout=_STREAM_TIMEOUT_S, skip_special_tokens=True
        )
        self._new_tokens: Any = ()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._generate, name="generate", daemon=True)
        self._thread.start()

    def pieces(self) -> Iterator[str]:
        """Text as it is decided; beam search knows it only at the end."""
        yield from self._streamer
        self._thread.join()
        if self._error is not None:
            raise self._error
        if self._decoding.num_beams > 1:
            yield self._tokenizer.decode(self._new_tokens, skip_special_tokens=True)

    def end(self) -> int:
        """Stop, wait for the thread, and return the number of tokens generated."""
        self._ended.set()
        self._thread.join()
        return len(self._new_tokens)

    def _must_stop(self, input_ids: Any, _scores: Any, **_: Any) -> Any:
        import torch

        halt = self._stop.is_set() or self._ended.is_set()
        return torch.full((input_ids.shape[0],), halt, dtype=torch.bool, device=input_ids.device)

    def _generate(self) -> None:
        import torch

        try:
            beams = self._decoding.num_beams > 1
            if self._decoding.seed is not None:
                torch.manual_seed(self._decoding.seed)
            with torch.inference_mode():
                output = self._model.generate(
                    **self._inputs,
                    **_options(self._decoding),
                    streamer=None if beams else self._streamer,
                    stopping_criteria=self._criteria,
                )
            self._new_tokens = output[0, self._inputs["input_ids"].shape[1] :]
        except BaseException as error:  # noqa: BLE001 - handed to the reader, who raises it
            self._error = error
        finally:
            self._streamer.text_queue.put(self._streamer.stop_signal)


def _options(decoding: Decoding) -> dict[str, Any]:
    options: dict[str, Any] = {"max_new_tokens": decoding.max_tokens, "num_beams": decoding.num_beams}
    if decoding.temperature > 0:
        sampling = {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": decoding.top_k}
        return {**options, "do_sample": True, **sampling}
    if decoding.num_beams == 1:
        options["prompt_lookup_num_tokens"] = _PROMPT_LOOKUP_TOKENS
    return {**options, "do_sample": False}


def _with_adapter(model: Any, folder: Path) -> Any:
    from peft import PeftModel
    from safetensors import SafetensorError

    if not (folder / "adapter_model.safetensors").exists():  # or peft would look for it on the hub
        raise ModelProblem(f"{folder} holds no adapter_model.safetensors. {RELEASE_REMEDY}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft reads an attribute that transformers has renamed
            return PeftModel.from_pretrained(model, str(folder), local_files_only=True).merge_and_unload()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelProblem(f"The adapter in {folder} does not fit its base: {error}. {RELEASE_REMEDY}") from error


class StopCutter:
    """Ends a stream of pieces before the first stop string, even when it arrives in several pieces."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.hit = False

    def feed(self, piece: str) -> str:
        """Text that is certain to stand before any stop string."""
        text = self._held + piece
        ends = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if ends:
            self.hit, self._held = True, ""
            return text[: min(ends)]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-n:])), 0)


class ScriptedGenerator:
    """No weights: answers with the first sentence of the line above the question, where the best evidence stands.

    Deterministic and fast, so that everything around a generator can run without one.
    """

    id = "scripted"
    adapter: str | None = None

    def stream(self, messages: Sequence[Message], decoding: Decoding, stop: threading.Event) -> Iterator[str | Finish]:
        prompt = messages[-1].content
        words = prompt.split("\n\n")[-2:][0].splitlines()[-1].split()
        end = next((i for i, word in enumerate(words, 1) if word.endswith((".", "?", "!"))), len(words))
        said, cutter = 0, StopCutter(decoding.stop)
        for word in words[: min(end, decoding.max_tokens)]:
            if stop.is_set() or cutter.hit:
                break
            said += 1
            if text := cutter.feed(word if said == 1 else " " + word):
                yield text
        if text := cutter.flush():
            yield text
        full = said == decoding.max_tokens < end and not cutter.hit
        yield Finish("length" if full else "stop", len(prompt.split()), said)

    def check(self) -> None:
        """It is always there."""

    def close(self) -> None:
        """There are no weights."""


def model_name(model_id: str) -> str:
    """The part of an id that people use: `SmolLM2-135M-Instruct` of `SmolLM2-135M-Instruct@0123abcd`."""
    return model_id.partition("@")[0]


def open_generator(
    kind: str, models_dir: Path, adapter: ModelFiles | None, threads: int, device: str = "cpu"
) -> Generator:
    """The generator a setting names: `transformers` (verified weights) or `scripted`. Raises ModelProblem."""
    if kind == "scripted":
        return ScriptedGenerator()
    return TransformersGenerator(resolve(models_dir, "generator"), adapter, threads, device)
