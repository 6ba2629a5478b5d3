"""The objectives, and the rules that follow: error ratios over seven windows, and alerts on how fast a budget burns.

After "Alerting on SLOs" in Google's Site Reliability Workbook: a long window says that it matters, a short one that it
still goes on. `python -m infra.build` writes rules/slo.yml from this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

RUNBOOK = "docs/runbook.md#error-budget-burning"
_ANSWERS = 'route="/v1/answers",method="POST"'
_FLOOR = 10  # answers in a long window; one failure among three says nothing
ANSWER_WITHIN_S = 10.0
FRESH_WITHIN_S = 600


@dataclass(frozen=True)
class Objective:
    """`bad` is the share of what went wrong in a WINDOW; `budget` is the share that may."""

    name: str
    budget: float
    says: str
    bad: str
    floor: str | None = None  # counts what a long window must hold at least _FLOOR of


@dataclass(frozen=True)
class Burn:
    """At `factor` times the budget's own pace in both windows, the alert fires."""

    long: str
    short: str
    factor: float
    severity: str
    means: str


_REQUESTS = f"sum(rate(http_requests_total{{{_ANSWERS}}}[WINDOW]))"
_FAILED = f'sum(rate(http_requests_total{{{_ANSWERS},status=~"5.."}}[WINDOW]))'
_GIVEN = f'sum(rate(http_request_duration_seconds_count{{{_ANSWERS},status="200"}}[WINDOW]))'
_QUICK = f'sum(rate(http_request_duration_seconds_bucket{{{_ANSWERS},status="200",le="{ANSWER_WITHIN_S}"}}[WINDOW]))'
_COUNT = f"sum(increase(http_requests_total{{{_ANSWERS}}}[WINDOW]))"

OBJECTIVES = (
    Objective(
        "availability",
        0.005,
        "99.5 % of the requests for an answer do not end in a 5xx (a 429 is no failure: it is how overload is refused)",
        f"({_FAILED} or 0 * {_REQUESTS}) / {_REQUESTS}",
        _COUNT,
    ),
    Objective(
        "latency",
        0.05,
        f"95 % of the answers are complete within {ANSWER_WITHIN_S:.0f} s, waiting included",
        f"1 - {_QUICK} / {_GIVEN}",
        _COUNT,
    ),
    Objective(
        "freshness",
        0.01,
        f"for 99 % of the time no document has waited longer than {FRESH_WITHIN_S // 60} minutes to be ingested",
        "1 - avg_over_time(slo:ingest_fresh:bool[WINDOW])",
    ),
)

BURNS = (
    Burn("1h", "5m", 14.4, "critical", "a budget of 30 days is gone in two days"),
    Burn("6h", "30m", 6, "critical", "a budget of 30 days is gone in five days"),
    Burn("1d", "2h", 3, "warning", "a budget of 30 days is gone in ten days"),
    Burn("3d", "6h", 1, "warning", "all of a budget of 30 days will be used"),
)


def rules() -> dict[str, Any]:
    """The content of rules/slo.yml."""
    fresh = f"max(ingest_job_oldest_age_seconds) <= bool {FRESH_WITHIN_S}"
    recorded = [{"record": "slo:ingest_fresh:bool", "expr": fresh}]
    recorded += [_budget(objective) for objective in OBJECTIVES]
    recorded += [_ratio(objective, window) for objective in OBJECTIVES for window in _windows()]
    return {
        "groups": [
            {"name": "objectives", "interval": "30s", "rules": recorded},
            {"name": "burns", "rules": [_alert(burn) for burn in BURNS]},
        ]
    }


def _windows() -> list[str]:
    """Each once, the shortest first."""
    return list(dict.fromkeys([*(burn.short for burn in BURNS), *(burn.long for burn in BURNS)]))


def _budget(objective: Objective) -> dict[str, Any]:
    return {"record": "slo:budget:ratio", "expr": f"vector({objective.budget})", "labels": {"slo": objective.name}}


def _ratio(objective: Objective, window: str) -> dict[str, Any]:
    expr = objective.bad.replace("WINDOW", window)
    if objective.floor and window in [burn.long for burn in BURNS]:
        expr = f"({expr}) and on () ({objective.floor} >= {_FLOOR})".replace("WINDOW", window)
    return {"record": f"slo:bad:ratio{window}", "expr": expr, "labels": {"slo": objective.name}}


def _alert(burn: Burn) -> dict[str, Any]:
    limit = f"on (slo) ({burn.factor:g} * slo:budget:ratio)"
    return {
        "alert": f"ErrorBudgetBurn{burn.long}",
        "expr": f"(slo:bad:ratio{burn.long} > {limit}) and on (slo) (slo:bad:ratio{burn.short} > {limit})",
        "labels": {"severity": burn.severity},
        "annotations": {
            "summary": f"The objective of {{{{ $labels.slo }}}} is missed: {burn.means}",
            "description": f"{{{{ $value | humanizePercentage }}}} went wrong in {burn.long}, "
            f"{burn.factor:g} times the budget's own pace or more, and it goes on.",
            "runbook_url": RUNBOOK,
        },
    }
