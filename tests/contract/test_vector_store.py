"""What every vector store must do. Run on FAISS and embedded Chroma here, on a Chroma server in integration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from numpy.typing import NDArray

from services.core.encoder import Vectors
from services.core.types import Hit
from services.core.vector_store import VectorStore, open_store

DIM = 8
CLOSE = 2e-6  # rounding to six decimals, on both sides of the comparison
ODD_NAMES = ("a", "A", "a b", "", "über/straße", "..", "127.0.0.1", "-x-", "x" * 600, "state", "名前")


class Place(Protocol):
    """Opens the store kept at one place, as another process or a restart would."""

    def __call__(self, *, encoder_id: str = "encoder-a", dim: int = DIM) -> VectorStore: ...


@pytest.fixture(params=["faiss", "chroma"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    yield from place_of(
        lambda encoder_id, dim: open_store(
            request.param, folder=tmp_path, chroma_url=None, encoder_id=encoder_id, dim=dim
        )
    )


def place_of(opened: Callable[[str, int], VectorStore]) -> Iterator[Place]:
    stores: list[VectorStore] = []

    def at_place(*, encoder_id: str = "encoder-a", dim: int = DIM) -> VectorStore:
        stores.append(opened(encoder_id, dim))
        return stores[-1]

    yield at_place
    for store in stores:
        store.close()


def ids_of(*ids: int) -> NDArray[np.int64]:
    return np.array(ids, np.int64)


def axes(*numbers: int, dim: int = DIM) -> Vectors:
    """Unit vectors along the given axes, shape (n, dim)."""
    return np.eye(dim, dtype=np.float32)[list(numbers)]


def random_units(random: np.random.Generator, rows: int, dim: int = DIM) -> Vectors:
    vectors: Vectors = random.normal(size=(rows, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def ids_found(hits: list[Hit]) -> list[int]:
    return [hit.chunk_id for hit in hits]


def exact(rows: dict[int, Vectors], query: Vectors, k: int) -> list[tuple[int, float]]:
    """The oracle: all cosines in double precision, best first, ties by smaller id."""
    unit = query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))
    scored = []
    for chunk_id, row in rows.items():
        cosine = float(row.astype(np.float64) @ unit / np.linalg.norm(row.astype(np.float64)))
        scored.append((chunk_id, round(cosine, 6)))
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))[:k]


def test_a_new_store_is_empty(place: Place) -> None:
    store = place()
    assert store.applied_seq() == 0
    assert store.count() == store.count("unknown") == 0
    assert store.search("unknown", axes(0)[0], 5) == []


def test_hits_come_best_first_with_their_cosine(place: Place) -> None:
    store = place()
    store.add("c", ids_of(1, 2, 3), np.array([[1, 0], [1, 1], [-1, 0]], np.float32).repeat(4, axis=1))
    hits = store.search("c", np.array([1, 0], np.float32).repeat(4), 3)
    assert ids_found(hits) == [1, 2, 3]
    assert [hit.score for hit in hits] == pytest.approx([1.0, 0.5**0.5, -1.0], abs=CLOSE)
    assert all(type(hit.chunk_id) is int and type(hit.score) is float for hit in hits)


def test_the_length_of_a_vector_does_not_count(place: Place) -> None:
    store = place()
    store.add("c", ids_of(1, 2), np.stack([axes(0)[0] * 1e-3, (axes(0)[0] + axes(1)[0]) * 1e3]))
    hits = store.search("c", axes(0)[0] * 50, 2)
    assert ids_found(hits) == [1, 2]
    assert [hit.score for hit in hits] == pytest.approx([1.0, 0.5**0.5], abs=CLOSE)


def test_a_zero_row_counts_as_the_first_unit_vector(place: Place) -> None:
    store = place()
    store.add("c", ids_of(1, 2), np.stack([axes(1)[0], np.zeros(DIM, np.float32)]))
    assert store.search("c", axes(0)[0], 1) == [Hit(2, 1.0)]


def test_k_may_exceed_the_number_of_rows(place: Place) -> None:
    store = place()
    store.add("c", ids_of(4, 5), axes(0, 1))
    assert ids_found(store.search("c", axes(0)[0], 1_000)) == [4, 5]


def test_an_id_that_is_there_is_replaced(place: Place) -> None:
    store = place()
    store.add("c", ids_of(1, 2), axes(0, 1))
    store.add("c", ids_of(2, 3), axes(2, 3))
    assert store.count("c") == 3
    assert store.search("c", axes(2)[0], 1) == [Hit(2, 1.0)]
    assert store.search("c", axes(1)[0], 3)[0].score == pytest.approx(0.0, abs=CLOSE)


def test_adding_the_same_rows_again_changes_nothing(place: Place) -> None:
    store = place()
    for _ in range(3):
        store.add("c", ids_of(1, 2), axes(0, 1))
    assert store.count() == 2
    assert store.search("c", axes(1)[0], 5) == [Hit(2, 1.0), Hit(1, 0.0)]


def test_what_is_removed_is_gone_and_the_unknown_is_ignored(place: Place) -> None:
    store = place()
    store.remove("unknown", ids_of(1))
    store.add("c", ids_of(1, 2, 3), axes(0, 1, 2))
    store.remove("c", ids_of(2, 99, 2, 1))
    store.remove("c", ids_of())
    assert store.count("c") == store.count() == 1
    assert ids_found(store.search("c", axes(1)[0], 5)) == [3]
    store.remove("c", ids_of(3))
    assert store.count() == 0
    assert store.search("c", axes(1)[0], 5) == []
    store.add("c", ids_of(2), axes(1))
    assert store.search("c", axes(1)[0], 5) == [Hit(2, 1.0)]


def test_ties_go_to_the_smaller_id(place: Place) -> None:
    store = place()
    ids = np.array([41, 7, 23, 5, 90, 61, 12, 33, 2], np.int64)
    store.add("c", ids, axes(*[3] * 8, 0))
    store.add("c", ids_of(6), axes(3))
    assert ids_found(store.search("c", axes(3)[0], 4)) == [5, 6, 7, 12]
    assert ids_found(store.search("c", axes(3)[0], 20)) == [5, 6, 7, 12, 23, 33, 41, 61, 90, 2]


def test_ids_keep_all_their_digits(place: Place) -> None:
    store = place()
    largest = 2**53 - 1
    store.add("c", ids_of(0, largest - 1, largest), axes(0, 1, 2))
    assert store.search("c", axes(2)[0], 1) == [Hit(largest, 1.0)]
    store.remove("c", ids_of(largest))
    assert sorted(ids_found(store.search("c", axes(2)[0], 5))) == [0, largest - 1]


def test_collections_are_apart_whatever_their_name(place: Place) -> None:
    store = place()
    for number, name in enumerate(ODD_NAMES):
        store.add(name, ids_of(number, 100 + number), axes(0, 1))
    assert store.count() == 2 * len(ODD_NAMES)
    for number, name in enumerate(ODD_NAMES):
        assert store.count(name) == 2
        assert store.search(name, axes(1)[0], 5) == [Hit(100 + number, 1.0), Hit(number, 0.0)]
    store.remove(ODD_NAMES[0], ids_of(*range(200)))
    assert store.count() == 2 * len(ODD_NAMES) - 2


def test_bad_rows_are_refused_before_anything_changes(place: Place) -> None:
    store = place()
    store.add("c", ids_of(1), axes(0))
    bad_value = axes(0, 1)
    bad_value[1, 3] = np.nan
    infinite = axes(0, 1)
    infinite[1, 3] = -np.inf
    refused: list[tuple[NDArray[np.int64], Vectors]] = [
        (ids_of(1, 2), bad_value),
        (ids_of(1, 2), infinite),
        (ids_of(1, 2), np.full((2, DIM), 1e30, np.float32)),
        (ids_of(1, 2), axes(1)),
        (ids_of(1, 2), axes(1, 2, dim=DIM + 1)),
        (ids_of(1), axes(1)[0]),
        (ids_of(1, 1), axes(1, 2)),
        (ids_of(1, -1), axes(1, 2)),
        (ids_of(1, 2**53), axes(1, 2)),
        (np.array([1.0, 2.0]), axes(1, 2)),
        (ids_of(1), axes(1).astype(np.int32)),
    ]
    for ids, vectors in refused:
        with pytest.raises(ValueError):
            store.add("c", ids, vectors)
        with pytest.raises(ValueError):
            store.add("new", ids, vectors)
    with pytest.raises(ValueError):
        store.remove("c", np.array([1.0]))
    assert store.count() == store.count("c") == 1
    assert store.search("c", axes(0)[0], 5) == [Hit(1, 1.0)]


def test_bad_queries_are_refused(place: Place) -> None:
    store = place()
    store.add("c", ids_of(1), axes(0))
    for query in (axes(0), axes(0, dim=DIM - 1)[0], np.full(DIM, np.nan, np.float32)):
        for collection in ("c", "unknown"):
            with pytest.raises(ValueError):
                store.search(collection, query, 1)
    for k in (0, -1):
        with pytest.raises(ValueError):
            store.search("c", axes(0)[0], k)
    with pytest.raises(ValueError):
        store.mark_applied(-1)
    assert store.applied_seq() == 0


def test_adding_no_rows_is_allowed(place: Place) -> None:
    store = place()
    store.add("c", ids_of(), np.empty((0, DIM), np.float32))
    assert store.count() == 0
    assert store.search("c", axes(0)[0], 1) == []


def test_the_applied_number_is_kept_as_given(place: Place) -> None:
    store = place()
    for seq in (7, 2**53 - 1, 12):
        store.mark_applied(seq)
        assert store.applied_seq() == seq


def test_saved_rows_and_number_are_back_after_a_restart(place: Place) -> None:
    store = place()
    random = np.random.default_rng(5)
    rows = {"c": random_units(random, 30), "ü": random_units(random, 3)}
    store.add("c", np.arange(30), rows["c"])
    store.add("ü", np.arange(100, 103), rows["ü"])
    store.remove("c", ids_of(4))
    store.mark_applied(17)
    store.save()
    before = {name: [store.search(name, query, 10) for query in rows["c"][:5]] for name in rows}
    store.close()
    again = place()
    assert again.applied_seq() == 17
    assert (again.count("c"), again.count("ü"), again.count()) == (29, 3, 32)
    assert {name: [again.search(name, query, 10) for query in rows["c"][:5]] for name in rows} == before
    again.remove("c", ids_of(5))
    again.add("c", ids_of(6), axes(0))
    assert again.count("c") == 28
    assert again.search("c", axes(0)[0], 1) == [Hit(6, 1.0)]


def test_encoders_and_dimensions_never_mix(place: Place) -> None:
    ours = place()
    ours.add("c", ids_of(1), axes(0))
    ours.mark_applied(9)
    ours.save()
    for stranger, dim in ((place(encoder_id="encoder-b"), DIM), (place(dim=DIM + 1), DIM + 1)):
        assert stranger.applied_seq() == 0
        assert stranger.count() == stranger.count("c") == 0
        assert stranger.search("c", axes(0, dim=dim)[0], 3) == []
        stranger.add("c", ids_of(2), axes(0, dim=dim))
        stranger.mark_applied(3)
        stranger.save()
        stranger.reset()
    assert ours.search("c", axes(0)[0], 3) == [Hit(1, 1.0)]
    ours.close()
    again = place()
    assert again.applied_seq() == 9
    assert again.search("c", axes(0)[0], 3) == [Hit(1, 1.0)]


def test_reset_drops_everything_also_from_what_was_saved(place: Place) -> None:
    store = place()
    store.add("c", ids_of(1, 2), axes(0, 1))
    store.mark_applied(50)
    store.save()
    store.reset()
    assert (store.applied_seq(), store.count(), store.search("c", axes(0)[0], 1)) == (0, 0, [])
    store.add("c", ids_of(3), axes(2))
    store.mark_applied(4)  # less than before: the catalog was restored from a backup
    store.save()
    store.close()
    again = place()
    assert again.applied_seq() == 4
    assert again.search("c", axes(0)[0], 5) == [Hit(3, 0.0)]


def test_more_rows_than_fit_one_request(place: Place) -> None:
    store = place()
    ids = np.random.default_rng(2).permutation(2_300).astype(np.int64)
    store.add("c", ids, random_units(np.random.default_rng(3), 2_300))
    assert store.count("c") == 2_300
    store.remove("c", ids[:2_100])
    assert store.count("c") == 200


def test_random_changes_agree_with_a_plain_dictionary(place: Place) -> None:
    store = place()
    random = np.random.default_rng(8)
    model: dict[str, dict[int, Vectors]] = {"one": {}, "two": {}}
    pool = random_units(random, 12)  # few distinct vectors, so that ties are common
    for _ in range(80):
        collection = str(random.choice(list(model)))
        rows = model[collection]
        first = 0 if collection == "one" else 1_000
        ids = first + random.choice(40, size=int(random.integers(1, 12)), replace=False).astype(np.int64)
        if random.random() < 0.6:
            some = random.random(ids.size) < 0.5
            vectors = np.where(some[:, None], pool[random.integers(0, 12, ids.size)], random_units(random, ids.size))
            store.add(collection, ids, vectors)
            rows.update(zip(ids.tolist(), vectors, strict=True))
        else:
            store.remove(collection, ids)
            for chunk_id in ids.tolist():
                rows.pop(chunk_id, None)
        query = pool[int(random.integers(0, 12))] if random.random() < 0.5 else random_units(random, 1)[0]
        k = int(random.integers(1, 15))
        hits = store.search(collection, query, k)
        assert [hit.score for hit in hits] == pytest.approx([score for _, score in exact(rows, query, k)], abs=CLOSE)
        for hit in hits:
            assert hit.score == pytest.approx(exact({0: rows[hit.chunk_id]}, query, 1)[0][1], abs=CLOSE)
        assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.chunk_id))
        assert len(set(ids_found(hits))) == len(hits)
        assert store.count(collection) == len(rows)
    assert store.count() == sum(len(rows) for rows in model.values())


def recall_at_10(store: VectorStore) -> float:
    """Share of the ten true neighbours found, over 50 queries on 2,000 rows, half of them replaced or put back."""
    random = np.random.default_rng(11)
    rows = random_units(random, 2_000, 64)
    first = rows.copy()
    first[::4] = random_units(random, 500, 64)
    store.add("c", np.arange(2_000), first)
    store.add("c", np.arange(0, 2_000, 4), rows[::4])
    store.remove("c", np.arange(1, 2_000, 4))
    store.add("c", np.arange(1, 2_000, 4), rows[1::4])
    found = 0
    for query in random_units(random, 50, 64):
        best = np.argsort(-(rows @ query))[:10].tolist()
        found += len(set(best) & set(ids_found(store.search("c", query, 10))))
    return found / 500


def test_nearly_all_true_neighbours_are_found(place: Place) -> None:
    assert recall_at_10(place(dim=64)) >= 0.95


def test_searches_and_changes_may_happen_at_once(place: Place) -> None:
    store = place()
    store.add("c", ids_of(1), axes(0))
    noise = random_units(np.random.default_rng(0), 400)
    noise[:, 0] = -np.abs(noise[:, 0])  # never nearer to axis 0 than row 1

    def change(part: int) -> None:
        for start in range(0, 200, 20):
            ids = np.arange(10 + part * 200 + start, 30 + part * 200 + start)
            store.add("c", ids, noise[ids - 10])
            store.remove("c", ids[::2])

    with ThreadPoolExecutor(4) as threads:
        changes = [threads.submit(change, part) for part in range(2)]
        answers = [threads.submit(store.search, "c", axes(0)[0], 3) for _ in range(100)]
        assert {answer.result()[0] for answer in answers} == {Hit(1, 1.0)}
        for done in changes:
            done.result()
    assert store.count("c") == 1 + 200


def test_a_search_can_be_limited_to_some_ids(place: Place) -> None:
    store = place()
    rows = random_units(np.random.default_rng(8), 400)
    store.add("c", np.arange(400), rows)
    query = random_units(np.random.default_rng(9), 1)[0]
    wanted = [*range(0, 400, 7)]
    hits = store.search("c", query, 10, within=ids_of(*wanted, 7_000, 7))
    oracle = exact({chunk_id: rows[chunk_id] for chunk_id in wanted}, query, 10)
    assert ids_found(hits) == [chunk_id for chunk_id, _ in oracle]
    assert [hit.score for hit in hits] == pytest.approx([score for _, score in oracle], abs=CLOSE)
    assert ids_found(store.search("c", query, 10, within=ids_of(3, 7_000))) == [3]
    assert store.search("c", query, 10, within=ids_of()) == store.search("c", query, 10, within=ids_of(7_000)) == []
    with pytest.raises(ValueError):
        store.search("c", query, 10, within=np.array([1.5]))
