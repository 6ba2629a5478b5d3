"""The platform of docker-compose.yml as a project of its own: built, started, looked at, broken. Needs a Docker engine.

Where no registry can be reached, foreign images are stood in for (stand_ins.yml), and the builds use this machine's
package index: local folders of its pip configuration are served to them over loopback.
"""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PROJECT = "capstone-proof"
STAND_INS = ("postgres", "gateway", "prometheus", "alertmanager")
LOCAL_BASE = "python:3.11-slim"
# The client that Debian ships has BuildKit built in; a newer one needs buildx for it.
DOCKER = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"


def can_reach_registry() -> bool:
    try:
        socket.create_connection(("registry-1.docker.io", 443), 5).close()
    except OSError:
        return False
    return True


class Stack:
    def __init__(self, port: int, stand_ins: bool) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.stand_ins = stand_ins
        files = ["-f", "docker-compose.yml", *(["-f", "tests/compose/stand_ins.yml"] if stand_ins else [])]
        self._compose = ["docker-compose", "-p", PROJECT, *files]
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
        self._env = dict(os.environ) | {"CAPSTONE_GIT_COMMIT": commit or "unknown"}
        self._env |= {"CAPSTONE_PORT": str(port), "CAPSTONE_GRAFANA_PORT": str(port + 1)}

    def compose(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run docker-compose; returns what it printed. Raises SystemExit with its complaints if it fails."""
        done = subprocess.run(
            [*self._compose, *arguments], cwd=ROOT, env=self._env, input=stdin, capture_output=True, text=True
        )
        if check and done.returncode != 0:
            raise SystemExit(f"docker-compose {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def configured(self, *profiles: str) -> dict[str, Any]:
        return dict(json.loads(self.compose(*profiles, "config", "--format", "json"))["services"])

    def build(self) -> Iterator[tuple[str, float]]:
        """Build each image; yields its name and the seconds that took."""
        everything = self.configured("--profile", "cpu", "--profile", "tools")
        builds = {one["image"]: one["build"] for one in everything.values() if "build" in one}
        with package_index() as options:
            for image, build in builds.items():
                given = build["args"] | ({"PYTHON_IMAGE": LOCAL_BASE, "TORCH_INDEX": ""} if self.stand_ins else {})
                yield (
                    image,
                    build_image(image, ROOT, ROOT / build["dockerfile"], given, options if self.stand_ins else []),
                )
        if self.stand_ins:
            for name in STAND_INS:
                folder = HERE / "stand_ins"
                image = f"capstone-stand-in-{name}"
                given = {"SERVICE": name, "PYTHON_IMAGE": LOCAL_BASE}
                yield image, build_image(image, folder, folder / "Dockerfile", given, ["--network", "host"])

    def up(self, within_s: float = 900) -> None:
        self.compose("up", "--detach", "--no-build", "--wait", "--wait-timeout", str(int(within_s)))

    def remove(self, check: bool = True) -> None:
        """Everything, with its volumes. What belongs to a profile that is not named would stay."""
        self.compose("--profile", "*", "down", "--volumes", "--timeout", "5", check=check)

    def containers(self) -> dict[str, dict[str, Any]]:
        """What the engine says of each long-running container, by service."""
        ids = self.compose("ps", "--all", "--quiet").split()
        found = json.loads(docker("inspect", *ids)) if ids else []
        by_name = {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in found}
        return {name: one for name, one in by_name.items() if name not in ("secrets", "weights")}

    def run_inside(self, service: str, *command: str, stdin: str | None = None) -> str:
        return self.compose("exec", "-T", service, *command, stdin=stdin).strip()

    def run_tools(self, *command: str) -> str:
        """`capstone` for what is not asked over HTTP, in a container of its own."""
        return self.compose("run", "--rm", "-T", "tools", *command).strip()

    def lose_all_but(self, *kept: str) -> None:
        """Take everything down, and delete the volumes that are not `kept`."""
        self.compose("down", "--timeout", "30")
        names = docker("volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}").split()
        docker("volume", "rm", *(name for name in names if name.removeprefix(f"{PROJECT}_") not in kept))

    def admin_key(self) -> str:
        """By the command that docker-compose.yml tells."""
        path = "/secrets/admin/admin_key"
        return self.compose("run", "--rm", "--no-deps", "-T", "--entrypoint", "cat", "secrets", path).strip()

    def crash(self, service: str, within_s: float = 300) -> float:
        """Kill the main process of a service from outside, which the engine takes for a crash; returns the seconds
        until the service is started again, and healthy if it says so."""
        before = self.containers()[service]
        begun = time.monotonic()
        os.kill(before["State"]["Pid"], signal.SIGKILL)
        while True:
            now = self.containers()[service]
            health = now["State"].get("Health", {}).get("Status", "healthy")
            if now["RestartCount"] > before["RestartCount"] and now["State"]["Running"] and health == "healthy":
                return time.monotonic() - begun
            if time.monotonic() - begun > within_s:
                raise SystemExit(f"{service} did not come back within {within_s:.0f} s: {now['State']}")
            time.sleep(0.5)

    def memory(self) -> list[tuple[str, float, float]]:
        """Service, MiB in use, MiB allowed."""
        limits = {name: one["HostConfig"]["Memory"] / 2**20 for name, one in self.containers().items()}
        names = {one["Id"][:12]: name for name, one in self.containers().items()}
        told = docker("stats", "--no-stream", "--no-trunc", "--format", "{{.ID}} {{.MemUsage}}", *names)
        used = {}
        for line in told.splitlines():
            container, amount, *_ = line.split()
            used[names[container[:12]]] = _mebibytes(amount)
        return [(name, used[name], limits[name]) for name in sorted(used)]


def _mebibytes(text: str) -> float:
    for unit, factor in (("GiB", 1024.0), ("MiB", 1.0), ("KiB", 1 / 1024), ("B", 1 / 2**20)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise ValueError(text)


def docker(*arguments: str) -> str:
    return subprocess.run([DOCKER, *arguments], check=True, capture_output=True, text=True).stdout


def build_image(image: str, context: Path, dockerfile: Path, arguments: dict[str, str], options: list[str]) -> float:
    begun = time.monotonic()
    given = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
    command = [DOCKER, "build", "--progress", "plain", "-f", str(dockerfile), "-t", image, *options, *given]
    command.append(str(context))
    done = subprocess.run(command, env=dict(os.environ) | {"DOCKER_BUILDKIT": "1"}, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{image} cannot be built:\n" + "\n".join(done.stderr.splitlines()[-30:]))
    return time.monotonic() - begun


@contextmanager
def package_index() -> Iterator[list[str]]:
    """Options of a build that make pip in it use the index of this machine's pip."""
    told = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    settings = {}
    for line in told.splitlines():
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2].lstrip(".")] = value.strip("'\"")
    with tempfile.TemporaryDirectory() as name:
        served = Path(name) / "served"
        served.mkdir()
        handler = partial(_Quiet, directory=str(served))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        lines = ["[global]", "trusted-host = 127.0.0.1"]
        for option in ("index-url", "extra-index-url", "find-links"):
            if places := settings.get(option, "").split():
                urls = [_url(place, served, server.server_port) for place in places]
                lines.append(f"{option} = {' '.join(urls)}")
        for option in ("cert", "default-timeout"):
            if option in settings:
                lines.append(f"{option} = {settings[option]}")
        configuration = Path(name) / "pip.conf"
        configuration.write_text("\n".join(lines) + "\n")
        try:
            yield ["--network", "host", "--secret", f"id=pip,src={configuration}"]
        finally:
            server.shutdown()


def _url(place: str, served: Path, port: int) -> str:
    """`place` if it is on the net, else where that folder is served. An index refers to files beside it."""
    if place.startswith(("http://", "https://")):
        return place
    folder = Path(place.removeprefix("file://"))
    root = folder.parent if folder.name == "simple" else folder
    link = served / str(len(list(served.iterdir())))
    link.symlink_to(root)
    return f"http://127.0.0.1:{port}/{link.name}/{folder.name if root != folder else ''}"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        return


def require_engine() -> None:
    """A running engine: this machine's, else what the project's tools can start. Raises SystemExit without one."""
    starter = ROOT.parent / "shared" / "tools" / "engine.sh"
    working = shutil.which("docker-compose") and subprocess.run(["docker", "info"], capture_output=True).returncode == 0
    if not working and starter.exists():
        subprocess.run(["bash", str(starter), "up"], check=True)
    elif not working:
        raise SystemExit("This needs a Docker engine and docker-compose.")
