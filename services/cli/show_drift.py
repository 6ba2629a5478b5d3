"""`capstone drift`: what the services say of it, for a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.cli.client import Client


def show(client: Client, console: Console) -> bool:
    """The alarm, the reference, and the tests of the last window; returns whether there is an alarm."""
    found = client.get("/v1/drift")
    if found["release"] is None:
        console.print("Nothing is captured yet: no question has been answered, or CAPSTONE_CAPTURE_SHARE is 0.")
        return False
    alarm = f"[red]drift[/red]: {found['in_a_row']} windows in a row" if found["alarm"] else "[green]no alarm[/green]"
    console.print(f"{escape(found['release'])}: {alarm}", highlight=False)
    reference, waiting = found["reference"], found["waiting"]
    if reference is None:
        console.print(f"No reference yet: {waiting['captured']} of {waiting['needed']} answers captured.")
        return False
    console.print(
        f"reference {reference['version']}, {reference['rows']} answers, {reference['created_at']} ({reference['id']})",
        highlight=False,
    )
    console.print(f"next window: {waiting['captured']} of {waiting['needed']} answers captured", highlight=False)
    judged = [window for window in found["windows"] if window["tests"] is not None]
    if judged:
        show_window(client, console, judged[0])
    for window in found["windows"]:
        if window["status"] != "succeeded":
            console.print(_unjudged(window), style="yellow", markup=False, highlight=False, soft_wrap=True)
    return bool(found["alarm"])


def freeze(client: Client, console: Console) -> None:
    reference = client.post("/v1/drift/references")
    console.print(
        f"Reference {reference['version']} of {reference['release']}: the newest {reference['rows']} answers "
        f"({reference['id']}).",
        markup=False,
        highlight=False,
    )


def judge_now(client: Client, console: Console, reference: str | None) -> bool:
    """Have the newest captures judged, follow that, and show it; returns whether it was done."""
    window = client.post("/v1/drift/windows", {"reference": reference})
    for _, _job in client.events("GET", window["job"]["url"]):
        pass
    window = client.get(f"/v1/drift/windows/{window['id']}")
    if window["tests"] is None:
        console.print(_unjudged(window), style="red", markup=False, highlight=False, soft_wrap=True)
        return False
    show_window(client, console, window)
    return True


def show_window(client: Client, console: Console, window: dict[str, Any]) -> None:
    name = f"window {window['number']}" if window["number"] else "a window outside the row"
    verdict = "[red]drift[/red]" if window["drift"] else "[green]steady[/green]"
    console.print(f"{name}, {window['rows']} answers, {window['judged_at']}: {verdict}", highlight=False)
    table = Table("test", "score", "threshold", "p", "", box=None)
    for test in window["tests"]:
        figures = (f"{test[name]:.4f}" for name in ("score", "threshold", "p_value"))
        table.add_row(escape(test["name"]), *figures, "[red]drift[/red]" if test["drift"] else "")
    console.print(table)
    if window["report_url"]:
        console.print(f"Report: {client.url}{window['report_url']}", markup=False, highlight=False, soft_wrap=True)


def _unjudged(window: dict[str, Any]) -> str:
    error = window["error"]
    why = f"{error['detail']} ({error['code']})" if error else window["status"]
    return f"window {window['number'] or window['id']}: {why}"
