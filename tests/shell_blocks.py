"""The commands in the documents: fenced blocks, statement by statement, and those that stand in a sentence."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

from tests.server import ROOT

DOCUMENTS = [
    path
    for path in (
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        ROOT / "ARCHITECTURE.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "examples" / "README.md",
        ROOT / "infra" / "space" / "README.md",
    )
    if path.exists()
]
PROGRAMS = (
    "amtool",
    "capstone",
    "curl",
    "docker",
    "docker-compose",
    "dvc",
    "git",
    "helm",
    "kubectl",
    "make",
    "pip",
    "pre-commit",
    "prometheus",
    "promtool",
    "python",
    "source",
    "torchrun",
    "uvicorn",
)
LANGUAGES = {"sh", "python", "json", "text", "yaml"}  # of what is fenced; only the first two are commands


class Command(NamedTuple):
    """`text` as it is written; of a fenced one every line of the statement, of one in a sentence the code span."""

    document: str
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.document}:{self.line}"

    @property
    def bare(self) -> str:
        """Without a comment behind it and the spaces around it: what makes it the same as another."""
        return re.sub(r"\s+#\s.*$", "", self.text, flags=re.MULTILINE).strip()


def blocks() -> Iterator[Command]:
    """Every fenced block, whole; `line` is that of its first line."""
    for path in DOCUMENTS:
        found = re.finditer(r"^```(\S*)\n(.*?)^```$", text := path.read_text(), re.MULTILINE | re.DOTALL)
        for block in found:
            line = text.count("\n", 0, block.start(2)) + 1
            yield Command(str(path.relative_to(ROOT)), line, block[1], block[2])


def statements() -> Iterator[Command]:
    """Every command that is fenced: a Python block is one, a shell block as many as the shell takes it for."""
    for block in blocks():
        if block.language == "python":
            yield block
        elif block.language == "sh":
            yield from _split(block)


def _split(block: Command) -> Iterator[Command]:
    """A statement ends with the line up to which the shell can read it."""
    pending: list[str] = []
    for number, line in enumerate(block.text.splitlines()):
        if not pending and (not line.strip() or line.lstrip().startswith("#")):
            continue
        pending.append(line)
        text = "\n".join(pending)
        if not line.endswith("\\") and subprocess.run(["bash", "-n", "-c", text], capture_output=True).returncode == 0:
            yield block._replace(line=block.line + number - len(pending) + 1, text=text)
            pending = []
    assert not pending, f"{block.where}: the shell cannot read {pending}"


def spans() -> Iterator[Command]:
    """Every command in a sentence: code between backticks that begins with a program and has a word behind it."""
    begins = re.compile(rf"(?:\S+=\S+ )*(?:\.venv/bin/)?({'|'.join(map(re.escape, PROGRAMS))}) \S")
    for path in DOCUMENTS:
        text = re.sub(r"^```.*?^```$", lambda block: "\n" * block[0].count("\n"), path.read_text(), flags=re.M | re.S)
        for span in re.finditer(r"`([^`]+)`", text):
            if begins.match(span[1]):
                line = text.count("\n", 0, span.start()) + 1
                yield Command(str(path.relative_to(ROOT)), line, "sh", " ".join(span[1].split()))
