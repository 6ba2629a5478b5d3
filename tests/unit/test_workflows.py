"""What .github/workflows promises: actions that cannot change, few rights, an end, targets that the Makefile has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
MAKEFILE = (ROOT / "Makefile").read_text()
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FILES = [*WORKFLOWS, *GITHUB.glob("actions/*/action.yml")]
PINNED = re.compile(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
EACH = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def read(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    return dict(read(path)["jobs"])


def steps(path: Path) -> Iterator[dict[str, Any]]:
    file = read(path)
    for job in file["jobs"].values() if "jobs" in file else [file["runs"]]:
        yield from job.get("steps", [])


def made_by(path: Path) -> set[str]:
    """Targets of the Makefile that it names, in a step or in a matrix."""
    in_steps = {
        name for step in steps(path) for name in re.findall(r"\bmake (?:--\S+ )*([a-z0-9-]+)", step.get("run", ""))
    }
    matrices = (job.get("strategy", {}).get("matrix", {}) for job in jobs(path).values())
    return in_steps | {target for matrix in matrices for target in matrix.get("target", [])}


def test_there_are_all_five() -> None:
    assert {path.stem for path in WORKFLOWS} == {"ci", "deploy", "models", "release", "security"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit_with_their_version(path: Path) -> None:
    used = re.findall(r"^\s*(?:- )?uses: *(.+?) *$", path.read_text(), re.MULTILINE)
    assert used
    assert [one for one in used if not one.startswith("./") and not PINNED.fullmatch(one)] == []


def test_an_action_has_one_version_everywhere() -> None:
    text = "".join(path.read_text() for path in FILES)
    versions = {(action, pin) for action, pin in re.findall(r"uses: ([\w-]+/[\w-]+)\S*@(.+)", text)}
    assert len({action for action, _ in versions}) == len(versions)


@EACH
def test_nothing_may_be_done_that_a_job_does_not_ask_for(path: Path) -> None:
    assert read(path)["permissions"] == {}
    assert "pull_request_target" not in path.read_text()
    assert all("permissions" in job for job in jobs(path).values())


@EACH
def test_every_job_ends(path: Path) -> None:
    assert "concurrency" in read(path)
    for name, job in jobs(path).items():
        assert "uses" in job or 0 < job["timeout-minutes"] <= 60, name


@EACH
def test_no_step_keeps_the_token_or_pastes_text_of_others(path: Path) -> None:
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        assert "${{" not in step.get("run", ""), step  # text goes through `env`, where it is not code


@EACH
def test_targets_and_files_that_it_names_are_there(path: Path) -> None:
    assert made_by(path) <= set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, re.MULTILINE))
    scripts = {script for step in steps(path) for script in re.findall(r"\binfra/\S+\.sh", step.get("run", ""))}
    assert all((ROOT / script).is_file() for script in scripts)


def test_every_folder_of_tests_runs_in_ci() -> None:
    parts = jobs(GITHUB / "workflows" / "ci.yml")["test"]["strategy"]["matrix"]["part"]
    assert {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")} == set(parts)


def test_what_the_ci_script_runs_is_what_ci_runs() -> None:
    on_github = {target for path in WORKFLOWS for target in made_by(path)}
    check = re.search(r"^check: (.+?)  ##", MAKEFILE, re.MULTILINE)
    assert check is not None and set(check[1].split()) <= on_github
    script = set(re.findall(r"^(?:.*\) )?make ([a-z0-9-]+)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE))
    assert {"check", "test", "watch"} <= script and script - {"check"} <= on_github


def test_every_image_of_ours_is_scanned_released_and_deployed_by_its_digest() -> None:
    def matrix(name: str, job: str) -> set[str]:
        return set(jobs(GITHUB / "workflows" / name)[job]["strategy"]["matrix"]["image"])

    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    built = {name: one["build"]["args"]["SERVICE"] for name, one in services.items() if "build" in one}
    of_cpu = {name: image for name, image in built.items() if services[name].get("profiles") != ["gpu"]}
    assert set(of_cpu.values()) <= matrix("release.yml", "image")
    assert set(of_cpu.values()) <= matrix("security.yml", "images")
    overridden = yaml.safe_load((ROOT / "infra" / "deploy" / "compose.images.yml").read_text())["services"]
    wanted = {name: {"image": f"${{CAPSTONE_IMAGE_{image.upper()}:?}}"} for name, image in of_cpu.items()}
    assert overridden == wanted


def test_postgresql_in_ci_is_that_of_the_compose_file() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    image = jobs(GITHUB / "workflows" / "ci.yml")["test"]["services"]["postgres"]["image"]
    assert image == compose["services"]["postgres"]["image"]
