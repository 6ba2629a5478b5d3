"""The whole platform in containers, from the build to a restore into nothing: `make e2e-compose`.

Builds the images, starts an empty project, and over the gateway ingests the manuals, asks, deletes, evaluates, promotes
and rolls back. Then each container is killed while it runs, all are taken down and brought up again, and at last
everything is restored from a backup into an empty project; what was there has to be there still. Every step is told
with its time. Exit code 1 if a check fails; nothing of the project is left behind, unless --keep is given.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from tests.calls import EXAMPLE, SSE, bearer, ended, events, search, upload
from tests.checks import Checks
from tests.compose.look import looked_at
from tests.compose.stack import ROOT, Stack, can_reach_registry, require_engine
from tests.server import free_port
from tests.waiting import until

GOLD = ROOT.parent / "shared" / "evalset"
JOB_WITHIN_S = 1800.0
QUESTIONS = 3
JUDGED = 30  # the least that the gate takes
REGISTER = Path(__file__).with_name("register_challenger.py")

console = Console(highlight=False, width=160)
checks = Checks(console)


@contextmanager
def step(what: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    console.print(f"{time.monotonic() - begun:8.1f} s  {what}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manuals", type=Path, default=GOLD / "pdf", help="a folder of PDFs")
    parser.add_argument("--questions", type=Path, default=GOLD / "questions.jsonl", help="about these PDFs")
    parser.add_argument("--no-build", action="store_true", help="the images are there")
    parser.add_argument(
        "--running", type=int, metavar="PORT", help="go on with what --keep left, at its gateway's port"
    )
    parser.add_argument("--keep", action="store_true", help="leave the containers and volumes there at the end")
    given = parser.parse_args()
    require_engine()
    stack = Stack(given.running or free_port(), stand_ins=not can_reach_registry())
    if stack.stand_ins:
        console.print(
            "No registry can be reached. PostgreSQL, nginx, Prometheus and Alertmanager are Debian's, in images made "
            "here. NOT STARTED: Grafana, for which there is no package."
        )
    try:
        prove(stack, given)
    finally:
        if not given.keep:
            with step("down, with the volumes"):
                stack.remove(check=False)
    console.print(f"{checks.passed} checks passed, {checks.failed} failed")
    sys.exit(1 if checks.failed else 0)


def prove(stack: Stack, given: argparse.Namespace) -> None:
    if not given.running:
        started(stack, build=not given.no_build)
    key = bearer(stack.admin_key())
    looked_at(stack, checks, key)
    manuals = sorted(given.manuals.glob("*.pdf")) or [EXAMPLE]
    with httpx.Client(base_url=stack.url, timeout=600, trust_env=False, headers=key) as http:
        keyed(stack, http)
        documents = ingested(http, manuals)
        answers = asked(http, given.questions, {manual.name for manual in manuals})
        deleted(http, documents)
        evaluated_and_promoted(stack, http, given.questions, {manual.name for manual in manuals})
        told_memory(stack)
        crashed(stack, http, answers)
        before = everything(http, answers)
        with step("a backup, while everything serves"):
            stack.run_tools("backup", "/backups/proof")
        with step("down"):
            stack.compose("down", "--timeout", "30")
        with step("up again, until all are healthy"):
            stack.up()
        found = everything(http, answers)
        for name, value in before.items():
            checks.check(f"after down and up: {name} as before", found[name] == value)
        with step("a question after that"):
            checks.check("an answer is given", bool(answer(http, "How long are files in /var/tmp kept?")["id"]))
    restored(stack, before, answers)


def restored(stack: Stack, before: dict[str, Any], answers: list[str]) -> None:
    """From the backup alone, on an empty PostgreSQL and an empty MLflow: `before` is what has to be there."""
    with step("down, and every volume deleted but that of backups (and of weights)"):
        stack.lose_all_but("backups", "weights")
    with step("restore the backup"):
        stack.run_tools("restore", "/backups/proof")
    with step("up, until all are healthy"):
        stack.up()
    with httpx.Client(base_url=stack.url, timeout=600, trust_env=False, headers=bearer(stack.admin_key())) as http:
        found = everything(http, answers)
    for name, value in before.items():
        checks.check(f"after the restore: {name} as before", found[name] == value)


def keyed(stack: Stack, http: httpx.Client) -> None:
    """A key that is made in a container is good for its collection, until it is revoked."""
    command = ("python", "-m", "services.cli", "keys")
    key = stack.run_inside("eval", *command, "create", "--scope", "read", "--collection", "some").splitlines()[-1]
    limited = bearer(key)
    found = [http.get(path, headers=limited).status_code for path in ("/v1/documents", "/v1/collections", "/v1/models")]
    checks.check("a key of a collection may read there", found == [200, 200, 200], found)
    refused = [
        http.post("/v1/search", json={"query": "x"}, headers=limited),
        http.get("/v1/releases", headers=limited),
        http.get("/v1/models", headers={"Authorization": ""}),
    ]
    found = [response.status_code for response in refused]
    checks.check("and nowhere else, and nobody may without a key", found == [404, 403, 401], found)
    stack.run_inside("eval", *command, "revoke", key.split("_")[1])
    found = [http.get(path, headers=limited).status_code for path in ("/v1/documents", "/v1/models", "/v1/releases")]
    checks.check("revoked, it is good for no service any more", found == [401, 401, 401], found)
    found = [http.get(path, headers={"Authorization": ""}).status_code for path in ("/", "/web/app.js")]
    checks.check("the page that asks is there for everybody", found == [200, 200], found)


def started(stack: Stack, build: bool) -> None:
    stack.remove()
    if build:
        for image, seconds in stack.build():
            console.print(f"{seconds:8.1f} s  build {image}")
    with step("up, the first start, until all are healthy"):
        stack.up()


def ingested(http: httpx.Client, manuals: list[Path]) -> dict[str, str]:
    """Upload all and wait; returns the ids by name."""
    with step(f"upload {len(manuals)} manuals"):
        jobs = [upload(http, manual.read_bytes(), manual.name).raise_for_status().json() for manual in manuals]
    pages = 0
    with step("ingest them"):
        for document in jobs:
            checks.check(
                f"{document['name']} is ingested",
                ended(http, document["job"]["id"], JOB_WITHIN_S)["status"] == "succeeded",
            )
            pages += http.get(f"/v1/documents/{document['id']}").json()["pages"] or 0
    console.print(f"            {pages} pages")
    picture = http.get(f"/v1/documents/{jobs[0]['id']}/pages/1.png")
    checks.check("the picture of a page is drawn", picture.content.startswith(b"\x89PNG"))
    refused = upload(http, b"not a PDF", "bad.pdf")
    checks.check("a bad file is refused by its service", refused.status_code == 415, refused.json()["code"])
    return {document["name"]: document["id"] for document in jobs}


def asked(http: httpx.Client, questions: Path, names: set[str]) -> list[str]:
    """Ask some; returns the ids of the answers."""
    ids, answered = [], 0
    rows = [row for row in gold(questions, names) if row["pages"]][:QUESTIONS]
    for row in rows:
        with step(f"ask: {row['question']}"):
            given = answer(http, row["question"])
        console.print(f"            {given['mode']}: {given['answer'][:120]}")
        quotes = given["citations"]
        verified = all(quote["verified"] for quote in quotes)
        checks.check("each quote is verified", verified and bool(quotes or given["abstained"]), len(quotes))
        answered += not given["abstained"]
        ids.append(given["id"])
    checks.check("most are answered", answered > len(rows) / 2, answered)
    seen = []
    with step("ask, as a stream"):
        body = {"question": rows[0]["question"]}
        with http.stream("POST", "/v1/answers", json=body, headers=SSE | {"X-Request-ID": "proof-1"}) as response:
            begun = time.monotonic()
            for name, _ in events(response):
                seen.append((name, time.monotonic() - begun))
    kinds = [name for name, _ in seen]
    checks.check("the stream begins with passages and ends with final", (kinds[0], kinds[-1]) == ("passages", "final"))
    checks.check("it is not held back: passages came before the end", seen[0][1] < seen[-1][1])
    checks.check("the client's request id is kept", response.headers["x-request-id"] == "proof-1")
    return ids


def answer(http: httpx.Client, question: str) -> dict[str, Any]:
    return dict(http.post("/v1/answers", json={"question": question}).raise_for_status().json())


def gold(questions: Path, names: set[str]) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in questions.read_text().splitlines()]
    return [row for row in rows if row["document"] in names]


def deleted(http: httpx.Client, documents: dict[str, str]) -> None:
    """Upload the example too, find it, delete it: it is never found again."""
    document = upload(http, EXAMPLE.read_bytes(), EXAMPLE.name).raise_for_status().json()
    ended(http, document["job"]["id"], JOB_WITHIN_S)
    found = {result["document_id"] for result in search(http, "host-specific configuration files")}
    checks.check("what was uploaded is found", document["id"] in found)
    with step("delete a document"):
        status = http.delete(f"/v1/documents/{document['id']}").status_code
    checks.check("deleted", status == 204, status)
    left = {result["document_id"] for result in search(http, "host-specific configuration files", k=50)}
    checks.check("and never found again", document["id"] not in left and left <= set(documents.values()))


def evaluated_and_promoted(stack: Stack, http: httpx.Client, questions: Path, names: set[str]) -> None:
    some = [row for row in gold(questions, names) if row["pages"]][:JUDGED]
    rows = "".join(json.dumps(row) + "\n" for row in some).encode()
    challenger = stack.run_inside("eval", "python", "-", stdin=REGISTER.read_text()).splitlines()[-1]
    with step(f"evaluate {challenger} against the champion, {len(some)} questions"):
        form = {"dataset": "judged", "release": "challenger", "against": "champion"}
        started = http.post("/v1/evaluations", files={"file": ("q.jsonl", rows)}, data=form).raise_for_status().json()
        ended(http, started["job"]["id"], JOB_WITHIN_S)
    evaluation = http.get(f"/v1/evaluations/{started['id']}").json()
    checks.check("the evaluation succeeded", evaluation["status"] == "succeeded", evaluation.get("error"))
    tracking = evaluation["tracking"] or {}
    checks.check("and is a run in MLflow", tracking.get("status") == "logged", tracking)
    refused = http.post("/v1/releases", json={"release": "challenger"})
    checks.check("a copy gains nothing: the gate refuses it", refused.status_code == 409, refused.json()["code"])
    reason = "The proof wants to see a promotion: this is a copy of what ships."
    with step("promote it all the same, with a reason"):
        response = http.post("/v1/releases", json={"release": "challenger", "override_reason": reason})
    checks.check("promoted", response.status_code == 201, response.text[:200])
    with step("the api service serves it"):
        checks.check("swapped", serves(http, challenger))
    with step("roll back"):
        checks.check("rolled back", http.post("/v1/releases/rollback", json={}).status_code == 201)
    with step("the release before is live again"):
        checks.check("swapped back", not serves(http, challenger, wanted=False))
    by = http.get("/v1/releases").json()["data"][0]["by"]
    gateway = stack.containers()["gateway"]["NetworkSettings"]["Networks"]
    own = [network["IPAddress"] for network in gateway.values()]
    checks.check(
        "the history has the client's address, not the gateway's", not any(address in by for address in own), by
    )
    checks.check("and the key", by.endswith("(key admin)"), by)


def serves(http: httpx.Client, release: str, wanted: bool = True) -> bool:
    """Whether the live release is `release`, as soon as that is as wanted, else after a while."""
    deadline = time.monotonic() + 120
    while True:
        live: bool = answer(http, "What is bash?")["lineage"]["release"] == release
        if live is wanted or time.monotonic() > deadline:
            return live
        time.sleep(1)


def crashed(stack: Stack, http: httpx.Client, answers: list[str]) -> None:
    """Kill each container's main process; the worker in the middle of a job."""
    before = everything(http, answers)
    document = upload(http, EXAMPLE.read_bytes(), EXAMPLE.name, "crash").raise_for_status().json()
    with step("kill ingest-worker while it reads a document"):
        until(lambda: http.get(f"/v1/jobs/{document['job']['id']}").json()["status"] != "queued")
        stack.crash("ingest-worker")
    with step("the job is done by the one that was started again"):
        checks.check("and succeeds", ended(http, document["job"]["id"], JOB_WITHIN_S)["status"] == "succeeded")
    before["documents"] = sorted([*before["documents"], (document["id"], "ready")])
    for service in sorted(set(stack.containers()) - {"ingest-worker"}):
        console.print(f"{stack.crash(service):8.1f} s  kill {service}, until it is healthy again")
    wait_until_all_answer(http)
    found = everything(http, answers)
    for name, value in before.items():
        checks.check(f"after the kills: {name} as before", found[name] == value)


def wait_until_all_answer(http: httpx.Client) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if all(http.get(path).is_success for path in ("/readyz", "/readyz/ingest", "/readyz/eval", "/v1/releases")):
                return
        time.sleep(1)


def everything(http: httpx.Client, answers: list[str]) -> dict[str, Any]:
    """What must not be lost."""
    documents = []
    for collection in ("default", "crash"):
        page = http.get("/v1/documents", params={"collection": collection, "limit": 100}).raise_for_status().json()
        documents += [(one["id"], one["status"]) for one in page["data"]]
    releases = http.get("/v1/releases").raise_for_status().json()
    return {
        "documents": sorted(documents),
        "answers": [http.get(f"/v1/answers/{one}").raise_for_status().json() for one in answers],
        "the first hit": search(http, "How is a package orphaned?")[0]["chunk_id"],
        "evaluations": [one["id"] for one in http.get("/v1/evaluations").raise_for_status().json()["data"]],
        "releases": (releases["aliases"], releases["data"]),
    }


def told_memory(stack: Stack) -> None:
    rows = stack.memory()
    for name, used, limit in rows:
        console.print(f"{used:8.0f} MiB of {limit:6.0f}  {name}")
    used, limits = sum(row[1] for row in rows), sum(row[2] for row in rows)
    console.print(f"{used:8.0f} MiB of {limits:6.0f}  all")
    checks.check("all limits together are at most 8 GiB", limits <= 8192, f"{limits:.0f} MiB")


if __name__ == "__main__":
    main()
