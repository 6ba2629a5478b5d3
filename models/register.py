"""A release that passes -> a version in the model registry, alias `challenger`. `python -m models.register`.

Not a stage of the pipeline: DVC skips a stage whose inputs are unchanged, and then nothing would be registered.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from models.errors import BadInput
from models.evaluate import VERDICT
from models.files import write_json
from models.params import load_params
from models.paths import MODELS, PARAMS, RELEASE, REPORTS
from models.progress import Steps
from models.stage import run_stage
from models.tracking import mlflow_client, tracked
from services.core.aliases import CHALLENGER, MODEL
from services.core.registry import Release, resolve_release

REMEDY = "Run `dvc repro`, and look at the model cards in reports/."


@dataclass(frozen=True)
class Registered:
    """`below_bar` names what the reports say that the release does not pass."""

    version: str
    release: str
    below_bar: tuple[str, ...]


def register(
    params: Path, models_dir: Path, folder: Path, reports: Path, console: Console, *, below_bar: bool = False
) -> Registered:
    """Register the release in `folder` once, and point the alias at it.

    Raises ModelProblem for a damaged release, BadInput if the reports are not about it, or say that it does not pass
    and that is not allowed by `below_bar`: then only the gate stands between it and being live.
    """
    release = resolve_release(folder, models_dir)
    figures, failed = _judged(reports / VERDICT, release)
    if failed and not below_bar:
        raise BadInput(reports / VERDICT, f"{release.id} does not pass: {', '.join(failed)}", remedy=REMEDY)
    client, steps = mlflow_client(), Steps(console)
    version = _known(client, release)
    if version is None:
        tags = {"release": release.id, "data": release.data_sha256, "classifier": release.classifier.id}
        section = load_params(params).model_dump(mode="json")
        with (
            steps.step(f"log {release.id}"),
            tracked(f"release {release.id}", section, {**tags, "adapter": release.adapter.id}) as run,
        ):
            run.summary(figures)
            run.artifact(str(folder), "release")
            run.artifact(str(reports), "reports")
        if client.search_registered_models(filter_string=f"name = '{MODEL}'") == []:
            client.create_registered_model(MODEL)
        source = f"{client.get_run(run.id).info.artifact_uri}/release"
        version = client.create_model_version(MODEL, source, run.id, tags={"release": release.id}).version
    client.set_registered_model_alias(MODEL, CHALLENGER, version)
    steps.note(f"{MODEL} version {version} is {CHALLENGER}: {release.id}")
    return Registered(str(version), release.id, tuple(failed))


def _judged(path: Path, release: Release) -> tuple[dict[str, float], list[str]]:
    """The headline figures of the reports, and what does not pass. Raises BadInput if they are not about `release`."""
    try:
        verdict: Mapping[str, Any] = json.loads(path.read_bytes())
        about, passes = verdict["release"], verdict["passes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(path, f"it is no verdict ({type(error).__name__} {error})", remedy=REMEDY) from error
    if about != release.id:
        raise BadInput(path, f"it is about {about}, and the release is {release.id}", remedy=REMEDY)
    failed = [name for name, passed in passes.items() if not passed]
    return {name: float(value) for name, value in verdict["figures"].items()}, failed


def _known(client: Any, release: Release) -> str | None:
    """The version that holds this release already."""
    found = client.search_model_versions(f"name = '{MODEL}'")
    return next((version.version for version in found if version.tags.get("release") == release.id), None)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--params", type=Path, default=PARAMS)
    options.add_argument("--models-dir", type=Path, default=MODELS)
    options.add_argument("--release", type=Path, default=RELEASE)
    options.add_argument("--reports", type=Path, default=REPORTS)
    options.add_argument("--below-bar", action="store_true", help="also if its reports say that it does not pass")
    options.add_argument("--told", type=Path, help="write what was registered to this file, as JSON")
    given = options.parse_args()
    done = register(given.params, given.models_dir, given.release, given.reports, Console(), below_bar=given.below_bar)
    if given.told is not None:
        write_json(given.told, asdict(done))


if __name__ == "__main__":
    run_stage(main)
