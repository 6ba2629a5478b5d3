"""The FAISS snapshot on a real disk: what was written comes back whole, or the view starts empty."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from services.core.encoder import Vectors
from services.core.snapshot import DamagedSnapshot, read_snapshot, write_snapshot
from services.core.types import Hit
from services.core.vector_store.faiss_store import FaissStore

DIM = 24
REPO = Path(__file__).parents[2]

# Collection "mark" always holds exactly the row whose id is the sequence number.
SAVE_UNTIL_KILLED = """
import sys
from pathlib import Path
import numpy as np
from services.core.vector_store.faiss_store import FaissStore
store = FaissStore(Path(sys.argv[1]), "encoder", 24)
store.add("c", np.arange(20_000), np.random.default_rng(1).normal(size=(20_000, 24)).astype(np.float32))
for seq in range(store.applied_seq() + 1, 1_000_000):
    store.remove("mark", np.array([seq - 1]))
    store.add("mark", np.array([seq]), np.eye(24, dtype=np.float32)[[seq % 24]])
    store.mark_applied(seq)
    store.save()
    print(seq, flush=True)
"""

# Dies without flushing at the first line of snapshot.py that a write executes, then at the second, and so on.
DIE_AT_EVERY_LINE = """
import os, sys
from pathlib import Path
from services.core import snapshot
path = Path(sys.argv[1])
old, new = b"o" * 70_000, b"n" * 50_000
outcomes = []
for fatal in range(1, 10_000):
    path.unlink(missing_ok=True)
    snapshot.write_snapshot(path, seq=1, meta={}, parts=[memoryview(old)])
    pid = os.fork()
    if pid == 0:
        lines = 0
        def trace(frame, event, argument):
            global lines
            if frame.f_code.co_filename != snapshot.__file__:
                return None
            lines += event == "line"
            if lines == fatal:
                os._exit(9)
            return trace
        sys.settrace(trace)
        snapshot.write_snapshot(path, seq=2, meta={}, parts=[memoryview(new[:20_000]), memoryview(new[20_000:])])
        os._exit(0)
    survived = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    header, payload = snapshot.read_snapshot(path)
    assert (header.seq, bytes(payload)) in [(1, old), (2, new)], fatal
    outcomes.append(header.seq)
    if survived:
        break
print("".join(map(str, outcomes)))
"""

SAVE_WITHIN_A_LIMIT = """
import resource, sys
from pathlib import Path
import numpy as np
from services.core.vector_store.faiss_store import FaissStore
store = FaissStore(Path(sys.argv[1]), "encoder", 24)
path = next(Path(sys.argv[1]).glob("*.snapshot"))
before = path.read_bytes()
store.add("c", np.arange(500, 2_500), np.random.default_rng(7).normal(size=(2_000, 24)).astype(np.float32))
store.mark_applied(8)
for limit in (0, 10, 300, len(before), 100_000, 200_000, resource.RLIM_INFINITY):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        store.save()
    except OSError as problem:
        print("refused", path.read_bytes() == before, len(list(path.parent.glob("*.tmp"))))
    else:
        print("saved", path.stat().st_size > 200_000)
"""


def unit_rows(seed: int, rows: int) -> Vectors:
    vectors: Vectors = np.random.default_rng(seed).normal(size=(rows, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def opened(folder: Path) -> FaissStore:
    return FaissStore(folder, "encoder", DIM)


def saved(folder: Path, seq: int = 7) -> Path:
    """A snapshot of 43 rows in two collections; returns its path."""
    store = opened(folder)
    store.add("c", np.arange(40), unit_rows(1, 40))
    store.add("ü", np.arange(1_000, 1_003), unit_rows(2, 3))
    store.mark_applied(seq)
    store.save()
    return next(folder.glob("*.snapshot"))


def run(script: str, folder: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", script, folder], cwd=REPO, capture_output=True, text=True, check=True, timeout=120
    ).stdout


def test_everything_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path = saved(tmp_path)
    first = read_snapshot(path)
    store = opened(tmp_path)
    assert (store.applied_seq(), store.count("c"), store.count("ü")) == (7, 40, 3)
    query = unit_rows(3, 1)[0]
    best = int(np.argmax(unit_rows(1, 40) @ query))
    assert store.search("c", query, 1)[0].chunk_id == best
    store.mark_applied(8)
    store.save()
    (old, before), (new, after) = first, read_snapshot(path)
    assert (new.seq, new.meta, after) == (8, old.meta, before)
    assert list(tmp_path.glob("*.tmp")) == []


def test_an_unchanged_store_writes_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path)
    before = path.stat().st_ino
    store = opened(tmp_path)
    store.save()
    store.mark_applied(7)
    store.save()
    assert path.stat().st_ino == before
    store.mark_applied(8)
    store.save()
    assert opened(tmp_path).applied_seq() == 8


def test_every_changed_byte_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = saved(tmp_path)
    whole = path.read_bytes()
    chance = random.Random(4)
    header_end = whole.index(b"}]}") + 200  # all of the header, with what follows it
    places = [*range(header_end), *chance.sample(range(header_end, len(whole)), 300), len(whole) - 1]
    with caplog.at_level(logging.WARNING):
        for place in places:
            changed = bytearray(whole)
            changed[place] ^= 1 << chance.randrange(8)
            path.write_bytes(changed)
            caplog.clear()
            store = opened(tmp_path)
            assert (store.applied_seq(), store.count()) == (0, 0), f"byte {place}"
            assert "will be rebuilt" in caplog.text
    path.write_bytes(whole)
    assert opened(tmp_path).count() == 43


def test_every_cut_and_every_addition_is_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole = path.read_bytes()
    lengths = [*range(60), *random.Random(5).sample(range(60, len(whole)), 200), len(whole) - 1]
    for content in [*(whole[:length] for length in lengths), whole + b"\0", whole * 2, b"\0" * len(whole)]:
        path.write_bytes(content)
        store = opened(tmp_path)
        assert (store.applied_seq(), store.count()) == (0, 0), f"{len(content)} bytes"
        with pytest.raises(DamagedSnapshot):
            read_snapshot(path)


def test_a_damaged_snapshot_is_replaced_although_its_number_is_larger(tmp_path: Path) -> None:
    path = saved(tmp_path, seq=1_000)
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    saved(tmp_path, seq=5)
    store = opened(tmp_path)
    assert (store.applied_seq(), store.count()) == (5, 43)


def test_what_cannot_be_read_at_all_is_an_empty_store(tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.unlink()
    path.mkdir()
    store = opened(tmp_path)
    assert (store.applied_seq(), store.count()) == (0, 0)
    store.mark_applied(1)
    with pytest.raises(OSError):
        store.save()


def test_a_whole_snapshot_of_another_format_or_size_is_not_used(tmp_path: Path) -> None:
    path = saved(tmp_path)
    header, payload = read_snapshot(path)
    for meta in (
        header.meta | {"format": 2},
        header.meta | {"encoder_id": "another"},
        header.meta | {"dim": DIM * 2},
        header.meta | {"collections": header.meta["collections"][:1]},
    ):
        path.unlink()
        write_snapshot(path, seq=7, meta=meta, parts=[memoryview(payload)])
        store = opened(tmp_path)
        assert (store.applied_seq(), store.count()) == (0, 0)


def test_an_older_view_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    slow, fast = opened(tmp_path), opened(tmp_path)
    for store, seq in ((fast, 9), (slow, 5)):
        store.add("c", np.array([seq]), unit_rows(seq, 1))
        store.mark_applied(seq)
        store.save()
    assert opened(tmp_path).applied_seq() == 9
    slow.mark_applied(10)
    slow.save()
    store = opened(tmp_path)
    assert store.applied_seq() == 10
    assert store.search("c", unit_rows(5, 1)[0], 9) == [Hit(5, 1.0)]


def test_many_writers_leave_the_snapshot_furthest_on(tmp_path: Path) -> None:
    stores = [opened(tmp_path) for _ in range(6)]
    for number, store in enumerate(stores):
        store.add("c", np.arange(200), unit_rows(number, 200))
        store.mark_applied(number + 1)
    with ThreadPoolExecutor(6) as threads:
        for done in [threads.submit(store.save) for store in stores]:
            done.result()
    store = opened(tmp_path)
    assert store.applied_seq() == 6
    assert store.search("c", unit_rows(5, 200)[3], 1) == [Hit(3, 1.0)]


def test_a_kill_during_save_leaves_a_whole_and_recent_snapshot(tmp_path: Path) -> None:
    chance = random.Random(6)
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", SAVE_UNTIL_KILLED, tmp_path], cwd=REPO, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout
            acknowledged = [int(child.stdout.readline()) for _ in range(3)]
            time.sleep(chance.uniform(0, 0.03))  # any moment will do: nothing is expected to have happened by then
            child.kill()
            acknowledged += [int(line) for line in child.stdout if line.endswith("\n")]
        store = opened(tmp_path)
        seq = store.applied_seq()
        assert acknowledged[-1] <= seq <= acknowledged[-1] + 1
        assert (store.count("c"), store.count("mark")) == (20_000, 1)
        assert store.search("mark", np.eye(DIM, dtype=np.float32)[seq % DIM], 1) == [Hit(seq, 1.0)]


def test_dying_at_any_line_of_a_write_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    outcomes = run(DIE_AT_EVERY_LINE, tmp_path / "x.snapshot").strip()
    assert outcomes == "1" * outcomes.count("1") + "2" * outcomes.count("2")
    assert outcomes.count("1") > 10
    assert outcomes.count("2") > 3


def test_a_full_disk_leaves_the_old_snapshot_and_a_later_save_succeeds(tmp_path: Path) -> None:
    saved(tmp_path)
    lines = run(SAVE_WITHIN_A_LIMIT, tmp_path).splitlines()
    assert lines == ["refused True 0"] * 6 + ["saved True"]
    store = opened(tmp_path)
    assert (store.applied_seq(), store.count("c")) == (8, 2_040)
