"""`capstone feedback` and `capstone retraining`: what the services say of the loop, for a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape

from services.cli.client import Client

_COLOURS = {"promoted": "green", "waiting_approval": "yellow", "refused": "yellow", "failed": "red"}


def give_feedback(client: Client, console: Console, answer_id: str, said: dict[str, Any]) -> None:
    body = {name: value for name, value in said.items() if value is not None}
    given = client.post(f"/v1/answers/{answer_id}/feedback", body)
    console.print(f"Kept: {given['verdict']}, version {given['version']} by {given['by']}.", markup=False)


def list_runs(client: Client, console: Console) -> None:
    """The newest ones, one line each."""
    runs = client.get("/v1/retraining-runs")["data"]
    if not runs:
        console.print("No alert has opened a retraining yet.")
    for run in runs:
        _show_line(console, run)


def show_run(client: Client, console: Console, run_id: str) -> None:
    run = client.get(f"/v1/retraining-runs/{run_id}")
    _show_line(console, run)
    for step in run["steps"]:
        line = f"  {step['name']}: {step['began_at']} to {step['ended_at'] or 'now'}"
        console.print(line, markup=False, highlight=False)
    for name, value in (run["facts"] or {}).items():
        console.print(f"  {name}: {value}", markup=False, highlight=False)
    for name in ("release", "evaluation", "verdict", "detail"):
        if run[name]:
            console.print(f"  {name}: {run[name]}", markup=False, highlight=False, soft_wrap=True)
    if run["status"] in ("running", "failed") and run["log"]:
        console.print(run["log"][-1_000:], style="dim", markup=False, highlight=False, soft_wrap=True)


def approve(client: Client, console: Console, run_id: str, by: str | None) -> None:
    _show_line(console, client.post(f"/v1/retraining-runs/{run_id}/approve", {"by": by}))


def _show_line(console: Console, run: dict[str, Any]) -> None:
    status, error = run["status"], run["error"]
    colour = _COLOURS.get(status, "default")
    why = f": {error['detail']} ({error['code']})" if error else ""
    line = f"{run['created_at']} [{colour}]{status}[/{colour}], by {escape(run['alert']['name'])}{escape(why)}"
    console.print(f"{line} [dim]{run['id']}[/dim]", highlight=False, soft_wrap=True)
