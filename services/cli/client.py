"""The platform's HTTP surface as the command line uses it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from pydantic import SecretStr


class ClientError(Exception):
    """What to tell the person at the terminal. `problem` is what the service said, if it did, as problem+json."""

    def __init__(self, text: str, problem: dict[str, Any] | None = None) -> None:
        super().__init__(text)
        self.problem = problem or {}


class Client:
    """Raises ClientError, with a sentence, for everything that goes wrong."""

    def __init__(self, url: str, key: SecretStr | None = None, timeout_s: float = 300.0) -> None:
        self.url = url
        timeout, headers = httpx.Timeout(timeout_s, connect=5.0), {}
        if key is not None:
            headers["Authorization"] = f"Bearer {key.get_secret_value()}"
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=False)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        return self._send("GET", path, params=params).json()

    def post(self, path: str, body: dict[str, Any] | None = None, **params: Any) -> Any:
        return self._send("POST", path, json=body, params=params).json()

    def delete(self, path: str) -> None:
        self._send("DELETE", path)

    def upload(self, path: Path, collection: str) -> Any:
        with path.open("rb") as file:
            return self._send(
                "POST", "/v1/documents", files={"file": (path.name, file)}, data={"collection": collection}
            ).json()

    def evaluate(self, file: Path | None, **fields: str) -> Any:
        """Start an evaluation of the questions in `file`, or of the dataset that `fields` names."""
        if file is None:
            return self._send("POST", "/v1/evaluations", data=fields).json()
        with file.open("rb") as questions:
            return self._send("POST", "/v1/evaluations", files={"file": (file.name, questions)}, data=fields).json()

    def save(self, path: str, to: Path) -> None:
        """Write what `path` answers to a file."""
        to.write_bytes(self._send("GET", path).content)

    def events(self, method: str, path: str, body: dict[str, Any] | None = None) -> Iterator[tuple[str, Any]]:
        """Server-sent events as `(name, data)`; an `error` event is raised."""
        headers = {"Accept": "text/event-stream"}
        try:
            with self._http.stream(method, path, json=body, headers=headers) as response:
                if response.is_error:
                    response.read()
                    raise _refused(response)
                name = "message"
                for line in response.iter_lines():
                    if line.startswith("event: "):
                        name = line.removeprefix("event: ")
                    elif line.startswith("data: "):
                        data = json.loads(line.removeprefix("data: "))
                        if name == "error":
                            raise ClientError(f"{data['detail']} ({data['code']})")
                        yield name, data
        except httpx.HTTPError as error:
            raise ClientError(self._unreachable(error)) from error

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise ClientError(self._unreachable(error)) from error
        if response.is_error:
            raise _refused(response)
        return response

    def _unreachable(self, error: httpx.HTTPError) -> str:
        return f"No answer from {self.url} ({type(error).__name__}). Is it running? Start it with `capstone up`."


def _refused(response: httpx.Response) -> ClientError:
    try:
        body = response.json()
        if response.status_code == httpx.codes.UNAUTHORIZED:
            return ClientError(f"{body['detail']} Set CAPSTONE_API_KEY to yours. ({body['code']})", body)
        more = [
            f"\nRow {one['row']}, {one['field']}: {one['message']}" for one in body.get("errors", []) if "row" in one
        ]
        return ClientError(f"{body['detail']} ({body['code']})" + "".join(more), body)
    except (ValueError, KeyError):
        return ClientError(f"The service answered {response.status_code}.")
