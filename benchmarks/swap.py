"""Promotions and rollbacks under load: does a request fail, is an answer of two releases, and what does a swap cost?

    python benchmarks/swap.py [--swaps 20] [--quiet-s 8] [--fast]

Starts the platform over a real MLflow registry with two versions: the release that ships, and a copy with other adapter
weights and another threshold. One client asks question after question about the example manual, another classifies ten
times a second at most; meanwhile the alias `champion` goes to and fro. A request is "during a swap" if it overlaps the
time from the alias being moved until a second after the first response by the new release, and "quiet" if it does not;
both alternate all along, so that they are measured on the same machine at the same time.

    failed        requests with any other status than 200
    mixed         answers and classifications whose parts (release, adapter, classifier, prompt, thresholds) are not
                  exactly those of one of the two releases
    unlike        answers whose text differs from what the same release said to the same question before
    added p99     during a swap against quiet, with its 95 % bootstrap interval

`--fast` takes tiny weights and the scripted generator: it shows that nothing fails and nothing is mixed, not the cost.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from _side_by_side import REPOSITORY, capstone_server
from footprint import MIB, resident_bytes_of_session
from ingest import upload, wait_for

sys.path.append(str(REPOSITORY))

from services.core.aliases import CHAMPION, MODEL
from services.core.registry import Release, read_manifest, resolve_release, write_manifest, write_release

MANUAL = REPOSITORY / "examples" / "fhs-3.0.pdf"
QUESTIONS = (
    "What is /srv for?",
    "How long are files in /var/tmp kept?",
    "Where do host-specific configuration files go?",
    "Which directory holds essential command binaries?",
    "What may be mounted read-only?",
    "Where are spool directories found?",
)
PAIR = {"text": QUESTIONS[0], "text_pair": "/srv contains site-specific data which is served by this system."}
CLASSIFY_EVERY_S = 0.1
AFTER_SWAP_S = 1.0
CLIENT_S = 600.0  # longer than the platform itself lets anybody wait: what it does is measured, not our patience
SWAPPED_WITHIN_S = 300.0
DRAWS = 2_000
Parts = tuple[Any, ...]


class Response(NamedTuple):
    """`begun` and `ended` by the monotonic clock. If it failed, `lineage` is None and `text` says why."""

    kind: str
    begun: float
    ended: float
    lineage: dict[str, Any] | None
    question: str
    text: str


@dataclass
class Load:
    """What the clients ask, and what they got."""

    url: str
    responses: list[Response] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def answers(self) -> None:
        with httpx.Client(base_url=self.url, timeout=CLIENT_S) as http:
            while not self.ended.is_set():
                for question in QUESTIONS:
                    body = {"question": question, "max_tokens": 48}
                    self._send(http, "answers", body, question)

    def classifications(self) -> None:
        with httpx.Client(base_url=self.url, timeout=CLIENT_S) as http:
            while not self.ended.wait(CLASSIFY_EVERY_S):
                self._send(http, "classify", {"model": "sufficiency", "inputs": [PAIR]}, "")

    def release_of_last(self, kind: str) -> str | None:
        last = next((one for one in reversed(self.responses) if one.kind == kind and one.lineage), None)
        return last.lineage["release"] if last and last.lineage else None

    def _send(self, http: httpx.Client, kind: str, body: dict[str, Any], question: str) -> None:
        begun = time.monotonic()
        try:
            got = http.post(f"/v1/{kind}", json=body)
            said = got.json() if got.status_code == 200 else None
            lineage, text = (said["lineage"], said.get("answer", "")) if said else (None, got.text)
        except httpx.HTTPError as error:
            lineage, text = None, type(error).__name__
        self.responses.append(Response(kind, begun, time.monotonic(), lineage, question, text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--quiet-s", type=float, default=8.0, help="between two swaps")
    parser.add_argument("--fast", action="store_true", help="tiny weights, scripted generator")
    parser.add_argument("--models", type=Path, default=REPOSITORY / "data" / "models", help="CAPSTONE_MODELS_DIR")
    parser.add_argument("--promoter", metavar="URI", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.promoter:
        promoter(arguments.promoter)
        return
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        releases, models = two_releases(root, arguments.models.resolve(), fast=arguments.fast)
        settings = {"CAPSTONE_RELEASE_POLL_S": "1", "CAPSTONE_RELEASE_DIR": str(releases[0].folder)}
        if arguments.fast:
            settings |= {"CAPSTONE_GENERATOR": "scripted", "CAPSTONE_ENCODER": "hashing"}
        (root / "data" / "mlflow").mkdir(parents=True)
        with (
            promotions(f"sqlite:///{root / 'data' / 'mlflow' / 'mlflow.db'}") as other,
            capstone_server(root / "data", models, settings=settings) as url,
        ):
            versions = [other.tell("register", str(release.folder), release.id) for release in releases]
            with httpx.Client(base_url=url, timeout=300) as http:
                wait_for(http, [upload(http, MANUAL.name, MANUAL.read_bytes(), "default")], timeout_s=600)
            load = Load(url)
            windows, memory = swaps_under(load, other, versions, releases, arguments.swaps, arguments.quiet_s)
    report(load.responses, windows, memory, releases)


def two_releases(root: Path, models: Path, *, fast: bool) -> tuple[tuple[Release, Release], Path]:
    """Two releases with weights and a threshold of their own, and the folder of their bases."""
    if fast:
        from tests.releases import make_another, make_release

        one = make_release(root / "one")
        two = make_another(one, root / "two", seed=11, sufficient=0.7)
        pair = resolve_release(one.folder, one.models_dir), resolve_release(two.folder, two.models_dir)
        return pair, one.models_dir
    first = resolve_release(REPOSITORY / "release", models)
    folder = root / "two"
    shutil.copytree(first.folder, folder)
    weaken(folder / "adapter")
    thresholds = {**first.thresholds, "support": first.thresholds["support"] - 0.05}
    second = write_release(
        folder,
        models,
        name=first.name,
        prompt=first.prompt,
        thresholds=thresholds,
        plan=first.plan,
        sentences=first.sentences,
        git_commit=first.git_commit,
    )
    return (first, second), models


def weaken(adapter: Path) -> None:
    """Take a tenth from every weight, and make the manifest right again."""
    from safetensors.torch import load_file, save_file

    path = adapter / "adapter_model.safetensors"
    save_file({name: 0.9 * tensor for name, tensor in load_file(path).items()}, path, {"format": "pt"})
    manifest = read_manifest(adapter)
    write_manifest(adapter, manifest.origin, manifest.training)


# Promotions -----------------------------------------------------------------------------------------------------


def promoter(uri: str) -> None:
    """A process that does to the registry at `uri` what its stdin says, by MLflow's own client; answers each line."""
    from mlflow import MlflowClient

    client = MlflowClient(uri, registry_uri=uri)
    client.create_registered_model(MODEL)
    for line in sys.stdin:
        order, *words = json.loads(line)
        if order == "register":
            folder, release = words
            said = client.create_model_version(MODEL, Path(folder).as_uri(), tags={"release": release}).version
        else:
            client.set_registered_model_alias(MODEL, order, words[0])
            said = words[0]
        print(json.dumps(str(said)), flush=True)


@dataclass(frozen=True)
class Promoter:
    """The other end of `promoter`."""

    process: subprocess.Popen[str]

    def tell(self, *order: str) -> str:
        """Give an order and return what it says."""
        assert self.process.stdin and self.process.stdout
        print(json.dumps(order), file=self.process.stdin, flush=True)
        return str(json.loads(self.process.stdout.readline()))


@contextmanager
def promotions(uri: str) -> Iterator[Promoter]:
    command = [sys.executable, __file__, "--promoter", uri]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        try:
            yield Promoter(process)
        finally:
            process.stdin.close()


def swaps_under(
    load: Load, other: Promoter, versions: Sequence[str], releases: Sequence[Release], swaps: int, quiet_s: float
) -> tuple[list[tuple[float, float]], list[float]]:
    """When each swap began and ended, and the resident memory of the platform, in MiB, in the middle of each quiet
    time. The first release is live at the beginning; the first responses, which warm things up, do not count."""
    threads = [threading.Thread(target=load.answers), threading.Thread(target=load.classifications)]
    for thread in threads:
        thread.start()
    windows, memory = [], []
    try:
        while len([one for one in load.responses if one.kind == "answers"]) < len(QUESTIONS):
            time.sleep(0.1)
        load.responses.clear()
        for swap in range(1, swaps + 1):
            time.sleep(quiet_s / 2)
            memory.append(resident_mib(other))
            time.sleep(quiet_s / 2)
            begun = time.monotonic()
            other.tell(CHAMPION, versions[swap % 2])
            while load.release_of_last("classify") != releases[swap % 2].id:
                if time.monotonic() - begun > SWAPPED_WITHIN_S:
                    sys.exit(f"swap {swap} did not come about within {SWAPPED_WITHIN_S:.0f} s")
                time.sleep(0.02)
            took = time.monotonic() - begun
            time.sleep(AFTER_SWAP_S)
            windows.append((begun, time.monotonic()))
            print(f"swap {swap}: version {versions[swap % 2]} live after {took:.1f} s", flush=True)
        time.sleep(quiet_s)
        memory.append(resident_mib(other))
    finally:
        load.ended.set()
        for thread in threads:
            thread.join()
    return windows, memory


def resident_mib(other: Promoter) -> float:
    """Of all processes of the platform; the one that promotes is none of them."""
    return sum(size for pid, size in resident_bytes_of_session().items() if pid != other.process.pid) / MIB


# Figures --------------------------------------------------------------------------------------------------------


def report(
    responses: Sequence[Response],
    windows: Sequence[tuple[float, float]],
    memory: Sequence[float],
    releases: Sequence[Release],
) -> None:
    print(f"\nswaps {len(windows)}, one took {np.mean([e - b - AFTER_SWAP_S for b, e in windows]):.1f} s on average")
    print(f"{'':16}{'answers':>12}{'classifications':>18}")
    by_kind = {kind: [one for one in responses if one.kind == kind] for kind in ("answers", "classify")}
    counts: dict[str, list[Any]] = {
        "requests": [len(found) for found in by_kind.values()],
        "failed": [sum(one.lineage is None for one in found) for found in by_kind.values()],
        "mixed": [sum(mixed(one, releases) for one in found) for found in by_kind.values()],
        "unlike": [unlike(by_kind["answers"]), "-"],
    }
    for name, (answers, classifications) in counts.items():
        print(f"{name:16}{answers:>12}{classifications:>18}")
    for one in responses:
        if one.lineage is None:
            print(f"failed after {one.ended - one.begun:.1f} s: {one.kind}: {one.text[:300]}")
    print(f"\n{'milliseconds':16}{'quiet n':>8}{'p50':>7}{'p99':>7}{'swap n':>8}{'p50':>7}{'p99':>7}   added p99")
    for kind, found in by_kind.items():
        quiet, during = latencies(found, windows)
        cells = [len(quiet), *np.percentile(quiet, [50, 99]), len(during), *np.percentile(during, [50, 99])]
        row = "".join(f"{cell:>{width}.0f}" for cell, width in zip(cells, (8, 7, 7, 8, 7, 7), strict=True))
        print(f"{kind:16}{row}   {added_p99(quiet, during)}")
    first, second, *_, last = memory
    told = f"{first:.0f} MiB before the first swap, {second:.0f} MiB after it, {last:.0f} MiB after the last one"
    print(f"\nresident memory of the platform: {told}")


def mixed(response: Response, releases: Sequence[Release]) -> bool:
    """Whether what it came from is not exactly one of the two."""
    found = response.lineage
    if found is None:
        return False
    if response.kind == "classify":
        return (found["release"], found["classifier"]) not in [(one.id, one.classifier.id) for one in releases]
    parts = (found["release"], found["classifier"], found["prompt"], found["thresholds"])
    known = [(one.id, one.classifier.id, one.prompt.id, dict(one.thresholds)) for one in releases]
    adapters = {one.id: one.adapter.id for one in releases}
    scripted = found["generator"] == "scripted"
    return parts not in known or (not scripted and found["adapter"] != adapters[found["release"]])


def unlike(answers: Sequence[Response]) -> int:
    said: dict[tuple[str, str], str] = {}
    told = [((one.lineage["release"], one.question), one.text) for one in answers if one.lineage]
    return sum(said.setdefault(key, text) != text for key, text in told)


def latencies(responses: Sequence[Response], windows: Sequence[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds of those that overlap no window, and of those that overlap one."""
    quiet: list[float] = []
    during: list[float] = []
    for one in responses:
        overlaps = any(one.begun < end and one.ended > begin for begin, end in windows)
        (during if overlaps else quiet).append(1000 * (one.ended - one.begun))
    return np.array(quiet), np.array(during)


def added_p99(quiet: np.ndarray, during: np.ndarray) -> str:
    rng = np.random.default_rng(0)

    def drawn(values: np.ndarray) -> np.ndarray:
        return np.asarray(np.percentile(rng.choice(values, (DRAWS, len(values))), 99, axis=1))

    low, high = np.percentile(drawn(during) - drawn(quiet), [2.5, 97.5])
    return f"{np.percentile(during, 99) - np.percentile(quiet, 99):+.0f} [{low:+.0f}, {high:+.0f}]"


if __name__ == "__main__":
    main()
