"""Run inside the eval container: a copy of the release that ships, under another name, becomes `challenger`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from mlflow import MlflowClient

from services.core.aliases import CHALLENGER, MODEL
from services.core.release import read_release
from services.core.settings import load_settings

with tempfile.TemporaryDirectory() as scratch:
    folder = Path(scratch) / "release"
    shutil.copytree("release", folder)
    release = read_release(folder).model_copy(update={"name": "copy"})
    release.write(folder)
    uri = load_settings().tracking_uri
    client = MlflowClient(uri, registry_uri=uri)
    known = client.get_experiment_by_name("proof")
    experiment = known.experiment_id if known else client.create_experiment("proof")
    run = client.create_run(experiment).info
    client.log_artifacts(run.run_id, str(folder), "release")
    if not client.search_registered_models(f"name = '{MODEL}'"):
        client.create_registered_model(MODEL)
    source = f"{run.artifact_uri}/release"
    version = client.create_model_version(MODEL, source, run.run_id, tags={"release": release.id})
    client.set_registered_model_alias(MODEL, CHALLENGER, version.version)
    print(release.id)
