"""Search and answers, with the real models on the example document; and how the generator is shared."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.calls import SSE, client_of, events, problem_of, search
from tests.server import Server

QUESTION = "What is the purpose of /srv?"
CHAT: dict[str, Any] = {
    "model": "SmolLM2-135M-Instruct",
    "messages": [{"role": "user", "content": "Tell a very long story about a lighthouse keeper and the sea."}],
    "stream": True,
}


def ask(http: httpx.Client, question: str = QUESTION, **more: Any) -> dict[str, Any]:
    """An answer; waits while the generator is still held by a client that has just hung up."""
    response = when_free(http, {"question": question, "k": 2, "max_tokens": 40, **more})
    assert response.status_code == 200, response.text
    return dict(response.json())


def when_free(http: httpx.Client, body: dict[str, Any], within_s: float = 20.0) -> httpx.Response:
    deadline = time.monotonic() + within_s
    while (response := http.post("/v1/answers", json=body)).status_code == 429 and time.monotonic() < deadline:
        time.sleep(0.1)
    return response


# Search ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "page"),
    [
        ("Where do host-specific configuration files belong?", 14),
        ("What is the purpose of /srv?", 23),
        ("Are files in /tmp preserved between invocations of a program?", 24),
        ("Where should print spool files be queued?", 44),
        ("Which directory holds process and kernel information as a virtual filesystem?", 47),
    ],
)
def test_the_right_page_is_among_the_first_five(
    real: httpx.Client, manual: dict[str, Any], question: str, page: int
) -> None:
    results = search(real, question, k=5)
    assert len(results) == 5
    assert page in {result["page"] for result in results if result["document_id"] == manual["id"]}


def test_search_has_the_shape_that_is_documented(real: httpx.Client, manual: dict[str, Any]) -> None:
    results = search(real, QUESTION, k=7)
    assert len(results) == 7
    documented = "document_id document_name page chunk_id section text score ranks sufficiency boxes"
    for result in results:
        assert set(documented.split()) <= result.keys()
        assert {"dense", "rerank"} & result["ranks"].keys() and 0 <= result["sufficiency"] <= 1
        assert (result["document_id"], result["document_name"]) == (manual["id"], "fhs-3.0.pdf")
        assert -1 <= result["score"] <= 1
        assert all(isinstance(title, str) for title in result["section"])
        assert result["boxes"] and all(box.keys() == {"left", "top", "right", "bottom"} for box in result["boxes"])
        page = real.get(f"/v1/documents/{manual['id']}/pages/{result['page']}").json()
        assert page["text"][result["char_start"] : result["char_end"]] == result["text"]
    assert len({result["chunk_id"] for result in results}) == 7


@pytest.mark.parametrize("body", [{}, {"query": ""}, {"query": " "}, {"query": "x", "k": 0}, {"query": "x", "k": 101}])
def test_a_bad_search_is_refused(quick: httpx.Client, body: dict[str, Any]) -> None:
    problem_of(quick.post("/v1/search", json=body), 422, "invalid_request")


def test_a_misspelt_member_is_refused(quick: httpx.Client) -> None:
    for path, body in (("/v1/search", {"query": "x", "top": 3}), ("/v1/answers", {"question": "x", "max_token": 3})):
        problem_of(quick.post(path, json=body), 422, "invalid_request")


def test_an_empty_collection_gives_no_results(quick: httpx.Client) -> None:
    assert search(quick, "anything", "never-used") == []


# Answers --------------------------------------------------------------------------------------------------------


def assert_verified(http: httpx.Client, answer: dict[str, Any]) -> None:
    """Each quote is what the cited page says at the cited place, and its boxes surround the words of it."""
    for citation in answer["citations"]:
        documented = "document_id document_name page quote char_start char_end boxes verified"
        assert citation.keys() == set(documented.split())
        page = http.get(f"/v1/documents/{citation['document_id']}/pages/{citation['page']}").json()
        assert citation["verified"] is True
        assert page["text"][citation["char_start"] : citation["char_end"]] == citation["quote"] != ""
        words = [
            word["box"]
            for word in page["words"]
            if citation["char_start"] <= word["char_start"] and word["char_end"] <= citation["char_end"]
        ]
        assert words and citation["boxes"]
        for word in words:
            middle = (word["top"] + word["bottom"]) / 2
            assert any(
                box["left"] - 1 <= word["left"] and word["right"] <= box["right"] + 1
                for box in citation["boxes"]
                if box["top"] <= middle <= box["bottom"]
            ), (word, citation["boxes"])


def test_an_answer_has_the_shape_that_is_documented_and_is_logged(real: httpx.Client, manual: dict[str, Any]) -> None:
    answer = ask(real)
    documented = "id answer mode abstained answerability citations nearest lineage usage timings_ms"
    assert set(documented.split()) <= answer.keys()
    assert (answer["abstained"], answer["nearest"]) == (False, [])
    assert answer["mode"] in ("generated", "extractive")
    assert 0 < answer["answerability"] <= 1
    assert answer["answer"].strip() == answer["answer"] != ""
    assert answer["citations"]
    assert_verified(real, answer)
    assert {citation["document_id"] for citation in answer["citations"]} == {manual["id"]}
    lineage, usage = answer["lineage"], answer["usage"]
    documented = (
        "id index_seq retrieval encoder generator adapter classifier prompt release data_sha256 thresholds answers "
        "decoding git_commit"
    )
    assert lineage.keys() == set(documented.split())
    assert lineage["id"] == answer["id"]
    models = {model["role"]: model for model in real.get("/v1/models").json()["data"]}
    generator, encoder = models["generator"], models["encoder"]
    assert (lineage["generator"], lineage["encoder"]) == (generator["weights"], encoder["weights"])
    assert "@" in lineage["encoder"] and "@" in lineage["generator"]
    assert (lineage["adapter"], lineage["release"]) == (generator["adapter"], generator["release"])
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 0 < usage["completion_tokens"] <= 40 < usage["prompt_tokens"]
    assert 0 < answer["timings_ms"]["first_token"] < answer["timings_ms"]["total"]

    logged = real.get(f"/v1/answers/{answer['id']}").json()
    assert logged.items() >= answer.items()
    assert (logged["question"], logged["collection"], len(logged["passages"])) == (QUESTION, "default", 2)


def test_an_answer_streams_in_the_order_that_is_documented(real: httpx.Client, manual: dict[str, Any]) -> None:
    body = {"question": "What does /usr/share/man hold?", "k": 2, "max_tokens": 60}
    with real.stream("POST", "/v1/answers", json=body, headers=SSE) as response:
        told = list(events(response))
    names = [name for name, _ in told]
    deltas, citations = names.count("delta"), names.count("citation")
    assert names == ["passages", *["delta"] * deltas, *["citation"] * citations, "final"]
    assert deltas > 1 and citations > 0
    passages, final = told[0][1], told[-1][1]
    assert [passage["document_id"] for passage in passages] == [manual["id"]] * 2
    assert not final["abstained"]
    said = "".join(data["text"] for name, data in told if name == "delta")
    quotes = " ".join(" ".join(citation["quote"].split()) for citation in final["citations"])
    assert final["answer"].split() == {"generated": said, "extractive": quotes}[final["mode"]].split()
    assert [data for name, data in told if name == "citation"] == final["citations"]
    assert_verified(real, final)
    assert real.get(f"/v1/answers/{final['id']}").json().items() >= final.items()


def test_a_question_to_an_empty_collection_is_not_answered(real: httpx.Client) -> None:
    answer = ask(real, collection="never-used")
    assert (answer["abstained"], answer["citations"], answer["usage"]["completion_tokens"]) == (True, [], 0)
    assert answer["answer"]
    body = {"question": QUESTION, "collection": "never-used"}
    with real.stream("POST", "/v1/answers", json=body, headers=SSE) as response:
        told = list(events(response))
    assert [name for name, _ in told] == ["passages", "final"]
    assert (told[0][1], told[1][1]["abstained"], told[1][1]["mode"]) == ([], True, "abstained")


@pytest.mark.usefixtures("manual")
def test_a_question_from_another_world_is_not_answered_and_shows_what_came_nearest(real: httpx.Client) -> None:
    answer = ask(real, "How long should a roast leg of lamb rest before carving?", k=3)
    assert (answer["mode"], answer["abstained"], answer["citations"]) == ("abstained", True, [])
    assert answer["usage"]["completion_tokens"] == 0
    assert len(answer["nearest"]) == 3
    assert answer["answerability"] < 0.5


def test_an_unknown_answer_is_not_found(quick: httpx.Client) -> None:
    problem_of(quick.get("/v1/answers/ans_unknown"), 404, "not_found")


# Decoding -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("manual")
def test_the_caller_chooses_the_decoding(real: httpx.Client) -> None:
    def drafted(**more: Any) -> tuple[str, dict[str, Any]]:
        """What the generator said, whatever was made of it; and the answer."""
        body = {"question": QUESTION, "k": 1, "max_tokens": 16} | more
        with real.stream("POST", "/v1/answers", json=body, headers=SSE) as response:
            told = list(events(response))
        return "".join(data["text"] for name, data in told if name == "delta"), told[-1][1]

    greedy, _ = drafted()
    assert drafted()[0] == greedy
    assert drafted(num_beams=2)[0]

    warm = {"temperature": 1.5, "seed": 7}
    sampled, answer = drafted(**warm)
    assert drafted(**warm)[0] == sampled != greedy
    assert answer["lineage"]["decoding"]["seed"] == 7
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}):  # one token is left to choose from, whatever the seed
        first, second = (drafted(temperature=1.5, seed=seed, **narrow)[0] for seed in (1, 2))
        assert first == second

    _, short = drafted(max_tokens=3)
    assert (short["usage"]["completion_tokens"], short["finish_reason"]) == (3, "length")
    word = greedy.split()[3]
    cut, stopped = drafted(stop=[word])
    assert word not in cut
    assert greedy.startswith(cut)
    assert stopped["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "more",
    [
        {"max_tokens": 0},
        {"max_tokens": 1025},
        {"temperature": -0.1},
        {"temperature": 2.1},
        {"temperature": "hot"},
        {"top_k": -1},
        {"top_p": 0},
        {"top_p": 1.1},
        {"num_beams": 0},
        {"num_beams": 9},
        {"num_beams": 2, "temperature": 0.5},
        {"stop": [""]},
        {"stop": ["a"] * 5},
        {"seed": -1},
        {"seed": 2**63},
        {"k": 0},
        {"k": 11},
        {"question": ""},
        {"question": "x" * 8_001},
    ],
    ids=str,
)
def test_a_decoding_out_of_range_is_refused(quick: httpx.Client, more: dict[str, Any]) -> None:
    problem_of(quick.post("/v1/answers", json={"question": "x"} | more), 422, "invalid_request")


def test_a_body_that_is_no_json_is_refused(quick: httpx.Client) -> None:
    for body in (b"", b"{", b"[]", b'"x"', b"\xff\xfe", b'{"question": NaN}'):
        problem_of(quick.post("/v1/answers", content=body), 422, "invalid_request")


# Sharing the generator ------------------------------------------------------------------------------------------


@contextmanager
def generating(url: str, max_tokens: int) -> Iterator[Iterator[str]]:
    """A chat that holds the generator, seen to have begun; gives the lines that follow.

    So hot that it does not come to an end by itself.
    """
    body = CHAT | {"max_tokens": max_tokens, "temperature": 2.0, "seed": 1}
    with (
        client_of(url) as http,
        http.stream("POST", "/v1/chat/completions", json=body) as r,
    ):
        lines = (line for line in r.iter_lines() if line)
        for line in lines:
            if '"content":' in line and '"content": ""' not in line:
                break
        yield lines


@pytest.mark.usefixtures("manual")
def test_more_requests_than_may_wait_are_refused_and_the_running_one_succeeds(
    system: Server, real: httpx.Client
) -> None:
    with generating(system.url, max_tokens=120) as lines:
        refused = [
            real.post("/v1/answers", json={"question": QUESTION}),
            real.post("/v1/answers", json={"question": QUESTION}, headers=SSE),
            real.post("/v1/chat/completions", json=CHAT),
            real.post("/v1/chat/completions", json=CHAT | {"stream": False}),
        ]
        rest = list(lines)
    for response in refused:
        problem_of(response, 429, "overloaded")
        assert int(response.headers["retry-after"]) >= 1
    assert rest[-1] == "data: [DONE]"
    assert '"finish_reason": "length"' in rest[-2]
    assert search(real, QUESTION, k=1), "search needs no generator and is never refused"


@pytest.mark.usefixtures("manual")
def test_a_client_that_hangs_up_a_stream_frees_its_slot(system: Server, real: httpx.Client) -> None:
    with generating(system.url, max_tokens=1_000):
        assert real.post("/v1/answers", json={"question": QUESTION}).status_code == 429
    begun = time.monotonic()
    assert when_free(real, {"question": QUESTION, "k": 1, "max_tokens": 5}, within_s=8).status_code == 200
    assert time.monotonic() - begun < 12, "a thousand tokens take far longer"


@pytest.mark.usefixtures("manual")
def test_a_client_that_hangs_up_before_the_answer_frees_its_slot(system: Server, real: httpx.Client) -> None:
    begun = threading.Event()

    def give_up() -> None:
        body = CHAT | {"stream": False, "max_tokens": 1_000}
        with client_of(system.url) as http:
            begun.set()
            with pytest.raises(httpx.ReadTimeout):
                http.post("/v1/chat/completions", json=body, timeout=1.0)

    thread = threading.Thread(target=give_up)
    thread.start()
    assert begun.wait(5)
    thread.join()
    assert when_free(real, {"question": QUESTION, "k": 1, "max_tokens": 5}, within_s=8).status_code == 200
