"""What the benchmarks share: bootstrap intervals, an environment of their own, and a Capstone server of their own.

Standard library only, so that a benchmark starts under any Python 3.11.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
CACHE = REPOSITORY / ".cache"


class Interval(NamedTuple):
    """A mean and its 95 % percentile-bootstrap interval (Efron 1979)."""

    mean: float
    low: float
    high: float

    def text(self, digits: int = 2) -> str:
        return f"{self.mean:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def interval(values: Sequence[float], *, draws: int = 5000, seed: int = 0) -> Interval:
    """Resample `values` with replacement; raises ValueError if there are none."""
    if not values:
        raise ValueError("no values to summarise")
    rng = random.Random(seed)
    means = sorted(statistics.fmean(rng.choices(values, k=len(values))) for _ in range(draws))
    return Interval(statistics.fmean(values), means[int(0.025 * draws)], means[int(0.975 * draws) - 1])


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Interval of `ours[i] / theirs[i]`, where pair i was measured back to back on the same machine."""
    return interval([a / b for a, b in zip(ours, theirs, strict=True)])


def environment(name: str, packages: Sequence[str]) -> Path:
    """Python of the virtual environment `.cache/<name>`, made with pip's `packages` arguments if it is not there.

    A marker is written last, so an interrupted installation, or one from an older `-r` file, is repeated.
    Raises CalledProcessError if pip fails.
    """
    folder = CACHE / name
    python = folder / "bin" / "python"
    marker = folder / "complete"
    files = [Path(name) for option, name in itertools.pairwise(packages) if option in ("-r", "-c")]
    wanted = "\n".join([*packages, *(file.read_text() for file in files)])
    if not marker.exists() or marker.read_text() != wanted:
        print(f"installing {folder.relative_to(REPOSITORY)} (once) ...", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True, cwd=REPOSITORY)
        marker.write_text(wanted)
    return python


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def capstone_server(
    data_dir: Path, models_dir: Path, *, settings: Mapping[str, str] | None = None, ready_timeout_s: float = 120.0
) -> Iterator[str]:
    """Run `capstone up` on a free local port and yield its base URL; stopped, and its children with it, on leaving.

    `settings` are further environment variables.

    The log goes to `<data_dir>/../server.log`. Raises RuntimeError if the server exits or is not ready in time.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    variables = os.environ | {
        "CAPSTONE_DATA_DIR": str(data_dir),
        "CAPSTONE_MODELS_DIR": str(models_dir),
        "CAPSTONE_HOST": "127.0.0.1",
        "CAPSTONE_PORT": str(port),
        **(settings or {}),
    }
    log_path = data_dir.parent / "server.log"
    with log_path.open("ab") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", "from services.cli import app; app()", "up"],
            cwd=REPOSITORY, env=variables, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_ready(server, url, ready_timeout_s, log_path)
        yield url
    finally:
        stop_group(server)


def _wait_ready(server: subprocess.Popen[bytes], url: str, timeout_s: float, log_path: Path) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass  # not listening yet, or 503 until ready
        time.sleep(0.1)
    tail = log_path.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"the server was not ready after {timeout_s:.0f} s (exit {server.poll()}):\n{tail}")


def stop_group(process: subprocess.Popen[bytes], *, grace_s: float = 10.0) -> None:
    """End a process started in a session of its own, and every child it left."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_line(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> str:
    """Last line a command prints on stdout; its stderr passes through. Raises CalledProcessError if it fails."""
    variables = os.environ | dict(env or {})
    done = subprocess.run(list(command), check=True, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=variables)
    return done.stdout.strip().splitlines()[-1]
