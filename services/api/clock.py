"""How long each step of something took."""

from __future__ import annotations

import time


class Clock:
    """Seconds between laps, and in total. A lap that comes again adds to the first."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now

    def milliseconds(self) -> dict[str, float]:
        laps = {name: round(1000 * seconds, 1) for name, seconds in self.seconds.items()}
        return {**laps, "total": round(1000 * (time.perf_counter() - self._start), 1)}
