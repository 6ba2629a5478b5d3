"""A server that speaks OpenAI's dialect as it is told to, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "big"


@dataclass
class Line:
    """What a test's server does next: `answer` is given the handler, once it has read the request."""

    url: str = ""
    answer: Callable[[BaseHTTPRequestHandler], None] = lambda handler: chunks(handler, "Hello", " there.")
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    hung_up: threading.Event = field(default_factory=threading.Event)  # a client, while `silent` waited for it


@contextmanager
def openai_server() -> Iterator[Line]:
    line = Line()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            line.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            line.headers.append(dict(self.headers))
            line.answer(self)

        def do_GET(self) -> None:
            line.headers.append(dict(self.headers))
            line.answer(self)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    line.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield line
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def begin(handler: BaseHTTPRequestHandler, status: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def say(handler: BaseHTTPRequestHandler, data: Any) -> None:
    handler.wfile.write(f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode())
    handler.wfile.flush()


def chunk(text: str | None = None, reason: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text} if text else {}, "finish_reason": reason}], **more}


def chunks(
    handler: BaseHTTPRequestHandler, *texts: str, reason: str | None = "stop", usage: dict[str, int] | None = None
) -> None:
    """A whole answer; without a `reason` it breaks off."""
    begin(handler)
    say(handler, {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})
    for text in texts:
        say(handler, chunk(text))
    if reason:
        say(handler, chunk(reason=reason))
        if usage:
            say(handler, {"choices": [], "usage": usage})
        say(handler, "[DONE]")


def refusal(status: int, body: Any = None, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        begin(handler, status, "application/json", **headers)
        handler.wfile.write(json.dumps(body).encode())

    return answer


def silent(line: Line, after: Callable[[BaseHTTPRequestHandler], None]) -> Callable[[BaseHTTPRequestHandler], None]:
    """Says nothing more after `after`, and tells when the client hangs up."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        after(handler)
        handler.connection.settimeout(30)
        if handler.connection.recv(1) == b"":
            line.hung_up.set()

    return answer
