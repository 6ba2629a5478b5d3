"""`capstone backup` and `capstone restore`: on the machine that has the data, not over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from sqlalchemy.exc import SQLAlchemyError

from services.backup.form import Facts
from services.backup.make import back_up
from services.backup.restore import restore
from services.backup.sums import Tell
from services.core.errors import CapstoneError
from services.core.settings import Settings


def back_up_and_show(settings: Settings, console: Console, folder: Path, registry: bool) -> None:
    """Raises CapstoneError, with its code in the sentence, if there is no backup then."""
    with _problems(), _bars(console) as tell:
        facts = back_up(settings, folder, tell, registry=registry)
    _show(console, f"Backed up to {folder}", facts)
    if facts.deleted:
        console.print(f"{len(facts.deleted)} documents were deleted meanwhile, and are not in it.")


def restore_and_show(settings: Settings, console: Console, folder: Path, registry: bool) -> None:
    """Raises CapstoneError, with its code in the sentence, if nothing was restored, or not all of it."""
    with _problems(), _bars(console) as tell:
        facts = restore(settings, folder, tell, registry=registry)
    _show(console, f"Restored from {folder}, made {facts.made_at}", facts)


def _show(console: Console, what: str, facts: Facts) -> None:
    releases = "no releases" if facts.releases is None else f"{facts.releases} releases"
    told = f"{what}: {facts.documents} documents, {facts.rows['answers']} answers, {releases}."
    console.print(told, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _problems() -> Iterator[None]:
    try:
        yield
    except CapstoneError as error:
        error.detail = f"{error.detail} ({error.code})"
        raise
    except OSError as error:
        raise CapstoneError(f"{error.strerror or error}: {error.filename or 'the disk'} (storage_problem)") from error
    except SQLAlchemyError as error:  # its own words would have the address of the database
        raise CapstoneError(f"The database refuses ({type(error).__name__}) (database_problem)") from error


@contextmanager
def _bars(console: Console) -> Iterator[Tell]:
    """A bar for each thing that is done."""
    columns = (TextColumn("{task.description:10}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bars: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int | None) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=total)
            progress.update(bars[what], completed=done, total=total)

        yield tell
