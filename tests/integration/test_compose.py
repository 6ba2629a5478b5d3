"""docker-compose.yml and what belongs to it, judged without an engine; `make e2e-compose` runs it on one."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.core.keys import StandingKeys, sha256_of
from services.core.settings import load_settings
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


def test_further_settings_come_from_a_file_that_need_not_be_there(services: dict[str, dict[str, Any]]) -> None:
    ours = {name for name, one in services.items() if "CAPSTONE_DATA_DIR" in one.get("environment", {})}
    with_file = {name for name, one in services.items() if "env_file" in one}
    assert with_file == ours > {"api", "ingest", "eval"}
    assert all(services[name]["env_file"] == [{"path": "capstone.env", "required": False}] for name in ours)


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
    assert len(make(tmp_path, owners)) == 11
    before = content(tmp_path)
    assert len(set(before.values())) == 10, "only the token of alerts has two readers"
    told = before["services/capstone_admin_key_sha256"]
    assert told == sha256_of(before["admin/admin_key"]), "the services know the hash of the admin's key only"
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
    (tmp_path / "services" / "capstone_admin_key_sha256").unlink()
    (tmp_path / "services" / ".capstone_database_url.part").write_text("half of one that a crash left")
    assert first_start["first_start"](tmp_path, owners) == [
        "services/capstone_database_url",
        "alertmanager/capstone_alerts_token",
        "services/capstone_admin_key_sha256",
    ]
    assert content(tmp_path) == before


def test_the_services_take_the_keys_that_the_first_start_makes(
    first_start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_start["first_start"](tmp_path, dict.fromkeys(first_start["OWNERS"], os.getuid()))
    monkeypatch.setenv("CAPSTONE_SECRETS_DIR", str(tmp_path / "services"))
    settings = load_settings()
    assert settings.service_key is not None
    known = StandingKeys(settings.admin_key_sha256, settings.service_key.get_secret_value())
    for path, scope in (("admin/admin_key", "admin"), ("services/capstone_service_key", "read")):
        caller = known.find((tmp_path / path).read_text())
        assert caller is not None and caller.scope == scope


def test_keys_are_needed_in_containers_and_the_admin_s_is_in_none_that_serves(
    services: dict[str, dict[str, Any]],
) -> None:
    for name in ("api", "api-gpu", "ingest", "eval", "eval-worker", "ingest-worker"):
        assert services[name]["environment"]["CAPSTONE_API_KEYS"] == "required", name
    holding = {name for name, one in services.items() if "secrets-admin" in str(one.get("volumes"))}
    assert holding == {"secrets"}


def test_the_image_of_eval_holds_what_makes_keys(tmp_path: Path) -> None:
    stage = (ROOT / "infra" / "docker" / "Dockerfile").read_text().partition("FROM eval-libraries AS eval\n")[2]
    rooms = re.findall(r"^COPY (services/\w+) ", stage.partition("\nFROM ")[0], re.M)
    assert rooms == ["services/eval", "services/cli"]
    (tmp_path / "services").mkdir()
    shutil.copy(ROOT / "services" / "__init__.py", tmp_path / "services")
    for room in ("services/core", *rooms):
        shutil.copytree(ROOT / room, tmp_path / room)
    command = [sys.executable, "-m", "services.cli", "keys", "create", "--scope", "read"]
    environment = dict(os.environ) | {"PYTHONPATH": str(tmp_path), "CAPSTONE_DATA_DIR": str(tmp_path / "data")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("cap_"), done.stderr
    assert (tmp_path / "data" / "catalog.db").exists()
