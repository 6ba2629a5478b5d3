"""Settings of services that need no weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from services.core.settings import Settings


def weightless(data_dir: Path, **more: Any) -> Settings:
    """The parts that stand in for models, unless `more` names others. Raises as Settings does."""
    kinds = {"encoder": "hashing", "generator": "scripted", "classifier": "overlap"}
    given: dict[str, Any] = {"data_dir": data_dir, "torch_threads": 1, **kinds}
    return Settings(**given | more)
