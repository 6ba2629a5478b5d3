"""What the commands do, given a client and a console."""

from __future__ import annotations

import getpass
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from services.cli.client import Client, ClientError
from services.cli.show import (
    documents_table,
    show_aliases,
    show_change,
    show_classification,
    show_evaluation,
    show_lineage,
    show_passages,
    show_replay,
    show_rest,
)

_CONFLICT = 409


def pdf_files(paths: Iterable[Path]) -> list[Path]:
    """The files named, and the PDFs in the folders named, in order."""
    found = []
    for path in paths:
        found += sorted(path.rglob("*.pdf")) if path.is_dir() else [path]
    return found


def ingest_with_progress(client: Client, console: Console, files: Sequence[Path], collection: str) -> int:
    """Upload `files`, follow their jobs, and return how many failed."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("pages"))
    failed = 0
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        uploads = []
        for path in files:
            try:
                uploads.append((path, client.upload(path, collection)))
            except (ClientError, OSError) as error:
                failed += 1
                console.print(f"[red]{escape(path.name)}[/red]: {escape(str(error))}")
        for path, document in uploads:
            task = progress.add_task(escape(path.name), total=None)
            job: dict[str, Any] = {}
            for _, job in client.events("GET", document["job"]["url"]):
                progress.update(task, completed=job["progress"]["done"], total=job["progress"]["total"] or None)
            if job["status"] != "succeeded":
                failed += 1
                _print_reason(console, path.name, job)
    return failed


def reindex_with_progress(client: Client, console: Console, collection: str | None) -> int:
    """Have documents of another encoder embedded anew, follow their jobs, say what was done; returns how many jobs did
    not succeed."""
    params: dict[str, Any] = {"collection": collection} if collection else {}
    asked = client.post("/v1/reindex", **params)
    encoder, done, passages = asked["encoder"], 0, 0
    if not asked["jobs"]:
        console.print(f"Nothing to do: no document waits to be embedded by {encoder}.", markup=False, highlight=False)
        return 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("passages"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        for queued in asked["jobs"]:
            name, job = _name_of(client, queued["document_id"]), queued
            task = progress.add_task(escape(name), total=None)
            for _, job in client.events("GET", f"/v1/jobs/{queued['id']}"):
                progress.update(task, completed=job["progress"]["done"], total=job["progress"]["total"] or None)
            if job["status"] == "succeeded":
                done, passages = done + 1, passages + job["progress"]["total"]
            else:
                _print_reason(console, name, job)
    counted = f"{done:,} document{'' if done == 1 else 's'}, {passages:,} passage{'' if passages == 1 else 's'}"
    console.print(f"{counted}, embedded by {encoder}", markup=False, highlight=False)
    return len(asked["jobs"]) - done


def _name_of(client: Client, document_id: str) -> str:
    try:
        return str(client.get(f"/v1/documents/{document_id}")["name"])
    except ClientError:  # it was deleted meanwhile
        return document_id


def _print_reason(console: Console, name: str, job: dict[str, Any]) -> None:
    reason = f"{job['error']['detail']} ({job['error']['code']})" if job["error"] else job["status"]
    console.print(f"[red]{escape(name)}[/red]: {escape(reason)}")


def evaluate_and_show(
    client: Client, console: Console, file: Path | None, report: Path | None, fields: dict[str, str]
) -> bool:
    """Evaluate, follow, show the figures, write the report; returns whether the evaluation succeeded, and with two
    releases side by side whether the gate let the first one pass."""
    evaluation = client.evaluate(file, **fields)
    url = f"/v1/evaluations/{evaluation['id']}"
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("questions"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task(escape(evaluation["dataset"]["name"]), total=None)
        for _, job in client.events("GET", evaluation["job"]["url"]):
            progress.update(task, completed=job["progress"]["done"], total=job["progress"]["total"] or None)
    evaluation = client.get(url)
    show_evaluation(console, evaluation)
    if evaluation["status"] != "succeeded":
        return False
    if report is not None:
        client.save(f"{url}/report", report)
        console.print(f"Report: {report}", markup=False, highlight=False, soft_wrap=True)
    else:
        console.print(f"Report: {client.url}{url}/report", markup=False, highlight=False, soft_wrap=True)
    return evaluation["verdict"] is None or bool(evaluation["verdict"]["passed"])


def list_releases(client: Client, console: Console) -> None:
    changes: list[dict[str, Any]] = []
    after = None
    while True:
        page = client.get("/v1/releases", **({"after": after} if after else {}))
        changes += page["data"]
        after = page["next"]
        if not page["has_more"]:
            break
    show_aliases(console, page)
    for change in changes:
        show_change(console, change)


def promote_and_show(client: Client, console: Console, release: str, override_reason: str | None) -> bool:
    """Returns whether the release is live now; shows why if it was refused."""
    body = {"release": release, "override_reason": override_reason, "by": user()}
    return _change_and_show(client, console, "/v1/releases", body)


def roll_back_and_show(client: Client, console: Console, reason: str | None) -> bool:
    return _change_and_show(client, console, "/v1/releases/rollback", {"by": user(), "reason": reason})


def _change_and_show(client: Client, console: Console, path: str, body: dict[str, Any]) -> bool:
    try:
        change = client.post(path, body)
    except ClientError as error:
        if error.problem.get("status") != _CONFLICT:
            raise
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        for line in (error.problem.get("verdict") or {}).get("why", []):
            console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
        return False
    show_change(console, change)
    return True


def user() -> str | None:
    """Whose terminal this is, as far as the machine knows."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None


def ask_and_show(client: Client, console: Console, question: str, collection: str, capture: bool = True) -> None:
    """Print the answer while it is written, then its quotes."""
    console.print("[bold]A[/bold] ", end="")
    body = {"question": question, "collection": collection, "capture": capture}
    for name, data in client.events("POST", "/v1/answers", body):
        if name == "delta":
            console.print(data["text"], end="", markup=False, highlight=False, soft_wrap=True)
        elif name == "final":
            console.print()
            show_rest(console, data)


def search_and_show(client: Client, console: Console, query: str, collection: str, k: int) -> None:
    body = {"query": query, "collection": collection, "k": k}
    show_passages(console, client.post("/v1/search", body)["results"])


def classify_and_show(client: Client, console: Console, model: str, text: str, pair: str | None) -> None:
    body = {"model": model, "inputs": [{"text": text, "text_pair": pair}]}
    show_classification(console, client.post("/v1/classify", body))


def lineage_and_show(client: Client, console: Console, lineage_id: str, again: bool) -> None:
    if again:
        show_replay(console, client.post(f"/v1/lineage/{lineage_id}/replay"))
    else:
        show_lineage(console, client.get(f"/v1/lineage/{lineage_id}"))


def list_documents(client: Client, console: Console, collection: str | None) -> None:
    documents: list[dict[str, Any]] = []
    after = None
    while True:
        params = {key: value for key, value in (("collection", collection), ("after", after)) if value}
        page = client.get("/v1/documents", **params)
        documents += page["data"]
        after = page["next"]
        if not page["has_more"]:
            break
    console.print(documents_table(documents))


def show_status(client: Client, console: Console) -> None:
    console.print(f"{client.url}: {client.get('/readyz')['status']}")
    models = client.get("/v1/models")["data"]
    for release in dict.fromkeys(model["release"] for model in models if model["release"]):
        console.print(f"  release {release}", highlight=False)
    for model in models:
        adapter = f", adapter {model['adapter']}" if model.get("adapter") else ""
        console.print(f"  model {model['id']} ({model['role']}{adapter})", markup=False, highlight=False)
    for row in client.get("/v1/collections")["data"]:
        counts = ", ".join(f"{row[key]} {key}" for key in ("documents", "pages", "chunks"))
        console.print(f"  collection {row['name']}: {counts}")
