"""An evaluation as a run in MLflow.

MLflow is imported, and waited for, in a child process: it is large, and one that does not answer must not keep an
evaluation from ending.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.core.settings import Settings
from services.core.version import git_commit
from services.eval.judge import Judgement
from services.eval.mlflow_child import run_child
from services.eval.mlflow_run import FACTS, FILES, RUN_ID
from services.eval.store import Evaluation

_log = logging.getLogger("capstone.eval")


@dataclass(frozen=True)
class Log:
    evaluation: Evaluation
    summary: dict[str, Any]
    judgements: Sequence[Judgement]
    html: str


def log_to_mlflow(settings: Settings, log: Log, wait: Callable[[], None]) -> dict[str, Any]:
    """Log parameters, figures, report and judgements as one run; again only if an earlier try did not get to its end.

    Returns `status` (logged, failed or off), and `run_id` or a `detail` that says why not. `wait` is called while
    MLflow works; what it raises ends that.
    """
    if not settings.track_evaluations:
        return {"status": "off", "run_id": None, "detail": "Logging to MLflow is switched off."}
    with tempfile.TemporaryDirectory(prefix="capstone-mlflow-") as name:
        folder = Path(name)
        _write(settings, log, folder)
        detail = run_child(
            settings, "services.eval.mlflow_run", folder, within_s=settings.tracking_timeout_s, wait=wait
        )
        if detail is None:
            return {"status": "logged", "run_id": (folder / RUN_ID).read_text(), "detail": None}
    _log.warning("evaluation not logged", extra={"fields": {"evaluation": log.evaluation.id, "error": detail}})
    return {"status": "failed", "run_id": None, "detail": detail}


def _write(settings: Settings, log: Log, folder: Path) -> None:
    """What the child reads: the facts of the run, and the files that go into it."""
    evaluation = log.evaluation
    lineage = log.summary["lineages"][-1]
    tags = {"evaluation": evaluation.id, "dataset_sha256": evaluation.dataset.sha256, "git_commit": git_commit()}
    facts = {
        "name": f"evaluation of {evaluation.dataset.name}",
        "artifacts": None if settings.mlflow_uri else (settings.mlflow_dir / "artifacts").as_uri(),
        "tags": tags | {name: str(lineage[name]) for name in ("release", "generator", "adapter", "classifier")},
        "params": {
            "dataset": evaluation.dataset.name,
            "collection": evaluation.collection,
            "release": evaluation.release,
            "questions": log.summary["questions"],
        },
        "metrics": _metrics(log.summary),
    }
    (folder / FACTS).write_text(json.dumps(facts))
    files = folder / FILES
    files.mkdir()
    (files / "report.html").write_text(log.html)
    (files / "summary.json").write_text(json.dumps(log.summary, indent=1))
    (files / "questions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in log.judgements))


def _metrics(summary: dict[str, Any]) -> dict[str, float]:
    """Flat names; `@` is not allowed in the name of a metric."""
    out = {
        f"{system}.{metric}".replace("@", "_at_"): facts["value"]
        for system, table in summary["systems"].items()
        for metric, facts in table.items()
        if facts is not None
    }
    return out | {f"latency.{name}.{part}": ms for name, f in summary["latency_ms"].items() for part, ms in f.items()}
