"""`python -m infra.k8s.check`: the chart, linted, rendered for each profile, and held against Kubernetes' schemas.

Offline: Helm and the schemas are in Python packages. Objects of the Prometheus Operator have no schema there; the rules
in them are those that promtool checks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from helm_python import Chart, lint

CHART = Path(__file__).parent / "capstone"
PROFILES = ("default", "ha", "gpu")
VERSIONS = ("1.29", kubernetes_validate.latest_version())  # the oldest of Chart.yaml, and the newest
WITHOUT_SCHEMA = {"monitoring.coreos.com/v1"}
_WARNING = 2  # Helm's number of the least severity that counts


def values_of(profile: str) -> dict[str, Any]:
    """What a profile changes; nothing for `default`. Raises OSError if there is no such file."""
    if profile == "default":
        return {}
    return dict(yaml.safe_load((CHART / f"values-{profile}.yaml").read_text()))


def render(values: dict[str, Any], *, name: str = "capstone") -> list[dict[str, Any]]:
    """Every object that `helm install NAME` would send, hooks included. Raises HelmError."""
    with Chart.load(CHART) as chart:
        rendered = chart.render(values, name=name, namespace="answers")
    texts = [text for path, text in sorted(rendered.items()) if path.endswith(".yaml")]
    found = (one for text in texts for one in yaml.load_all(text, Loader=yaml.CSafeLoader))
    return [one for one in found if one]


def problems(profile: str) -> Iterator[str]:
    """What is wrong with the chart under one profile, a sentence each."""
    values = values_of(profile)
    said = [one for one in lint(CHART, values, strict=True)["messages"] if one["severity"] >= _WARNING]
    if said:
        yield from (f"{one['path']}: {one['error']}" for one in said)
        return  # what it complains of may not even be YAML
    for one in render(values):
        yield from mismatches(one)


def mismatches(one: dict[str, Any]) -> Iterator[str]:
    """What of an object Kubernetes would refuse or, strictly, pass over."""
    if one["apiVersion"] in WITHOUT_SCHEMA:
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(one, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{one['kind']} {one['metadata']['name']}, Kubernetes {version}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield error.message


def check_chart() -> int:
    """Tell what is wrong with each profile; returns how many are not well."""
    failed = 0
    for profile in PROFILES:
        found = list(problems(profile))
        print("\n  ".join([f"{'FAILED' if found else 'passed'} chart, {profile} values", *found]))
        failed += bool(found)
    return failed


if __name__ == "__main__":
    sys.exit(1 if check_chart() else 0)
