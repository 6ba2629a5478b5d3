"""The releases in memory: the champion, at most one besides it, and those that are being drained.

A request leases one and answers with its parts alone. In a swap the new champion is loaded beside the old one, verified
and tried out; then the two change places at once, and the old one is closed when the last request that leased it has
ended. So no request waits for a swap, and no answer is of two releases.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from services.api.admission import Admission
from services.api.served import Served
from services.api.sources import Sources, Wanted
from services.core.aliases import CHAMPION
from services.core.errors import ModelProblem, ReleaseRefused
from services.core.process import return_memory
from services.core.registry import Release

_TRY_AGAIN_AFTER_S = 60.0  # a refused release that is asked for by name
_log = logging.getLogger("capstone.api")


class Loads(Protocol):
    def load_tested(self, release: Release | None) -> Served:
        """Raises ModelProblem."""


@dataclass(eq=False)
class _Slot:
    """A release in memory; `leases` are the requests that hold it. Guarded by `Releases._guard`."""

    served: Served
    leases: int = 0


class _Refusal(NamedTuple):
    reason: str
    at: float  # by the monotonic clock


class Releases:
    """Starts with `champion`, which has been loaded. `admission` limits the requests that wait for a load."""

    def __init__(self, champion: Served, sources: Sources, loader: Loads, admission: Admission) -> None:
        self._sources = sources
        self._loader = loader
        self._admission = admission
        self._guard = threading.Lock()  # of the slots, held for moments; `_loading` as long as a release is loaded
        self._loading = threading.Lock()
        self._champion = _Slot(champion)
        self._besides: _Slot | None = None
        self._retired: list[_Slot] = []
        self._refused: dict[Wanted, _Refusal] = {}
        self.drained = threading.Event()  # there is something to reap
        self.swaps = self.refusals = 0

    @property
    def champion(self) -> Served:
        """What is live now: to look at. Who answers by it takes a lease."""
        return self._champion.served

    def in_memory(self) -> list[tuple[str, str | None]]:
        """Role (champion, besides, draining) and id of each."""
        with self._guard:
            slots = [("champion", self._champion), *(("draining", slot) for slot in self._retired)]
            slots += [("besides", self._besides)] if self._besides else []
        return [(role, slot.served.id) for role, slot in slots]

    def leases(self) -> int:
        """Requests that hold a release."""
        with self._guard:
            return sum(slot.leases for slot in (self._champion, self._besides, *self._retired) if slot)

    @contextmanager
    def lease(self, name: str = CHAMPION, stop: threading.Event | None = None) -> Iterator[Served]:
        """What `name` stands for now, for one request from its beginning to its end.

        The champion is there at once. Another release is loaded first, and takes the place of the one besides. Raises
        UnknownRelease; ReleaseRefused; Unavailable if the registry is needed and away; Overloaded if many wait;
        ClientClosedRequest if `stop` is set while waiting.
        """
        slot = self._take_live() if name == CHAMPION else self._take_named(name, stop or threading.Event())
        try:
            yield slot.served
        finally:
            with self._guard:
                slot.leases -= 1
                if slot.leases == 0 and slot in self._retired:
                    self.drained.set()

    def swap(self, wanted: Wanted) -> None:
        """Make `wanted` the champion. Blocks while it is loaded, unless it is the one besides.

        Raises ModelProblem if it cannot be served, Unavailable if its files are not to be had now; then all stays as
        it was.
        """
        begun = time.monotonic()
        with self._loading:
            slot = self._held(wanted.id) or self._loaded(wanted)
            with self._guard:
                old, self._champion = self._champion, slot
                if slot is self._besides:
                    self._besides = None
                if old is not slot:
                    self._retire(old)
            self.swaps += 1
        fields = {"release": wanted.id, "before": old.served.id, "seconds": round(time.monotonic() - begun, 3)}
        _log.info("release swapped", extra={"fields": fields})

    def reap(self) -> None:
        """Close the retired releases that no request holds."""
        with self._guard:
            self.drained.clear()
            drained = [slot for slot in self._retired if slot.leases == 0]
            self._retired = [slot for slot in self._retired if slot.leases]
        for slot in drained:
            slot.served.close()
            _log.info("release freed", extra={"fields": {"release": slot.served.id}})
        if drained:
            return_memory()

    # Inside ----------------------------------------------------------------------------------------------------

    def _take_live(self) -> _Slot:
        with self._guard:
            self._champion.leases += 1
            return self._champion

    def _take_named(self, name: str, stop: threading.Event) -> _Slot:
        slot = self._take_held(name)  # needs no registry
        if slot is not None:
            return slot
        wanted = self._sources.named(name)
        slot = self._take_held(wanted.id)
        if slot is not None:
            return slot
        self._refuse_again(wanted)
        with self._admission.slot(stop), self._loading:
            slot = self._take_held(wanted.id)  # another request may have had it loaded meanwhile
            if slot is not None:
                return slot
            try:
                slot = self._loaded(wanted, besides=True)
            except ModelProblem as error:
                raise ReleaseRefused(f"{wanted.id} cannot be served: {error.detail}") from error
            with self._guard:
                self._besides = slot
                slot.leases += 1
            return slot

    def _take_held(self, release: str | None) -> _Slot | None:
        with self._guard:
            slot = self._find(release)
            if slot is not None:
                slot.leases += 1
            return slot

    def _held(self, release: str | None) -> _Slot | None:
        with self._guard:
            return self._find(release)

    def _find(self, release: str | None) -> _Slot | None:
        slots = [self._champion, *([self._besides] if self._besides else [])]
        return next((slot for slot in slots if slot.served.id == release), None)

    def _loaded(self, wanted: Wanted, besides: bool = False) -> _Slot:
        """Load `wanted`; with `besides`, the one that is there goes before, so that there are never two."""
        try:
            release = self._sources.verified(wanted)
            if besides:
                with self._guard:
                    if self._besides is not None:
                        self._retire(self._besides)
                    self._besides = None
                self.reap()
            return _Slot(self._loader.load_tested(release))
        except ModelProblem as error:
            self.refusals += 1
            self._refused[wanted] = _Refusal(error.detail, time.monotonic())
            _log.warning("release refused", extra={"fields": {"release": wanted.id, "reason": error.detail}})
            raise

    def _refuse_again(self, wanted: Wanted) -> None:
        refusal = self._refused.get(wanted)
        if refusal is not None and time.monotonic() - refusal.at < _TRY_AGAIN_AFTER_S:
            raise ReleaseRefused(f"{wanted.id} cannot be served: {refusal.reason}")

    def _retire(self, slot: _Slot) -> None:
        """No new request leases it. The caller holds the guard."""
        self._retired.append(slot)
        if slot.leases == 0:
            self.drained.set()
