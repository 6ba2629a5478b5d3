"""What a service tells Prometheus, read as Prometheus reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

_OF_THE_PROCESS = ("process_", "python_")


def samples_of(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Values by name and labels, those of the process left out."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.startswith(_OF_THE_PROCESS)
    }


def value(text: str, name: str, **labels: str) -> float:
    """The sum over all series of `name` that have these labels; 0 if there is none."""
    wanted = set(labels.items())
    return sum(number for (found, own), number in samples_of(text).items() if found == name and wanted <= own)


def kinds_of(text: str) -> Mapping[str, str]:
    """The type of each metric, by name."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
