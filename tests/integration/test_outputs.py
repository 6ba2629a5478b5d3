"""Outputs of the offline path appear whole or not at all, and bad rows are named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from models.errors import BadInput
from models.files import (
    read_jsonl,
    read_rows,
    read_yaml,
    replace_folder,
    scratch_beside,
    sha256_of,
    sha256_of_json,
    staged_file,
    staged_folder,
    sweep,
    write_json,
    write_jsonl,
)
from models.stage import exit_code, run_stage
from services.core.errors import ModelProblem

REMEDY = "Mend it."


class Row(BaseModel):
    id: str
    size: int


def tree(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_staged_folder_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "sub" / "out"
    for text in ("old", "new"):
        with staged_folder(target) as made:
            (made / "inner").mkdir()
            (made / "inner" / f"{text}.txt").write_text(text)
            assert not (target / "inner" / f"{text}.txt").exists()
        assert tree(target) == {f"inner/{text}.txt": text}
    assert os.listdir(target.parent) == ["out"]


def fail_in_a_folder(target: Path) -> None:
    with staged_folder(target) as made:
        (made / "a").write_text("half")
        raise KeyError


def fail_in_a_file(target: Path) -> None:
    with staged_file(target) as made:
        made.write_text("half")
        raise KeyError


def test_a_failure_leaves_the_old_output(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "folder") as made:
        (made / "a").write_text("old")
    with staged_file(tmp_path / "file") as made:
        made.write_text("old")
    with pytest.raises(KeyError):
        fail_in_a_folder(tmp_path / "folder")
    with pytest.raises(KeyError):
        fail_in_a_file(tmp_path / "file")
    assert tree(tmp_path) == {"file": "old", "folder/a": "old"}
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


KILLED = """
import sys, time
from pathlib import Path
from models.files import staged_folder
with staged_folder(Path(sys.argv[1])) as made:
    (made / "a").write_text("half")
    print("writing", flush=True)
    time.sleep(600)
"""


def test_a_killed_run_leaves_the_old_output_and_is_swept_by_the_next(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with staged_folder(target) as made:
        (made / "a").write_text("old")
    with subprocess.Popen([sys.executable, "-c", KILLED, str(target)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"writing\n"
        before = set(os.listdir(tmp_path))
        assert len(before) == 2
        sweep(tmp_path)  # of a process that lives: it is left alone
        assert set(os.listdir(tmp_path)) == before
        process.kill()
    assert tree(target) == {"a": "old"}
    with staged_folder(target) as made:
        (made / "a").write_text("new")
    assert tree(tmp_path) == {"out/a": "new"} and os.listdir(tmp_path) == ["out"]


def test_an_output_that_was_moved_aside_comes_back(tmp_path: Path) -> None:
    (tmp_path / ".replaced-out").mkdir()
    (tmp_path / ".replaced-out" / "a").write_text("old")
    sweep(tmp_path)
    assert tree(tmp_path) == {"out/a": "old"}
    (tmp_path / ".replaced-out").mkdir()  # and of no use once the new one is in place
    with scratch_beside(tmp_path / "out") as scratch:
        (scratch / "made").mkdir()
        replace_folder(scratch / "made", tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"] and tree(tmp_path) == {}


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"id": "ä", "size": 1}, Row(id="b\n", size=2)])
    assert path.read_text() == '{"id": "ä", "size": 1}\n{"id": "b\\n", "size": 2}\n'
    assert [row.size for row in read_rows(path, Row, remedy=REMEDY)] == [1, 2]
    path.write_text('\n{"id": "c", "size": 3}\n\n')
    assert read_jsonl(path, remedy=REMEDY) == [(2, {"id": "c", "size": 3})]


@pytest.mark.parametrize(
    ("text", "row", "problem"),
    [
        (None, None, "No such file"),
        ("", None, "no rows"),
        ('{"id": "a", "size": 1}\n{"id": "b"', 2, "not JSON"),
        ('{"id": "a", "size": 1}\n[1]\n', 2, "not a JSON object"),
        ('{"id": "a", "size": 1}\n\n{"id": "b", "size": "many"}\n', 3, "size: "),
        ('{"id": "a"}\n', 1, "size: Field required"),
        (b"\xff\xfe", None, "cannot be read"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, text: str | bytes | None, row: int | None, problem: str) -> None:
    path = tmp_path / "rows.jsonl"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput) as caught:
        read_rows(path, Row, remedy=REMEDY)
    message = str(caught.value)
    assert str(path) in message and problem in message and message.endswith(REMEDY)
    assert caught.value.row == row and (row is None or f"row {row}:" in message)


@pytest.mark.parametrize("text", ["a: [", "- a\n", "a: 2026-01-01\n", "", "\x00"])
def test_yaml_that_is_no_plain_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"p\.yaml: it is not .*Mend it"):
        read_yaml(path, remedy=REMEDY)


def test_json_that_is_no_number_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": 1})
    with pytest.raises(ValueError):
        write_json(path, {"b": float("nan")})
    assert path.read_text() == '{\n  "b": 1\n}\n' and os.listdir(tmp_path) == ["a.json"]


def test_hashes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc" * 1_000_000)
    told: list[int] = []
    assert sha256_of(path, told.append) == "f4096a131e7e6ebfa7a512b5c299e13b065df34d15624ee1202ab394cc4d7e90"
    assert sum(told) == 3_000_000
    assert sha256_of_json({"b": [1, "ä"], "a": None}) == sha256_of_json({"a": None, "b": [1, "ä"]})
    assert sha256_of_json({"a": 1}) != sha256_of_json({"a": "1"})


def test_expected_failures_end_in_a_sentence_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    def bad() -> None:
        raise BadInput("rows.jsonl", "it is empty", row=3, remedy=REMEDY)

    def model() -> None:
        raise ModelProblem("no weights")

    def disk() -> None:
        raise OSError(28, "No space left on device")

    def interrupted() -> None:
        raise KeyboardInterrupt

    assert exit_code(bad) == 2
    assert capsys.readouterr() == ("", "rows.jsonl, row 3: it is empty. Mend it.\n")
    assert exit_code(model) == 2 and exit_code(disk) == 2 and exit_code(interrupted) == 130
    assert "no weights\n" in (told := capsys.readouterr().err) and "No space left" in told
    with pytest.raises(SystemExit) as left:
        run_stage(bad)
    assert left.value.code == 2
    run_stage(lambda: None)
    with pytest.raises(ZeroDivisionError):  # a mistake of the program keeps its traceback
        exit_code(lambda: print(1 // 0))
