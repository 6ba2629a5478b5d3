"""What a deployment does on its host, with real shells and files; `docker` is a script that writes down its orders."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.server import ROOT

DEPLOY = ROOT / "infra" / "deploy"
DIGEST = "sha256:" + "0123456789abcdef" * 4
# Says where it was started and with what, and refuses to start what is named sick.
DOCKER = """#!/bin/bash
echo "$(basename "$PWD") $*" >>"$ASKED"
case "$(basename "$PWD") $*" in *sick*" up "*) exit 1 ;; esac
"""


class Host:
    def __init__(self, folder: Path) -> None:
        self.root = folder / "srv"
        self._asked = folder / "asked"
        self._programs = folder / "bin"
        self._programs.mkdir()
        (self._programs / "docker").write_text(DOCKER)
        (self._programs / "docker").chmod(0o755)

    def deploy(self, tag: str) -> int:
        (self.root / "releases" / tag).mkdir(parents=True, exist_ok=True)
        self._asked.unlink(missing_ok=True)
        environment = dict(os.environ) | {
            "PATH": f"{self._programs}:{os.environ['PATH']}",
            "ASKED": str(self._asked),
        }
        command = ["bash", str(DEPLOY / "compose.sh"), str(self.root), tag]
        return subprocess.run(command, env=environment, capture_output=True).returncode

    def asked(self) -> list[tuple[str, str]]:
        """In which release, and for what: `pull` or `up`."""
        words = [line.split() for line in self._asked.read_text().splitlines()]
        return [(line[0], "up" if "up" in line else "pull") for line in words]

    def arguments(self) -> str:
        return self._asked.read_text()

    def names(self, link: str) -> str | None:
        path = self.root / link
        return os.readlink(path) if path.is_symlink() else None


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_release_that_is_healthy_runs_and_the_one_before_is_remembered(host: Host) -> None:
    assert host.deploy("v1.0.0") == 0
    assert (host.names("current"), host.names("previous")) == ("releases/v1.0.0", None)
    assert host.deploy("v1.1.0") == 0
    assert (host.names("current"), host.names("previous")) == ("releases/v1.1.0", "releases/v1.0.0")
    assert host.asked() == [("v1.1.0", "pull"), ("v1.1.0", "up")]
    assert "--no-build" in host.arguments() and "compose.images.yml" in host.arguments()


def test_a_release_that_is_not_is_taken_back(host: Host) -> None:
    assert host.deploy("v1.0.0") == 0
    assert host.deploy("v1.1.0-sick") == 1
    assert host.asked() == [("v1.1.0-sick", "pull"), ("v1.1.0-sick", "up"), ("v1.0.0", "up")]
    assert (host.names("current"), host.names("previous")) == ("releases/v1.0.0", None)


def test_the_one_before_is_put_back_by_its_tag(host: Host) -> None:
    assert [host.deploy(tag) for tag in ("v1.0.0", "v1.1.0", "v1.0.0")] == [0, 0, 0]
    assert (host.names("current"), host.names("previous")) == ("releases/v1.0.0", "releases/v1.1.0")


def test_nothing_is_there_to_go_back_to_at_first(host: Host) -> None:
    assert host.deploy("v1.0.0-sick") == 1
    assert host.asked() == [("v1.0.0-sick", "pull"), ("v1.0.0-sick", "up")]
    assert host.names("current") is None


def test_settings_of_the_host_win_over_those_of_the_release(host: Host) -> None:
    host.root.mkdir()
    (host.root / "host.env").write_text("CAPSTONE_BIND=0.0.0.0\n")
    assert host.deploy("v1.0.0") == 0
    line = host.arguments().splitlines()[-1]
    assert line.index("--env-file images.env") < line.index(f"--env-file {host.root}/host.env")


def test_values_for_the_chart_name_each_image_by_its_digest() -> None:
    given = f"CAPSTONE_WEIGHTS=baked\nCAPSTONE_IMAGE_API=ghcr.io/o/r/capstone-api@{DIGEST}\n"
    command = ["bash", str(DEPLOY / "helm_values.sh"), "ghcr.io/o/r"]
    said = subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout
    assert yaml.safe_load(said) == {"image": {"registry": "ghcr.io/o/r", "digests": {"api": DIGEST}}}
