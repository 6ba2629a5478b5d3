"""All of stage `prepare`: check the inputs, retrieve, build the rows, write them with the facts about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from models.data.sources import RawFile, check_raw, read_sources
from models.errors import BadInput
from models.files import sha256_of, sha256_of_json, staged_folder, write_json, write_jsonl
from models.overlap import HASHES, read_list, read_set, refuse_near_questions, refuse_shared_documents
from models.params import Params
from models.prepare.examples import INSUFFICIENT, SUFFICIENT, examples, pairs
from models.prepare.params import DataParams
from models.prepare.platform import MAX_K, started
from models.prepare.questions import SPLITS, Question, Split, read_questions, selected, split_of
from models.prepare.retrieval import Retrieved, retrieve
from models.prepare.squad import SQUAD, read_squad, squad_size
from models.progress import Steps
from models.quiet import quiet
from services.core.encoder import Encoder, open_encoder

Rows = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Inputs:
    """Where the stage reads. `evaluation` is a folder to guard against besides the committed list, if it is here."""

    params: Path
    questions: Path
    sources: Path
    raw: Path
    models: Path
    hashes: Path = HASHES
    evaluation: Path | None = None


def prepare(params: Params, inputs: Inputs, out: Path, console: Console) -> None:
    """Replace the folder `out` by the training data.

    Raises BadInput for any input that cannot be used or may not be trained on, ModelProblem without an encoder, and
    Unavailable if the platform does not run; `out` is as it was before then.
    """
    steps, data = Steps(console), params.data
    files = {file.name: file for file in read_sources(inputs.sources)}
    manuals = [name for name in files if name.endswith(".pdf")]
    questions = selected(read_questions(inputs.questions, manuals), data, inputs.params)
    needed = [name for name in files if name in {question.document for question in questions}]
    if data.squad_questions != 0:
        needed.append(SQUAD)
    raw = check_raw(_listed(files, needed, inputs.sources), inputs.raw)
    with quiet():
        encoder = open_encoder("sentence", inputs.models, threads=1)
    squad = _squad(raw, data, encoder, steps)
    with steps.step("compare with the evaluation set"):
        _refuse_overlap(data, inputs, raw, [*questions, *(item.question for item in squad)], encoder)
    retrieved = [*_retrieved(data, inputs, raw, questions, steps), *squad]
    lost = [item.question.id for item in retrieved if item.question.answerable and not item.gold]
    _refuse_many_lost(lost, questions, data, inputs.questions)
    made_of = {
        "questions": sha256_of(inputs.questions),
        "sources": {name: files[name].sha256 for name in sorted(raw)},
        "encoder": encoder.id,
        "params": data.model_dump(mode="json", exclude={"overlap", "max_lost_share"}),
    }
    _write(out, _built(retrieved, data), made_of, lost)
    for note in [*_lost_notes(lost), f"prepared {len(retrieved)} questions in {out}"]:
        steps.note(note)


def _listed(files: Mapping[str, RawFile], names: Iterable[str], sources: Path) -> list[RawFile]:
    try:
        return [files[name] for name in names]
    except KeyError as error:
        raise BadInput(
            sources, f"it does not list {error.args[0]}", remedy="Add it, or set squad_questions: 0."
        ) from error


def _squad(raw: Mapping[str, Path], data: DataParams, encoder: Encoder, steps: Steps) -> list[Retrieved]:
    if SQUAD not in raw:
        return []
    with steps.step(f"rank the paragraphs of {SQUAD}", squad_size(raw[SQUAD])) as advance:
        return read_squad(raw[SQUAD], data.squad_questions, data.seed, encoder, advance)


def _refuse_overlap(
    data: DataParams, inputs: Inputs, raw: Mapping[str, Path], questions: Sequence[Question], encoder: Encoder
) -> None:
    evaluations = [read_list(encoder.id, inputs.hashes)]
    if inputs.evaluation is not None:
        evaluations.append(read_set(inputs.evaluation, encoder))
    asked = [(question.id, question.question) for question in questions]
    for evaluation in evaluations:
        refuse_shared_documents(raw, evaluation)
        refuse_near_questions(asked, encoder, evaluation, data.overlap, inputs.questions)


def _retrieved(
    data: DataParams, inputs: Inputs, raw: Mapping[str, Path], questions: Sequence[Question], steps: Steps
) -> list[Retrieved]:
    """Each question asked of its own manual, which is a collection of its own."""
    manuals = {_collection(name): path for name, path in raw.items() if name != SQUAD}
    with started(inputs.models, "sentence", steps) as platform:
        platform.ingest(manuals, steps)
        found = []
        with steps.step(f"retrieve for {len(questions)} questions", len(questions)) as advance:
            for question in questions:
                found.append(retrieve(platform, question, _collection(question.document), data.retrieved))
                advance(1)
    return found


def _collection(document: str) -> str:
    return document.removesuffix(".pdf")


def _refuse_many_lost(lost: Sequence[str], questions: Sequence[Question], data: DataParams, file: Path) -> None:
    answerable = sum(question.answerable for question in questions)
    if len(lost) > data.max_lost_share * answerable:
        raise BadInput(
            file,
            f"for {len(lost)} of {answerable} answerable questions no passage holds the quote: {', '.join(lost[:10])}",
            remedy="Correct their page and quote, or look at what ingest makes of those pages.",
        )


def _lost_notes(lost: Sequence[str]) -> list[str]:
    return [f"  left out, no passage holds the quote: {', '.join(lost)}"] if lost else []


def _built(retrieved: Sequence[Retrieved], data: DataParams) -> tuple[Rows, Counter[str]]:
    """The rows by file, and how many pairs of each split were left out because their label is not known."""
    rows: Rows = {f"{kind}.{split}.jsonl": [] for kind in ("examples", "pairs") for split in SPLITS}
    undecided: Counter[str] = Counter()
    for item in retrieved:
        if item.question.answerable and not item.gold:
            continue
        squad = item.question.document.startswith(SQUAD)
        split: Split = "train" if squad else split_of(item.question.document, data)
        found, left_out = pairs(item, data.squad_negatives if squad else data.negatives)
        rows[f"pairs.{split}.jsonl"] += found
        rows[f"examples.{split}.jsonl"] += examples(item, split, data)
        undecided[split] += left_out
    return rows, undecided


def _write(out: Path, built: tuple[Rows, Counter[str]], made_of: dict[str, Any], lost: Sequence[str]) -> None:
    rows, undecided = built
    with staged_folder(out) as made:
        for name, content in rows.items():
            write_jsonl(made / name, content)
        files = {name: sha256_of(made / name) for name in sorted(rows)}
        facts = {
            "data_sha256": sha256_of_json({"made_of": made_of, "files": files}),
            "made_of": made_of,
            "files": files,
            "counts": {split: _counts(split, rows) | {"undecided_pairs": undecided[split]} for split in SPLITS},
            "lost": list(lost),
        }
        write_json(made / "facts.json", facts)


def _counts(split: Split, rows: Rows) -> dict[str, Any]:
    asked, found = rows[f"examples.{split}.jsonl"], rows[f"pairs.{split}.jsonl"]
    labels = Counter(row["label"] for row in found)
    places = Counter(row["gold"] for row in asked if row["gold"] is not None)
    return {
        "examples": len(asked),
        "documents": dict(sorted(Counter(row["document"].split("/")[0] for row in asked).items())),
        "gold_at": {str(place): places[place] for place in sorted(places)},
        "without_gold": sum(row["gold"] is None for row in asked),
        SUFFICIENT: labels[SUFFICIENT],
        INSUFFICIENT: labels[INSUFFICIENT],
        "gold_rank": _ranks([row["retrieval_rank"] for row in found if row["label"] == SUFFICIENT]),
    }


def _ranks(ranks: Sequence[int | None]) -> dict[str, int]:
    """How far down the gold passages lay."""
    reached = {f"within_{limit}": sum(r is not None and r <= limit for r in ranks) for limit in (1, 5, 12, MAX_K)}
    return reached | {"beyond": sum(r is None for r in ranks)}
