"""Answers, passages and documents as a person wants to read them in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

_SHOWN_CHARS = 320


def show_citations(console: Console, answer: dict[str, Any]) -> None:
    """Quotes under an answer whose text is on the screen already."""
    if answer["abstained"]:
        console.print(f"[yellow]{answer['answer']}[/yellow]")
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


def documents_table(documents: Sequence[dict[str, Any]]) -> Table:
    table = Table("document", "collection", "status", "pages", "chunks", "id", box=None)
    for document in documents:
        pages, chunks = (str(document[key] or "") for key in ("pages", "chunks"))
        table.add_row(
            escape(document["name"]),
            document["collection"],
            document["status"],
            pages,
            chunks,
            f"[dim]{document['id']}[/dim]",
        )
    return table
