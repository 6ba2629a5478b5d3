"""The child process that moves aliases in MLflow's registry: `python -m services.eval.mlflow_aliases FOLDER PARENT`.

By itself for the same reasons as `mlflow_run.py`. What is to be done is in the file `moves.json`. Every step can be
repeated.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

from services.core.aliases import MODEL
from services.core.process import die_with_parent

EXPERIMENT = "capstone-releases"
MOVES = "moves.json"
SHIPPED = "shipped"  # as the version of an alias: that of the release which is registered first


def move(folder: Path) -> None:
    """Do what `moves.json` says.

    `expected`: versions by alias, null for none; if one is another, nothing is done. `shipped`: null, or a release
    (`id`, `folder`, `artifacts`: a URI or null) that becomes a version unless it is one already. `aliases`: pairs of an
    alias and its new version, null to remove it, set in this order. Raises RuntimeError if something else was expected.
    """
    from mlflow import MlflowClient

    logging.disable(logging.WARNING)
    moves = json.loads((folder / MOVES).read_text())
    client = MlflowClient()
    there = _aliases(client)
    for alias, version in moves["expected"].items():
        if there.get(alias) != version:
            raise RuntimeError(f"Version {there.get(alias)} is {alias} by now, and version {version} was expected.")
    shipped = _registered(client, moves["shipped"]) if moves["shipped"] else None
    for alias, version in moves["aliases"]:
        wanted = shipped if version == SHIPPED else version
        if wanted is not None:
            client.set_registered_model_alias(MODEL, alias, wanted)
        elif alias in there:
            client.delete_registered_model_alias(MODEL, alias)


def _aliases(client: Any) -> dict[str, str]:
    found = client.search_registered_models(f"name = '{MODEL}'")
    return {alias: str(version) for alias, version in found[0].aliases.items()} if found else {}


def _registered(client: Any, release: dict[str, Any]) -> str:
    """The number of the version that holds the release; its files are copied into a run if there is none yet."""
    for known in client.search_model_versions(f"name = '{MODEL}'"):
        if known.tags.get("release") == release["id"]:
            return str(known.version)
    found = client.get_experiment_by_name(EXPERIMENT)
    experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT, release["artifacts"])
    tags = {"release": release["id"]}
    run = client.create_run(experiment, run_name=f"shipped release {release['id']}", tags=tags)
    client.log_artifacts(run.info.run_id, release["folder"], "release")
    client.set_terminated(run.info.run_id, "FINISHED")
    if not client.search_registered_models(f"name = '{MODEL}'"):
        client.create_registered_model(MODEL)
    source = f"{run.info.artifact_uri}/release"
    return str(client.create_model_version(MODEL, source, run.info.run_id, tags=tags).version)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[2]))
    move(Path(sys.argv[1]))
