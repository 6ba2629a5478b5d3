"""MLflow in a child process: it is large, and one that does not answer must not hold up anything for ever."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from services.core.settings import Settings
from services.eval import child


def run_child(
    settings: Settings, module: str, folder: Path, *, within_s: float, wait: Callable[[], None]
) -> str | None:
    """As `child.run_child`; the address of MLflow, which may hold a password, is not in what is returned."""
    if settings.mlflow_uri is None:
        settings.mlflow_dir.mkdir(parents=True, exist_ok=True)
    environment = {
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "MLFLOW_REGISTRY_URI": settings.tracking_uri,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    reason = child.run_child(module, folder, environment, what="MLflow", within_s=within_s, wait=wait)
    return reason and reason.replace(settings.tracking_uri, "MLflow")[-child.DETAIL_MAX_CHARS :]
