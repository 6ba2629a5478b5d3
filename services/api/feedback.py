"""Feedback on answers: checked against the answer that it is about, kept, and counted."""

from __future__ import annotations

from services.core.catalog import Catalog
from services.core.errors import InvalidRequest
from services.core.feedback import Feedback, FeedbackLog, Said
from services.core.telemetry import Telemetry
from services.core.within import ALL, Within


class FeedbackDesk:
    """Methods block."""

    def __init__(self, catalog: Catalog, telemetry: Telemetry) -> None:
        self._catalog = catalog
        self._log = FeedbackLog(catalog.database)
        self._count = telemetry.counter("feedback", "What was said of answers, once for each thing said.", ("kind",))

    def give(self, answer_id: str, by: str, said: Said, within: Within = ALL) -> tuple[Feedback, bool]:
        """Returns it, and whether it is new. Raises NotFound for an unknown answer, InvalidRequest for a citation that
        it does not have."""
        if said.wrong_citation is not None:
            cited = len(self._catalog.answer(answer_id, within)["citations"])
            if said.wrong_citation >= cited:
                raise InvalidRequest(f"wrong_citation: the answer has {cited} citations, counted from 0.")
        given, new = self._log.add(answer_id, by, said, within)
        if new:
            told = {"corrected": said.corrected, "wrong_citation": said.wrong_citation}
            for kind in (said.verdict, *(name for name, value in told.items() if value is not None)):
                self._count.labels(kind).inc()
        return given, new

    def of_answer(self, answer_id: str, within: Within = ALL) -> list[Feedback]:
        """All versions, oldest first. Raises NotFound for an unknown answer."""
        return self._log.of_answer(answer_id, within)
