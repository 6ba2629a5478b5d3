"""What an answer or a classification came from, and its replay: the api service in this process, without weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.core.plan import DEFAULT_PLAN
from services.core.prompt import DEFAULT_PROMPT
from services.core.version import git_commit
from tests import samples
from tests.calls import problem_of
from tests.integration.test_classify import opened

TEXT = """The bell is rung every 12 minutes when there is fog.
The lamp is trimmed at nine by the keeper.
Boats are painted in spring, and never in autumn."""
ASKED = {"question": "How often is the bell rung in fog?", "k": 2, "max_tokens": 40, "stop": ["zebra"], "seed": 3}
PAIR = {"text": "Is the bell rung in fog?", "text_pair": "The bell is rung every 12 minutes when there is fog."}


def test_an_answer_is_traced_to_every_part(tmp_path: Path) -> None:
    with opened(tmp_path) as (resources, http):
        document = samples.publish(resources.catalog, TEXT, encoder=resources.encoder)
        answer = http.post("/v1/answers", json=ASKED).json()
        traced = http.get(f"/v1/lineage/{answer['id']}").json()
    assert (traced["kind"], traced["id"], traced["created_at"][-6:]) == ("answer", answer["id"], "+00:00")
    assert (traced["release"], traced["data_sha256"], traced["index_seq"]) == (None, None, 1)
    models = {"encoder": "hashing-384", "generator": "scripted", "adapter": None, "classifier": "sufficiency-overlap"}
    assert traced["models"] == models | {"classifier_base": None}
    assert traced["prompt"]["id"] == DEFAULT_PROMPT.id
    assert traced["prompt"]["words"]["user"] == DEFAULT_PROMPT.user
    assert traced["decoding"].items() >= {"max_tokens": 40, "stop": ["zebra"], "seed": 3, "temperature": 0.0}.items()
    assert traced["retrieval"] == DEFAULT_PLAN.model_dump()
    assert (traced["answers"], traced["thresholds"], traced["git_commit"]) == ("generated", {}, git_commit())
    assert traced["request"] == {"question": ASKED["question"], "collection": "default", "k": 2, "filter": None}
    assert traced["outcome"]["answer"] == answer["answer"]
    assert traced["outcome"]["citations"] == answer["citations"]
    first, second = traced["passages"]
    assert (first["document_id"], first["page"], first["text"]) == (document.id, 1, TEXT.splitlines()[0])
    assert second["page"] in (2, 3)


def test_a_replay_of_an_unchanged_world_is_the_same(tmp_path: Path) -> None:
    with opened(tmp_path) as (resources, http):
        samples.publish(resources.catalog, TEXT, encoder=resources.encoder)
        wanted = {"filter": {"pages": {"to": 2}, "sections": ["Section"]}}
        for more in ({}, wanted):
            answer = http.post("/v1/answers", json=ASKED | more).json()
            replayed = http.post(f"/v1/lineage/{answer['id']}/replay").json()
            again = http.get(f"/v1/lineage/{replayed['replay']}").json()
            assert (replayed["same"], replayed["sampled"], replayed["mode"]) == (True, False, None)
            assert replayed["lineage"] == {}
            assert [piece["op"] for piece in replayed["text"]] == ["same"]
            assert replayed["citations"] == {"same": len(answer["citations"]), "gone": [], "new": []}
            assert replayed["passages"]["gone"] == replayed["passages"]["new"] == []
            assert again["replay_of"] == answer["id"] != again["id"]
            assert again["request"] == http.get(f"/v1/lineage/{answer['id']}").json()["request"]
            assert http.get(f"/v1/answers/{again['id']}").json()["replay_of"] == answer["id"]


def test_a_replay_tells_that_the_index_moved_on_and_what_that_changed(tmp_path: Path) -> None:
    with opened(tmp_path) as (resources, http):
        old = samples.publish(resources.catalog, TEXT, encoder=resources.encoder)
        answer = http.post("/v1/answers", json=ASKED).json()
        resources.catalog.delete_document(old.id)
        text = "How often the bell is rung in fog: every 15 minutes, by day and by night."
        new = samples.publish(resources.catalog, text, encoder=resources.encoder)
        replayed = http.post(f"/v1/lineage/{answer['id']}/replay").json()
        traced = http.get(f"/v1/lineage/{answer['id']}").json()
    assert replayed["same"] is False
    assert replayed["lineage"] == {"index_seq": {"before": 1, "now": 3}}
    assert {piece["op"] for piece in replayed["text"]} >= {"gone", "new"}
    assert [citation["document_id"] for citation in replayed["citations"]["gone"]] == [old.id]
    assert [citation["document_id"] for citation in replayed["citations"]["new"]] == [new.id]
    assert (len(replayed["passages"]["gone"]), len(replayed["passages"]["new"])) == (2, 1)
    assert [passage["text"] for passage in traced["passages"]] == [None, None], "deleted is deleted"
    assert traced["outcome"]["answer"] == answer["answer"]


def test_a_replay_tells_which_settings_are_others(tmp_path: Path) -> None:
    with opened(tmp_path) as (resources, http):
        samples.publish(resources.catalog, TEXT, encoder=resources.encoder)
        answer = http.post("/v1/answers", json=ASKED).json()
    with opened(tmp_path, answers="extractive", rerank_depth=0) as (_, http):
        replayed = http.post(f"/v1/lineage/{answer['id']}/replay").json()
    assert replayed["lineage"].keys() == {"answers", "retrieval"}
    assert replayed["lineage"]["answers"] == {"before": "generated", "now": "extractive"}
    assert replayed["mode"] == {"before": "generated", "now": "extractive"}
    assert replayed["same"] is False


def test_sampling_without_a_seed_is_told(tmp_path: Path) -> None:
    with opened(tmp_path) as (_, http):
        for more, sampled in (({"seed": None}, True), ({"seed": 4}, False)):
            answer = http.post("/v1/answers", json={"question": "x", "temperature": 1.0} | more).json()
            assert http.post(f"/v1/lineage/{answer['id']}/replay").json()["sampled"] is sampled


def test_a_classification_is_traced_and_replayed(tmp_path: Path) -> None:
    with opened(tmp_path) as (_, http):
        found = http.post("/v1/classify", json={"model": "sufficiency-overlap", "inputs": [PAIR, "x"]}).json()
        traced = http.get(f"/v1/lineage/{found['lineage']['id']}").json()
        replayed = http.post(f"/v1/lineage/{traced['id']}/replay").json()
        again = http.get(f"/v1/lineage/{replayed['replay']}").json()
    assert (traced["kind"], traced["models"]["classifier"]) == ("classification", "sufficiency-overlap")
    assert (traced["index_seq"], traced["passages"], traced["prompt"], traced["decoding"]) == (None, [], None, None)
    assert traced["request"] == {"model": "sufficiency", "inputs": [PAIR, {"text": "x", "text_pair": None}]}
    assert traced["outcome"]["results"] == found["results"] == again["outcome"]["results"]
    assert (replayed["same"], replayed["lineage"], replayed["results"]) == (True, {}, [])
    assert (again["replay_of"], traced["replay_of"]) == (traced["id"], None)


def test_a_classification_that_comes_out_otherwise_is_told_by_input_and_label(tmp_path: Path) -> None:
    with opened(tmp_path) as (resources, http):
        found = http.post("/v1/classify", json={"model": "sufficiency", "inputs": ["x", PAIR]}).json()
        # As another classifier would have left it in the log.
        rewrite(resources, found, lambda body: body["results"][1]["scores"].update(sufficient=0.0, insufficient=1.0))
        rewrite(resources, found, lambda body: body["lineage"].update(release="old@0123456789ab"))
        replayed = http.post(f"/v1/lineage/{found['lineage']['id']}/replay").json()
    (result,) = replayed["results"]
    assert (replayed["same"], result["index"], result["label"]) == (False, 1, None)
    now = found["results"][1]["scores"]["sufficient"]
    assert result["scores"]["sufficient"] == {"before": 0.0, "now": now}
    assert replayed["lineage"] == {"release": {"before": "old@0123456789ab", "now": None}}


def rewrite(resources: Any, found: dict[str, Any], change: Any) -> None:
    from sqlalchemy import update

    from services.core.lineage import logged
    from services.core.tables import classifications

    body = logged(resources.catalog.database, found["lineage"]["id"]).body
    change(body)
    with resources.catalog.database.write() as connection:
        where = classifications.c.id == found["lineage"]["id"]
        connection.execute(update(classifications).where(where).values(body=body))


# What cannot be replayed ----------------------------------------------------------------------------------------


def test_an_unknown_id_is_not_found(tmp_path: Path) -> None:
    with opened(tmp_path) as (_, http):
        for unknown in ("ans_unknown", "cls_unknown", "x"):
            problem_of(http.get(f"/v1/lineage/{unknown}"), 404, "not_found")
            problem_of(http.post(f"/v1/lineage/{unknown}/replay"), 404, "not_found")


def test_texts_that_were_not_kept_cannot_be_replayed_but_are_traced(tmp_path: Path) -> None:
    with opened(tmp_path, classification_log_chars=5) as (_, http):
        found = http.post("/v1/classify", json={"model": "sufficiency", "inputs": ["123456"]}).json()
        path = f"/v1/lineage/{found['lineage']['id']}"
        assert http.get(path).json()["request"]["inputs"] is None
        refused = problem_of(http.post(f"{path}/replay"), 409, "conflict")
    assert "CAPSTONE_CLASSIFICATION_LOG_CHARS" in refused["detail"]


def test_a_classifier_that_is_gone_cannot_be_asked_again(tmp_path: Path) -> None:
    with opened(tmp_path) as (resources, http):
        found = http.post("/v1/classify", json={"model": "sufficiency", "inputs": ["x"]}).json()
        rewrite(resources, found, lambda body: body.update(model="topics"))
        refused = problem_of(http.post(f"/v1/lineage/{found['lineage']['id']}/replay"), 409, "conflict")
    assert "'topics'" in refused["detail"]


def test_a_question_about_a_deleted_document_cannot_be_asked_again(tmp_path: Path) -> None:
    with opened(tmp_path) as (resources, http):
        document = samples.publish(resources.catalog, TEXT, encoder=resources.encoder)
        answer = http.post("/v1/answers", json=ASKED | {"filter": {"documents": [document.id]}}).json()
        assert http.post(f"/v1/lineage/{answer['id']}/replay").json()["same"] is True
        resources.catalog.delete_document(document.id)
        refused = problem_of(http.post(f"/v1/lineage/{answer['id']}/replay"), 409, "conflict")
    assert document.id in refused["detail"]


@pytest.mark.parametrize("missing", [("k", "filter", "prompt"), ("k", "filter", "prompt", "replay_of", "mode")])
def test_an_answer_logged_before_is_traced_as_far_as_it_goes(tmp_path: Path, missing: tuple[str, ...]) -> None:
    with opened(tmp_path) as (resources, http):
        answer = http.post("/v1/answers", json={"question": "x"}).json()
        body = resources.catalog.answer(answer["id"])
        old = {name: value for name, value in body.items() if name not in missing} | {"id": "ans_old"}
        old["lineage"] = {
            name: value for name, value in old["lineage"].items() if name not in ("answers", "thresholds")
        }
        resources.catalog.save_answer("default", old)
        traced = http.get("/v1/lineage/ans_old").json()
        assert traced["prompt"] == {"id": DEFAULT_PROMPT.id, "words": None}
        assert (traced["answers"], traced["request"]["question"]) == (None, "x")
        problem_of(http.post("/v1/lineage/ans_old/replay"), 409, "conflict")
