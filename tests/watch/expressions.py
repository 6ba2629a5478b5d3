"""Every expression that is committed under infra/, and the form in which it has to return data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

INFRA = Path(__file__).parents[2] / "infra"
RULES = INFRA / "prometheus" / "rules"
# A comparison as the rules write it; those inside selectors have no spaces around them.
_COMPARISON = re.compile(r" (>=|<=|==|!=|>|<) (?!bool )")


def expressions() -> Iterator[tuple[str, str]]:
    """`(where, what)` for every expression.

    An alert's is turned into one that always has a value: a comparison gives 0 or 1 instead of nothing, and what must
    not be absent is counted.
    """
    for rule in rules():
        if "alert" in rule:
            yield f"alert {rule['alert']}", _COMPARISON.sub(r" \1 bool ", rule["expr"]).replace("absent(", "count(")
        else:
            yield f"rule {rule['record']} {rule.get('labels', {}).get('slo', '')}".rstrip(), rule["expr"]
    for path in sorted((INFRA / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']} {target['refId']}", target["expr"]


def rules() -> Iterator[dict[str, Any]]:
    for path in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]
