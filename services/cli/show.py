"""Answers, passages and documents as a person wants to read them in a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

_SHOWN_CHARS = 320


def show_rest(console: Console, answer: dict[str, Any]) -> None:
    """What is to be said under a draft that is on the screen already: its last word, and the quotes."""
    if answer["mode"] == "extractive":
        if answer["lineage"]["answers"] == "generated":
            console.print("[yellow]The documents do not support all of that. In their own words:[/yellow]")
        console.print(answer["answer"], markup=False, highlight=False)
    elif answer["mode"] == "abstained":
        console.print(f"[yellow]{answer['answer']}[/yellow]")
    if answer["nearest"]:
        console.print("What came nearest:")
        show_passages(console, answer["nearest"])
    for citation in answer["citations"]:
        mark = "[green]verified[/green]" if citation["verified"] else "[red]not verified[/red]"
        where = escape(f"{citation['document_name']}, page {citation['page']}")
        quote = Text(" ".join(citation["quote"].split()), style="italic")
        console.print(Panel(quote, title=f"{where} · {mark}", title_align="left", width=min(console.width, 100)))
    total_s = answer["timings_ms"]["total"] / 1000
    tokens = answer["usage"]["completion_tokens"]
    console.print(f"[dim]{total_s:.1f} s, {tokens} tokens, lineage {answer['lineage']['id']}[/dim]")


def show_passages(console: Console, results: Sequence[dict[str, Any]]) -> None:
    if not results:
        console.print("[yellow]Nothing found.[/yellow]")
    for rank, result in enumerate(results, 1):
        section = " › ".join(result["section"])
        where = f"{rank}. {result['document_name']}, page {result['page']}" + (f" · {section}" if section else "")
        text = " ".join(result["text"].split())
        shown = text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + " …"
        console.print(Panel(Text(shown), title=escape(where), subtitle=f"{result['score']:.3f}", title_align="left"))


def show_classification(console: Console, answer: dict[str, Any]) -> None:
    (result,) = answer["results"]
    for label, score in sorted(result["scores"].items(), key=lambda item: -item[1]):
        console.print(f"{score:.3f} {label}", markup=False, highlight=False)
    if result["truncated"]:
        console.print(f"[yellow]Only the first {result['tokens']} tokens were read.[/yellow]")
    console.print(f"[dim]lineage {answer['lineage']['id']}[/dim]")


def show_lineage(console: Console, lineage: dict[str, Any]) -> None:
    """One line for each part that has a share in it, then the passages that were read."""
    rows = {"what": lineage["kind"], "when": lineage["created_at"], **lineage["request"], "release": lineage["release"]}
    rows |= {name.replace("_", " "): model for name, model in lineage["models"].items()}
    rows |= {"index": lineage["index_seq"], "prompt": lineage["prompt"] and lineage["prompt"]["id"]}
    rows |= {name: lineage[name] for name in ("decoding", "retrieval", "answers", "thresholds", "temperature")}
    rows |= {"data": lineage["data_sha256"], "commit": lineage["git_commit"], "replay of": lineage["replay_of"]}
    for name, value in rows.items():
        if value is not None:
            console.print(f"{name:15} {_plain(value)}", markup=False, highlight=False, soft_wrap=True)
    for passage in lineage["passages"]:
        where = "deleted since"
        if passage["document_id"]:
            where = f"{passage['document_name']}, page {passage['page']}"
        console.print(f"{'passage':15} {passage['chunk_id']}: {where}", markup=False, highlight=False, soft_wrap=True)


def show_replay(console: Console, replay: dict[str, Any]) -> None:
    """Whether it came out the same, what differs in it, and what differs in what it came from."""
    console.print("[green]the same[/green]" if replay["same"] else "[red]not the same[/red]")
    if replay["kind"] == "answer":
        _show_replayed_answer(console, replay)
    for result in replay.get("results", []):
        for label, score in result["scores"].items():
            text = f"input {result['index']}: {label} {score['before']:.3f} -> {score['now']:.3f}"
            console.print(text, markup=False, highlight=False)
    for name, change in replay["lineage"].items():
        text = f"{name}: {_plain(change['before'])} -> {_plain(change['now'])}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    if not replay["lineage"]:
        console.print("It comes from the same parts.")
    console.print(f"[dim]lineage {replay['replay']}[/dim]")


def _show_replayed_answer(console: Console, replay: dict[str, Any]) -> None:
    styles = {"same": "", "gone": "red strike", "new": "green"}
    signs = {"same": ("", ""), "gone": ("[-", "-]"), "new": ("{+", "+}")}  # as `git diff --word-diff` has them
    words = Text()
    for piece in replay["text"]:
        begin, end = signs[piece["op"]]
        words.append(f"{begin}{piece['text']}{end} ", style=styles[piece["op"]])
    console.print(words)
    if replay["mode"]:
        console.print(f"mode: {replay['mode']['before']} -> {replay['mode']['now']}")
    for name in ("gone", "new"):
        for citation in replay["citations"][name]:
            where = f"{citation['document_name']}, page {citation['page']}: {' '.join(citation['quote'].split())}"
            console.print(f"quote {name}: {where}", markup=False, highlight=False, soft_wrap=True)
        if replay["passages"][name]:
            console.print(f"passages {name}: {_plain(replay['passages'][name])}", markup=False, highlight=False)
    if replay["sampled"]:
        console.print("[yellow]Its tokens were drawn without a seed: the text may differ for that alone.[/yellow]")


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_FIGURES = (
    "answer_words",
    "rouge1",
    "rouge2",
    "rougeL",
    "token_f1",
    "contains",
    "citation_precision",
    "abstention_error",
)


def show_evaluation(console: Console, evaluation: dict[str, Any]) -> None:
    """The figures of the release beside the baselines, with 95 % intervals, or why there are none."""
    if evaluation["summary"] is None:
        error = evaluation["error"]
        reason = f"{error['detail']} ({error['code']})" if error else evaluation["status"]
        console.print(f"[red]The evaluation has not succeeded[/red]: {escape(reason)}")
        return
    summary = evaluation["summary"]
    systems = list(summary["systems"])
    table = Table("", *(name.replace("_", " ") for name in systems), box=None)
    for metric in _FIGURES:
        table.add_row(metric, *(_interval(summary["systems"][system][metric]) for system in systems))
    for metric in ("hit@1", "recall@5", "mrr@10", "ndcg@10"):
        table.add_row(metric, _interval(summary["systems"]["release"][metric]))
    console.print(table)
    latency = ", ".join(
        f"{name} p50 {ms['p50']:.0f}, p95 {ms['p95']:.0f}" for name, ms in summary["latency_ms"].items()
    )
    console.print(f"[dim]{summary['questions']} questions; {latency}[/dim]", highlight=False)
    if evaluation["verdict"] is not None:
        _show_verdict(console, evaluation["verdict"])
    tracking = evaluation["tracking"]
    if tracking["status"] == "logged":
        console.print(f"[dim]MLflow run {tracking['run_id']}[/dim]", highlight=False)
    else:
        console.print(f"[yellow]Not logged to MLflow: {escape(tracking['detail'])}[/yellow]")


def _show_verdict(console: Console, verdict: dict[str, Any]) -> None:
    if verdict["passed"]:
        console.print(f"[green]The gate lets it pass[/green] [dim]{verdict['id']}[/dim]", highlight=False)
        return
    console.print(
        f"[red]The gate does not let it pass[/red] [dim]{verdict['id'] or 'no verdict'}[/dim]", highlight=False
    )
    for line in verdict["why"]:
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)


def show_aliases(console: Console, releases: dict[str, Any]) -> None:
    """What each alias names, or why that is not known."""
    if releases["aliases"] is None:
        console.print(f"[yellow]{escape(releases['registry'])}[/yellow]", highlight=False)
        return
    for alias, named in releases["aliases"].items():
        said = "none"
        if named is not None and named["release"] is not None:
            said = f"{named['release']}, " + (f"version {named['version']}" if named["version"] else "as shipped")
        console.print(f"{alias:11} {said}", markup=False, highlight=False)


def show_change(console: Console, change: dict[str, Any]) -> None:
    """A promotion or rollback in one line, and why it was made in another, if that is to be told."""
    what = f"{change['kind']} {change['status']}: {change['from_release']} -> {change['release']}"
    line = f"{change['created_at']} {what}, version {change['version']}, by {change['by']}"
    if change["verdict_id"]:
        line += f", gate {'passed' if change['gate_passed'] else 'not passed'} ({change['verdict_id']})"
    elif change["gate_passed"] is False:
        line += ", not judged"
    console.print(line, markup=False, highlight=False, soft_wrap=True)
    if change["override_reason"]:
        console.print(f"  overridden: {change['override_reason']}", markup=False, highlight=False, soft_wrap=True)
    if change["reason"]:
        console.print(f"  {change['reason']}", markup=False, highlight=False, soft_wrap=True)
    if change["detail"]:
        console.print(f"  {change['detail']}", markup=False, highlight=False, soft_wrap=True)


def _interval(facts: dict[str, float] | None) -> str:
    return f"{facts['value']:.3f} \\[{facts['low']:.3f}, {facts['high']:.3f}]" if facts else "–"


def documents_table(documents: Sequence[dict[str, Any]]) -> Table:
    table = Table("document", "collection", "status", "pages", "chunks", "id", box=None)
    for document in documents:
        pages, chunks = (str(document[key] or "") for key in ("pages", "chunks"))
        table.add_row(
            escape(document["name"]),
            document["collection"],
            document["status"] + ("[yellow], hidden text[/yellow]" if document["hidden_text_pages"] else ""),
            pages,
            chunks,
            f"[dim]{document['id']}[/dim]",
        )
    return table
