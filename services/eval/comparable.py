"""Whether asking two releases the same questions can end in a verdict at all, before hours go into it."""

from __future__ import annotations

from collections.abc import Sequence

from services.core.errors import InvalidRequest
from services.core.gate_rules import GateRules
from services.eval.dataset import Question
from services.eval.named import ReleaseNames
from services.eval.store import Asked


def require_enough(questions: Sequence[Question], rules: GateRules) -> None:
    """Raises InvalidRequest for fewer answerable questions than the gate wants."""
    answerable = sum(question.answerable for question in questions)
    if answerable < rules.min_questions:
        raise InvalidRequest(
            f"The gate wants {rules.min_questions} answerable questions at least, and the dataset has {answerable}."
        )


def require_comparable(
    sides: Sequence[Asked], questions: Sequence[Question], names: ReleaseNames, rules: GateRules
) -> None:
    """Raises InvalidRequest where the gate could not compare the two."""
    if any(side.release_id is None for side in sides):
        raise InvalidRequest("Only the bases are served, without a release: there is nothing to compare.")
    if sides[0].release_id == sides[1].release_id:
        raise InvalidRequest(f"{sides[0].name!r} and {sides[1].name!r} are the same release, {sides[0].release_id}.")
    if names.live().release not in [side.release_id for side in sides]:
        raise InvalidRequest("One of the two must be the champion: besides it, one release at a time is in memory.")
    require_enough(questions, rules)
