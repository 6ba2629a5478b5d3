"""`python -m models.prepare`"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from models.data.sources import SOURCES
from models.overlap import HASHES, VARIABLE
from models.params import load_params
from models.paths import MODELS, PARAMS, PREPARED, RAW
from models.prepare.questions import QUESTIONS
from models.prepare.stage import Inputs, prepare
from models.stage import exit_code


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns 0, or 2 after a message, with the output as it was."""
    parser = argparse.ArgumentParser(prog="python -m models.prepare", description="Make the training data.")
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--overlay", type=Path, help="a file whose members go over those of --params")
    parser.add_argument("--questions", type=Path, default=QUESTIONS)
    parser.add_argument("--sources", type=Path, default=SOURCES)
    parser.add_argument("--raw", type=Path, default=RAW)
    parser.add_argument("--models-dir", type=Path, default=MODELS)
    parser.add_argument("--hashes", type=Path, default=HASHES, help="what is known of the evaluation set")
    parser.add_argument("--evaluation", type=Path, help=f"the set itself, if it is here; or {VARIABLE}")
    parser.add_argument("--out", type=Path, default=PREPARED)
    options = parser.parse_args(arguments)
    named = os.environ.get(VARIABLE)
    inputs = Inputs(
        options.params,
        options.questions,
        options.sources,
        options.raw,
        options.models_dir,
        options.hashes,
        options.evaluation or (Path(named) if named else None),
    )
    return exit_code(lambda: prepare(load_params(options.params, options.overlay), inputs, options.out, Console()))


if __name__ == "__main__":
    sys.exit(main())
