"""The stages of retrieval and its filters, over HTTP, on the api service in this process with the hashing encoder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from services.api.app import create_app
from services.api.fuse import fuse
from services.api.resources import ApiResources, open_resources
from services.core import chunks
from services.core.catalog import Document
from services.core.classifier import OverlapClassifier
from services.core.encoder import HashingEncoder
from services.core.telemetry import Telemetry
from tests import samples
from tests.calls import events, problem_of
from tests.weightless import weightless

TOOLS = """The option --no-act shows what would be done
The option --yes answers every question
Simulate an installation before it is done
Remove a package and what it needs
Acting on a package without asking"""
FILES = """File systems are listed in /etc/fstab
The disks of a machine are mounted at start
A file system may be mounted without being listed"""
QUERY = "the option --no-act of a package"


@contextmanager
def opened(folder: Path, **more: Any) -> Iterator[tuple[ApiResources, TestClient]]:
    settings = weightless(folder, **{"rerank_depth": 0} | more)
    with open_resources(settings, Telemetry()) as resources, TestClient(create_app(settings, resources)) as http:
        yield resources, http


def publish(resources: ApiResources, text: str, collection: str = "default") -> Document:
    return samples.publish(resources.catalog, text, collection, encoder=resources.encoder)


def search(http: TestClient, query: str, k: int = 10, **more: Any) -> list[dict[str, Any]]:
    response = http.post("/v1/search", json={"query": query, "k": k, **more})
    assert response.status_code == 200, response.text
    return list(response.json()["results"])


def cosine(query: str, text: str) -> float:
    rows = HashingEncoder().encode([query, "Part > Section\n" + text])
    return float(rows[0] @ rows[1])


def ids(results: list[dict[str, Any]]) -> list[int]:
    return [result["chunk_id"] for result in results]


# Stages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["dense", "lexical", "hybrid"])
def test_a_score_is_the_cosine_whatever_stage_found_the_passage(tmp_path: Path, stage: str) -> None:
    with opened(tmp_path, retrieval=stage) as (resources, http):
        publish(resources, TOOLS)
        for result in search(http, QUERY):
            assert result["score"] == pytest.approx(cosine(QUERY, result["text"]), abs=2e-6)
            assert result["ranks"]
            assert result["ranks"].keys() <= ({"dense", "lexical"} if stage == "hybrid" else {stage})


def test_each_stage_alone_ranks_as_it_does_in_the_fusion(tmp_path: Path) -> None:
    with opened(tmp_path, retrieval="dense") as (resources, http):
        publish(resources, TOOLS)
        publish(resources, FILES)
        dense = ids(search(http, QUERY))
    with opened(tmp_path, retrieval="lexical") as (_, http):
        lexical = ids(search(http, QUERY))
    assert len(dense) == 8 and len(lexical) < 8
    weights = {"fusion_dense_weight": 1.0, "fusion_lexical_weight": 3.0, "fusion_k0": 2.0}
    with opened(tmp_path, retrieval="hybrid", **weights) as (_, http):
        results = search(http, QUERY)
    expected = list(fuse({"dense": dense, "lexical": lexical}, {"dense": 1.0, "lexical": 3.0}, 2.0))
    assert ids(results) == expected
    assert expected != dense
    for result in results:
        assert result["ranks"]["dense"] == dense.index(result["chunk_id"]) + 1
        if "lexical" in result["ranks"]:
            assert result["ranks"]["lexical"] == lexical.index(result["chunk_id"]) + 1


def test_the_first_passages_are_read_and_ranked_anew(tmp_path: Path) -> None:
    with opened(tmp_path, retrieval="dense") as (resources, http):
        publish(resources, TOOLS)
        publish(resources, FILES)
        dense = ids(search(http, QUERY))
    weights = {"fusion_dense_weight": 1.0, "fusion_rerank_weight": 5.0}
    with opened(tmp_path, retrieval="dense", rerank_depth=3, **weights) as (_, http):
        results = search(http, QUERY)
    read = {result["chunk_id"]: result["sufficiency"] for result in results if "rerank" in result["ranks"]}
    assert set(read) == set(dense[:3])
    for result in results:
        if result["chunk_id"] not in read:
            assert result["sufficiency"] is None
            continue
        [judged] = OverlapClassifier().classify([(QUERY, "Part > Section\n" + result["text"])])
        assert result["sufficiency"] == pytest.approx(judged.scores["sufficient"], abs=1e-6)
    order = sorted(read, key=lambda item: (-read[item], item))
    expected = list(fuse({"dense": dense, "rerank": order}, {"dense": 1.0, "rerank": 5.0}, 10.0))
    assert ids(results) == expected != dense


def test_what_a_passage_is_worth_is_a_share_of_the_most_there_is(tmp_path: Path) -> None:
    weights = {"fusion_dense_weight": 2.0, "fusion_lexical_weight": 1.0}
    with opened(tmp_path, retrieval="hybrid", **weights) as (resources, _):
        publish(resources, TOOLS)
        publish(resources, FILES)
        found = resources.live.retriever.search("default", QUERY, 8)
    assert [*found.relevance] == [passage.chunk_id for passage in found.passages]
    for item, ranks in found.ranks.items():
        of_most = (2 * 11 / (10 + ranks["dense"]) + (11 / (10 + ranks["lexical"]) if "lexical" in ranks else 0)) / 3
        assert found.relevance[item] == pytest.approx(of_most)


def test_a_passage_that_only_its_words_have_found_has_its_score_too(tmp_path: Path) -> None:
    """Each ranking gives one passage, and they differ: the one by words has no cosine from the dense search."""
    query, near, named = (
        "option option --no-act",
        "option option",
        "one of many things, --no-act, in a long line of words",
    )
    weights = {"fusion_dense_weight": 1.0, "fusion_lexical_weight": 2.0}
    with opened(tmp_path, retrieval="hybrid", fusion_depth=1, **weights) as (resources, http):
        publish(resources, "\n".join([near, named, *["option of a package"] * 8]))
        [first] = search(http, query, k=1)
    assert (first["text"], first["ranks"]) == (named, {"lexical": 1})
    assert first["score"] == pytest.approx(cosine(query, named), abs=2e-6)
    assert first["score"] < cosine(query, near)


def test_words_find_nothing_where_none_is_shared(tmp_path: Path) -> None:
    with opened(tmp_path, retrieval="lexical") as (resources, http):
        publish(resources, TOOLS)
        assert search(http, "elephants") == []
        answer = http.post("/v1/answers", json={"question": "elephants"}).json()
        assert answer["abstained"] is True


@pytest.mark.parametrize("stage", ["dense", "lexical", "hybrid"])
def test_a_deleted_document_is_gone_at_once_and_others_fill_its_place(tmp_path: Path, stage: str) -> None:
    with opened(tmp_path, retrieval=stage) as (resources, http):
        doomed = publish(resources, TOOLS)
        kept = publish(resources, TOOLS + "\nOne more option of a package")
        assert len(search(http, QUERY, k=4)) == 4
        resources.catalog.delete_document(doomed.id)
        results = search(http, QUERY, k=4)
        assert {result["document_id"] for result in results} == {kept.id}
        assert len(results) == 4


# Filters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["dense", "lexical", "hybrid"])
def test_a_filter_is_part_of_the_search_and_not_of_what_it_found(tmp_path: Path, stage: str) -> None:
    """Many better passages elsewhere do not keep those that the filter lets through from being found."""
    with opened(tmp_path, retrieval=stage, fusion_depth=3) as (resources, http):
        for number in range(20):
            publish(resources, f"{QUERY}\n{QUERY} number {number}")
        wanted = publish(resources, TOOLS)
        assert all(result["document_id"] != wanted.id for result in search(http, QUERY, k=10))
        only = {"documents": [wanted.id]}
        assert {result["document_id"] for result in search(http, QUERY, k=3, filter=only)} == {wanted.id}
        assert len(search(http, QUERY, k=3, filter=only)) == 3
        pages = search(http, QUERY, k=10, filter=only | {"pages": {"from": 2, "to": 4}})
        assert pages and {result["page"] for result in pages} <= {2, 3, 4}
        assert {result["page"] for result in search(http, QUERY, k=10, filter={"pages": {"from": 5}})} == {5}
        last = search(http, QUERY, k=30, filter={"pages": {"to": 1}})
        assert len(last) == 21 and {result["page"] for result in last} == {1}
        assert search(http, QUERY, filter={"sections": ["Elsewhere"]}) == []
        assert len(search(http, QUERY, k=3, filter={"sections": ["Elsewhere", "Section"]} | only)) == 3


def test_an_answer_reads_only_what_the_filter_lets_through(tmp_path: Path) -> None:
    with opened(tmp_path, retrieval="hybrid") as (resources, http):
        publish(resources, TOOLS)
        wanted = publish(resources, FILES)
        body = {"question": QUERY, "k": 5, "filter": {"documents": [wanted.id], "pages": {"from": 2}}}
        with http.stream("POST", "/v1/answers", json=body, headers={"Accept": "text/event-stream"}) as response:
            passages = next(data for name, data in events(response) if name == "passages")
        assert {(passage["document_id"], passage["page"]) for passage in passages} == {(wanted.id, 2), (wanted.id, 3)}
        answer = http.post("/v1/answers", json=body).json()
        read = http.get(f"/v1/answers/{answer['id']}").json()["passages"]
        assert set(read) == {passage["chunk_id"] for passage in passages}


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"documents": []},
        {"documents": ["no id"]},
        {"documents": "doc"},
        {"documents": ["x"] * 101},
        {"pages": {}},
        {"pages": {"from": 0}},
        {"pages": {"from": 3, "to": 2}},
        {"pages": {"from": 1, "to": 2**31}},
        {"pages": {"from": 1, "until": 2}},
        {"pages": [1, 2]},
        {"sections": []},
        {"sections": [""]},
        {"author": ["x"]},
        [],
    ],
)
def test_a_bad_filter_is_refused(tmp_path: Path, bad: Any) -> None:
    with opened(tmp_path) as (_, http):
        for path, name in (("/v1/search", "query"), ("/v1/answers", "question")):
            found = problem_of(http.post(path, json={name: "x", "filter": bad}), 422, "invalid_request")
            assert "filter" in found["detail"]


def test_a_document_that_is_not_in_the_collection_is_said_not_to_be_there(tmp_path: Path) -> None:
    with opened(tmp_path) as (resources, http):
        elsewhere = publish(resources, TOOLS, "other")
        here = publish(resources, FILES)
        for unknown in ("doc_0", elsewhere.id):
            body = {"query": "x", "filter": {"documents": [here.id, unknown]}}
            assert unknown in problem_of(http.post("/v1/search", json=body), 404, "not_found")["detail"]
            body = {"question": "x", "filter": body["filter"]}
            problem_of(http.post("/v1/answers", json=body), 404, "not_found")


# Diversity ------------------------------------------------------------------------------------------------------


def test_diversity_puts_a_repeated_passage_after_others(tmp_path: Path) -> None:
    repeated = "\n".join([QUERY] * 4 + ["the option --yes of a program", "packages and their options"])
    with opened(tmp_path, retrieval="hybrid") as (resources, http):
        publish(resources, repeated)
        assert [result["text"] for result in search(http, QUERY, k=3)] == [QUERY] * 3
    with opened(tmp_path, retrieval="hybrid", mmr_trade_off=0.5) as (_, http):
        assert [result["text"] for result in search(http, QUERY, k=3)].count(QUERY) == 1
        assert search(http, QUERY, k=3)[0]["text"] == QUERY
        assert search(http, "anything", collection="empty") == []
    with opened(tmp_path, retrieval="hybrid", mmr_trade_off=1.0) as (_, http):
        assert [result["text"] for result in search(http, QUERY, k=3)] == [QUERY] * 3


# Chunks by id ---------------------------------------------------------------------------------------------------


def test_chunks_are_read_by_id_in_any_number(tmp_path: Path) -> None:
    with opened(tmp_path) as (resources, _):
        document = publish(resources, "\n".join(f"line {number}" for number in range(1_200)))
        database = resources.catalog.database
        all_ids, texts = chunks.texts(database, document.id)
        assert texts[7] == "Part > Section\nline 7"
        asked = [*all_ids.tolist(), 10**12]
        assert chunks.existing(database, asked) == set(all_ids.tolist())
        rows = chunks.vectors(database, asked, resources.encoder.id, resources.encoder.dim)
        assert np.array_equal(rows[int(all_ids[1_100])], resources.encoder.encode([texts[1_100]])[0])
        assert len(rows) == 1_200
        assert chunks.vectors(database, asked, "another", resources.encoder.dim) == {}
        assert chunks.texts_of(database, asked) == dict(zip(all_ids.tolist(), texts, strict=True))
