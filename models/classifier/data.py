"""Rows of text, optional second text, and label: read from CSV or JSONL, checked, and split without leaks."""

from __future__ import annotations

import csv
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import BadInput
from models.files import read_jsonl, told
from services.core.classifier import Input
from services.core.types import embedding_text

FORM = "Rows have the columns text and label, and may have text_pair and group; README.md has an example."
COLUMNS = ("text", "text_pair", "label", "group")


class Example(BaseModel):
    """One row. Rows of one `group` (say, of one question) are kept together by splits and by resampling.

    `section` are the titles of the section that the pair is from: they are read with it, as serving does.
    `retrieval_rank`, from 1, and `retrieval_score` tell where a retriever put the pair; None where it did not find it.
    """

    model_config = ConfigDict(frozen=True, strict=True, str_strip_whitespace=True)

    text: str = Field(min_length=1)
    text_pair: str | None = Field(None, min_length=1)
    section: tuple[str, ...] = Field((), strict=False)
    label: str = Field(min_length=1)
    group: str
    document: str | None = None
    retrieval_rank: int | None = None
    retrieval_score: float | None = None

    @property
    def input(self) -> Input:
        return self.text, None if self.text_pair is None else embedding_text(self.section, self.text_pair)


def read_examples(path: Path, remedy: str = FORM) -> list[Example]:
    """The rows of a .csv or .jsonl file; `remedy` is the sentence that tells what to do about a bad one.

    A row without a group is in a group of its own, with all rows of the same text.

    Raises BadInput, naming file and row, if the file cannot be read, holds no rows, lacks a column, or a row is
    malformed or has no text or no label.
    """
    if path.suffix == ".csv":
        rows = _read_csv(path, remedy)
    elif path.suffix == ".jsonl":
        rows = read_jsonl(path, remedy=remedy)
    else:
        raise BadInput(path, f"files with the ending {path.suffix!r} are not read", remedy="Use .csv or .jsonl.")
    examples = []
    for number, row in rows:
        try:
            examples.append(Example.model_validate({"group": f"text:{row.get('text')}", **row}))
        except ValidationError as error:
            raise BadInput(path, told(error), row=number, remedy=remedy) from error
    paired = [example.text_pair is not None for example in examples]
    if any(paired) and not all(paired):
        raise BadInput(
            path, "it has no text_pair, and other rows have", row=rows[paired.index(False)][0], remedy="Fill it in."
        )
    return examples


def labels_of(examples: Sequence[Example], path: Path) -> tuple[str, ...]:
    """The labels, sorted. Raises BadInput if there is one only."""
    labels = tuple(sorted({example.label for example in examples}))
    if len(labels) < 2:
        raise BadInput(
            path,
            f"all {len(examples)} rows have the label {labels[0]!r}",
            remedy="A classifier needs rows of at least two labels.",
        )
    return labels


def indices_of(examples: Sequence[Example], labels: Sequence[str], path: Path) -> list[int]:
    """The label of each row as its place in `labels`. Raises BadInput for one that is not there."""
    places = {label: place for place, label in enumerate(labels)}
    for example in examples:
        if example.label not in places:
            raise BadInput(
                path,
                f"it has the label {example.label!r}, and the training rows have {', '.join(labels)}",
                remedy="Correct the label, or add training rows that have it.",
            )
    return [places[example.label] for example in examples]


def split(
    examples: Sequence[Example], path: Path, *, validation: float, test: float, seed: int
) -> tuple[list[Example], list[Example], list[Example]]:
    """Train, validation and test: whole groups, the given shares of every label (that of a group's first row).

    Raises BadInput if a label has too few groups to be in all three.
    """
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.group, []).append(example)
    by_label: dict[str, list[list[Example]]] = {}
    for members in groups.values():
        by_label.setdefault(members[0].label, []).append(members)
    parts: tuple[list[Example], list[Example], list[Example]] = ([], [], [])
    for label in sorted(by_label):
        of_label = by_label[label]
        random.Random(f"{seed}:{label}").shuffle(of_label)  # noqa: S311 - a split, not a secret
        ends = [max(1, round(share * len(of_label))) for share in (validation, test)]
        if len(of_label) <= sum(ends):
            raise BadInput(
                path,
                f"the label {label!r} has {len(of_label)} different texts, too few to train, validate and test",
                remedy="Add rows, or join it with another label.",
            )
        for part, cut in zip(
            parts, (of_label[sum(ends) :], of_label[: ends[0]], of_label[ends[0] : sum(ends)]), strict=True
        ):
            part += [example for members in cut for example in members]
    if missing := {example.label for example in examples} - {example.label for example in parts[0]}:
        raise BadInput(
            path,
            f"the label {sorted(missing)[0]!r} is in no training row after the split by groups",
            remedy="Add rows, or use smaller groups.",
        )
    return parts


def counts(examples: Sequence[Example]) -> dict[str, Any]:
    """Rows, groups, and rows by label."""
    return {
        "rows": len(examples),
        "groups": len({example.group for example in examples}),
        "labels": dict(sorted(Counter(example.label for example in examples).items())),
    }


def _read_csv(path: Path, remedy: str) -> list[tuple[int, dict[str, Any]]]:
    """Number of the line, from 1, at which each record ends, and the columns that are known and not empty."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(_records(path, csv.DictReader(file, strict=True), remedy))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadInput(path, f"it cannot be read ({reason})", remedy=remedy) from error
    if not rows:
        raise BadInput(path, "it holds no rows", remedy=remedy)
    return rows


def _records(path: Path, reader: csv.DictReader[str], remedy: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        columns = reader.fieldnames or []
        for needed in ("text", "label"):
            if needed not in columns:
                there = ", ".join(columns) or "none"
                raise BadInput(path, f"it has no column {needed!r}; its columns are {there}", row=1, remedy=remedy)
        for record in reader:
            extra: Any = record.get(None, [])  # where DictReader puts fields too many
            if extra or None in record.values():
                found = len(extra) + sum(record[name] is not None for name in columns)
                raise BadInput(
                    path,
                    f"it has {found} fields, and the first line has {len(columns)}",
                    row=reader.line_num,
                    remedy="Put a text with commas, quotes or line breaks between quotation marks.",
                )
            yield reader.line_num, {name: record[name] for name in COLUMNS if record.get(name)}
    except csv.Error as error:
        raise BadInput(path, f"it is not CSV ({error})", row=reader.line_num + 1, remedy=remedy) from error
