"""Evidently on the figures of a reference and a window: `python -m services.eval.drift_report FOLDER PARENT`.

Evidently and pandas take seconds to import and hundreds of megabytes, so nobody else imports them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from services.core.process import die_with_parent
from services.core.telemetry import silence_libraries
from services.eval.drift import INPUT, OUTPUT, REPORT

Figures = Mapping[str, Sequence[float]]


def compared(reference: Figures, window: Figures, tested: Sequence[str], level: float, *, summary: bool = True) -> Any:
    """Evidently's snapshot: a two-sample Kolmogorov-Smirnov test of each of `tested`, and with `summary` all that it
    tells of the data's quality."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift
    from evidently.presets import DataSummaryPreset

    known = DataDefinition(numerical_columns=list(reference))
    old, new = (Dataset.from_pandas(pd.DataFrame(one), data_definition=known) for one in (reference, window))
    metrics = [ValueDrift(column=name, method="ks", threshold=level) for name in tested]
    return Report([*metrics, DataSummaryPreset()] if summary else metrics).run(new, old)  # the reference comes second


def p_values(snapshot: Any, tested: Sequence[str]) -> dict[str, float]:
    """Of each of `tested`."""
    found = {
        metric["config"]["column"]: float(metric["value"])
        for metric in snapshot.dict()["metrics"]
        if metric["config"]["type"].endswith(":ValueDrift")
    }
    return {name: found[name] for name in tested}


def main(folder: Path) -> None:
    given = json.loads((folder / INPUT).read_text())
    snapshot = compared(given["reference"], given["window"], given["tested"], given["level"])
    snapshot.save_html(str(folder / REPORT))
    (folder / OUTPUT).write_text(json.dumps(p_values(snapshot, given["tested"])))


if __name__ == "__main__":
    die_with_parent(int(sys.argv[2]))
    silence_libraries()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(Path(sys.argv[1]))
