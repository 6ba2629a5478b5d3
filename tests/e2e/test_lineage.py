"""Lineage and replay over HTTP, with the parts that need no weights."""

from __future__ import annotations

import httpx

from tests.calls import ingest, problem_of
from tests.papers import story, story_page

DOCUMENTED = (
    "id kind created_at release models index_seq passages prompt thresholds decoding retrieval answers temperature "
    "data_sha256 git_commit request outcome replay_of shadow"
)


def test_an_answer_is_traced_and_replayed_before_and_after_the_index_moved_on(quick: httpx.Client) -> None:
    document = ingest(quick, story("the quarry", 4), "quarry.pdf", "quarry")
    body = {"question": story_page("the quarry", 3), "collection": "quarry", "k": 2}
    answer = quick.post("/v1/answers", json=body).raise_for_status().json()
    traced = quick.get(f"/v1/lineage/{answer['lineage']['id']}").raise_for_status().json()
    assert traced.keys() == set(DOCUMENTED.split())
    lineage = answer["lineage"]
    assert traced["models"].items() >= {name: lineage[name] for name in ("encoder", "generator", "adapter")}.items()
    for name in ("release", "index_seq", "decoding", "retrieval", "data_sha256", "git_commit"):
        assert traced[name] == lineage[name]
    assert traced["prompt"]["id"] == lineage["prompt"]
    assert {passage["document_id"] for passage in traced["passages"]} == {document["id"]}

    replayed = quick.post(f"/v1/lineage/{answer['id']}/replay").raise_for_status().json()
    assert (replayed["same"], replayed["lineage"]) == (True, {})
    assert quick.delete(f"/v1/documents/{document['id']}").status_code == 204
    replayed = quick.post(f"/v1/lineage/{answer['id']}/replay").raise_for_status().json()
    assert (replayed["same"], replayed["mode"]["now"]) == (False, "abstained")
    assert list(replayed["lineage"]) == ["index_seq"]
    assert len(replayed["citations"]["gone"]) == len(answer["citations"]) > 0


def test_a_classification_is_traced_and_replayed(quick: httpx.Client) -> None:
    body = {"model": "sufficiency", "inputs": [{"text": "Which lamp?", "text_pair": "The blue lamp."}]}
    lineage = quick.post("/v1/classify", json=body).raise_for_status().json()["lineage"]
    traced = quick.get(f"/v1/lineage/{lineage['id']}").raise_for_status().json()
    assert traced.keys() == set(DOCUMENTED.split())
    assert traced["request"] == body
    replayed = quick.post(f"/v1/lineage/{lineage['id']}/replay").raise_for_status().json()
    assert (replayed["kind"], replayed["same"]) == ("classification", True)


def test_an_unknown_lineage_is_not_found(quick: httpx.Client) -> None:
    problem_of(quick.get("/v1/lineage/ans_unknown"), 404, "not_found")
    problem_of(quick.post("/v1/lineage/cls_unknown/replay"), 404, "not_found")
