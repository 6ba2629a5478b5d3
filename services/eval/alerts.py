"""What Alertmanager tells: which alerts ask for a retraining, and which of those open a run.

An alert is known by its group, its fingerprint and when it began, so that whoever sends a notification again opens
nothing again. One that was refused is decided on anew each time that Alertmanager repeats it: while it fires, the
first repetition after the cool-down opens a run.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from sqlalchemy import Connection, insert, select, update

from services.core.catalog import Catalog
from services.core.errors import AlertsNotConfigured, InvalidAlert, Unauthorized
from services.core.schemas import Text
from services.core.settings import Settings
from services.core.tables import alerts, counters
from services.core.telemetry import Telemetry
from services.eval.retraining import RetrainingStore

LABEL, WANTED = "loop", "retrain"  # the label that sends an alert here, see the rules of Prometheus
_MAX_ALERTS = 1_000
_SCHEME = "bearer "
Outcome = Literal[
    "opened", "duplicate", "cooling_down", "limit", "off", "replayed", "resolved", "ignored"
]  # refused: duplicate (a run is open), cooling_down, limit (of a day), off (no project to train)
Name = Annotated[Text, StringConstraints(min_length=1, max_length=255)]
Value = Annotated[Text, StringConstraints(max_length=2_000)]


class Alert(BaseModel):
    model_config = ConfigDict(extra="ignore")

    status: Literal["firing", "resolved"]
    labels: Annotated[dict[Name, Value], Field(max_length=100)]
    startsAt: AwareDatetime  # noqa: N815 - as Alertmanager spells it
    endsAt: AwareDatetime | None = None  # noqa: N815
    fingerprint: Annotated[Text, StringConstraints(min_length=1, max_length=64)]

    @property
    def name(self) -> str:
        return self.labels.get("alertname", "unnamed")[:255]


class Notification(BaseModel):
    """Version 4 of what Alertmanager posts to a webhook."""

    model_config = ConfigDict(extra="ignore")

    version: Literal["4"]
    groupKey: Annotated[Text, StringConstraints(min_length=1, max_length=8_000)]  # noqa: N815
    status: Literal["firing", "resolved"]
    alerts: Annotated[list[Alert], Field(max_length=_MAX_ALERTS)]


@dataclass(frozen=True, slots=True)
class Told:
    """`run_id` is the run that the alert has opened, now or earlier."""

    fingerprint: str
    name: str
    outcome: Outcome
    run_id: str | None


class AlertDesk:
    """Methods block."""

    def __init__(self, settings: Settings, catalog: Catalog, runs: RetrainingStore, telemetry: Telemetry) -> None:
        self._settings = settings
        self._db = catalog.database
        self._runs = runs
        self._count = telemetry.counter(
            "alerts_received", "Alerts that were told, by what became of them.", ("outcome",)
        )

    def check(self, authorization: str | None) -> None:
        """`authorization` is the header. Raises AlertsNotConfigured where there is no token, Unauthorized if it has not
        this one."""
        secret = self._settings.alert_token
        wanted = secret.get_secret_value().strip().encode() if secret else b""
        if not wanted:
            raise AlertsNotConfigured("CAPSTONE_ALERT_TOKEN is not set, so no notification can be trusted.")
        given = (authorization or "").encode("utf-8", "surrogateescape")
        scheme, token = given[: len(_SCHEME)].lower(), given[len(_SCHEME) :].strip()
        if not hmac.compare_digest(token, wanted) or scheme != _SCHEME.encode():
            self._count.labels("unauthorized").inc()
            raise Unauthorized("Send `Authorization: Bearer TOKEN` with the token of CAPSTONE_ALERT_TOKEN.")

    def receive(self, body: bytes) -> list[Told]:
        """Decide on each alert of a notification, in its order. Raises InvalidAlert, and then nothing has changed."""
        try:
            notification = Notification.model_validate_json(body)
        except ValidationError as error:
            self._count.labels("invalid").inc()
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "body"
            raise InvalidAlert(f"{where}: {first['msg']}. This takes version 4 of Alertmanager's webhook.") from None
        with self._db.write() as connection:
            self._lock(connection)
            told = [self._one(connection, notification.groupKey, alert) for alert in notification.alerts]
        for one in told:
            self._count.labels(one.outcome).inc()
        return told

    def _lock(self, connection: Connection) -> None:
        """Whoever else is told of alerts waits until these are decided on."""
        connection.execute(select(counters.c.value).where(counters.c.name == "retraining_runs").with_for_update())

    def _one(self, connection: Connection, group_key: str, alert: Alert) -> Told:
        if alert.labels.get(LABEL) != WANTED:
            return Told(alert.fingerprint, alert.name, "ignored", None)
        key = _key(group_key, alert)
        known = connection.execute(select(alerts).where(alerts.c.key == key)).first()
        firing = alert.status == "firing"
        run_id = known.run_id if known is not None else None
        outcome: Outcome
        if not firing:
            outcome = "resolved"
        elif known is not None and (run_id is not None or not known.firing):
            return Told(alert.fingerprint, alert.name, "replayed", run_id)
        else:
            outcome, run_id = self._decide(connection, alert)
        values = {"firing": firing, "outcome": outcome, "run_id": run_id, "ends_at": _seconds(alert.endsAt)}
        if known is not None:
            connection.execute(update(alerts).where(alerts.c.key == key).values(**values))
        else:
            now, began = self._db.now(connection), _seconds(alert.startsAt) or 0.0
            row = values | {"key": key, "name": alert.name, "labels": alert.labels, "starts_at": began}
            connection.execute(insert(alerts).values(**row, received_at=now))
        return Told(alert.fingerprint, alert.name, outcome, run_id)

    def _decide(self, connection: Connection, alert: Alert) -> tuple[Outcome, str | None]:
        settings = self._settings
        if settings.retrain_project is None:
            return "off", None
        recent = self._runs.recent(connection)
        if recent.open_id is not None:
            return "duplicate", None
        if recent.since_last_s is not None and recent.since_last_s < settings.retrain_cooldown_s:
            return "cooling_down", None
        if recent.today >= settings.retrain_max_per_day:
            return "limit", None
        about = {"name": alert.name, "labels": alert.labels, "starts_at": _seconds(alert.startsAt)}
        return "opened", self._runs.open(connection, about, settings.retrain_collection)


def _key(group_key: str, alert: Alert) -> str:
    parts: Sequence[Any] = (group_key, alert.fingerprint, alert.startsAt.timestamp())
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _seconds(at: datetime | None) -> float | None:
    """Alertmanager says the year 1 where there is no end yet."""
    return None if at is None or at.year < 1970 else at.timestamp()
