"""Which tools judge what is not Python here: a command for each, that ends with 0 if all is well.

Those of the environment (extra `dev`) have to be there. Prometheus' own are the distribution's: see `infra.tools`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.tools import ROOT

_HERE = ROOT / "infra"
_SHEBANGS = (b"#!/usr/bin/env bash\n", b"#!/bin/bash\n", b"#!/bin/sh\n")
# Where Dockerfiles and scripts lie.
_FOLDERS = (".ci", ".github", "infra", "tests")


@dataclass(frozen=True)
class Command:
    """`tool` with `arguments`, from the root of the project; `what` it judges, for people."""

    what: str
    tool: str
    arguments: tuple[str, ...]


def commands() -> Iterator[Command]:
    yield from _monitoring()
    yield from _containers()
    yield from _workflows()
    yield Command("shell scripts", "shellcheck", ("--external-sources", *_names(scripts())))
    yield from _own()


def scripts() -> list[Path]:
    """Files that are named or start as shell scripts do."""
    return [path for path in _files() if path.suffix == ".sh" or path.read_bytes()[:20].startswith(_SHEBANGS)]


def dockerfiles() -> list[Path]:
    return [path for path in _files() if path.name.startswith("Dockerfile")]


def _monitoring() -> Iterator[Command]:
    prometheus = _HERE / "prometheus"
    configuration = str(prometheus / "prometheus.yml")  # and the files with rules that it names
    yield Command("configuration of Prometheus and its rules", "promtool", ("check", "config", configuration))
    tests = _names(sorted((prometheus / "tests").glob("*.yml")))
    yield Command("tests of the rules", "promtool", ("test", "rules", *tests))
    alertmanager = str(_HERE / "alertmanager" / "alertmanager.yml")
    yield Command("configuration of Alertmanager", "amtool", ("check-config", alertmanager))


def _containers() -> Iterator[Command]:
    yield Command("Dockerfiles", "hadolint", ("--config", str(ROOT / ".hadolint.yaml"), *_names(dockerfiles())))
    # Not tests/compose/stand_ins.yml: its tags (!override) are Compose's own, and no YAML parser knows them.
    yield _schema("compose files", "compose-spec", [ROOT / "docker-compose.yml", *_HERE.glob("deploy/compose*.yml")])


def _workflows() -> Iterator[Command]:
    github = ROOT / ".github"
    workflows = sorted((github / "workflows").glob("*.yml"))
    yield Command("workflows", "actionlint", tuple(_names(workflows)))
    yield Command("security of workflows", "zizmor", ("--offline", "--quiet", "--persona", "pedantic", str(github)))
    yield _schema("workflows", "github-workflows", workflows)
    yield _schema("actions", "github-actions", sorted(github.glob("actions/*/action.yml")))
    yield _schema("Dependabot", "dependabot", [github / "dependabot.yml"])


def _own() -> Iterator[Command]:
    """A folder of infra/ with a `check.py` is judged by that module: it prints what is wrong, and exits with 1."""
    for path in sorted(_HERE.glob("*/check.py")):
        yield Command(f"infra/{path.parent.name}", sys.executable, ("-m", f"infra.{path.parent.name}.check"))


def _schema(what: str, name: str, files: list[Path]) -> Command:
    """Held against a schema that the tool has with it: nothing is fetched."""
    arguments = ("--builtin-schema", f"vendor.{name}", *_names(files))
    return Command(f"{what} against their schema", "check-jsonschema", arguments)


def _files() -> list[Path]:
    found = (path for folder in _FOLDERS for path in (ROOT / folder).rglob("*"))
    return sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts)


def _names(files: list[Path]) -> list[str]:
    return [str(path) for path in files]
