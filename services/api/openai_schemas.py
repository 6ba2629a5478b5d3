"""The OpenAI dialect, as far as the generator and the encoder can honour it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.api.generate import Decoding
from services.api.schemas import MAX_TOKENS, DecodingIn
from services.core.prompt import Message
from services.core.schemas import Text

MAX_MESSAGES = 256
MAX_INPUTS = 256
_TEXT_PART = "text"


class TextPart(BaseModel):
    type: Literal["text"]
    text: Text


class ChatMessage(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[TextPart]

    def message(self) -> Message:
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return Message("system" if self.role == "developer" else self.role, content)


class StreamOptions(BaseModel):
    include_usage: bool = False


class ChatIn(BaseModel):
    """Members that would change the result and cannot be honoured are refused; hints such as `user` are ignored."""

    model_config = ConfigDict(extra="ignore")

    model: str
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    num_beams: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    logprobs: Literal[False] | None = None
    response_format: dict[str, Any] | None = None

    @model_validator(mode="after")
    def only_text(self) -> ChatIn:
        if self.response_format and self.response_format.get("type") != _TEXT_PART:
            raise ValueError("response_format: only plain text can be generated")
        self.decoding()
        return self

    def decoding(self) -> Decoding:
        """Raises ValueError (pydantic's) for values out of range."""
        given: dict[str, Any] = {
            "max_tokens": self.max_completion_tokens or self.max_tokens or 256,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "num_beams": self.num_beams,
            "stop": [self.stop] if isinstance(self.stop, str) else self.stop,
            "seed": self.seed,
        }
        return DecodingIn(**{name: value for name, value in given.items() if value is not None}).decoding()


class EmbeddingsIn(BaseModel):
    model_config = ConfigDict(extra="ignore")

    model: str
    input: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_INPUTS)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None

    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input
