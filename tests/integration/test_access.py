"""Who may do what: every route of /v1, for each scope, with own, foreign and unknown ids, over all real services."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from services.api.app import create_app as create_api
from services.cli.up import one_machine_app
from services.core.errors import NotFound
from services.core.keys import SCOPES, KeyStore, Scope, sha256_of
from services.core.settings import Settings
from services.core.types import JobKind
from services.eval.app import create_app as create_eval
from services.eval.worker import Worker as Evaluator
from services.ingest.app import create_app as create_ingest
from services.ingest.worker import Worker as Ingester
from tests.access import MINE, NOBODYS, PAGES, ROWS, THEIRS, TOPIC, Row, World, declared, populate
from tests.calls import SSE, bearer, problem_of, upload
from tests.one_machine import one_machine
from tests.papers import story
from tests.questions import jsonl, story_questions
from tests.scraped import value

ADMIN = "cap_admin_" + "a" * 43
SERVICE = "cap_service_" + "s" * 43
KINDS: dict[str, Any] = {"encoder": "hashing", "generator": "scripted", "classifier": "overlap"}
row_of = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.path}")


@dataclass
class Desk:
    """`keys` of each scope: those that see all collections, and those that see MINE only."""

    world: World
    keys: dict[Scope, str]
    limited: dict[Scope, str]
    store: KeyStore


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("desk"),
        models_dir=Path("none"),
        port=0,
        job_poll_s=0.02,
        track_evaluations=False,
        api_keys="required",
        admin_key_sha256=sha256_of(ADMIN),
        service_key=SecretStr(SERVICE),
        **KINDS,
    )
    with one_machine(settings, story("the first one", 1), "first.pdf", ADMIN) as (settings, catalog, http):

        def work(kind: type[Ingester | Evaluator], job_kind: JobKind) -> None:
            worker = kind(settings, catalog, threading.Event())
            worker._owner = "worker"
            job = catalog.jobs.claim("worker", 60, job_kind)
            assert job is not None
            worker.work_on(job)
            assert (status := catalog.jobs.get(job.id)).status == "succeeded", status

        world = populate(
            http, catalog, lambda: work(Ingester, JobKind.ingest), lambda: work(Evaluator, JobKind.evaluation)
        )
        store = KeyStore(catalog.database)
        keys = {scope: store.create(scope, name=scope)[1] for scope in SCOPES}
        limited = {scope: store.create(scope, name=scope, collections=[MINE])[1] for scope in SCOPES}
        yield Desk(world, keys, limited, store)


def body_without(response: httpx.Response, *names: str) -> str:
    """What was answered, with what must differ taken out: the names that were asked for, and the request's id."""
    text = response.text
    for name in names:
        text = text.replace(name, "NAME")
    if response.headers["content-type"] == "application/problem+json":
        text = json.dumps(json.loads(text) | {"request_id": "ID"})
    return text


# What is declared -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("create_app", [create_api, create_ingest, create_eval, one_machine_app])
def test_every_route_declares_a_scope(create_app: Any) -> None:
    routes = declared(create_app(Settings()))
    assert len(routes) > 5
    assert {(one.method, one.path) for one in routes if one.needs is None} <= {("POST", "/v1/alerts")}


def test_the_matrix_has_a_row_for_every_route_and_each_says_what_is_declared() -> None:
    routes = {(one.method, one.path): one.needs for one in declared(one_machine_app(Settings()))}
    assert routes.pop(("POST", "/v1/alerts")) is None, "Alertmanager has a token of its own"
    found = {place: (needs.scope, needs.everywhere) for place, needs in routes.items() if needs is not None}
    assert {(row.method, row.path): (row.scope, row.kind == "everywhere") for row in ROWS} == found


# The matrix -------------------------------------------------------------------------------------------------------


@row_of
def test_no_key_no_answer(desk: Desk, row: Row) -> None:
    send = row.given(desk.world, MINE)
    headers: list[dict[str, str]] = [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer none"},
        {"Authorization": f"Basic {desk.keys['admin']}"},
        {"Authorization": desk.keys["admin"]},
        {"Authorization": f"Bearer {desk.keys['admin'][:-1]}"},
        {"X-API-Key": desk.keys["admin"]},
    ]
    own = desk.world.http.headers.pop("Authorization")
    try:
        for each in headers:
            response = send(each)
            problem_of(response, 401, "unauthorized")
            assert response.headers["www-authenticate"] == "Bearer"
    finally:
        desk.world.http.headers["Authorization"] = own


@row_of
def test_a_scope_may_what_it_should_and_no_more(desk: Desk, row: Row) -> None:
    for scope in SCOPES:
        response = row.send(desk.world, MINE, desk.keys[scope])
        if SCOPES.index(scope) < SCOPES.index(row.scope):
            problem_of(response, 403, "forbidden")
        else:
            assert response.status_code in (row.status, 200), response.text  # 200: it was said or uploaded before


@row_of
def test_a_limited_key_sees_its_collections_and_nothing_of_others(desk: Desk, row: Row) -> None:
    key, world = desk.limited[row.scope], desk.world
    if row.kind == "everywhere":
        problem_of(row.send(world, MINE, key), 403, "forbidden")
        problem_of(row.send(world, MINE, desk.limited["admin"]), 403, "forbidden")
        return
    own = row.send(world, MINE, key)
    assert own.status_code in (row.status, 200), own.text
    if row.kind in ("id", "collection"):
        foreign, unknown = (_asked(world, row, collection, key) for collection in (THEIRS, NOBODYS))
        assert foreign == unknown and foreign[0] == 404, foreign
        assert row.send(world, THEIRS, desk.keys[row.scope]).status_code in (row.status, 200), "it is there for others"
    if row.kind == "list":
        assert own.json()["data"] and THEIRS not in own.text and "default" not in own.text, own.text
        everything = row.send(world, MINE, desk.keys["read"])
        assert THEIRS in everything.text and "first.pdf" in world.http.get("/v1/documents").text


def _asked(world: World, row: Row, collection: str, key: str) -> tuple[int, str, str]:
    names, sent = row.request(world, collection)
    response = world.http.request(row.method, row.path.format(**names), headers=bearer(key), **sent)
    return response.status_code, response.headers["content-type"], body_without(response, *names.values(), collection)


# What the matrix does not see --------------------------------------------------------------------------------------


def test_what_a_limited_key_was_refused_has_changed_nothing(desk: Desk) -> None:
    world, key = desk.world, bearer(desk.limited["admin"])
    fresh, theirs = world.fresh(THEIRS), world.ids[THEIRS]
    before = world.http.get(f"/v1/answers/{theirs['answer']}/feedback").json()
    for method, url in (
        ("DELETE", f"/v1/documents/{fresh['document']}"),
        ("POST", f"/v1/jobs/{fresh['job']}/cancel"),
        ("POST", f"/v1/answers/{theirs['answer']}/feedback"),
    ):
        assert world.http.request(method, url, headers=key, json={"verdict": "down"}).status_code == 404
    assert world.http.get(f"/v1/documents/{fresh['document']}").json()["status"] == "queued"
    assert world.http.get(f"/v1/jobs/{fresh['job']}").json()["status"] == "queued"
    assert world.http.get(f"/v1/answers/{theirs['answer']}/feedback").json() == before


@pytest.mark.parametrize("path", ["/v1/documents", "/v1/evaluations"])
def test_pages_of_a_list_are_full_of_what_is_the_key_s_own(desk: Desk, path: str) -> None:
    world = desk.world
    for collection in (MINE, THEIRS, THEIRS, MINE, THEIRS):
        if path == "/v1/documents":
            world.fresh(collection)
        else:
            form = {"dataset": f"all-of-{collection}", "collection": collection}
            world.http.post(path, data=form).raise_for_status()
    wanted = [one["id"] for one in world.http.get(path, params={"limit": 200}).json()["data"] if own(one)]
    found, after = [], None
    while True:
        params: dict[str, Any] = {"limit": 1} | ({"after": after} if after else {})
        page = world.http.get(path, params=params, headers=bearer(desk.limited["read"])).raise_for_status().json()
        assert len(page["data"]) == 1
        found.append(page["data"][0]["id"])
        after = page["next"]
        if not page["has_more"]:
            break
    assert found == wanted and len(found) >= 3


def own(row: dict[str, Any]) -> bool:
    return bool(row["collection"] == MINE)


def test_a_list_of_a_foreign_collection_is_empty_as_of_one_that_is_not_there(desk: Desk) -> None:
    for collection in (THEIRS, NOBODYS):
        params = {"collection": collection}
        found = desk.world.http.get("/v1/documents", params=params, headers=bearer(desk.limited["read"])).json()
        assert found == {"data": [], "has_more": False, "next": None}


def test_a_filter_cannot_name_a_foreign_document(desk: Desk) -> None:
    said = []
    for collection in (THEIRS, NOBODYS):
        document = desk.world.ids[collection]["document"]
        body = {"query": "a map", "collection": MINE, "filter": {"documents": [document]}}
        response = desk.world.http.post("/v1/search", json=body, headers=bearer(desk.limited["read"]))
        said.append((response.status_code, body_without(response, document)))
    assert said[0] == said[1] and said[0][0] == 404


def test_jobs_that_concern_all_collections_are_not_a_limited_key_s(desk: Desk) -> None:
    catalog = desk.world.catalog
    with catalog.database.write() as connection:
        job = catalog.jobs.enqueue(connection, JobKind.drift, "win_1", "windows")
    for headers in (bearer(desk.limited["admin"]), bearer(desk.limited["admin"]) | SSE):
        problem_of(desk.world.http.get(f"/v1/jobs/{job}", headers=headers), 404, "not_found")
    assert desk.world.http.get(f"/v1/jobs/{job}", headers=bearer(desk.keys["read"])).json()["kind"] == "drift"


def test_the_job_of_an_evaluation_is_its_collection_s(desk: Desk) -> None:
    world, seen = desk.world, []
    for collection in (MINE, THEIRS):
        job = world.http.get(f"/v1/evaluations/{world.ids[collection]['evaluation']}").json()["job"]["id"]
        seen.append(world.http.get(f"/v1/jobs/{job}", headers=bearer(desk.limited["read"])).status_code)
    assert seen == [200, 404]


def test_a_job_is_seen_after_its_document_is_gone(desk: Desk) -> None:
    fresh, key = desk.world.fresh(MINE), bearer(desk.limited["write"])
    assert desk.world.http.delete(f"/v1/documents/{fresh['document']}", headers=key).status_code == 204
    assert desk.world.http.get(f"/v1/jobs/{fresh['job']}", headers=key).json()["status"] == "cancelled"


def test_a_classification_is_seen_by_the_limited_key_that_asked_for_it(desk: Desk) -> None:
    http, body = desk.world.http, {"model": "sufficiency", "inputs": [{"text": "a", "text_pair": "b"}]}
    other = desk.store.create("read", name="other", collections=[MINE])[1]
    own_id, foreign_id = (
        http.post("/v1/classify", json=body, headers=bearer(key)).raise_for_status().json()["lineage"]["id"]
        for key in (desk.limited["read"], other)
    )
    key = bearer(desk.limited["read"])
    assert http.get(f"/v1/lineage/{own_id}", headers=key).status_code == 200
    again = http.post(f"/v1/lineage/{own_id}/replay", headers=key).raise_for_status().json()["replay"]
    assert http.get(f"/v1/lineage/{again}", headers=key).status_code == 200
    problem_of(http.get(f"/v1/lineage/{foreign_id}", headers=key), 404, "not_found")
    problem_of(http.post(f"/v1/lineage/{foreign_id}/replay", headers=key), 404, "not_found")
    assert http.get(f"/v1/lineage/{foreign_id}", headers=bearer(desk.keys["read"])).status_code == 200


def test_names_of_datasets_tell_nothing_of_other_collections(desk: Desk) -> None:
    http, key = desk.world.http, bearer(desk.limited["write"])
    said = []
    for name in (f"all-of-{THEIRS}", f"all-of-{NOBODYS}"):
        response = http.post("/v1/evaluations", data={"dataset": name, "collection": MINE}, headers=key)
        said.append((response.status_code, body_without(response, name)))
    assert said[0] == said[1] and said[0][0] == 404 and THEIRS not in said[0][1]
    rows = jsonl(story_questions(TOPIC, f"{MINE}.pdf", 1))
    form = {"dataset": f"all-of-{THEIRS}", "collection": MINE}
    response = http.post("/v1/evaluations", files={"file": ("q.jsonl", rows)}, data=form, headers=key)
    assert response.status_code == 202, "the name is free, as far as this key can tell"
    assert response.json()["dataset"]["name"] == f"all-of-{THEIRS}"
    assert http.post("/v1/evaluations", data=form, headers=key).status_code == 202, "and names what it brought"


def test_an_upload_of_bytes_that_another_collection_has_is_new(desk: Desk) -> None:
    data = story("the same bytes", 1)
    theirs = upload(desk.world.http, data, "a.pdf", THEIRS).json()["id"]
    files, form = {"file": ("b.pdf", data)}, {"collection": MINE}
    key = bearer(desk.limited["write"])
    mine = desk.world.http.post("/v1/documents", files=files, data=form, headers=key)
    assert mine.status_code == 202 and mine.json()["id"] != theirs and mine.json()["name"] == "b.pdf"


def test_an_answer_reads_only_its_collection(desk: Desk) -> None:
    body = {"question": "Where is the map kept?", "collection": MINE}
    answer = desk.world.http.post("/v1/answers", json=body, headers=bearer(desk.limited["read"])).json()
    lineage = desk.world.http.get(f"/v1/lineage/{answer['id']}", headers=bearer(desk.limited["read"])).json()
    assert {passage["document_name"] for passage in lineage["passages"]} <= {f"{MINE}.pdf", "a.pdf", "b.pdf"}
    assert lineage["passages"]


def test_a_stream_needs_the_key_as_well(desk: Desk) -> None:
    body = {"question": "Where is the map kept?", "collection": THEIRS}
    http = desk.world.http
    problem_of(http.post("/v1/answers", json=body, headers=SSE | bearer(desk.limited["read"])), 404, "not_found")
    problem_of(http.post("/v1/answers", json=body, headers=SSE | bearer("none")), 401, "unauthorized")


def test_a_key_is_refused_as_soon_as_it_is_revoked(desk: Desk) -> None:
    key, text = desk.store.create("read", name="short")
    http = desk.world.http
    assert http.get("/v1/models", headers=bearer(text)).status_code == 200
    before = http.get("/metrics").text
    desk.store.revoke(key.id)
    problem_of(http.get("/v1/models", headers=bearer(text)), 401, "unauthorized")
    _, late = desk.store.create("read", name="late", expires_in_days=0.0)
    problem_of(http.get("/v1/models", headers=bearer(late)), 401, "unauthorized")
    after = http.get("/metrics").text
    for reason in ("revoked", "expired"):
        told = [value(text, "requests_refused_total", reason=reason) or 0 for text in (before, after)]
        assert told[1] - told[0] == 1, reason


def test_standing_keys_are_good_for_their_scopes(desk: Desk) -> None:
    http = desk.world.http
    assert http.post("/v1/releases", json={"release": "77"}, headers=bearer(ADMIN)).status_code == 404
    assert http.get("/v1/releases", headers=bearer(SERVICE)).status_code == 200
    problem_of(http.post("/v1/releases", json={"release": "77"}, headers=bearer(SERVICE)), 403, "forbidden")


def test_who_changes_something_is_signed_with_the_key(desk: Desk) -> None:
    http, answer = desk.world.http, desk.world.ids[MINE]["answer"]
    key, text = desk.store.create("write", name="signs")
    said = http.post(f"/v1/answers/{answer}/feedback", json={"verdict": "up"}, headers=bearer(text)).json()
    assert said["by"] == f"key {key.id}"


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/nothing", "/v1/documents/a/b/c", "/v1/alerts"])
def test_paths_that_are_not_there_need_a_key_too(desk: Desk, path: str) -> None:
    for method in ("GET", "PUT", "OPTIONS"):
        problem_of(desk.world.http.request(method, path, headers=bearer("none")), 401, "unauthorized")
        status = desk.world.http.request(method, path, headers=bearer(desk.keys["read"])).status_code
        assert status in (404, 405)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/docs", "/openapi.json"])
def test_what_is_outside_v1_is_open(desk: Desk, path: str) -> None:
    assert desk.world.http.get(path, headers=bearer("none")).status_code == 200


def test_the_docs_say_that_a_key_is_sent(desk: Desk) -> None:
    schema = desk.world.http.get("/openapi.json").json()
    assert schema["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    unsigned = [path for path, ways in schema["paths"].items() for way in ways.values() if not way.get("security")]
    assert sorted({path for path in unsigned if path.startswith("/v1")}) == ["/v1/alerts"]


def test_alerts_have_a_token_of_their_own(desk: Desk) -> None:
    problem_of(desk.world.http.post("/v1/alerts", headers=bearer(ADMIN)), 503, "alerts_not_configured")


def test_stores_leave_out_what_is_not_within(desk: Desk) -> None:
    """Where a test over HTTP would not see it: nothing at all is within an empty set of collections."""
    with pytest.raises(NotFound):
        desk.world.catalog.document(desk.world.ids[MINE]["document"], frozenset())
    assert desk.world.catalog.counts(frozenset()) == {}
    assert desk.world.catalog.document(desk.world.ids[MINE]["document"]).page_count == PAGES
