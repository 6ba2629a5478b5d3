"""`python -m infra.build` writes what is generated; a test compares.

Dashboards, the rules of the objectives, the copies of both in the chart, which can hold nothing from outside of it, and
the page of the settings.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from infra import configuration
from infra.grafana.board import build
from infra.grafana.boards import BOARDS
from infra.slo import rules

_HERE = Path(__file__).parent
_NOTE = "# Written by `python -m infra.build` from infra/slo.py.\n"


def generated() -> dict[Path, str]:
    """Every generated file, with what has to be in it."""
    folder = _HERE / "grafana" / "dashboards"
    encoder = JSONEncoder(sort_keys=True, indent=2)
    files = {folder / f"{board.uid}.json": encoder.encode(build(board).build()) + "\n" for board in BOARDS}
    slo = yaml.safe_dump(rules(), sort_keys=False, width=110, allow_unicode=True)
    files |= {_HERE / "prometheus" / "rules" / "slo.yml": _NOTE + slo}
    page = {_HERE.parent / "docs" / "configuration.md": configuration.page()}
    return files | _copied_into_chart(files) | page


def _copied_into_chart(files: dict[Path, str]) -> dict[Path, str]:
    chart = _HERE / "k8s" / "capstone" / "files"
    rules = _HERE / "prometheus" / "rules"
    written = {path: path.read_text(encoding="utf-8") for path in rules.glob("*.yml")} | files
    return {chart / path.parent.name / path.name: text for path, text in written.items()}


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")
