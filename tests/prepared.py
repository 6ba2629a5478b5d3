"""A small but whole input of stage `prepare`: the start of a real manual, two papers of known text, a few questions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pypdf import PdfWriter

from models.prepare.__main__ import main
from tests import papers

ROOT = Path(__file__).parents[1]
MANUAL = ROOT / "examples" / "fhs-3.0.pdf"
PAGES = 16  # of the manual: enough for ten questions, and quickly encoded
TOPICS = {"harbour.pdf": "the harbour log", "castle.pdf": "the castle log"}
DATA: dict[str, Any] = {
    "documents": None,
    "test": ["castle.pdf"],
    "validation": ["harbour.pdf"],
    "squad_questions": 6,
    "squad_negatives": 2,
}


def make_inputs(folder: Path, models_dir: Path, *, pages: int = 6) -> list[str]:
    """Write everything that the stage reads into `folder`; returns the arguments of its command, `--out` included."""
    raw = folder / "raw"
    raw.mkdir(parents=True)
    writer = PdfWriter()
    writer.append(MANUAL, pages=(0, PAGES))
    writer.write(raw / MANUAL.name)
    for name, topic in TOPICS.items():
        (raw / name).write_bytes(papers.story(topic, pages))
    (raw / "xquad.en.json").write_text(json.dumps(squad()))
    write_sources(folder)
    write_questions(folder, questions())
    evaluation = folder / "evaluation"
    (evaluation / "pdf").mkdir(parents=True)
    (evaluation / "pdf" / "other.pdf").write_bytes(papers.story("the other log", 1))
    write_rows(evaluation / "questions.jsonl", [{"id": "e1", "question": "Who feeds the goats of the monastery?"}])
    write_params(folder, {})
    options = {"params": "params.yaml", "questions": "questions.jsonl", "sources": "sources.yaml", "raw": "raw"}
    arguments = [item for option, name in options.items() for item in (f"--{option}", str(folder / name))]
    return [*arguments, "--evaluation", str(evaluation), "--models-dir", str(models_dir), "--out", str(folder / "out")]


def run(arguments: Sequence[str]) -> int:
    return main(arguments)


def write_params(folder: Path, data: Mapping[str, Any]) -> None:
    """The project's own parameters with those of DATA and `data` over its section `data`."""
    body = yaml.safe_load((ROOT / "params.yaml").read_text())
    body["data"] |= {**DATA, **data}
    (folder / "params.yaml").write_text(yaml.safe_dump(body))


def write_sources(folder: Path) -> None:
    """List what lies in `raw`."""
    files = [
        {
            "name": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
            "licence": "test",
            "copyright": "test",
            "url": f"http://127.0.0.1:9/{path.name}",
        }
        for path in sorted((folder / "raw").iterdir())
    ]
    (folder / "sources.yaml").write_text(yaml.safe_dump({"files": files}))


def write_questions(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    write_rows(folder / "questions.jsonl", rows)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def questions() -> list[dict[str, Any]]:
    """Ten of the project's own questions about the first pages of the manual, and some about the papers."""
    with (ROOT / "models" / "data" / "questions.jsonl").open() as file:
        real = [row for row in map(json.loads, file) if row["document"] == MANUAL.name]
    answerable = [row for row in real if row["page"] is not None and row["page"] <= PAGES][:8]
    near_misses = [row for row in real if row["page"] is None][:2]
    return [*answerable, *near_misses, *_paper_questions()]


def _paper_questions() -> Iterator[dict[str, Any]]:
    for name, topic in TOPICS.items():
        for page in (2, 3):
            quote = papers.story_page(topic, page).split(". ")[0]
            yield {
                "id": f"{name.removesuffix('.pdf')}-{page}",
                "document": name,
                "kind": "fact",
                "question": f"Behind which door is thing {page} of {topic}?",
                "answer": f"Behind door {page * 7}.",
                "short_answers": [f"door {page * 7}"],
                "page": page,
                "quote": quote,
            }


def squad() -> dict[str, Any]:
    """Two articles of three paragraphs, with one question each."""
    return {"version": "1.1", "data": [_article(title) for title in ("Bees", "Bells")]}


def _article(title: str) -> dict[str, Any]:
    names = ("Anna", "Boris", "Clara")
    return {
        "title": title,
        "paragraphs": [
            {
                "context": f"{title} were studied early. In 19{n}0 {name} wrote of {title} at length. Others followed.",
                "qas": [
                    {
                        "id": f"{title}-{n}",
                        "question": f"Who wrote of {title} in 19{n}0?",
                        "answers": [{"text": name, "answer_start": len(f"{title} were studied early. In 19{n}0 ")}],
                    }
                ],
            }
            for n, name in enumerate(names, 1)
        ],
    }
