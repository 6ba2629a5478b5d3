"""The child process that writes one run to MLflow: `python -m services.eval.mlflow_run FOLDER PARENT`.

By itself, and importing little else, because MLflow is large and may never answer. The address comes from
MLFLOW_TRACKING_URI. In the end the id of the run is in the file `run_id`.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path

from services.core.process import die_with_parent

EXPERIMENT = "capstone-evaluations"
FACTS = "run.json"  # name, artifacts (a URI or null), tags, params, metrics
FILES = "files"  # what goes into the run as it is
RUN_ID = "run_id"


def log_run(folder: Path) -> str:
    """Write the run that `folder` describes, or find it if an earlier try has written all of it; returns its id."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    logging.disable(logging.WARNING)
    facts = json.loads((folder / FACTS).read_text())
    client = MlflowClient()
    known = client.get_experiment_by_name(EXPERIMENT)
    experiment = known.experiment_id if known else client.create_experiment(EXPERIMENT, facts["artifacts"])
    same = f"tags.evaluation = '{facts['tags']['evaluation']}' and attributes.status = 'FINISHED'"
    if earlier := client.search_runs([experiment], same, max_results=1):
        return str(earlier[0].info.run_id)
    run_id = client.create_run(experiment, run_name=facts["name"], tags=facts["tags"]).info.run_id
    now_ms = time.time_ns() // 1_000_000
    params = [Param(name, str(value)) for name, value in facts["params"].items()]
    client.log_batch(run_id, [Metric(name, value, now_ms, 0) for name, value in facts["metrics"].items()], params)
    client.log_artifacts(run_id, str(folder / FILES))
    client.set_terminated(run_id, "FINISHED")
    return str(run_id)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[2]))
    place = Path(sys.argv[1])
    (place / RUN_ID).write_text(log_run(place))
