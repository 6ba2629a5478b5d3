"""`capstone`: everything on one machine. Wires the rooms together and talks to them over HTTP; decides nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr
from rich.console import Console

from services.cli import commands, keys, show_drift
from services.cli.client import Client, ClientError
from services.core.errors import CapstoneError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Answers from your own PDFs, with quotes.")
app.add_typer(keys.app, name="keys")
Url = Annotated[str, typer.Option(envvar="CAPSTONE_URL", help="where the platform answers")]
Collection = Annotated[str, typer.Option("--collection", "-c", help="a named set of documents")]
_URL = "http://127.0.0.1:8000"


@app.command()
def up(
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="where documents and the catalog are kept")] = None,
    log_level: Annotated[str | None, typer.Option(help="DEBUG, INFO, WARNING or ERROR")] = None,
    example: Annotated[bool, typer.Option("--example", help="ingest the example document and ask it")] = False,
) -> None:
    """Serve everything on one port, with a worker beside it, until Ctrl-C."""
    from services.cli.up import check_weights, listen, serve, url_of
    from services.core.settings import load_settings
    from services.core.telemetry import configure_logging

    for name, value in (("HOST", host), ("PORT", port), ("DATA_DIR", data_dir), ("LOG_LEVEL", log_level)):
        if value is not None:  # through the environment, so that the worker process sees the same
            os.environ[f"CAPSTONE_{name}"] = str(value)
    console = Console()
    with _told(console):
        settings = load_settings()
        configure_logging(settings.log_level)
        check_weights(settings)
        listener = listen(settings)
        url = url_of(listener)
        console.print(f"Starting on {url}; Ctrl-C stops it.")
        if settings.keys_required:
            console.print("A key is needed to ask it: `capstone keys create --scope read`, or write, or admin.")
        if example:
            threading.Thread(target=_example, args=(url, settings.api_key, console), daemon=True).start()
        serve(settings, listener)


@app.command()
def fetch(
    params: Annotated[Path, typer.Option(help="which weights, from where, with which hashes")] = Path("params.yaml"),
) -> None:
    """Put the base weights in place, verified. Does nothing when they are there."""
    from models.fetch import fetch_all
    from services.core.settings import load_settings

    console = Console()
    with _told(console):
        fetch_all(params, load_settings().models_dir, console)


@app.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(exists=True, help="PDF files, or folders of them")],
    collection: Collection = "default",
    url: Url = _URL,
) -> None:
    """Upload PDFs and follow them until they can be asked."""
    console = Console()
    with _connected(url, console) as client:
        client.get("/livez")  # one sentence if it is not running, not one for each file
        failed = commands.ingest_with_progress(client, console, commands.pdf_files(paths), collection)
    if failed:
        raise typer.Exit(1)


@app.command()
def ask(question: str, collection: Collection = "default", url: Url = _URL) -> None:
    """Ask the documents a question."""
    console = Console()
    with _connected(url, console) as client:
        commands.ask_and_show(client, console, question, collection)


@app.command()
def feedback(
    answer_id: Annotated[str, typer.Argument(metavar="ANSWER", help="the lineage id that `ask` prints")],
    verdict: Annotated[str, typer.Argument(help="up or down")],
    corrected: Annotated[str | None, typer.Option(help="what the answer should have said")] = None,
    quote: Annotated[str | None, typer.Option(help="where the document says so, in its words")] = None,
    wrong_citation: Annotated[int | None, typer.Option(min=0, help="a citation that does not hold, from 0")] = None,
    comment: Annotated[str | None, typer.Option(help="anything else")] = None,
    url: Url = _URL,
) -> None:
    """Say whether an answer was right. Corrections are what the next training learns from, and is judged by."""
    from services.cli import loop

    said = {"verdict": verdict, "corrected_answer": corrected, "quote": quote, "wrong_citation": wrong_citation}
    console = Console()
    with _connected(url, console) as client:
        loop.give_feedback(client, console, answer_id, said | {"comment": comment, "by": commands.user()})


@app.command()
def search(
    query: str,
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="passages to show")] = 5,
    collection: Collection = "default",
    url: Url = _URL,
) -> None:
    """Show the passages nearest to a query."""
    console = Console()
    with _connected(url, console) as client:
        commands.search_and_show(client, console, query, collection, k)


@app.command()
def classify(
    text: str,
    pair: Annotated[str | None, typer.Option(help="a second text: for `sufficiency` the passage")] = None,
    model: Annotated[str, typer.Option(help="name of a classifier")] = "sufficiency",
    url: Url = _URL,
) -> None:
    """Label a text, or a text and a second one: does this passage answer this question?"""
    console = Console()
    with _connected(url, console) as client:
        commands.classify_and_show(client, console, model, text, pair)


@app.command()
def lineage(
    lineage_id: Annotated[str, typer.Argument(metavar="ID", help="as `ask` and `classify` print it")],
    again: Annotated[bool, typer.Option("--replay", help="ask it again and show what differs now")] = False,
    url: Url = _URL,
) -> None:
    """Show what an answer or a classification came from."""
    console = Console()
    with _connected(url, console) as client:
        commands.lineage_and_show(client, console, lineage_id, again)


@app.command()
def gate(
    champion: Annotated[Path, typer.Argument(help="scores of the release that is live: JSON or JSONL")],
    challenger: Annotated[Path, typer.Argument(help="scores of the release that wants its place")],
    params: Annotated[Path, typer.Option(help="whose section `gate` says what to hold and to gain")] = Path(
        "params.yaml"
    ),
) -> None:
    """Compare two releases on the same questions. Prints the verdict as JSON; exit code 1 if it is no."""
    from models.params import load_params
    from services.eval.gate import judge
    from services.eval.scores import read_scores

    console = Console(stderr=True)
    with _told(console):
        verdict = judge(read_scores(champion), read_scores(challenger), load_params(params).gate)
    typer.echo(verdict.model_dump_json(indent=2))
    for line in verdict.why:
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if not verdict.passed:
        raise typer.Exit(1)


@app.command()
def evaluate(
    dataset: Annotated[str, typer.Argument(help="a JSON lines file of questions, or the name of one uploaded before")],
    name: Annotated[str | None, typer.Option(help="keep the file's questions under this name")] = None,
    report: Annotated[Path | None, typer.Option(help="write the report (HTML) to this file")] = None,
    release: Annotated[str, typer.Option(help="champion, challenger, a version or the id of a release")] = "champion",
    against: Annotated[str | None, typer.Option(help="a second release, asked in turn with the first")] = None,
    collection: Collection = "default",
    url: Url = _URL,
) -> None:
    """Ask every question of a dataset, and show how good the answers are beside two baselines.

    With --against the gate says at the end whether the release may be promoted; exit code 1 if it is no.
    """
    console = Console()
    file = Path(dataset) if Path(dataset).is_file() else None
    fields = {"collection": collection, "release": release} | ({"against": against} if against else {})
    if kept := name or (None if file else dataset):
        fields["dataset"] = kept
    with _connected(url, console) as client:
        succeeded = commands.evaluate_and_show(client, console, file, report, fields)
    if not succeeded:
        raise typer.Exit(1)


@app.command()
def releases(url: Url = _URL) -> None:
    """Show which release is live, and every promotion and rollback: who, what, when and why."""
    console = Console()
    with _connected(url, console) as client:
        commands.list_releases(client, console)


@app.command()
def promote(
    release: Annotated[str, typer.Argument(help="challenger, a version or the id of a release")] = "challenger",
    override_reason: Annotated[
        str | None, typer.Option(help="make it live without the gate, for this reason, which is kept for ever")
    ] = None,
    url: Url = _URL,
) -> None:
    """Make a release live that the gate let pass against the one that is. Exit code 1 if it is refused."""
    console = Console()
    with _connected(url, console) as client:
        done = commands.promote_and_show(client, console, release, override_reason)
    if not done:
        raise typer.Exit(1)


@app.command()
def rollback(
    reason: Annotated[str | None, typer.Option(help="why, for the history")] = None,
    url: Url = _URL,
) -> None:
    """Make the release live again that was before. Exit code 1 if it is refused."""
    console = Console()
    with _connected(url, console) as client:
        done = commands.roll_back_and_show(client, console, reason)
    if not done:
        raise typer.Exit(1)


@app.command()
def drift(
    now: Annotated[bool, typer.Option("--now", help="judge the newest answers now; that raises no alarm")] = False,
    reference: Annotated[str | None, typer.Option(help="with --now: the id of an older reference")] = None,
    freeze: Annotated[bool, typer.Option("--freeze", help="make the newest answers the reference")] = False,
    url: Url = _URL,
) -> None:
    """Do questions and answers still look as in the release's first time? Exit code 1 if there is an alarm."""
    console = Console()
    with _connected(url, console) as client:
        if freeze:
            show_drift.freeze(client, console)
        good = show_drift.judge_now(client, console, reference) if now else True
        if not now and not freeze:
            good = not show_drift.show(client, console)
    if not good:
        raise typer.Exit(1)


@app.command()
def retraining(
    run_id: Annotated[str | None, typer.Argument(metavar="RUN", help="show one run with its steps")] = None,
    approve: Annotated[bool, typer.Option("--approve", help="make its challenger live, which has passed")] = False,
    url: Url = _URL,
) -> None:
    """Show what alerts have set going, or approve the challenger of a run."""
    from services.cli import loop

    console = Console()
    with _connected(url, console) as client:
        if run_id is None:
            loop.list_runs(client, console)
        elif approve:
            loop.approve(client, console, run_id, commands.user())
        else:
            loop.show_run(client, console, run_id)


@app.command()
def documents(
    collection: Annotated[str | None, typer.Option("--collection", "-c", help="only this collection")] = None,
    delete: Annotated[str | None, typer.Option(help="id of a document to delete instead")] = None,
    url: Url = _URL,
) -> None:
    """List the documents, or delete one."""
    console = Console()
    with _connected(url, console) as client:
        if delete:
            client.delete(f"/v1/documents/{delete}")
        else:
            commands.list_documents(client, console, collection)


@app.command()
def reindex(
    collection: Annotated[str | None, typer.Option("--collection", "-c", help="only this collection")] = None,
    url: Url = _URL,
) -> None:
    """Have documents that another encoder has embedded embedded anew, so that they are found again."""
    console = Console()
    with _connected(url, console) as client:
        failed = commands.reindex_with_progress(client, console, collection)
    if failed:
        raise typer.Exit(1)


WithoutRegistry = Annotated[bool, typer.Option("--without-registry", help="leave the releases in MLflow out")]


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="a new folder for it")], without_registry: WithoutRegistry = False
) -> None:
    """Copy catalog, files and releases to a folder, while everything serves."""
    from services.cli.backups import back_up_and_show
    from services.core.settings import load_settings

    console = Console()
    with _told(console):
        back_up_and_show(load_settings(), console, folder, not without_registry)


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="a backup")], without_registry: WithoutRegistry = False
) -> None:
    """Put a backup into an empty system: the same settings as the services', which should not be running."""
    from services.cli.backups import restore_and_show
    from services.core.settings import load_settings

    console = Console()
    with _told(console):
        restore_and_show(load_settings(), console, folder, not without_registry)


@app.command()
def status(url: Url = _URL) -> None:
    """Is it running, with which models, holding what?"""
    console = Console()
    with _connected(url, console) as client:
        commands.show_status(client, console)


@contextmanager
def _connected(url: str, console: Console) -> Iterator[Client]:
    from services.core.settings import load_settings

    with _told(console), Client(url, load_settings().api_key) as client:
        yield client


@contextmanager
def _told(console: Console) -> Iterator[None]:
    """Expected failures become a sentence and exit code 2."""
    try:
        yield
    except ClientError as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(2) from None
    except CapstoneError as error:
        console.print(error.detail, style="red", markup=False)
        raise typer.Exit(2) from None


def _example(url: str, key: SecretStr | None, console: Console) -> None:
    from services.cli.example import run_example

    try:
        run_example(url, key, console)
    except ClientError as error:
        console.print(str(error), style="red", markup=False)
