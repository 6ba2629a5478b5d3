"""Rows for a classifier: what is read, what is refused and with which words, how they are split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.classifier.data import Example, indices_of, labels_of, read_examples, split
from models.errors import BadInput


def jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_csv_and_jsonl_give_the_same_rows(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text(
        '\ufefflabel,text,note,text_pair\nyes,"one, two ""quoted""\nand a line",x,p\nno,naïve,,q\n',
        encoding="utf-8",
    )
    lines = jsonl(
        tmp_path / "rows.jsonl",
        {"text": 'one, two "quoted"\nand a line', "text_pair": "p", "label": "yes"},
        {"label": "no", "text": "naïve", "text_pair": "q", "anything": [1]},
    )
    assert read_examples(table) == read_examples(lines)
    assert [example.input for example in read_examples(table)] == [
        ('one, two "quoted"\nand a line', "p"),
        ("naïve", "q"),
    ]


def test_a_row_without_a_group_goes_with_its_text(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": "x", "group": "g"}, {"text": "a", "label": "y"}]
    first, named, again = read_examples(jsonl(tmp_path / "rows.jsonl", *rows))
    assert first.group == again.group != named.group == "g"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", "text,kind\na,b\n", r"rows\.csv, row 1: it has no column 'label'; its columns are text, kind"),
        ("rows.csv", "text,label\na,b\nc\n", r"rows\.csv, row 3: it has 1 fields, and the first line has 2"),
        ("rows.csv", "text,label\na,b\nc,d,e\n", r"rows\.csv, row 3: it has 3 fields, .* quotation marks"),
        ("rows.csv", 'text,label\n"a" b,c\n', r"rows\.csv, row 2: it is not CSV"),
        ("rows.csv", "text,label\n ,b\n", r"rows\.csv, row 2: text: String should have at least 1 character"),
        ("rows.csv", "text,label\na,\n", r"rows\.csv, row 2: label: Field required"),
        ("rows.csv", "text,label\n", "it holds no rows"),
        ("rows.csv", "", "it has no column 'text'; its columns are none"),
        ("rows.csv", b"text,label\n\xff\xfe,b\n", r"rows\.csv: it cannot be read"),
        ("rows.csv", "text,label,text_pair\na,b,c\nd,e,\n", r"rows\.csv, row 3: it has no text_pair, and other rows"),
        ("rows.jsonl", '{"text": "a", "label": "b"}\n{"text": "a"}\n', r"rows\.jsonl, row 2: label: Field required"),
        ("rows.jsonl", '{"text": "a", "label": 1}\n', r"rows\.jsonl, row 1: label: Input should be a valid string"),
        ("rows.jsonl", "{\n", r"rows\.jsonl, row 1: it is not JSON"),
        ("rows.jsonl", "[1]\n", r"rows\.jsonl, row 1: it is not a JSON object"),
        ("rows.jsonl", "\n", "it holds no rows"),
        ("rows.xlsx", "x", "files with the ending '.xlsx' are not read"),
    ],
)
def test_bad_rows_are_refused_by_name(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput, match=message):
        read_examples(path)


def test_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    for name in ("rows.csv", "rows.jsonl"):
        with pytest.raises(BadInput, match=rf"{name}: it cannot be read \(No such file"):
            read_examples(tmp_path / name)


def example(text: str, label: str, group: str | None = None) -> Example:
    return Example(text=text, label=label, group=group or text)


def test_one_label_is_no_task(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"rows\.csv: all 3 rows have the label 'x'\. A classifier needs"):
        labels_of([example(f"{n}", "x") for n in range(3)], tmp_path / "rows.csv")


def test_label_that_training_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="it has the label 'z', and the training rows have x, y"):
        indices_of([example("a", "x"), example("b", "z")], ("x", "y"), tmp_path)


def parts_of(examples: list[Example], path: Path, seed: int = 1) -> tuple[list[Example], list[Example], list[Example]]:
    return split(examples, path, validation=0.2, test=0.1, seed=seed)


def test_split_keeps_groups_whole_and_labels_in_proportion(tmp_path: Path) -> None:
    examples = [example(f"{label} {n}", label, f"{label} {n // 2}") for label in "xyz" for n in range(100)]
    parts = parts_of(examples, tmp_path)
    assert [len(part) for part in parts] == [210, 60, 30]
    assert sorted(e.text for part in parts for e in part) == sorted(e.text for e in examples)
    groups = [{e.group for e in part} for part in parts]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    for part in parts:
        assert {label: sum(e.label == label for e in part) * 3 for label in "xyz"} == dict.fromkeys("xyz", len(part))


def test_split_depends_on_the_seed_only(tmp_path: Path) -> None:
    examples = [example(f"{n}", "xy"[n % 2]) for n in range(60)]
    assert parts_of(examples, tmp_path) == parts_of(examples, tmp_path)
    assert parts_of(examples, tmp_path, seed=2) != parts_of(examples, tmp_path)


def test_label_that_is_too_rare_to_split_is_refused(tmp_path: Path) -> None:
    examples = [example(f"{n}", "x") for n in range(60)] + [example("a", "rare"), example("b", "rare")]
    with pytest.raises(BadInput, match=r"the label 'rare' has 2 different texts, too few"):
        parts_of(examples, tmp_path)
