"""The releases of the model registry, out of it and into it, whatever kind of MLflow keeps them."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from services.backup.mlflow_copy import LISTED, ORDER
from services.core.errors import Unavailable
from services.core.settings import Settings
from services.eval.mlflow_child import run_child

_NONE: Mapping[str, Any] = {"aliases": {}, "versions": []}
_LOOK_EVERY_S = 0.05
_WITHIN_S = 6 * 3600.0  # files may be many, and the way to the server slow


class ReleaseCopy:
    """Raises Unavailable if MLflow does not answer, or says no. `looking` is called again and again meanwhile."""

    def __init__(self, settings: Settings, looking: Callable[[], None]) -> None:
        self._settings = settings
        self._looking = looking

    def listed(self) -> Mapping[str, Any]:
        """Versions and aliases; without asking MLflow if the registry is a file that is not there yet."""
        if self._settings.mlflow_uri is None and not (self._settings.mlflow_dir / "mlflow.db").exists():
            return _NONE
        return dict(json.loads(self._do({"do": "list"}, within_s=self._settings.promotion_timeout_s)))

    def fetch(self, listed: Mapping[str, Any], place: Path) -> None:
        """Bring the files of the listed versions to `place/<version>/release`."""
        if listed["versions"]:
            self._do({"do": "fetch", "listed": listed, "place": str(place.resolve())})

    def register(self, listed: Mapping[str, Any], place: Path) -> None:
        """Make the listed versions of what lies in `place`, unless they are there, and point the aliases at them."""
        if listed["versions"]:
            artifacts = None if self._settings.mlflow_uri else (self._settings.mlflow_dir / "artifacts").as_uri()
            order = {"do": "register", "listed": listed, "place": str(place.resolve()), "artifacts": artifacts}
            self._do(order)

    def _do(self, order: Mapping[str, Any], within_s: float = _WITHIN_S) -> str:
        with tempfile.TemporaryDirectory(prefix="capstone-releases-") as name:
            folder = Path(name)
            (folder / ORDER).write_text(json.dumps(order))
            module = "services.backup.mlflow_copy"
            reason = run_child(self._settings, module, folder, within_s=within_s, wait=self._wait)
            if reason is not None:
                raise Unavailable(f"The model registry cannot be copied. {reason}")
            return (folder / LISTED).read_text() if order["do"] == "list" else ""

    def _wait(self) -> None:
        self._looking()
        time.sleep(_LOOK_EVERY_S)
