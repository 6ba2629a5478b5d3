"""The api service, asked over HTTP as any client asks it."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import SecretStr

from services.core.errors import JobProblem, Unavailable
from services.core.purpose import EVALUATION, HEADER

_TIMEOUT_S = 300.0
_PATIENCE_S = 180.0  # with a service that is away or busy
_AGAIN_AFTER_S = 1.0
_AWAY = (429, 502, 503, 504)
REFUSED = "question_refused"
_OF_RELEASE = ("unknown_release", "release_refused")


class Api:
    """`wait(seconds)` is called between tries; what it raises ends the trying.

    All methods raise JobProblem if the service refuses the question, and Unavailable if it does not answer for long.
    """

    def __init__(
        self, url: str, wait: Callable[[float], None], key: SecretStr | None = None, patience_s: float = _PATIENCE_S
    ) -> None:
        timeout, headers = httpx.Timeout(_TIMEOUT_S, connect=5.0), {HEADER: EVALUATION}
        if key is not None:
            headers["Authorization"] = f"Bearer {key.get_secret_value()}"
        self._http = httpx.Client(base_url=url, timeout=timeout, headers=headers, trust_env=False)
        self._wait = wait
        self._patience_s = patience_s
        self._encoder: str | None = None

    def __enter__(self) -> Api:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def search(self, question: str, collection: str, k: int, release: str | None) -> tuple[list[dict[str, Any]], float]:
        """Passages, best first, and how long it took in milliseconds. `release` is an id; None: whichever is live."""
        body = {"query": question, "collection": collection, "k": k}
        found, ms = self._send("POST", "/v1/search", body | _of(release))
        return found["results"], ms

    def answer(self, question: str, collection: str, release: str | None) -> tuple[dict[str, Any], float]:
        """The answer, and how long it took in milliseconds."""
        return self._send("POST", "/v1/answers", {"question": question, "collection": collection} | _of(release))

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of shape (len(texts), dim), by the encoder that searches."""
        if self._encoder is None:
            models, _ = self._send("GET", "/v1/models")
            self._encoder = next(model["id"] for model in models["data"] if model["role"] == "encoder")
        body = {"model": self._encoder, "input": list(texts), "encoding_format": "base64"}
        found, _ = self._send("POST", "/v1/embeddings", body)
        return np.stack([np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in found["data"]])

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[Any, float]:
        give_up_at = time.monotonic() + self._patience_s
        while True:
            again_after_s = _AGAIN_AFTER_S
            begun = time.perf_counter()
            try:
                response = self._http.request(method, path, json=body)
            except httpx.HTTPError as error:
                said = f"{path}: {type(error).__name__}"
            else:
                if response.is_success:
                    return response.json(), round(1000 * (time.perf_counter() - begun), 1)
                said = f"{path}: {response.status_code} {_detail(response)}"
                if response.status_code not in _AWAY:
                    if response.is_client_error:
                        raise JobProblem(_code(response), said)
                    raise Unavailable(f"The api service failed. {said}")
                again_after_s = float(response.headers.get("retry-after", _AGAIN_AFTER_S))
            if time.monotonic() + again_after_s > give_up_at:
                raise Unavailable(f"The api service does not answer. {said}", retry_after_s=30)
            self._wait(again_after_s)


def _of(release: str | None) -> dict[str, str]:
    return {} if release is None else {"release": release}


def _code(response: httpx.Response) -> str:
    """Why an evaluation fails: for what is said of its release, that itself."""
    try:
        code = str(response.json()["code"])
    except (ValueError, KeyError, TypeError):
        return REFUSED
    return code if code in _OF_RELEASE else REFUSED


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase
