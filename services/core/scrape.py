"""What is read from the catalog when Prometheus asks. If it is away, a scrape lacks these metrics and no others."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

Read = Callable[[], Iterable[Metric]]
_LIMIT_S = 2.0  # Prometheus gives a whole scrape ten seconds
_log = logging.getLogger("capstone.metrics")


class _Reading:
    """One call of `read`, in a thread of its own: a database that hangs cannot be interrupted."""

    def __init__(self, read: Read, limit_s: float) -> None:
        self._read = read
        self._give_up_at = time.monotonic() + limit_s
        self._ended = threading.Event()
        self._metrics: list[Metric] | None = None
        self.error: Exception | None = None
        threading.Thread(target=self._run, name="scrape", daemon=True).start()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def metrics(self) -> list[Metric] | None:
        """None if it failed, or has not ended in time."""
        self._ended.wait(max(0.0, self._give_up_at - time.monotonic()))
        return self._metrics

    def _run(self) -> None:
        try:
            found = list(self._read())
            if time.monotonic() < self._give_up_at:  # what comes later is of a moment that is over
                self._metrics = found
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the catalog, the rest is to be seen
            self.error = error
        finally:
            self._ended.set()


class _Source:
    """One `read` of a room. One reading at a time: scrapes that come meanwhile share it, and none waits for one that
    is overdue."""

    def __init__(self, room: str, read: Read, limit_s: float) -> None:
        self.room = room
        self._read = read
        self._limit_s = limit_s
        self._guard = threading.Lock()
        self._reading: _Reading | None = None
        self._up = True

    def begin(self) -> _Reading:
        with self._guard:
            if self._reading is None or self._reading.ended:
                self._reading = _Reading(self._read, self._limit_s)
            return self._reading

    def told(self, reading: _Reading, up: bool) -> None:
        """Log it when it goes and when it comes back, not at every scrape."""
        if up != self._up:
            reason = type(reading.error).__name__ if reading.error else "no answer in time"
            fields = {"room": self.room, **({} if up else {"reason": reason})}
            _log.warning("metrics of the catalog " + ("are back" if up else "are left out"), extra={"fields": fields})
        self._up = up


class AtScrape(Collector):
    def __init__(self, limit_s: float = _LIMIT_S) -> None:
        self._limit_s = limit_s
        self._sources: list[_Source] = []

    def add(self, room: str, read: Read) -> None:
        self._sources.append(_Source(room, read, self._limit_s))

    def describe(self) -> list[Metric]:
        """Nothing: else they would be read to be registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        readings = [(source, source.begin()) for source in self._sources]
        rooms: dict[str, bool] = {}
        for source, reading in readings:
            found = reading.metrics()
            source.told(reading, found is not None)
            rooms[source.room] = rooms.get(source.room, True) and found is not None
            yield from found or []
        up = GaugeMetricFamily("catalog_up", "Whether what is read at a scrape could be read.", labels=["room"])
        for room, answered in rooms.items():
            up.add_metric([room], float(answered))
        yield up
