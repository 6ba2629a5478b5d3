"""Start, ingest and ask with the network cut, with real models, and prove that nothing even tries to reach out.

    python -m tests.offline.cut_network

Runs itself again in a network namespace that has nothing but loopback (`unshare --net`, as root or in a user
namespace). Exits with 1 if a check fails, and with 77 if this machine allows no namespace: nothing was proven then.

Two watchers look for attempts to reach another machine, and both are shown to see one first: an audit hook in every
Python process (watch/sitecustomize.py) and the kernel's count of packets without a route, which covers native code
and the parser process, that ignores PYTHON* variables. Switches that tell libraries to stay offline are taken out of
the environment, and the home folder is an empty one, so that no cache can help.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.checks import Checks

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "fhs-3.0.pdf"
QUESTION = "Where do host-specific configuration files belong?"
PORT = 8000  # nothing else listens in this namespace
URL = f"http://127.0.0.1:{PORT}"
CAPSTONE = [sys.executable, "-c", "from services.cli import app; app()"]
START_WITHIN_S = 120.0
NOT_PERMITTED = 77
OUTSIDE = [(socket.AF_INET, "192.0.2.1"), (socket.AF_INET, "1.1.1.1"), (socket.AF_INET6, "2001:db8::1")]
OUTSIDE_NAME = "example.com"
DROPPED = re.compile(r"(?i)^(CAPSTONE|HF|HUGGINGFACE|TRANSFORMERS|XDG)_|^(DO_NOT_TRACK|ANONYMIZED_TELEMETRY)$|_proxy$")
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
CONTROL = f"""
import contextlib, socket
with contextlib.suppress(OSError):
    socket.create_connection(("192.0.2.1", 443), 2)
with contextlib.suppress(OSError):
    socket.getaddrinfo("{OUTSIDE_NAME}", 443)
with contextlib.suppress(OSError):
    socket.create_connection(("127.0.0.1", 1), 2)
"""

console = Console(highlight=False)


def main() -> int:
    if "--inside" not in sys.argv[1:]:
        return run_inside()
    checks = Checks(console)
    bring_up_loopback()
    check_that_nothing_is_reachable(checks)
    with tempfile.TemporaryDirectory(prefix="capstone-offline-") as folder:
        check_the_platform(checks, Path(folder))
    console.print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


def run_inside() -> int:
    """Replace this process by itself in a namespace of its own; returns only if that is not permitted."""
    refusals = []
    for options in (["--net"], ["--user", "--map-root-user", "--net"]):
        try:
            tried = subprocess.run(["unshare", *options, "true"], capture_output=True, text=True)
        except FileNotFoundError:
            refusals.append("there is no `unshare` command (util-linux)")
            break
        if tried.returncode == 0:
            os.execvp("unshare", ["unshare", *options, sys.executable, "-m", "tests.offline.cut_network", "--inside"])
        refusals.append(tried.stderr.strip())
    console.print(
        f"[red]The network cannot be cut on this machine: {'; '.join(refusals)}. Nothing was proven.[/]", soft_wrap=True
    )
    console.print("0 passed, 1 failed")
    return NOT_PERMITTED


def bring_up_loopback() -> None:
    """What `ip link set lo up` does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def check_that_nothing_is_reachable(checks: Checks) -> None:
    routes = Path("/proc/net/route").read_text().splitlines()[1:]
    checks.check("there is no route to anywhere", not routes, "; ".join(routes))
    for family, address in OUTSIDE:
        with socket.socket(family, socket.SOCK_STREAM) as outside:
            outside.settimeout(3)
            error = outside.connect_ex((address, 443))
        checks.check(f"{address} is out of reach", error != 0, os.strerror(error))
    try:
        found = str(socket.getaddrinfo(OUTSIDE_NAME, 443))
    except socket.gaierror as error:
        checks.check("names are not resolved", True, error)
    else:
        checks.check("names are not resolved", False, found)


def check_the_platform(checks: Checks, folder: Path) -> None:
    """Both watchers, the control of each, and the platform's main job between them."""
    log = folder / "attempts.jsonl"
    variables = {key: value for key, value in os.environ.items() if not DROPPED.search(key)} | {
        "CAPSTONE_DATA_DIR": str(folder / "data"),
        "CAPSTONE_MODELS_DIR": str(ROOT / "data" / "models"),
        "HOME": str(folder),
        "COLUMNS": "100",
        "OFFLINE_WATCH_LOG": str(log),
        "PYTHONPATH": str(Path(__file__).resolve().parent / "watch"),
    }
    before = packets_without_route()
    subprocess.run([sys.executable, "-c", CONTROL], env=variables, check=True)
    tried = attempts(log)
    seen = sorted({line["event"] for line in tried})
    checks.check("the audit hook sees attempts", seen == ["socket.connect", "socket.getaddrinfo"], ", ".join(seen))
    checks.check("and takes loopback for none", not any("127.0.0.1" in line["address"] for line in tried))
    counted = packets_without_route() - before
    checks.check("the kernel counts attempts", counted > 0, counted)

    log.unlink()
    before = packets_without_route()
    with server(variables, folder / "server.log") as ready_s:
        checks.check("it starts", ready_s is not None, f"ready after {ready_s:.1f} s" if ready_s else "see above")
        if ready_s is not None:
            use_it(checks, variables)
    watched = [line["process"] for line in notes(log) if line["event"] == "loaded"]
    worker = any("services.ingest.worker" in process for process in watched)
    checks.check(
        "server, worker and command line were watched", worker and len(watched) >= 4, f"{len(watched)} processes"
    )
    checks.check("no Python process tried to reach out", not attempts(log), attempts(log) or "")
    counted = packets_without_route() - before
    checks.check("the kernel counted no attempt of any process", counted == 0, counted)


def use_it(checks: Checks, variables: dict[str, str]) -> None:
    for command in (["ingest", str(EXAMPLE)], ["ask", QUESTION]):
        console.print(f"[bold]$ capstone {command[0]} {Path(command[1]).name}[/]")
        status = subprocess.run([*CAPSTONE, *command, "--url", URL], cwd=ROOT, env=variables).returncode
        checks.check(f"capstone {command[0]}", status == 0, f"exit {status}")
    documents = ask("/v1/documents")["data"]
    states = [(row["name"], row["status"], row["pages"]) for row in documents]
    checks.check("the document is ready", [state[1] for state in states] == ["ready"], states)
    answer = ask("/v1/answers", {"question": QUESTION})
    verified = [citation for citation in answer["citations"] if citation["verified"]]
    checks.check("the answer has a verified citation", bool(verified) and not answer["abstained"], len(verified))
    for citation in verified:
        page = ask(f"/v1/documents/{citation['document_id']}/pages/{citation['page']}")
        exact = page["text"][citation["char_start"] : citation["char_end"]] == citation["quote"]
        checks.check(f"its quote stands on page {citation['page']}, character by character", exact)
    with urllib.request.urlopen(f"{URL}/docs", timeout=10) as response:
        outside = re.findall(r"""(?:src|href)=["']((?:https?:)?//[^"']+)""", response.read().decode())
    checks.check("the page /docs loads nothing from elsewhere", not outside, outside or "")


@contextlib.contextmanager
def server(variables: dict[str, str], log: Path) -> Any:
    """Run `capstone up`; gives the seconds until it was ready, or None if it never was."""
    begun = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*CAPSTONE, "up"], cwd=ROOT, env=variables | {"CAPSTONE_PORT": str(PORT)},
            stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    try:
        ready_s = None
        while process.poll() is None and time.monotonic() - begun < START_WITHIN_S and ready_s is None:
            try:
                ask("/readyz")
                ready_s = time.monotonic() - begun
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        if ready_s is None:
            console.print(log.read_text(errors="replace")[-3000:], markup=False)
        yield ready_s
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(path: str, body: dict[str, Any] | None = None) -> Any:
    """GET, or POST `body`; the JSON of the answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def notes(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def attempts(log: Path) -> list[dict[str, Any]]:
    return [line for line in notes(log) if line["event"] != "loaded"]


def packets_without_route() -> int:
    """How often the kernel had no way to send what a process of this namespace wanted sent, IPv4 and IPv6."""
    names, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines()[:2])
    count = int(values[names.index("OutNoRoutes")])
    with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
        [of_ipv6] = re.findall(r"^Ip6OutNoRoutes\s+(\d+)", Path("/proc/net/snmp6").read_text(), re.M)
        count += int(of_ipv6)
    return count


if __name__ == "__main__":
    sys.exit(main())
