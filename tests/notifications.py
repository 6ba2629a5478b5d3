"""Alertmanager's webhook, version 4, as it posts it."""

from __future__ import annotations

from typing import Any

from tests.calls import Client

TOKEN = "a-token-of-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def alert(at: int = 0, status: str = "firing", loop: str = "retrain", name: str = "DriftDetected") -> dict[str, Any]:
    """`at` makes it another alert, that began so many seconds later."""
    return {
        "status": status,
        "labels": {"alertname": name, "loop": loop},
        "annotations": {"summary": "the questions are others"},
        "startsAt": f"2026-11-27T{10 + at // 3600:02d}:{at // 60 % 60:02d}:{at % 60:02d}.123Z",
        "endsAt": "0001-01-01T00:00:00Z" if status == "firing" else "2026-11-27T20:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": f"{at:016x}",
    }


def notification(*alerts: dict[str, Any], group: str = '{}:{alertname="DriftDetected"}') -> dict[str, Any]:
    return {
        "version": "4",
        "groupKey": group,
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "loop",
        "groupLabels": {"alertname": "DriftDetected"},
        "commonLabels": {"alertname": "DriftDetected"},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager",
        "alerts": list(alerts),
    }


def told(http: Client, *alerts: dict[str, Any]) -> list[str]:
    """What became of each."""
    response = http.post("/v1/alerts", json=notification(*alerts), headers=BEARER)
    assert response.status_code == 200, response.text
    return [one["outcome"] for one in response.json()["alerts"]]
