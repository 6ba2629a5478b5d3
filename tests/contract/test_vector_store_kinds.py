"""What holds for one kind of vector store only, and the choice between them."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from services.core.types import Hit
from services.core.vector_store import open_store
from tests.contract.test_vector_store import DIM, axes, ids_found, ids_of, random_units, recall_at_10


def test_faiss_finds_all_true_neighbours(tmp_path: Path) -> None:
    store = open_store("faiss", folder=tmp_path, chroma_url=None, encoder_id="e", dim=64)
    assert recall_at_10(store) == 1.0


def test_faiss_orders_any_number_of_ties(tmp_path: Path) -> None:
    store = open_store("faiss", folder=tmp_path, chroma_url=None, encoder_id="e", dim=DIM)
    ids = np.random.default_rng(1).permutation(1_000).astype(np.int64)
    store.add("c", ids, random_units(np.random.default_rng(2), 1).repeat(1_000, axis=0))
    query = random_units(np.random.default_rng(3), 1)[0]
    assert ids_found(store.search("c", query, 7)) == list(range(7))


def test_faiss_is_not_searched_while_its_memory_moves(tmp_path: Path) -> None:
    store = open_store("faiss", folder=tmp_path, chroma_url=None, encoder_id="e", dim=64)
    store.add("c", ids_of(0), axes(0, dim=64))
    noise = random_units(np.random.default_rng(0), 1_000, 64)
    noise[:, 0] = -np.abs(noise[:, 0])
    growing = Event()

    def search() -> set[Hit]:
        best = {store.search("c", axes(0, dim=64)[0], 1)[0]}
        while growing.is_set():
            best.add(store.search("c", axes(0, dim=64)[0], 1)[0])
        return best

    growing.set()
    with ThreadPoolExecutor(3) as threads:
        answers = [threads.submit(search) for _ in range(3)]
        try:
            for start in range(1, 60_000, 1_000):
                store.add("c", np.arange(start, start + 1_000), noise)
                store.remove("c", np.arange(start, start + 1_000, 7))
        finally:
            growing.clear()
        assert [answer.result() for answer in answers] == [{Hit(0, 1.0)}] * 3


@pytest.mark.parametrize(("kind", "absent"), [("faiss", "chromadb"), ("chroma", "faiss")])
def test_one_kind_does_not_need_the_library_of_the_other(kind: str, absent: str, tmp_path: Path) -> None:
    script = f"""
import sys
sys.modules[{absent!r}] = None
from pathlib import Path
from services.core.vector_store import open_store
print(open_store({kind!r}, folder=Path(sys.argv[1]), chroma_url=None, encoder_id="e", dim=4).count())
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, timeout=60)
    assert done.stdout == "0\n", done.stderr


def test_an_unusable_chroma_url_is_refused(tmp_path: Path) -> None:
    for url in ("localhost:8000", "ftp://localhost", "http://", "http://localhost/path", "http://user@localhost"):
        with pytest.raises(ValueError, match="http://host:port"):
            open_store("chroma", folder=tmp_path, chroma_url=url, encoder_id="e", dim=DIM)
