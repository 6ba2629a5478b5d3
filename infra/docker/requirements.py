"""Prints what an image has to install, one requirement a line: `python requirements.py PYPROJECT NAME`.

NAME is an extra of the project, or `core` for what every service needs. Extras of the project that an extra names are
resolved; the project itself is never installed, its code is copied.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def requirements(project: dict[str, Any], name: str) -> Iterator[str]:
    """The requirements of `name`. Raises KeyError if there is no such extra."""
    own = re.compile(rf"{project['name']}\[([\w,-]+)\]")
    for line in project["dependencies"] if name == "core" else project["optional-dependencies"][name]:
        if found := own.fullmatch(line):
            for extra in found[1].split(","):
                yield from requirements(project, extra)
        else:
            yield line


if __name__ == "__main__":
    print("\n".join(requirements(tomllib.loads(Path(sys.argv[1]).read_text())["project"], sys.argv[2])))
