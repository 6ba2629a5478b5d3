"""What `release.json` says: the models, prompt and thresholds that are served together, each by its id.

This is the form only; `registry.py` compares it with what lies on disk.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.core.errors import ModelProblem
from services.core.plan import Plan, SentencePlan
from services.core.prompt import Prompt

RELEASE = "release.json"
FORMAT: Literal[2] = 2  # 1 told neither how to find passages nor how to choose sentences
# Thresholds besides those of labels: how sure it must be that a question can be answered before it is, what share of a
# claim's words its quotes must hold, and what share of the best sentence's words a draft must keep.
ANSWER, SUPPORT, KEPT = "answer", "support", "kept"
RELEASE_REMEDY = "Bring the folder back with `git checkout`, or make a new release with `dvc repro`."
NO_RELEASE_REMEDY = "Train one with `dvc repro`, or set CAPSTONE_RELEASE_DIR= to serve the bases alone."
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ReleaseForm(BaseModel):
    """The members of `release.json` besides `id`. Values of `thresholds` are probabilities of the label they name, or
    what ANSWER, SUPPORT and KEPT say."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[2] = FORMAT
    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]{0,63}$")
    classifier: str
    adapter: str
    encoder: str
    generator: str
    classifier_base: str
    prompt: Prompt
    thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]]
    retrieval: Plan
    sentences: SentencePlan
    data_sha256: Sha256
    git_commit: str

    @property
    def id(self) -> str:
        """Name and first 12 hex digits of the SHA-256 of all members as canonical JSON."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return f"{self.name}@{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def write(self, folder: Path) -> None:
        """Write `release.json` into `folder`. The caller makes the folder durable."""
        body = {"format": self.format, "name": self.name, "id": self.id, **self.model_dump(mode="json")}
        (folder / RELEASE).write_text(json.dumps(body, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_release(folder: Path) -> ReleaseForm:
    """Read `folder/release.json` without looking at the models. Raises ModelProblem if it is absent or damaged."""
    path = folder / RELEASE
    try:
        body = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelProblem(
            f"There is no release in {folder}: {RELEASE} cannot be read ({error.strerror}). {NO_RELEASE_REMEDY}"
        ) from error
    except ValueError as error:
        raise ModelProblem(f"{path} is damaged: {error}. {RELEASE_REMEDY}") from error
    if isinstance(body, dict) and body.get("format", FORMAT) != FORMAT:
        raise ModelProblem(
            f"{path} has format {body['format']!r}; this version reads format {FORMAT}. {NO_RELEASE_REMEDY}"
        )
    recorded_id = body.pop("id", None) if isinstance(body, dict) else None
    try:
        form = ReleaseForm.model_validate_json(json.dumps(body))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "all of it"
        raise ModelProblem(f"{path} is damaged: {where}: {first['msg']}. {RELEASE_REMEDY}") from error
    if form.id != recorded_id:
        raise ModelProblem(f"{path} is damaged: its id should be {form.id} and is {recorded_id}. {RELEASE_REMEDY}")
    return form
