"""Runs in MLflow: parameters, curves and figures, with data and source as tags. Nothing leaves the machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from models.paths import MLFLOW_DB
from services.core.version import git_commit

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
EXPERIMENT = "capstone"


class Run:
    """A run that is being written; one that stands for no run (another process has it) forgets everything."""

    def __init__(self, client: Any = None, run_id: str | None = None) -> None:
        self._client, self.id = client, run_id

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Add a point to the curves that `figures` names; MLflow takes no @ in a name: hit@1 is hit_at_1 there."""
        if self._client is not None:
            for name, value in figures.items():
                self._client.log_metric(self.id, name.replace("@", "_at_"), value, step=step)

    def summary(self, figures: Mapping[str, float]) -> None:
        self.log(0, {f"final.{name}": value for name, value in figures.items()})

    def artifact(self, path: str, folder: str | None = None) -> None:
        """Copy a file or a folder into the run, below `folder`."""
        if self._client is not None:
            (self._client.log_artifacts if os.path.isdir(path) else self._client.log_artifact)(self.id, path, folder)


@contextmanager
def tracked(name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> Iterator[Run]:
    """A run called `name`: finished when the block ends, failed when it raises.

    `params` may be nested. Of several processes only the first writes one.
    """
    if os.environ.get("RANK", "0") != "0":
        yield Run()
        return
    client = mlflow_client()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT, _artifacts())
    told = {"git_commit": git_commit(), **tags}
    run_id = client.create_run(experiment_id, run_name=name, tags=told).info.run_id
    for key, value in flat(params).items():
        client.log_param(run_id, key, value)
    try:
        yield Run(client, run_id)
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id, "FINISHED")


def mlflow_client() -> Any:
    """A client of MLFLOW_TRACKING_URI, or of a SQLite file below data/."""
    from mlflow import MlflowClient

    for noisy in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if (uri := os.environ.get("MLFLOW_TRACKING_URI")) is None:
        MLFLOW_DB.parent.mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{MLFLOW_DB.resolve()}"
    return MlflowClient(uri, registry_uri=os.environ.get("MLFLOW_REGISTRY_URI", uri))


def _artifacts() -> str | None:
    """Beside the local database, or where whoever starts this says; a server decides for itself."""
    if (said := os.environ.get("CAPSTONE_MLFLOW_ARTIFACTS")) is not None:
        return said
    return None if os.environ.get("MLFLOW_TRACKING_URI") else (MLFLOW_DB.parent / "artifacts").resolve().as_uri()


def flat(params: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    out: dict[str, Any] = {}
    for key, value in params.items():
        out |= flat(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return out
