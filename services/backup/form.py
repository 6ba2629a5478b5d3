"""Where things are in a backup, and what it tells of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from services.core.errors import BackupDamaged, BackupTooNew

FORMAT = 1
CATALOG, FACTS = "catalog.db", "backup.json"
FILES, REGISTRY = "files", "registry"
VERSIONS = f"{REGISTRY}/versions.json"


class Facts(BaseModel):
    """`revision` is that of the catalog's schema, `rows` are counted by table. `deleted` are documents that somebody
    deleted while the backup was made: they are not in it. `releases` is None if the registry was left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    made_at: str
    version: str
    git_commit: str
    revision: str
    rows: dict[str, int]
    documents: int
    deleted: list[str]
    releases: int | None
    aliases: dict[str, str]

    def write(self, folder: Path) -> None:
        (folder / FACTS).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def file_name(document_id: str) -> str:
    return f"{document_id}.pdf"


def read_facts(folder: Path) -> Facts:
    """Raises BackupTooNew for a form that this version does not know, BackupDamaged for none at all."""
    try:
        raw: dict[str, Any] = json.loads((folder / FACTS).read_bytes())
        if isinstance(raw["format"], int) and raw["format"] > FORMAT:
            raise BackupTooNew(
                f"{folder} has the format {raw['format']}, and this version knows {FORMAT}. "
                "Restore it with the version that made it, or a newer one."
            )
        return Facts.model_validate(raw)
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise BackupDamaged(f"{folder / FACTS} is no description of a backup ({type(error).__name__}).") from error
