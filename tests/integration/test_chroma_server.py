"""The vector store on a real Chroma server: the contract, several clients, and a server that dies or hangs."""

from __future__ import annotations

import inspect
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import count
from pathlib import Path

import httpx
import numpy as np
import pytest

from services.core.errors import Unavailable
from services.core.types import Hit
from services.core.vector_store import VectorStore, open_store
from services.core.vector_store.chroma_store import ChromaStore, connect
from tests.contract import test_vector_store as contract
from tests.contract.test_vector_store import DIM, Place, axes, ids_of
from tests.waiting import pause

CHECKS = [
    check
    for name, check in vars(contract).items()
    if name.startswith("test_") and list(inspect.signature(check).parameters) == ["place"]
]
START_S = 60.0
unused = count()


class Server:
    """`chroma run` over `folder`, on a free port of this machine, which it keeps over restarts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        chroma = Path(sys.executable).with_name("chroma")
        self.process = subprocess.Popen(
            [chroma, "run", "--path", self._folder, "--host", "127.0.0.1", "--port", str(self.port)],
            env={**os.environ, "ANONYMIZED_TELEMETRY": "False"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_S
        while not self._answers():
            assert self.process.poll() is None, "the server ended at once"
            assert time.monotonic() < deadline, f"the server did not answer within {START_S:.0f} s"
            time.sleep(0.02)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/api/v2/heartbeat", timeout=1.0).is_success
        except httpx.HTTPError:
            return False


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("chroma"))
    yield server
    server.kill()


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Server]:
    """A server that the test may kill."""
    server = Server(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def place(shared: Server, tmp_path: Path) -> Iterator[Place]:
    mine = next(unused)  # one server for all tests: each has encoders of its own
    yield from contract.place_of(
        lambda encoder_id, dim: open_store(
            "chroma", folder=tmp_path, chroma_url=shared.url, encoder_id=f"{mine}-{encoder_id}", dim=dim
        )
    )


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(check: Callable[[Place], None], place: Place) -> None:
    check(place)


def test_clients_see_each_others_changes_at_once(place: Place) -> None:
    one, two = place(), place()
    one.add("c", ids_of(1, 2), axes(0, 1))
    assert two.search("c", axes(0)[0], 2) == [Hit(1, 1.0), Hit(2, 0.0)]
    two.add("c", ids_of(3), axes(2))
    two.remove("c", ids_of(1))
    assert one.search("c", axes(2)[0], 5) == [Hit(3, 1.0), Hit(2, 0.0)]
    assert one.count() == two.count() == 2
    two.mark_applied(5)
    assert one.applied_seq() == 5


def test_several_clients_make_one_collection(place: Place) -> None:
    stores = [place() for _ in range(4)]
    together = threading.Barrier(4)

    def add(number: int) -> None:
        together.wait()
        stores[number].add("new", ids_of(number), axes(number))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.count("new") for store in stores] == [4] * 4


def test_a_reset_is_noticed_by_the_other_clients(place: Place) -> None:
    one, two = place(), place()
    two.add("c", ids_of(1), axes(0))
    two.add("d", ids_of(2), axes(0))
    two.mark_applied(3)
    assert two.applied_seq() == 3
    one.reset()
    assert two.search("c", axes(0)[0], 1) == []
    two.remove("d", ids_of(2))
    two.add("c", ids_of(4), axes(0))
    assert one.search("c", axes(0)[0], 5) == [Hit(4, 1.0)]
    # Rows that `two` added before are gone, so it must not claim them.
    two.mark_applied(4)
    assert one.applied_seq() == 0
    assert two.applied_seq() == 0
    two.mark_applied(1)
    assert one.applied_seq() == 1


def test_a_killed_server_is_unavailable_and_has_everything_back_after_a_restart(mortal: Server) -> None:
    store = ChromaStore(connect(mortal.url), "encoder", DIM)
    rows = contract.random_units(np.random.default_rng(1), 1_500)
    store.add("c", np.arange(1_500), rows)
    store.remove("c", np.arange(0, 1_500, 2))
    store.mark_applied(77)
    before = store.search("c", rows[3], 1)
    assert before == [Hit(3, 1.0)]
    mortal.kill()
    attempts: list[Callable[[VectorStore], object]] = [
        lambda store: store.applied_seq(),
        lambda store: store.add("c", ids_of(1), axes(0)),
        lambda store: store.add("new", ids_of(1), axes(0)),
        lambda store: store.remove("c", ids_of(3)),
        lambda store: store.search("c", rows[3], 1),
        lambda store: store.count(),
        lambda store: store.count("c"),
        lambda store: store.mark_applied(78),
        lambda store: store.reset(),
    ]
    for attempt in attempts:
        with pytest.raises(Unavailable, match="does not answer") as refused:
            attempt(store)
        assert refused.value.retry_after_s
    with pytest.raises(Unavailable, match="does not answer"):
        connect(mortal.url)
    mortal.start()
    assert store.search("c", rows[3], 1) == before
    assert (store.applied_seq(), store.count("c")) == (77, 750)
    again = ChromaStore(connect(mortal.url), "encoder", DIM)
    assert (again.applied_seq(), again.count()) == (77, 750)


def test_a_lost_volume_means_number_zero(tmp_path: Path) -> None:
    for run in ("old", "new"):
        server = Server(tmp_path / run)
        try:
            store = ChromaStore(connect(server.url), "encoder", DIM)
            assert (store.applied_seq(), store.count()) == (0, 0)
            store.add("c", ids_of(1), axes(0))
            store.mark_applied(9)
        finally:
            server.kill()


def test_a_server_that_hangs_is_given_up(mortal: Server) -> None:
    store = ChromaStore(connect(mortal.url, timeout_s=0.5), "encoder", DIM)
    store.add("c", ids_of(1), axes(0))
    pause(mortal.process.pid)
    with pytest.raises(Unavailable, match="does not answer"):
        store.search("c", axes(0)[0], 1)
    with pytest.raises(Unavailable, match="does not answer"):
        connect(mortal.url, timeout_s=0.5)
    mortal.process.send_signal(signal.SIGCONT)
    assert ChromaStore(connect(mortal.url), "encoder", DIM).search("c", axes(0)[0], 1) == [Hit(1, 1.0)]


class _BadGateway(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(502)
        self.end_headers()
        self.wfile.write(b"<html>bad gateway</html>")

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


def test_an_error_page_of_a_proxy_is_unavailable(mortal: Server) -> None:
    store = ChromaStore(connect(mortal.url), "encoder", DIM)
    store.add("c", ids_of(1), axes(0))
    mortal.kill()
    with HTTPServer(("127.0.0.1", mortal.port), _BadGateway) as proxy:
        serving = threading.Thread(target=proxy.serve_forever)
        serving.start()
        try:
            with pytest.raises(Unavailable, match="not Chroma's"):
                store.search("c", axes(0)[0], 1)
            with pytest.raises(Unavailable):
                connect(mortal.url)
        finally:
            proxy.shutdown()
            serving.join()
