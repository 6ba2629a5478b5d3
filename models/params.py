"""params.yaml: every parameter of the offline path that changes a result, typed and checked before work begins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from models.bases import Base, BaseRole
from models.classifier.params import ClassifierParams
from models.encoder.params import EncoderParams
from models.errors import BadInput
from models.files import read_yaml, told
from models.generator.params import GeneratorParams
from models.prepare.params import DataParams
from models.section import Section
from services.core.drift_rules import DriftRules
from services.core.gate_rules import GateRules
from services.core.plan import Plan, SentencePlan

REMEDY = "Correct the file; params.yaml in the project is an example that works."


class ReleaseParams(Section):
    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]{0,63}$")
    min_answerability: float | None = Field(
        ge=0, le=1, description="of a question, to be answered; null: the one that the classifier's training has found"
    )
    min_support: float = Field(ge=0, le=1, description="share of a claim's words that its quotes must hold")
    min_kept: float = Field(ge=0, le=1, description="share of the best sentence's words that a draft must keep")
    retrieval: Plan
    sentences: SentencePlan


class EvaluateParams(Section):
    max_questions: int | None = Field(ge=1, description="the generator is asked so many test questions; null: all")


class Params(Section):
    """The whole file."""

    bases: dict[BaseRole, Base]
    data: DataParams
    encoder: EncoderParams
    classifier: ClassifierParams
    generator: GeneratorParams
    release: ReleaseParams
    evaluate: EvaluateParams
    gate: GateRules
    drift: DriftRules


def load_params(path: Path, overlay: Path | None = None) -> Params:
    """Read `path`, with the members of `overlay`, where given, put over it. Raises BadInput, naming the member."""
    body = read_yaml(path, remedy=REMEDY)
    if overlay is not None:
        body = merged(body, read_yaml(overlay, remedy=REMEDY))
    try:
        return Params.model_validate_json(json.dumps(body))  # JSON, because strict Python input wants tuples
    except ValidationError as error:
        raise BadInput(overlay or path, told(error), remedy=REMEDY) from error


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with the members of `above` put over it: mappings member by member, anything else replaced whole."""
    out = dict(below)
    for key, value in above.items():
        old = out.get(key)
        out[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return out
