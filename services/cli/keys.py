"""`capstone keys`: made, listed, revoked in the catalog itself, by whoever can open it. The first has no other way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.core.errors import CapstoneError, InvalidRequest
from services.core.keys import Key, KeyStore, Scope
from services.core.schemas import CollectionName, iso

app = typer.Typer(no_args_is_help=True, help="Who may ask: API keys, kept in the catalog as hashes.")
_NAME_MAX_CHARS = 120


@app.command()
def create(
    scope: Annotated[Scope, typer.Option(help="each may do what those before it may")],
    collection: Annotated[
        list[str] | None, typer.Option("--collection", "-c", help="see only this one; repeatable; none: all")
    ] = None,
    name: Annotated[str, typer.Option(help="whose it is, or what for")] = "",
    expires: Annotated[float | None, typer.Option(min=0.0, metavar="DAYS", help="good for so many days")] = None,
) -> None:
    """Make a key and print it: only now, since only its hash is kept."""
    told = Console(stderr=True)
    with _store(told) as store:
        collections = [_collection(one) for one in collection or []]
        named = name[:_NAME_MAX_CHARS]
        key, text = store.create(scope, name=named, collections=collections, expires_in_days=expires)
    where = f"collections {', '.join(key.collections)}" if key.collections else "all collections"
    until = f"until {iso(key.expires_at)}" if key.expires_at else "until it is revoked"
    told.print(f"{key.id}: {key.scope}, {where}, {until}. It is not shown again:", markup=False, highlight=False)
    typer.echo(text)


@app.command("list")
def list_keys() -> None:
    """Show all keys that were ever made, without their secrets."""
    console = Console()
    with _store(console) as store:
        console.print(_table(store.all()))


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(metavar="ID", help="as `list` shows it")]) -> None:
    """Have a key refused from the next request on, by every process."""
    console = Console()
    with _store(console) as store:
        key = store.revoke(key_id)
    console.print(f"{key.id} is revoked since {iso(key.revoked_at)}.", markup=False, highlight=False)


@contextmanager
def _store(console: Console) -> Iterator[KeyStore]:
    """Expected failures become a sentence and exit code 2."""
    from services.core.catalog import Catalog
    from services.core.settings import load_settings

    try:
        with closing(Catalog(load_settings().catalog_url)) as catalog:
            catalog.migrate()
            yield KeyStore(catalog.database)
    except CapstoneError as error:
        console.print(error.detail, style="red", markup=False)
        raise typer.Exit(2) from None


def _collection(name: str) -> str:
    try:
        return TypeAdapter[str](CollectionName).validate_python(name)
    except ValidationError:
        raise InvalidRequest(f"{name!r} cannot be the name of a collection.") from None


def _table(keys: list[Key]) -> Table:
    table, now = Table("id", "name", "scope", "collections", "made", "expires", "status"), time.time()
    for key in keys:
        collections = ", ".join(key.collections) if key.collections else "all"
        expires, made = iso(key.expires_at) or "never", iso(key.created_at) or ""
        status = key.status(now)
        style = None if status == "active" else "dim"
        table.add_row(key.id, escape(key.name), key.scope, collections, made, expires, status, style=style)
    return table
