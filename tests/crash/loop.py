"""When to kill what: the loop itself, without any judgement of the outcome."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

from tests.crash.machine import Expected, Observer, Platform, Process, still_alive, wait_for
from tests.crash.traffic import Client, Ledger, Pdf
from tests.crash.verify import Ingested, Report

TARGETS = {"worker": 5, "group": 4, "server": 1}  # what is killed, and how often
AIMS = {"anywhere": 8, "start": 2, "parse": 2, "load": 1, "encode": 3, "publish": 4, "upload": 1, "acknowledge": 2,
        "delete": 2}  # fmt: skip
PHASES = ("start", "idle", "parse", "load", "encode", "publish")
WORKING = ("parse", "load", "encode", "publish")
REQUESTS = ("upload", "acknowledge", "delete")
SPREAD_S = {"parse": 1.5, "load": 2.0, "encode": 3.0, "upload": 0.4, "acknowledge": 0.05, "delete": 0.02}
PUBLISH_S_PER_CHUNK = 0.0005  # a bit more than a publish takes
START_S = 5.0  # about as long as a start takes
TAKE_OVER_WITHIN_S = 7.0  # leases last 20 s
SEEN_AFTER = 20  # so many kills hit some job in work
DIE_WITHIN_S = 5.0  # the children of what was killed
COME_BACK_WITHIN_S = 20.0  # a worker that was killed alone
HUNGRY_AFTER = 3  # kills in a row without progress before one waits for some


class KillLoop:
    def __init__(self, platform: Platform, pdfs: list[Pdf], clean: dict[str, Ingested], seed: int) -> None:
        self.platform = platform
        self.report = Report()
        self.kills: Counter[tuple[str, str]] = Counter()  # by target and phase
        self.requests_hit: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._client = Client(platform.url, pdfs, seed + 1)
        expected = {sha256: Expected(len(run.pages), len(run.chunks)) for sha256, run in clean.items()}
        self._observer = Observer(platform, expected)
        self._fruitless = 0
        self.takeovers_s: list[float] = []  # from the moment that a new worker opens the catalog
        self._orphaned_job = False  # the last kill hit a job in work, and nobody has gone on with it yet
        self._opened_at: float | None = None

    @property
    def ledger(self) -> Ledger:
        return self._client.ledger

    def run(self, kills: int, budget_s: float, tell: Callable[[str], None]) -> None:
        """Kill `kills` times within about `budget_s` seconds, and end with the platform up and the client done."""
        self.platform.start()
        self.platform.wait_ready()
        self._client.start()
        deadline = time.monotonic() + budget_s
        for number in range(kills):
            share_s = max(0.0, deadline - time.monotonic()) / (kills - number)
            if number == kills * 3 // 4:
                self._client.large_left.clear()  # what is still to come should end soon after the last kill
            self._kill_once(share_s)
            tell(f"{len(self.ledger.documents)} documents acknowledged")
        self.platform.wait_ready()
        self._client.end()
        self.report.check("every answer was a right one", self.ledger.wrong)
        slow = [f"{seconds:.1f} s" for seconds in self.takeovers_s if seconds > TAKE_OVER_WITHIN_S]
        if not self.takeovers_s and kills >= SEEN_AFTER:
            slow.append("never seen")
        self.report.check("a new worker takes over at once, not when a lease runs out", slow)

    def _kill_once(self, share_s: float) -> None:
        target = self._random.choices(list(TARGETS), list(TARGETS.values()))[0]
        aim = self._random.choices(list(AIMS), list(AIMS.values()))[0]
        if self._fruitless >= HUNGRY_AFTER:
            aim = self._random.choice(["encode", "publish"])
        if aim in REQUESTS and target == "worker":
            target = "group"  # a request is hit only with the server that answers it
        self._wait(aim, share_s)
        phase, doing = self._look()[0], self._client.doing
        self._observer.close()
        target, doomed = self.platform.kill(target)
        if target != "worker":
            self.platform.start()
        self.kills[target, phase] += 1
        if target != "worker":
            self.requests_hit[doing or "none"] += 1
        self._fruitless = 0 if phase in ("encode", "publish", "idle") else self._fruitless + 1
        if self._orphaned_job and self._opened_at and time.monotonic() - self._opened_at > TAKE_OVER_WITHIN_S:
            self.takeovers_s.append(time.monotonic() - self._opened_at)  # so long, and it has not happened
        self._opened_at, self._orphaned_job = None, self._orphaned_job or phase in WORKING
        self._after(target, doomed)
        if self._client.error is not None:
            raise self._client.error

    def _wait(self, aim: str, share_s: float) -> None:
        """Until the moment to kill: when the aim is seen, or after some time without it, and a random while more."""
        if aim in ("anywhere", "start"):
            self._watch(lambda: False, self._random.uniform(0.0, 2.0 * share_s if aim == "anywhere" else START_S))
            return
        patience_s = (4.0 if self._fruitless >= HUNGRY_AFTER else 2.0) * share_s
        seen = ("", 0)

        def reached() -> bool:
            nonlocal seen
            seen = self._look()
            if aim in REQUESTS and self._client.doing != aim:
                self._client.wish = "delete" if aim == "delete" else "upload"
            return aim == (self._client.doing if aim in REQUESTS else seen[0])

        self._watch(reached, patience_s)
        spread_s = SPREAD_S.get(aim, seen[1] * PUBLISH_S_PER_CHUNK)
        time.sleep(self._random.uniform(0.0, min(spread_s, share_s)))

    def _watch(self, reached: Callable[[], bool], within_s: float) -> None:
        """Look until `reached`: seldom while the worker starts, as looking takes time from it, and then closely."""
        deadline = time.monotonic() + within_s
        while not reached() and (left_s := deadline - time.monotonic()) > 0:
            time.sleep(min(left_s, 0.05 if self._look()[0] == "start" else 0.003))

    def _look(self) -> tuple[str, int]:
        """The phase, noting how long the worker takes to go on with what the one before it had in hand."""
        phase, chunks = self._observer.phase()
        if self._orphaned_job and self._observer.opened:
            self._opened_at = self._opened_at or time.monotonic()
            if phase != "start":
                self.takeovers_s.append(time.monotonic() - self._opened_at)
                self._orphaned_job = False
        return phase, chunks

    def _after(self, target: str, doomed: list[Process]) -> None:
        """What was killed takes its children along, and a worker comes back."""
        wait_for(lambda: not still_alive(doomed), DIE_WITHIN_S)
        self.report.check("children die with their parents", still_alive(doomed))
        wait_for(lambda: not self.platform.orphans(), DIE_WITHIN_S)
        self.report.check("no orphan is left", self.platform.orphans())
        back = target != "worker" or wait_for(lambda: self.platform.worker() is not None, COME_BACK_WITHIN_S)
        self.report.check("a killed worker comes back by itself", [] if back else ["it did not"])
