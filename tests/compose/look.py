"""What docker-compose.yml promises of each container, looked up in what the engine made of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx

from tests.checks import Checks
from tests.compose.stack import Stack

OPEN = {"gateway", "grafana"}  # publish a port
UNWATCHED = {"ingest-worker", "eval-worker"}  # have no health check: they listen nowhere


def looked_at(stack: Stack, checks: Checks, key: dict[str, str]) -> None:
    containers, wanted = stack.containers(), set(stack.configured()) - {"secrets", "weights"}
    checks.check("all are started", set(containers) == wanted, len(containers))
    required: dict[str, Callable[[dict[str, Any]], bool]] = {
        "read-only root": lambda one: one["HostConfig"]["ReadonlyRootfs"],
        "no capability": lambda one: one["HostConfig"]["CapDrop"] == ["ALL"] and not one["HostConfig"]["CapAdd"],
        "no new privileges": lambda one: "no-new-privileges:true" in one["HostConfig"]["SecurityOpt"],
        "no root": lambda one: one["Config"]["User"].partition(":")[0] not in ("", "0", "root"),
        "memory limited": lambda one: one["HostConfig"]["Memory"] > 0,
        "processes limited": lambda one: (one["HostConfig"]["PidsLimit"] or 0) > 0,
        "started again by itself": lambda one: one["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped",
        "no password in its environment": lambda one: not _tells_password(one),
    }
    for what, holds in required.items():
        lacking = sorted(name for name, one in containers.items() if not holds(one))
        checks.check(f"each container: {what}", not lacking, ", ".join(lacking))
    unwatched = {name for name, one in containers.items() if "Healthcheck" not in one["Config"]}
    checks.check("each container that listens has a health check", unwatched <= UNWATCHED, ", ".join(sorted(unwatched)))
    published = {name for name, one in containers.items() if _published(one)}
    checks.check("only the gateway and Grafana publish a port", published <= OPEN, ", ".join(published))
    addresses = {port["HostIp"] for one in containers.values() for port in _published(one)}
    checks.check("and on loopback, unless CAPSTONE_BIND is set", addresses == {"127.0.0.1"}, ", ".join(addresses))
    _secrets(stack, checks)
    _networks(stack, checks)
    _gateway(stack, checks, key)
    _monitoring(stack, checks)


def _tells_password(one: dict[str, Any]) -> bool:
    return any("://" in value and "@" in value for value in one["Config"]["Env"])


def _published(one: dict[str, Any]) -> list[dict[str, str]]:
    return [port for ports in one["NetworkSettings"]["Ports"].values() for port in ports or []]


def _secrets(stack: Stack, checks: Checks) -> None:
    for service in ("api", "postgres", "mlflow"):
        told = stack.run_inside(service, "bash", "-c", "stat -c '%a %U %u' /run/secrets/*; id -u").splitlines()
        user, files = told[-1], told[:-1]
        right = bool(files) and all(line.split()[0] == "400" and line.split()[2] == user for line in files)
        checks.check(f"{service}: secrets are files that only its user can read", right, f"{len(files)} files")


def _networks(stack: Stack, checks: Checks) -> None:
    checks.check("api reaches chroma", _reaches(stack, "api", "chroma", 8000))  # else the lines below prove nothing
    for service, host, port in (("eval", "chroma", 8000), ("ingest-worker", "mlflow", 5000), ("api", "1.1.1.1", 443)):
        checks.check(f"{service} cannot reach {host}:{port}", not _reaches(stack, service, host, port))
    told = stack.run_inside(
        "gateway", "sh", "-c", "timeout 5 wget -q -O /dev/null http://1.1.1.1 && echo reached || echo not"
    )
    checks.check("gateway cannot reach the internet", told.endswith("not"), told)


def _reaches(stack: Stack, service: str, host: str, port: int) -> bool:
    command = f"timeout 3 bash -c 'exec 3<>/dev/tcp/{host}/{port}' 2>/dev/null && echo reached || echo not"
    return stack.run_inside(service, "bash", "-c", command) == "reached"


def _gateway(stack: Stack, checks: Checks, key: dict[str, str]) -> None:
    with httpx.Client(base_url=stack.url, timeout=60, trust_env=False, headers=key) as http:
        for path in ("/livez", "/readyz", "/readyz/ingest", "/readyz/eval"):
            checks.check(f"gateway: {path}", http.get(path).status_code == 200)
        for path in ("/metrics", "/v1/alerts", "/v1/nothing"):
            response = http.get(path)
            right = response.status_code == 404 and response.json()["code"] == "not_found"
            same = response.json()["request_id"] == response.headers["x-request-id"]
            checks.check(f"gateway: {path} is not there", right and same)
        large = http.post("/v1/search", content=b"x" * (1024 * 1024 + 1))
        found = (large.status_code, large.json()["code"])
        checks.check("gateway: a body that is too large", found == (413, "too_large"), found)


def _monitoring(stack: Stack, checks: Checks) -> None:
    """Prometheus scrapes the services and knows Alertmanager, if the profile has them."""
    if "prometheus" not in stack.configured():
        return

    def told(what: str) -> Any:
        address = f"http://127.0.0.1:9090/api/v1/{what}"
        return json.loads(stack.run_inside("prometheus", "wget", "-q", "-O", "-", address))["data"]

    jobs = {one["labels"]["job"] for one in told("targets")["activeTargets"]}
    checks.check("Prometheus scrapes the services", jobs == {"api", "ingest", "eval"}, ", ".join(sorted(jobs)))
    checks.check("Prometheus knows Alertmanager", len(told("alertmanagers")["activeAlertmanagers"]) == 1)
