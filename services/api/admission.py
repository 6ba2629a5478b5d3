"""How many requests may use or wait for something slow. Refuses early instead of queueing without end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

from services.core.errors import ClientClosedRequest, Overloaded

_POLL_S = 0.05


class Meter(Protocol):
    """Who is told how long requests waited, and which were refused."""

    def waited(self, seconds: float) -> None: ...

    def refused(self, reason: Literal["full", "timeout"]) -> None: ...


class Admission:
    """`at_once` run, `max_waiting` wait, the rest get 429. A waiter whose client hung up leaves the queue."""

    def __init__(
        self,
        what: str,
        max_waiting: int,
        timeout_s: float,
        usual_s: float,
        meter: Meter | None = None,
        *,
        at_once: int = 1,
    ) -> None:
        """`what` is waited for, as messages call it; `usual_s` is how long it is held until that has been measured."""
        self._what = what
        self._max_waiting = max_waiting
        self._timeout_s = timeout_s
        self._meter = meter
        self._at_once = at_once
        self._running = threading.BoundedSemaphore(at_once)
        self._count = 0  # running and waiting
        self._guard = threading.Lock()
        self._mean_s = usual_s  # running mean of how long a slot is held

    def check(self) -> None:
        """Raises Overloaded if a request that came now would be refused."""
        with self._guard:
            self._refuse_when_full()

    @contextmanager
    def slot(self, stop: threading.Event) -> Iterator[None]:
        """Hold it. Raises Overloaded at once or after the timeout, ClientClosedRequest if `stop` is set."""
        with self._guard:
            self._refuse_when_full()
            self._count += 1
        try:
            self._wait(stop)
            started = time.monotonic()
            try:
                yield
            finally:
                self._mean_s += 0.1 * (time.monotonic() - started - self._mean_s)
                self._running.release()
        finally:
            with self._guard:
                self._count -= 1

    @contextmanager
    def spare(self, ended: threading.Event) -> Iterator[None]:
        """Hold it while nobody wants it, without a place among those who wait; `wanted` tells when to give it back.

        Raises ClientClosedRequest if `ended` is set before nobody wants it.
        """
        while self.wanted() or not self._running.acquire(blocking=False):
            if ended.wait(_POLL_S):
                raise ClientClosedRequest("Nobody waits for this any more.")
        try:
            yield
        finally:
            self._running.release()

    def wanted(self) -> bool:
        """Whether a request runs or waits."""
        return self._count > 0

    def waiting(self) -> int:
        return max(0, self._count - self._at_once)

    def _wait(self, stop: threading.Event) -> None:
        begun = time.monotonic()
        while not self._running.acquire(timeout=_POLL_S):
            if stop.is_set():
                raise ClientClosedRequest("The client closed the connection while it was waiting.")
            if time.monotonic() > begun + self._timeout_s:
                self._tell_refused("timeout")
                raise Overloaded(f"The {self._what} was busy for too long.", retry_after_s=self._retry_after_s())
        if self._meter is not None:
            self._meter.waited(time.monotonic() - begun)

    def _refuse_when_full(self) -> None:
        if self._count >= self._max_waiting + self._at_once:
            self._tell_refused("full")
            raise Overloaded(
                f"{self._max_waiting} requests are waiting for the {self._what} already.",
                retry_after_s=self._retry_after_s(),
            )

    def _tell_refused(self, reason: Literal["full", "timeout"]) -> None:
        if self._meter is not None:
            self._meter.refused(reason)

    def _retry_after_s(self) -> int:
        return max(1, round(self._mean_s * self._count / self._at_once))
