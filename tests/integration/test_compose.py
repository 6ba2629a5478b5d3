"""docker-compose.yml and what belongs to it, judged without an engine; `make e2e-compose` runs it on one."""

from __future__ import annotations

import os
import runpy
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.server import ROOT

ONCE = {"secrets", "weights", "tools"}  # end when they are done
OWN_IMAGE = "capstone-"
OPEN = {"gateway", "grafana"}  # publish a port


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])


def mebibytes(limit: str) -> int:
    return int(limit[:-1]) * {"m": 1, "g": 1024}[limit[-1]]


def test_every_container_has_few_rights(services: dict[str, dict[str, Any]]) -> None:
    for name, one in services.items():
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"] and (name == "secrets" or "cap_add" not in one), name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert mebibytes(one["mem_limit"]) > 0 and one["pids_limit"] > 0, name
        assert name in ONCE or one["restart"] == "unless-stopped", name
        assert name in ONCE or name.startswith(("ingest-worker", "eval-worker")) or "healthcheck" in one, name
    assert {name for name, one in services.items() if "ports" in one} == OPEN


def test_foreign_images_are_pinned_by_digest_and_run_as_somebody(services: dict[str, dict[str, Any]]) -> None:
    foreign = {name: one for name, one in services.items() if not one["image"].startswith(OWN_IMAGE)}
    assert set(foreign) == {"postgres", "gateway", "prometheus", "alertmanager", "grafana"}
    for name, one in foreign.items():
        assert "@sha256:" in one["image"] and one["user"].partition(":")[0] not in ("", "0", "root"), name
    assert all("build" in one for name, one in services.items() if name not in foreign)


def test_a_backup_reaches_everything_that_it_copies_and_nothing_else(services: dict[str, dict[str, Any]]) -> None:
    tools, volumes = services["tools"], {name: one.get("volumes", []) for name, one in services.items()}
    assert tools["profiles"] == ["tools"], "it is started by hand only"
    for room in ("ingest", "eval"):
        assert tools["environment"] == services[room]["environment"]
    assert {"documents:/data", "secrets-services:/run/secrets:ro"} <= set(volumes["ingest"]) & set(volumes["tools"])
    assert set(tools["networks"]) == {"catalog", "registry"}
    assert set(tools["depends_on"]) == {"postgres", "mlflow"}, "it is made while everything serves, and restored before"


def test_all_of_the_default_profile_fits_8_gb(services: dict[str, dict[str, Any]]) -> None:
    running = {
        name: one for name, one in services.items() if "cpu" in one.get("profiles", ["cpu"]) and name not in ONCE
    }
    assert sum(mebibytes(one["mem_limit"]) for one in running.values()) <= 8 * 1024


def test_only_the_fetching_of_weights_can_reach_the_internet() -> None:
    file = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    masquerade = "com.docker.network.bridge.enable_ip_masquerade"

    def shut(network: dict[str, Any] | None) -> bool:
        one = network or {}
        return one.get("internal") is True or one.get("driver_opts", {}).get(masquerade) == "false"

    outside = {name for name, network in file["networks"].items() if not shut(network)}
    assert {name for name, one in file["services"].items() if outside & set(one.get("networks", []))} == {"weights"}


@pytest.mark.parametrize(
    ("name", "wanted", "unwanted"),
    [
        ("api", {"torch", "chromadb", "fastapi"}, {"pypdf", "dvc", "mlflow"}),
        ("ingest", {"torch", "pypdf", "fastapi"}, {"chromadb", "mlflow", "peft"}),
        ("eval", {"mlflow-skinny", "rouge-score", "fastapi"}, {"torch", "mlflow", "pypdf"}),
        ("chroma", {"chromadb"}, {"torch", "fastapi"}),
        ("mlflow", {"mlflow"}, {"torch", "fastapi"}),
    ],
)
def test_an_image_installs_what_it_runs(name: str, wanted: set[str], unwanted: set[str]) -> None:
    requirements = runpy.run_path(str(ROOT / "infra" / "docker" / "requirements.py"))["requirements"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = [] if name in ("chroma", "mlflow") else [*requirements(project, "core")]
    found = {*core, *requirements(project, name)}
    assert wanted <= found and not unwanted & found, found


@pytest.fixture(scope="module")
def first_start() -> Any:
    return runpy.run_path(str(ROOT / "infra" / "secrets" / "first_start.py"))


def content(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_secrets_are_made_once_and_for_one_reader(first_start: Any, tmp_path: Path) -> None:
    owners = dict.fromkeys(first_start["OWNERS"], os.getuid())
    make = first_start["first_start"]
    assert len(make(tmp_path, owners)) == 8
    before = content(tmp_path)
    assert len(set(before.values())) == 7, "only the token of alerts has two readers"
    for path in before:
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == 0o400
        assert stat.S_IMODE((tmp_path / path).parent.stat().st_mode) == 0o700
    assert make(tmp_path, owners) == [] and content(tmp_path) == before


def test_a_secret_that_was_lost_is_made_from_what_is_left(first_start: Any, tmp_path: Path) -> None:
    owners = dict.fromkeys(first_start["OWNERS"], os.getuid())
    first_start["first_start"](tmp_path, owners)
    before = content(tmp_path)
    (tmp_path / "services" / "capstone_database_url").unlink()
    (tmp_path / "alertmanager" / "capstone_alerts_token").unlink()
    (tmp_path / "services" / ".capstone_database_url.part").write_text("half of one that a crash left")
    assert first_start["first_start"](tmp_path, owners) == [
        "services/capstone_database_url",
        "alertmanager/capstone_alerts_token",
    ]
    assert content(tmp_path) == before
