"""The first thing a new user sees: the document that ships with the project, a question, and a cited answer."""

from __future__ import annotations

import time
from pathlib import Path

from pydantic import SecretStr
from rich.console import Console

from services.cli.client import Client, ClientError
from services.cli.commands import ask_and_show, ingest_with_progress

EXAMPLE = Path(__file__).parents[2] / "examples" / "fhs-3.0.pdf"
QUESTION = "What is /var/tmp for?"
_START_WITHIN_S = 120.0


def wait_until_ready(client: Client, within_s: float = _START_WITHIN_S) -> None:
    """Raises ClientError if the server is not ready in time."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            client.get("/readyz")
            return
        except ClientError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def run_example(url: str, key: SecretStr | None, console: Console) -> None:
    """Ingest the example, ask it a question, show the answer, and say what to try next."""
    with Client(url, key) as client:
        wait_until_ready(client)
        ingest_with_progress(client, console, [EXAMPLE], "default")
        console.print(f"\n[bold]Q[/bold] {QUESTION}")
        ask_and_show(client, console, QUESTION, "default", capture=False)
    console.print(
        f"\nServing on [link={url}]{url}[/link] until Ctrl-C: open it in a browser.\nTry, in another terminal:\n"
        f"  .venv/bin/capstone ask 'What is /srv for?'\n"
        f"  .venv/bin/capstone ingest your.pdf\n"
        f"  curl -F file=@your.pdf {url}/v1/documents\n"
        f"  open {url}/docs for the whole HTTP surface"
    )
