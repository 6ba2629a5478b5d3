"""Which release is live: promotion behind the gate, and rollback, in two places that cannot change as one.

MLflow holds the aliases that serving processes follow, the catalog the history. The order of writes makes a crash
harmless: the intent, then the alias `previous`, then `champion`, then the end of the intent. `champion` is the one
that counts: an intent whose version is champion was done, any other is put back. That is decided by whoever changes
something next, or by a worker at its start. A lock of the catalog lets one process at a time do any of it; who holds it
knows that an intent without an end has lost its process.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.core.aliases import CHAMPION, PREVIOUS
from services.core.database import Database
from services.core.errors import Conflict, GateNotPassed, NothingToRollBack, ReleaseInProgress, Unavailable
from services.core.exclusive import RELEASES, exclusive
from services.core.settings import Settings
from services.eval.mlflow_aliases import MOVES, SHIPPED
from services.eval.mlflow_child import run_child
from services.eval.named import Named, ReleaseNames
from services.eval.release_log import Change, Kind, ReleaseLog
from services.eval.verdicts import VerdictStore

_LOOK_EVERY_S = 0.05
_RETRY_AFTER_S = 30


@dataclass(frozen=True, slots=True)
class Meant:
    """What a change is to do and why. Releases are ids, versions are MLflow's.

    `from_version` is None for the shipped release while it is no version, `previous_version` is what the alias was
    before. `gate_passed` is None for a rollback, which no gate stands before.
    """

    by: str
    release: str
    version: str
    from_release: str
    from_version: str | None
    previous_version: str | None
    verdict_id: str | None = None
    gate_passed: bool | None = None
    override_reason: str | None = None
    reason: str | None = None  # of a rollback


class Promotions:
    """Methods block for as long as MLflow takes, and raise Unavailable if it does not answer: then nothing has changed,
    or what has is told by the history and settled by the next change."""

    def __init__(self, settings: Settings, database: Database, names: ReleaseNames) -> None:
        self._settings = settings
        self._database = database
        self._names = names
        self._log = ReleaseLog(database)
        self._verdicts = VerdictStore(database)

    def promote(self, name: str, *, by: str, override_reason: str | None) -> Change:
        """Make a release live.

        Raises GateNotPassed, unless there is a reason to override that, if the newest verdict about exactly the
        release that is live and this one is not a pass; Conflict if it is live already, UnknownRelease, and
        ReleaseInProgress if another change is under way.
        """
        with self._alone():
            live, target = self._names.live(), self._names.version(name)
            if target.release == live.release:
                raise Conflict(f"{target.release} is the champion already.")
            verdict = self._verdicts.newest(live.id, target.id)
            passed = verdict is not None and verdict.passed
            if not passed and override_reason is None:
                raise GateNotPassed(_refusal(live, target, verdict is None), verdict.facts() if verdict else None)
            return self._change(
                "promotion",
                live,
                target,
                by=by,
                verdict_id=verdict.id if verdict else None,
                gate_passed=passed,
                override_reason=None if passed else override_reason,
            )

    def roll_back(self, *, by: str, reason: str | None) -> Change:
        """Swap `champion` and `previous`. Raises NothingToRollBack if there is no previous release, and
        ReleaseInProgress if another change is under way."""
        with self._alone():
            live, target = self._names.live(), self._names.find(PREVIOUS)
            if target is None or live.version is None or target.version == live.version:
                raise NothingToRollBack("No release was live before this one.")
            return self._change("rollback", live, target, by=by, reason=reason)

    def repair(self) -> None:
        """Settle a change whose process died, if there is one. Raises Unavailable if MLflow does not answer."""
        if self._log.unfinished() is not None:
            with exclusive(self._database, RELEASES) as alone:
                if alone:
                    self._settle_orphan()

    def history(self, *, after: str | None, limit: int) -> list[Change]:
        """Promotions and rollbacks, newest first; `after` is the id of the last one of the page before."""
        return self._log.newest(after=after, limit=limit)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with exclusive(self._database, RELEASES) as alone:
            if not alone:
                raise ReleaseInProgress("Another promotion or rollback is under way.", retry_after_s=10)
            self._settle_orphan()
            yield

    def _settle_orphan(self) -> None:
        if (orphan := self._log.unfinished()) is not None:
            self._settle(orphan, "Its process ended before it did.")

    def _change(self, kind: Kind, live: Named, target: Named, **why: Any) -> Change:
        assert target.version is not None
        before = self._names.find(PREVIOUS)
        previous = before.version if before else None
        meant = Meant(
            release=target.id,
            version=target.version,
            from_release=live.id,
            from_version=live.version,
            previous_version=previous,
            **why,
        )
        change = self._log.begin(kind, asdict(meant))
        problem = self._move(
            {CHAMPION: live.version, PREVIOUS: previous},
            [(PREVIOUS, live.version or SHIPPED), (CHAMPION, target.version)],
            shipped=live if live.version is None else None,
        )
        if problem is None:
            return self._log.end(change, "done", {"detail": None})
        settled = self._settle(change, problem)
        if settled.end == "failed":
            detail = f"The aliases could not be moved, and nothing has changed. {problem}"
            raise Unavailable(detail, retry_after_s=_RETRY_AFTER_S)
        return settled

    def _settle(self, change: Change, reason: str) -> Change:
        """End a change that got no further: done if its version is champion, else failed, and `previous` is put back.

        Raises Unavailable, and leaves it open, if MLflow does not answer.
        """
        meant = Meant(**change.body)
        if self._names.live().version == meant.version:
            return self._log.end(change, "done", {"detail": f"{reason} It was live all the same."})
        there = self._names.find(PREVIOUS)
        ours = there is not None and there.release == meant.from_release  # else it was not moved, or by somebody else
        if there is not None and ours and there.version != meant.previous_version:
            problem = self._move({PREVIOUS: there.version}, [(PREVIOUS, meant.previous_version)])
            if problem is not None:
                self._names.live()  # raises if that was the reason; else, as where the version is gone, trying is vain
                reason += f" The alias {PREVIOUS!r} could not be put back. {problem}"
        return self._log.end(change, "failed", {"detail": reason})

    def _move(
        self,
        expected: dict[str, str | None],
        aliases: Sequence[tuple[str, str | None]],
        shipped: Named | None = None,
    ) -> str | None:
        """Returns None, or why it did not succeed."""
        moves = {"expected": expected, "aliases": aliases, "shipped": self._to_register(shipped)}
        with tempfile.TemporaryDirectory(prefix="capstone-aliases-") as name:
            folder = Path(name)
            (folder / MOVES).write_text(json.dumps(moves))
            return run_child(
                self._settings,
                "services.eval.mlflow_aliases",
                folder,
                within_s=self._settings.promotion_timeout_s,
                wait=lambda: time.sleep(_LOOK_EVERY_S),
            )

    def _to_register(self, shipped: Named | None) -> dict[str, str | None] | None:
        if shipped is None:
            return None
        assert self._names.shipped_folder is not None, "it has an id, so it has a folder"
        artifacts = None if self._settings.mlflow_uri else (self._settings.mlflow_dir / "artifacts").as_uri()
        return {"id": shipped.id, "folder": str(self._names.shipped_folder.resolve()), "artifacts": artifacts}


def _refusal(live: Named, target: Named, unknown: bool) -> str:
    how = f"`capstone evaluate QUESTIONS --release {target.version} --against champion`"
    if unknown:
        return f"The gate has not judged {target.id} against {live.id}. Do so: {how}."
    return f"The gate's last verdict on {target.id} against {live.id} is no. See `verdict`; {how} makes a new one."
