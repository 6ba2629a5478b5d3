"""`python -m infra.openapi`: writes docs/openapi.json, the HTTP surface of all services as their code describes it.

It is committed so that a change of the surface is seen where it is reviewed, and held against the one before
(`make openapi-diff BASE=...`). A test says when it is out of date.
"""

from __future__ import annotations

import json

from infra.tools import ROOT
from services.cli.up import one_machine_app
from services.core.settings import Settings

FILE = ROOT / "docs" / "openapi.json"


def generated() -> str:
    """What the file has to say: every path of every service, one URL space. Nothing is opened or loaded for it."""
    return json.dumps(one_machine_app(Settings()).openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(generated(), encoding="utf-8")
