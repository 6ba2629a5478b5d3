"""Each route of /v1, as somebody with a key asks it: what tests/integration/test_access.py makes its matrix of."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from services.core.catalog import Catalog
from services.core.guard import Needs
from services.core.keys import Scope
from tests.calls import upload
from tests.papers import story
from tests.questions import jsonl, story_questions
from tests.verdicts import add_verdict

MINE, THEIRS, NOBODYS = "mine", "theirs", "nobodys"  # collections, of which the last does not exist
TOPIC, PAGES = "the lighthouse", 4
Kind = Literal["id", "collection", "list", "free", "everywhere"]


@dataclass(frozen=True)
class Declared:
    """A route as the application has it. `needs` is None where none is declared."""

    method: str
    path: str
    needs: Needs | None


def declared(app: FastAPI) -> list[Declared]:
    """Every route under /v1, by walking the application."""
    found = []
    for context in iter_route_contexts(app.routes):
        if (context.path or "").startswith("/v1"):
            assert isinstance(context.original_route, APIRoute), f"{context.path} is none of FastAPI's routes"
            [*needs] = _needs(context.dependant)
            assert len(needs) <= 1, f"{context.path} declares two scopes"
            assert context.path is not None and context.methods is not None
            found += [Declared(method, context.path, needs[0] if needs else None) for method in context.methods]
    return found


def _needs(dependant: Any) -> Iterator[Needs]:
    for dependency in dependant.dependencies:
        if isinstance(dependency.call, Needs):
            yield dependency.call
        yield from _needs(dependency)


@dataclass
class World:
    """Two collections that hold one of everything each. `ids` are by collection, then by kind of thing."""

    http: httpx.Client
    catalog: Catalog
    ids: dict[str, dict[str, str]]
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def fresh(self, collection: str) -> dict[str, str]:
        """A document that was just uploaded, and its queued job: for what ends them."""
        if collection == NOBODYS:
            return self.ids[NOBODYS]
        data = story(f"number {next(self.numbers)}", 1)
        document = upload(self.http, data, "fresh.pdf", collection).raise_for_status().json()
        return {"document": document["id"], "job": document["job"]["id"]}


def populate(http: httpx.Client, catalog: Catalog, work: Callable[[], None], evaluate: Callable[[], None]) -> World:
    """`work` and `evaluate` do the next job of each kind."""
    ids = {collection: _one_of_each(http, catalog, collection, work, evaluate) for collection in (MINE, THEIRS)}
    ids[NOBODYS] = {kind: one.partition("_")[0] + "_" + "0" * 28 for kind, one in ids[MINE].items()}
    return World(http, catalog, ids)


def _one_of_each(
    http: httpx.Client, catalog: Catalog, collection: str, work: Callable[[], None], evaluate: Callable[[], None]
) -> dict[str, str]:
    name = f"{collection}.pdf"
    document = upload(http, story(TOPIC, PAGES), name, collection).raise_for_status().json()
    work()
    asked = {"question": "Where is the map kept?", "collection": collection}
    answer = http.post("/v1/answers", json=asked).raise_for_status().json()
    http.post(f"/v1/answers/{answer['id']}/feedback", json={"verdict": "up", "by": collection}).raise_for_status()
    questions = jsonl(story_questions(TOPIC, name, PAGES))
    form = {"collection": collection, "dataset": f"all-of-{collection}"}
    files = {"file": ("q.jsonl", questions)}
    evaluation = http.post("/v1/evaluations", files=files, data=form).raise_for_status().json()
    evaluate()
    verdict = add_verdict(catalog, f"a-{collection}", f"b-{collection}", 0.5, (evaluation["id"], evaluation["id"]))
    return {
        "document": document["id"],
        "job": document["job"]["id"],
        "answer": answer["id"],
        "evaluation": evaluation["id"],
        "verdict": verdict,
    }


@dataclass(frozen=True)
class Row:
    """A route, the scope that it should need, what a key that is limited may do with it, and a request that is right.

    `kind`: `id` and `collection` name one thing or collection; `list` shows what there is; `free` is about nothing that
    is kept; `everywhere` is no limited key's. `request` gives, for a collection, the ids in the path and what else is
    sent. `status`: what a right request is answered with.
    """

    method: str
    path: str
    scope: Scope
    kind: Kind
    status: int
    request: Callable[[World, str], tuple[dict[str, str], dict[str, Any]]]

    def send(self, world: World, collection: str, key: str | None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}" if key is not None else ""}
        return self.given(world, collection)(headers)

    def given(self, world: World, collection: str) -> Callable[[dict[str, str]], httpx.Response]:
        """What sends it: the same request each time that it is called."""
        names, sent = self.request(world, collection)
        url = self.path.format(**names)
        return lambda headers: world.http.request(self.method, url, headers=headers, **sent)


def _id(kind: str, **sent: Any) -> Callable[[World, str], tuple[dict[str, str], dict[str, Any]]]:
    return lambda world, collection: ({f"{kind}_id": world.ids[collection][kind], "number": "1"}, sent)


def _of(ids: str, kind: str) -> Callable[[World, str], tuple[dict[str, str], dict[str, Any]]]:
    """The thing `kind` under the name `ids`."""
    return lambda world, collection: ({ids: world.ids[collection][kind]}, {})


def _fresh(kind: str) -> Callable[[World, str], tuple[dict[str, str], dict[str, Any]]]:
    return lambda world, collection: ({f"{kind}_id": world.fresh(collection)[kind]}, {})


def _json(**body: Any) -> Callable[[World, str], tuple[dict[str, str], dict[str, Any]]]:
    return lambda _world, collection: ({}, {"json": {**body, "collection": collection}})


def _plain(**sent: Any) -> Callable[[World, str], tuple[dict[str, str], dict[str, Any]]]:
    return lambda _world, _collection: ({"window_id": "win_1", "run_id": "run_1"}, sent)


def _model(world: World, _collection: str) -> tuple[dict[str, str], dict[str, Any]]:
    return {"model": model_of(world, "encoder")}, {}


def _embed(world: World, _collection: str) -> tuple[dict[str, str], dict[str, Any]]:
    return {}, {"json": {"model": model_of(world, "encoder"), "input": "a text"}}


def _chat(world: World, _collection: str) -> tuple[dict[str, str], dict[str, Any]]:
    messages = [{"role": "user", "content": "Hello!"}]
    return {}, {"json": {"model": model_of(world, "generator"), "messages": messages}}


def _upload(_world: World, collection: str) -> tuple[dict[str, str], dict[str, Any]]:
    return {}, {"files": {"file": ("a.pdf", story(TOPIC, 1))}, "data": {"collection": collection}}


def _query(_world: World, collection: str) -> tuple[dict[str, str], dict[str, Any]]:
    return {}, {"params": {"collection": collection}}


def _evaluate(_world: World, collection: str) -> tuple[dict[str, str], dict[str, Any]]:
    questions = jsonl(story_questions(TOPIC, f"{collection}.pdf", 1))
    return {}, {
        "files": {"file": ("q.jsonl", questions)},
        "data": {"collection": collection, "dataset": f"again-{collection}"},
    }


def model_of(world: World, role: str) -> str:
    models = world.http.get("/v1/models").raise_for_status().json()["data"]
    return str(next(model["id"] for model in models if model["role"] == role))


_PAIR = {"model": "sufficiency", "inputs": [{"text": "a question", "text_pair": "a text"}]}
_ROUGE = {"pairs": [{"prediction": "the cat", "reference": "the cat"}]}
ROWS = [
    Row("POST", "/v1/search", "read", "collection", 200, _json(query="a map")),
    Row("POST", "/v1/answers", "read", "collection", 200, _json(question="Where is the map kept?")),
    Row("GET", "/v1/answers/{answer_id}", "read", "id", 200, _id("answer")),
    Row("POST", "/v1/answers/{answer_id}/feedback", "write", "id", 201, _id("answer", json={"verdict": "down"})),
    Row("GET", "/v1/answers/{answer_id}/feedback", "read", "id", 200, _id("answer")),
    Row("POST", "/v1/classify", "read", "free", 200, _plain(json=_PAIR)),
    Row("GET", "/v1/lineage/{lineage_id}", "read", "id", 200, _of("lineage_id", "answer")),
    Row("POST", "/v1/lineage/{lineage_id}/replay", "read", "id", 200, _of("lineage_id", "answer")),
    Row("GET", "/v1/models", "read", "free", 200, _plain()),
    Row("GET", "/v1/models/{model}", "read", "free", 200, _model),
    Row("POST", "/v1/chat/completions", "read", "free", 200, _chat),
    Row("POST", "/v1/embeddings", "read", "free", 200, _embed),
    Row("POST", "/v1/documents", "write", "collection", 202, _upload),
    Row("GET", "/v1/documents", "read", "list", 200, _plain()),
    Row("GET", "/v1/documents/{document_id}", "read", "id", 200, _id("document")),
    Row("DELETE", "/v1/documents/{document_id}", "write", "id", 204, _fresh("document")),
    Row("GET", "/v1/documents/{document_id}/pages/{number}", "read", "id", 200, _id("document")),
    Row("GET", "/v1/documents/{document_id}/pages/{number}.png", "read", "id", 200, _id("document")),
    Row("GET", "/v1/jobs/{job_id}", "read", "id", 200, _id("job")),
    Row("POST", "/v1/jobs/{job_id}/cancel", "write", "id", 202, _fresh("job")),
    Row("GET", "/v1/collections", "read", "list", 200, _plain()),
    Row("POST", "/v1/reindex", "write", "collection", 202, _query),
    Row("POST", "/v1/rouge", "read", "free", 200, _plain(json=_ROUGE)),
    Row("POST", "/v1/evaluations", "write", "collection", 202, _evaluate),
    Row("GET", "/v1/evaluations", "read", "list", 200, _plain()),
    Row("GET", "/v1/evaluations/{evaluation_id}", "read", "id", 200, _id("evaluation")),
    Row("GET", "/v1/evaluations/{evaluation_id}/report", "read", "id", 200, _id("evaluation")),
    Row("GET", "/v1/evaluations/{evaluation_id}/scores", "read", "id", 200, _id("evaluation")),
    Row("GET", "/v1/verdicts/{verdict_id}", "read", "id", 200, _id("verdict")),
    Row("GET", "/v1/releases", "read", "everywhere", 200, _plain()),
    Row("POST", "/v1/releases", "admin", "everywhere", 404, _plain(json={"release": "77"})),
    Row("POST", "/v1/releases/rollback", "admin", "everywhere", 409, _plain()),
    Row("GET", "/v1/drift", "read", "everywhere", 200, _plain()),
    Row("POST", "/v1/drift/references", "admin", "everywhere", 409, _plain()),
    Row("POST", "/v1/drift/windows", "admin", "everywhere", 409, _plain()),
    Row("GET", "/v1/drift/windows/{window_id}", "read", "everywhere", 404, _plain()),
    Row("GET", "/v1/drift/reports/{window_id}", "read", "everywhere", 404, _plain()),
    Row("GET", "/v1/retraining-runs", "read", "everywhere", 200, _plain()),
    Row("GET", "/v1/retraining-runs/{run_id}", "read", "everywhere", 404, _plain()),
    Row("POST", "/v1/retraining-runs/{run_id}/approve", "admin", "everywhere", 404, _plain()),
]
