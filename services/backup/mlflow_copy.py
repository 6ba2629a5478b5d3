"""The child process that copies releases out of MLflow and in: `python -m services.backup.mlflow_copy FOLDER PARENT`.

Through MLflow's own client, so that it is the same for a server and for a database. By itself for the reasons of
`eval/mlflow_run.py`. What is to be done is in the file `order.json`. Every step can be repeated.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from services.core.aliases import CHAMPION, MODEL
from services.core.process import die_with_parent

EXPERIMENT = "capstone-releases"
ORDER, LISTED = "order.json", "listed.json"
_PAGE, _BATCH = 200, 100  # rows that MLflow gives, and takes, at once


def main(folder: Path) -> None:
    """`do`: `list` writes `listed.json`, with versions and aliases; `fetch` brings the files of the versions that are
    `listed` to `place/<version>/release`; `register` makes versions of what lies there, with their numbers."""
    from mlflow import MlflowClient

    logging.disable(logging.WARNING)
    order = json.loads((folder / ORDER).read_text())
    client = MlflowClient()
    if order["do"] == "list":
        (folder / LISTED).write_text(json.dumps(_list(client), indent=2))
    elif order["do"] == "fetch":
        _fetch(order["listed"], Path(order["place"]))
    else:
        _register(client, order["listed"], Path(order["place"]), order["artifacts"])


def _list(client: Any) -> dict[str, Any]:
    found = client.search_registered_models(f"name = '{MODEL}'")
    if not found:
        return {"aliases": {}, "versions": []}
    versions, token = [], None
    while True:
        page = client.search_model_versions(f"name = '{MODEL}'", max_results=_PAGE, page_token=token)
        versions += [_facts(client, version) for version in page]
        if not (token := page.token):
            break
    aliases = {alias: int(version) for alias, version in found[0].aliases.items()}
    return {"aliases": aliases, "versions": sorted(versions, key=lambda one: int(one["version"]))}


def _facts(client: Any, version: Any) -> dict[str, Any]:
    facts = {"version": int(version.version), "source": version.source, "tags": dict(version.tags)}
    return facts | {"description": version.description or None, "run": _run(client, version.run_id)}


def _run(client: Any, run_id: str | None) -> dict[str, Any] | None:
    """Name, tags, parameters and last figures of the run that made a version; None if there is no such run any more."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id) if run_id else None
    except MlflowException:
        return None
    if run is None:
        return None
    tags = {name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.")}
    return {"name": run.info.run_name, "tags": tags, "params": run.data.params, "metrics": run.data.metrics}


def _fetch(listed: dict[str, Any], place: Path) -> None:
    from mlflow.artifacts import download_artifacts

    for version in listed["versions"]:
        to = place / str(version["version"])
        to.mkdir(parents=True)
        got = Path(download_artifacts(artifact_uri=version["source"], dst_path=str(to)))
        if got.parent != to or not got.is_dir():
            raise RuntimeError(f"The files of version {version['version']} are no folder.")
        got.rename(to / "release")


def _register(client: Any, listed: Mapping[str, Any], place: Path, artifacts: str | None) -> None:
    there = {version["version"]: version for version in _list(client)["versions"]}
    if not client.search_registered_models(f"name = '{MODEL}'"):
        client.create_registered_model(MODEL)
    for version in listed["versions"]:
        known = there.get(version["version"])
        if known is None:
            _add(client, version, place / str(version["version"]) / "release", artifacts)
        elif known["tags"] != version["tags"]:
            raise RuntimeError(f"There is another version {version['version']} already.")
    for alias in sorted(listed["aliases"], key=lambda name: name == CHAMPION):  # the one that is followed comes last
        client.set_registered_model_alias(MODEL, alias, str(listed["aliases"][alias]))


def _add(client: Any, version: dict[str, Any], folder: Path, artifacts: str | None) -> None:
    """MLflow numbers versions by itself; numbers of versions that were deleted are used up and deleted again."""
    found = client.get_experiment_by_name(EXPERIMENT)
    experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT, artifacts)
    facts = version["run"] or {"name": f"version {version['version']}", "tags": {}, "params": {}, "metrics": {}}
    run = client.create_run(experiment, run_name=facts["name"], tags=facts["tags"])
    _log(client, run.info.run_id, facts)
    client.log_artifacts(run.info.run_id, str(folder), "release")
    client.set_terminated(run.info.run_id, "FINISHED")
    source, number = f"{run.info.artifact_uri}/release", 0
    while number < version["version"]:
        made = client.create_model_version(
            MODEL, source, run.info.run_id, tags=version["tags"], description=version["description"]
        )
        number = int(made.version)
        if number != version["version"]:
            client.delete_model_version(MODEL, str(number))
    if number != version["version"]:
        raise RuntimeError(f"Version {version['version']} cannot be made: there was a version {number - 1} already.")


def _log(client: Any, run_id: str, facts: dict[str, Any]) -> None:
    from mlflow.entities import Metric, Param

    for some in _batches(Param(name, value) for name, value in facts["params"].items()):
        client.log_batch(run_id, params=some)
    for some in _batches(Metric(name, value, 0, 0) for name, value in facts["metrics"].items()):
        client.log_batch(run_id, metrics=some)


def _batches(rows: Iterable[Any]) -> Iterator[list[Any]]:
    left = iter(rows)
    while some := list(islice(left, _BATCH)):
        yield some


if __name__ == "__main__":
    die_with_parent(int(sys.argv[2]))
    main(Path(sys.argv[1]))
