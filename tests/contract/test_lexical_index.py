"""What every lexical index must do, checked against BM25 written out in double precision."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from services.core.lexical import LexicalIndex
from services.core.lexical.tantivy_index import TantivyIndex
from services.core.lexical.terms import terms
from services.core.types import Hit

OPENED: list[Callable[[], LexicalIndex]] = [TantivyIndex]
ODD_NAMES = ("a", "A", "a b", "", "über/straße", "..", "x" * 600, "名前")
K1, B = 1.2, 0.75


@pytest.fixture(params=OPENED, ids=lambda opened: opened.__name__)
def index(request: pytest.FixtureRequest) -> Iterator[LexicalIndex]:
    opened = request.param()
    yield opened
    opened.close()


def ids_of(*ids: int) -> NDArray[np.int64]:
    return np.array(ids, np.int64)


def ids_found(hits: list[Hit]) -> list[int]:
    return [hit.chunk_id for hit in hits]


def exact(rows: dict[int, str], query: str) -> list[tuple[int, float]]:
    """The oracle: all rows with a score, best first, ties by smaller id."""
    counts = {chunk_id: Counter(terms(text)) for chunk_id, text in rows.items()}
    mean_length = sum(count.total() for count in counts.values()) / len(counts)
    scored = dict.fromkeys(counts, 0.0)
    for term in set(terms(query)):
        holding = sum(term in count for count in counts.values())
        idf = math.log(1 + (len(counts) - holding + 0.5) / (holding + 0.5))
        for chunk_id, count in counts.items():
            norm = K1 * (1 - B + B * count.total() / mean_length)
            scored[chunk_id] += idf * (K1 + 1) * count[term] / (count[term] + norm)
    hits = [(chunk_id, score) for chunk_id, score in scored.items() if score]
    return sorted(hits, key=lambda pair: (-round(pair[1], 4), pair[0]))


def test_a_new_index_is_empty(index: LexicalIndex) -> None:
    assert index.applied_seq() == 0
    assert index.count() == index.count("unknown") == 0
    assert index.search("unknown", "word", 5) == []


def test_scores_are_bm25(index: LexicalIndex) -> None:
    random = np.random.default_rng(5)
    words = [f"w{number}x" for number in range(30)]
    rows = {
        int(chunk_id): " ".join(random.choice(words, int(random.integers(1, 40)), p=np.arange(1, 31) / 465))
        for chunk_id in random.permutation(200)
    }
    index.add("c", np.array(list(rows), np.int64), list(rows.values()))
    for query in ("w0x", "w3x w7x", "w1x w1x w29x unknown", " ".join(words)):
        wanted = exact(rows, query)
        hits = index.search("c", query, 300)
        assert dict(wanted).keys() == set(ids_found(hits))
        assert [hit.score for hit in hits] == pytest.approx([score for _, score in wanted], abs=2e-4)
        assert all(type(hit.chunk_id) is int and type(hit.score) is float for hit in hits)


def test_rows_without_a_shared_term_are_no_hits(index: LexicalIndex) -> None:
    index.add("c", ids_of(1, 2), ["mount the disk", "print the queue"])
    assert ids_found(index.search("c", "mounted disks", 5)) == [1]
    assert index.search("c", "elephant", 5) == index.search("c", "", 5) == index.search("c", "  ", 5) == []


def test_query_syntax_means_nothing(index: LexicalIndex) -> None:
    index.add("c", ids_of(1, 2), ["alpha", "beta"])
    assert sorted(ids_found(index.search("c", 'alpha AND NOT (beta^9 "', 5))) == [1, 2]
    assert ids_found(index.search("c", "terms:[* TO *] alpha", 5)) == [1]


def test_an_id_that_is_there_is_replaced(index: LexicalIndex) -> None:
    index.add("c", ids_of(1, 2), ["one", "two"])
    index.add("c", ids_of(2, 3), ["three", "four"])
    assert index.count("c") == 3
    assert ids_found(index.search("c", "three", 5)) == [2]
    assert index.search("c", "two", 5) == []


def test_what_is_removed_is_gone_and_the_unknown_is_ignored(index: LexicalIndex) -> None:
    index.remove("unknown", ids_of(1))
    index.add("c", ids_of(1, 2, 3), ["word one", "word two", "word three"])
    index.remove("c", ids_of(2, 99, 2))
    index.remove("c", ids_of())
    assert index.count("c") == index.count() == 2
    assert sorted(ids_found(index.search("c", "word", 5))) == [1, 3]
    index.remove("c", ids_of(1, 3))
    assert index.count() == 0
    assert index.search("c", "word", 5) == []
    index.add("c", ids_of(2), ["word again"])
    assert ids_found(index.search("c", "word", 5)) == [2]


def test_an_id_may_go_and_come_back_before_anyone_searches(index: LexicalIndex) -> None:
    index.add("c", ids_of(1, 2), ["one", "two"])
    index.remove("c", ids_of(1))
    index.add("c", ids_of(1), ["three"])
    assert ids_found(index.search("c", "one three", 5)) == [1]
    index.add("c", ids_of(1), ["four"])
    index.remove("c", ids_of(1))
    assert index.search("c", "one three four", 5) == []


def test_ties_go_to_the_smaller_id(index: LexicalIndex) -> None:
    ids = np.random.default_rng(1).permutation(500).astype(np.int64)
    for start in range(0, 500, 100):
        index.add("c", ids[start : start + 100], ["the same text"] * 100)
    index.add("c", ids_of(900), ["the same same text"])
    assert ids_found(index.search("c", "same", 7)) == [900, 0, 1, 2, 3, 4, 5]


def test_ids_keep_all_their_digits(index: LexicalIndex) -> None:
    largest = 2**53 - 1
    index.add("c", ids_of(0, largest - 1, largest), ["zero", "last but one", "last"])
    assert ids_found(index.search("c", "last", 5)) == [largest, largest - 1]
    index.remove("c", ids_of(largest))
    assert ids_found(index.search("c", "last", 5)) == [largest - 1]


def test_a_search_can_be_limited_to_some_ids(index: LexicalIndex) -> None:
    index.add("c", np.arange(300), ["word"] * 100 + ["word and more"] * 200)
    whole = {hit.chunk_id: hit.score for hit in index.search("c", "word", 300)}
    hits = index.search("c", "word", 3, within=ids_of(250, 299, 7_000, 120, 110, 299))
    assert hits == [Hit(chunk_id, whole[chunk_id]) for chunk_id in (110, 120, 250)]
    assert index.search("c", "word", 3, within=ids_of()) == []
    assert index.search("c", "word", 3, within=ids_of(7_000)) == []


def test_collections_are_apart_in_rows_and_statistics(index: LexicalIndex) -> None:
    for number, name in enumerate(ODD_NAMES):
        index.add(name, ids_of(number, 100 + number), ["alpha beta", "beta"])
    alone = index.search("a", "alpha beta", 5)
    assert ids_found(alone) == [0, 100]
    index.add("b", np.arange(1_000, 1_500), ["alpha"] * 500)
    assert index.search("a", "alpha beta", 5) == alone
    assert index.count() == 2 * len(ODD_NAMES) + 500
    index.remove("A", ids_of(*range(200)))
    assert index.search("a", "alpha beta", 5) == alone


def test_bad_input_is_refused_before_anything_changes(index: LexicalIndex) -> None:
    index.add("c", ids_of(1), ["one"])
    refused: list[tuple[NDArray[np.int64], list[str]]] = [
        (ids_of(1, 2), ["two"]),
        (ids_of(1, 1), ["two", "two"]),
        (ids_of(1, -1), ["two", "two"]),
        (ids_of(1, 2**53), ["two", "two"]),
        (np.array([1.0]), ["two"]),
    ]
    for ids, texts in refused:
        with pytest.raises(ValueError):
            index.add("c", ids, texts)
    with pytest.raises(ValueError):
        index.remove("c", np.array([1.5]))
    with pytest.raises(ValueError):
        index.search("c", "one", 0)
    with pytest.raises(ValueError):
        index.search("c", "one", 1, within=np.array([1.5]))
    with pytest.raises(ValueError):
        index.mark_applied(-1)
    assert ids_found(index.search("c", "one two", 5)) == [1]


def test_a_mark_is_kept_until_a_reset(index: LexicalIndex) -> None:
    index.add("c", ids_of(1), ["one"])
    index.mark_applied(7)
    assert index.applied_seq() == 7
    index.reset()
    assert index.applied_seq() == index.count() == 0
    assert index.search("c", "one", 5) == []


def test_threads_may_search_while_another_writes(index: LexicalIndex) -> None:
    index.add("c", ids_of(0), ["needle"])

    def search(_: int) -> list[int]:
        return ids_found(index.search("c", "needles --no-act", 2))

    with ThreadPoolExecutor(4) as threads:
        answers = threads.map(search, range(60))
        for start in range(1, 601, 20):
            index.add("c", np.arange(start, start + 20), [f"hay {number}" for number in range(20)])
            index.remove("c", np.arange(start, start + 20, 3))
        assert list(answers) == [[0]] * 60
    assert index.count() == 1 + 30 * 13
