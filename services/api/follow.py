"""Following the alias `champion` of the model registry, in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time

from services.api.releases import Releases
from services.api.served import Loader, Served
from services.api.sources import Sources, Wanted
from services.core.errors import ModelProblem, Unavailable

_log = logging.getLogger("capstone.api")


class Follower:
    """Looks every `poll_s` seconds, never if that is 0, and frees what has been drained."""

    def __init__(self, releases: Releases, sources: Sources, poll_s: float, passed_over: Wanted | None = None) -> None:
        """`passed_over` was refused already, and is not tried again before the alias moves."""
        self._releases = releases
        self._sources = sources
        self._poll_s = poll_s
        self._passed_over = passed_over
        self._away = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="release-follower")

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Waits for a load that has begun."""
        self._ended.set()
        self._releases.drained.set()
        if self._thread.ident is not None:
            self._thread.join()

    def look(self) -> None:
        """Look once, and swap if the alias names another release than the live one.

        Whatever is wrong with that one or with the registry, the live one stays, and that is logged once.
        """
        try:
            wanted = self._sources.champion()
            if wanted != self._passed_over:
                self._passed_over = None
                if wanted.id != self._releases.champion.id:
                    self._try(wanted)
        except Unavailable as error:
            if not self._away:
                _log.warning("releases are not followed for now", extra={"fields": {"reason": error.detail}})
            self._away = True
        else:
            if self._away:
                _log.warning("releases are followed again")
            self._away = False

    def _try(self, wanted: Wanted) -> None:
        try:
            self._releases.swap(wanted)
        except ModelProblem:  # logged already
            self._passed_over = wanted

    def _run(self) -> None:
        look_at = time.monotonic() + self._poll_s
        while not self._ended.is_set():
            left_s = max(0.0, look_at - time.monotonic()) if self._poll_s else None
            self._releases.drained.wait(left_s)
            try:
                self._releases.reap()
                if self._poll_s and time.monotonic() >= look_at and not self._ended.is_set():
                    look_at = time.monotonic() + self._poll_s
                    self.look()
            except Exception:  # noqa: BLE001 - the thread must outlive whatever a look meets
                _log.exception("releases not followed")
                self._ended.wait(1.0)


def first(sources: Sources, loader: Loader) -> tuple[Served, Wanted | None]:
    """The champion, or what was shipped if that one cannot be had; and the one that was refused, if any.

    Raises ModelProblem if what was shipped cannot be loaded either.
    """
    refused = None
    try:
        wanted = sources.champion()
        if wanted.id != sources.shipped.id:
            try:
                return loader.load_tested(sources.verified(wanted)), None
            except ModelProblem as error:
                refused = wanted
                fields = {"release": wanted.id, "reason": error.detail, "instead": sources.shipped.id}
                _log.warning("release refused at start; the shipped one is served", extra={"fields": fields})
    except Unavailable as error:
        _log.warning(
            "the registry is away at start; the shipped release is served", extra={"fields": {"reason": error.detail}}
        )
    return loader.load(sources.verified(sources.shipped)), refused
