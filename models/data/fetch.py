"""Raw files of the training data -> data/train/raw, each checked by SHA-256. `python -m models.data.fetch`.

A file that is there and right is left alone. Otherwise it is taken from the first place that has the right bytes: a
folder on this machine, DVC's cache or remote, the Debian package, the URL.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from models.data.places import Bring, NotHere, places
from models.data.sources import SOURCES, RawFile, read_sources
from models.errors import BadInput
from models.files import sha256_of, staged_file
from models.params import load_params
from models.paths import PARAMS
from models.prepare.params import DataParams
from models.prepare.squad import SQUAD
from models.progress import Steps
from models.stage import exit_code

VARIABLE = "CAPSTONE_TRAIN_DATA"
REMEDY = (
    f"Put the right file into a folder and name that with --from or {VARIABLE}; or configure a DVC remote that has it "
    "(`dvc remote add`); or, for a Debian package, run `apt-get update` on a machine with Debian 12 as a source."
)


def fetch_raw(files: Sequence[RawFile], raw: Path, local: Path | None, console: Console) -> None:
    """Bring `files` into the folder `raw`. `local` is a folder that may hold them, or has them below `pdf`.

    Raises BadInput, naming each file that could not be had and what every place said; those that could are kept.
    """
    steps = Steps(console)
    due = [file for file in files if not _is_right(raw / file.name, file)]
    if not due:
        steps.note(f"all {len(files)} files are in {raw}, nothing to do")
        return
    failed = {}
    with places(raw, local) as at, steps.step(f"fetch {len(due)} of {len(files)} files", len(due)) as advance:
        for file in due:
            if tried := _fetch(file, raw, at, steps):
                failed[file] = tried
            advance(1)
    if failed:
        reasons = "".join(f"\n  {file.name} ({file.sha256}): {'; '.join(tried)}" for file, tried in failed.items())
        raise BadInput(raw, f"{len(failed)} of {len(files)} files could not be had{reasons}\n", remedy=REMEDY)


def needed(files: Sequence[RawFile], params: DataParams) -> list[RawFile]:
    """Those of `files` that stage prepare will read."""
    wanted = params.documents
    return [
        file
        for file in files
        if (params.squad_questions != 0 if file.name == SQUAD else wanted is None or file.name in wanted)
    ]


def _fetch(file: RawFile, raw: Path, at: Mapping[str, Bring], steps: Steps) -> list[str]:
    """Put the file in place and return nothing, or return what each place said."""
    tried: list[str] = []
    try:
        with staged_file(raw / file.name) as made:
            steps.note(f"  {file.name}: from {_bring(file, made, at, tried)}")
    except NotHere:
        return tried
    return []


def _bring(file: RawFile, made: Path, at: Mapping[str, Bring], tried: list[str]) -> str:
    """Write the right bytes to `made` and return the place that had them. Raises NotHere, with `tried` filled."""
    for name, bring in at.items():
        try:
            bring(file, made)
        except NotHere as reason:
            tried.append(f"{name}: {reason}")
            continue
        if (found := sha256_of(made)) == file.sha256:
            return name
        tried.append(f"{name}: refused, SHA-256 {found}")
    raise NotHere


def _is_right(path: Path, file: RawFile) -> bool:
    return path.is_file() and sha256_of(path) == file.sha256


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns 0, or 2 after a message if a file could not be had."""
    parser = argparse.ArgumentParser(prog="python -m models.data.fetch", description="Fetch the raw training data.")
    parser.add_argument("--from", dest="local", type=Path, metavar="FOLDER", help="where the files may lie already")
    parser.add_argument("--raw", type=Path, default=Path("data/train/raw"), help="where they are put")
    parser.add_argument("--sources", type=Path, default=SOURCES)
    parser.add_argument("--params", type=Path, default=PARAMS, help="its section `data` says which files are needed")
    options = parser.parse_args(arguments)
    named = os.environ.get(VARIABLE)
    local = options.local or (Path(named) if named else None)

    def fetch() -> None:
        files = needed(read_sources(options.sources), load_params(options.params).data)
        fetch_raw(files, options.raw, local, Console())

    return exit_code(fetch)


if __name__ == "__main__":
    sys.exit(main())
