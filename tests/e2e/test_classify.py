"""POST /v1/classify with the classifier that needs no weights, and every input it refuses."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from tests.calls import problem_of

QUESTION = "Which lamp warns of ice?"
GOOD = "The blue lamp warns of ice on the road."
BAD = "Interest rates rose last quarter."


def classify(http: httpx.Client, *inputs: Any, model: str = "sufficiency") -> dict[str, Any]:
    response = http.post("/v1/classify", json={"model": model, "inputs": list(inputs)})
    return dict(response.raise_for_status().json())


def test_a_classification_has_the_shape_that_is_documented(quick: httpx.Client) -> None:
    answer = classify(quick, {"text": QUESTION, "text_pair": GOOD}, {"text": QUESTION, "text_pair": BAD}, QUESTION)
    assert answer.keys() == {"model", "results", "lineage"}
    assert answer["model"] == "sufficiency"
    good, bad, alone = answer["results"]
    for result in (good, bad, alone):
        assert result.keys() == {"label", "score", "scores", "tokens", "truncated"}
        assert result["scores"].keys() == {"insufficient", "sufficient"}
        assert sum(result["scores"].values()) == pytest.approx(1, abs=1e-5)
        assert result["score"] == result["scores"][result["label"]] == max(result["scores"].values())
        assert result["truncated"] is False
    assert (good["label"], bad["label"], alone["label"]) == ("sufficient", "insufficient", "insufficient")
    assert good["tokens"] > bad["tokens"] > alone["tokens"] > 0


def test_a_classification_names_its_lineage(quick: httpx.Client) -> None:
    lineage, again = (classify(quick, text)["lineage"] for text in ("one", "another"))
    documented = "id release classifier classifier_base data_sha256 temperature git_commit"
    assert lineage.keys() == again.keys() == set(documented.split())
    assert re.fullmatch(r"cls_[0-9a-f]{28}", lineage["id"])
    assert lineage["id"] != again["id"]
    assert lineage | {"id": ""} == again | {"id": ""}, "the same parts"
    assert lineage["classifier"] == "sufficiency-overlap"
    assert lineage["release"] is None and lineage["classifier_base"] is None and lineage["data_sha256"] is None
    answer = quick.post("/v1/answers", json={"question": "x", "collection": "never-used"}).json()
    assert answer["lineage"]["classifier"] == lineage["classifier"]
    assert answer["lineage"]["git_commit"] == lineage["git_commit"]


def test_results_are_in_the_order_of_the_inputs(quick: httpx.Client) -> None:
    inputs = [{"text": QUESTION, "text_pair": GOOD if n % 3 else BAD * n} for n in range(1, 65)]
    together = classify(quick, *inputs)["results"]
    assert together == [classify(quick, one)["results"][0] for one in inputs]


def test_a_classifier_is_found_by_its_id_too(quick: httpx.Client) -> None:
    assert classify(quick, "x", model="sufficiency-overlap")["model"] == "sufficiency"


def test_truncation_is_told_for_each_input(quick: httpx.Client) -> None:
    long, short = classify(
        quick, {"text": QUESTION, "text_pair": "ice " * 2_000}, {"text": QUESTION, "text_pair": "ice"}
    )["results"]
    assert (long["truncated"], short["truncated"]) == (True, False)
    assert long["tokens"] == 512 > short["tokens"]


def test_the_classifier_is_listed_among_the_models(quick: httpx.Client) -> None:
    (listed,) = [model for model in quick.get("/v1/models").json()["data"] if model["role"] == "classifier"]
    assert (listed["id"], listed["object"], listed["weights"]) == ("sufficiency", "model", "sufficiency-overlap")
    assert listed["labels"] == ["insufficient", "sufficient"]
    assert quick.get("/v1/models/sufficiency").json() == listed


# What is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["topics", "Sufficiency", "hashing-384", "scripted", "../sufficiency", "x" * 200])
def test_an_unknown_model_is_not_found_and_the_known_ones_are_told(quick: httpx.Client, model: str) -> None:
    refused = quick.post("/v1/classify", json={"model": model, "inputs": ["x"]})
    assert "There are: sufficiency." in problem_of(refused, 404, "not_found")["detail"]


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ([], "inputs"),
        (["x"] * 65, "inputs"),
        ([""], "inputs.0.text"),
        ([" \n\t "], "inputs.0.text"),
        (["x", "y", ""], "inputs.2.text"),
        ([{"text": ""}], "inputs.0.text"),
        ([{"text": "x", "text_pair": ""}], "inputs.0.text_pair"),
        ([{"text": "x", "text_pair": "  "}], "inputs.0.text_pair"),
        ([{"text_pair": "x"}], "inputs.0.text"),
        ([{}], "inputs.0.text"),
        ([{"text": "x", "pair": "y"}], "inputs.0.pair"),
        ([{"text": None}], "inputs.0.text"),
        ([{"text": 1}], "inputs.0.text"),
        ([{"text": ["x"]}], "inputs.0.text"),
        ([1], "inputs.0"),
        ([None], "inputs.0"),
        ([["x", "y"]], "inputs.0"),
        (["x" * 10_001], "inputs.0.text"),
        ([{"text": "x", "text_pair": "y" * 10_001}], "inputs.0.text_pair"),
        ("x", "inputs"),
        ({"text": "x"}, "inputs"),
        (None, "inputs"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_input_is_refused_by_its_place(quick: httpx.Client, inputs: object, field: str) -> None:
    body = problem_of(
        quick.post("/v1/classify", json={"model": "sufficiency", "inputs": inputs}), 422, "invalid_request"
    )
    assert field in {error["field"] for error in body["errors"]}, body


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": ["x"]},
        {"model": "sufficiency"},
        {"model": "", "inputs": ["x"]},
        {"model": 1, "inputs": ["x"]},
        {"model": "x" * 201, "inputs": ["x"]},
        {"model": "sufficiency", "inputs": ["x"], "top_k": 1},
        {"model": "sufficiency", "input": ["x"]},
    ],
    ids=str,
)
def test_a_bad_request_is_refused(quick: httpx.Client, body: dict[str, Any]) -> None:
    problem_of(quick.post("/v1/classify", json=body), 422, "invalid_request")


def test_a_body_that_is_no_json_is_refused(quick: httpx.Client) -> None:
    for body in (b"", b"{", b"[]", b'"x"', b"\xff\xfe", b'{"model": NaN, "inputs": ["x"]}'):
        problem_of(quick.post("/v1/classify", content=body), 422, "invalid_request")


def test_other_methods_are_not_allowed(quick: httpx.Client) -> None:
    problem_of(quick.get("/v1/classify"), 405, "method_not_allowed")


def test_the_largest_request_is_answered(quick: httpx.Client) -> None:
    """64 texts of 10,000 characters."""
    results = classify(quick, *["lamp " * 2_000] * 64)["results"]
    assert len(results) == 64 and all(result["truncated"] for result in results)
