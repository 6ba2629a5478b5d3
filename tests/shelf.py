"""Three releases of tiny weights over the same bases, a registry that names them, and the api service over both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from services.api.app import create_app
from services.api.resources import ApiResources, open_resources
from services.core.prompt import Prompt
from services.core.registry import Release, resolve_release
from services.core.settings import Settings
from services.core.telemetry import Telemetry
from tests import samples
from tests.planted_registry import PlantedRegistry
from tests.releases import Places, make_another, make_release
from tests.waiting import until

TEXT = "The bell is rung every 12 minutes when there is fog.\nThe lamp is trimmed at nine by the keeper."
ASKED: dict[str, Any] = {"question": "How often is the bell rung in fog?", "k": 2, "max_tokens": 6}
OTHER_PROMPT = Prompt("Look:\n{passages}\n\nAnd: {question}", ("###",), "Nothing is said.")
WITHIN_S = 60.0


@dataclass(frozen=True)
class Shelf:
    """Three releases over the same bases; `one` is shipped, each has weights and thresholds of its own."""

    one: Places
    two: Places
    three: Places

    def release(self, places: Places) -> Release:
        return resolve_release(places.folder, places.models_dir)


def make_shelf(root: Path) -> Shelf:
    one = make_release(root / "one")
    two = make_another(one, root / "two", seed=11, sufficient=0.7, prompt=OTHER_PROMPT)
    return Shelf(one, two, make_another(one, root / "three", seed=12, sufficient=0.8))


@contextmanager
def opened(
    folder: Path, shelf: Shelf, registry: PlantedRegistry, **more: Any
) -> Iterator[tuple[ApiResources, TestClient]]:
    """The service with the release `one`; it looks at the registry all the time, and knows a document."""
    places = {"data_dir": folder / "data", "models_dir": shelf.one.models_dir, "release_dir": shelf.one.folder}
    kinds = {"encoder": "hashing", "torch_threads": 1, "release_poll_s": 0.02, "mlflow_uri": registry.uri}
    settings = Settings(**{**places, **kinds, **more})
    telemetry = Telemetry()
    with open_resources(settings, telemetry) as resources, TestClient(create_app(settings, resources)) as http:
        samples.publish(resources.catalog, TEXT, encoder=resources.encoder)
        yield resources, http


def live(resources: ApiResources, release: Release) -> None:
    """Wait until `release` is the champion, and nothing else is in memory."""
    until(lambda: resources.releases.in_memory() == [("champion", release.id)])


def made_by(release: Release) -> dict[str, Any]:
    """What every answer of the release says of itself."""
    parts = {"release": release.id, "adapter": release.adapter.id, "classifier": release.classifier.id}
    return parts | {"prompt": release.prompt.id, "thresholds": dict(release.thresholds)}


def answered(http: TestClient, **more: Any) -> dict[str, Any]:
    response = http.post("/v1/answers", json=ASKED | more)
    assert response.is_success, response.text
    return dict(response.json()["lineage"])
