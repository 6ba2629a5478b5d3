"""Keeps training apart from evaluation: refuses shared documents and questions that are nearly the same.

The evaluation set need not be here. models/data/evaluation_hashes.json holds what is needed to recognise it: names and
hashes of its documents, and of each question two signatures from which similarity can be estimated, but the text not
read back. `python -m models.overlap FOLDER` writes that list from the set itself.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from models.errors import BadInput
from models.files import read_jsonl, sha256_of, told, write_json
from models.paths import MODELS
from models.quiet import quiet
from models.section import Section
from models.stage import exit_code
from services.core.answer_metrics import words
from services.core.encoder import Encoder, Vectors, open_encoder

HASHES = Path(__file__).parent / "data" / "evaluation_hashes.json"
VARIABLE = "CAPSTONE_EVAL_SET"
REMEDY = "Training on it would make the evaluation worthless: take it out of the training data."
LIST_REMEDY = "Write it again with `python -m models.overlap FOLDER`, where FOLDER is the evaluation set."
SET_REMEDY = "An evaluation set is a folder with questions.jsonl and the manuals in pdf/."
PIECE = 5  # characters
MINIMA = 128
BITS = 1024
Bytes = NDArray[np.uint8]


class Thresholds(Section):
    """A training question is refused from these similarities to an evaluation question on, one of them being enough.

    They lie in a gap of the real questions: see the note at `data.overlap` in params.yaml.
    """

    pieces: float = Field(gt=0.0, le=1.0, description="Jaccard similarity of the sets of five-letter pieces")
    encoder: float = Field(gt=0.0, le=1.0, description="cosine similarity of the encoder's vectors")


class _Document(Section):
    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Question(Section):
    id: str
    pieces: str  # base64 of MINIMA bytes
    signs: str  # base64 of BITS / 8 bytes


class _List(Section):
    encoder: str
    documents: tuple[_Document, ...]
    questions: tuple[_Question, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Evaluation:
    """What is known of an evaluation set: `pieces` is uint8 (questions, MINIMA), `signs` bool (questions, BITS)."""

    documents: Mapping[str, str]  # SHA-256 by name
    ids: tuple[str, ...]
    pieces: Bytes
    signs: NDArray[np.bool_]


def read_list(encoder_id: str, path: Path = HASHES) -> Evaluation:
    """The committed list. Raises BadInput if it cannot be used, or was made with another encoder."""
    try:
        body = _List.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadInput(path, f"it cannot be read ({error.strerror})", remedy=LIST_REMEDY) from error
    except ValidationError as error:
        raise BadInput(path, told(error), remedy=LIST_REMEDY) from error
    if body.encoder != encoder_id:
        raise BadInput(path, f"it was made with the encoder {body.encoder}, not {encoder_id}", remedy=LIST_REMEDY)
    return Evaluation(
        {document.name: document.sha256 for document in body.documents},
        tuple(question.id for question in body.questions),
        np.stack([_unpacked(question.pieces, MINIMA, path) for question in body.questions]),
        np.stack([np.unpackbits(_unpacked(q.signs, BITS // 8, path)) for q in body.questions]).astype(bool),
    )


def read_set(folder: Path, encoder: Encoder) -> Evaluation:
    """An evaluation set that is here. Raises BadInput if the folder does not hold one."""
    rows = read_jsonl(folder / "questions.jsonl", remedy=SET_REMEDY)
    for number, row in rows:
        if not isinstance(row.get("id"), str) or not isinstance(row.get("question"), str):
            raise BadInput(folder / "questions.jsonl", "it has no id or no question", row=number, remedy=SET_REMEDY)
    documents = {path.name: sha256_of(path) for path in sorted((folder / "pdf").glob("*.pdf"))}
    if not documents:
        raise BadInput(folder / "pdf", "it holds no PDF", remedy=SET_REMEDY)
    texts = [row["question"] for _, row in rows]
    ids = tuple(row["id"] for _, row in rows)
    return Evaluation(documents, ids, piece_signatures(texts), sign_signatures(encoder.encode(texts)))


def write_list(evaluation: Evaluation, encoder_id: str, path: Path = HASHES) -> None:
    """Replace the committed list."""
    packed = np.packbits(evaluation.signs, axis=1)
    questions = [
        {"id": question_id, "pieces": _packed(pieces), "signs": _packed(signs)}
        for question_id, pieces, signs in zip(evaluation.ids, evaluation.pieces, packed, strict=True)
    ]
    documents = [{"name": name, "sha256": sha256} for name, sha256 in sorted(evaluation.documents.items())]
    write_json(path, {"encoder": encoder_id, "documents": documents, "questions": questions})


def refuse_shared_documents(raw: Mapping[str, Path], evaluation: Evaluation) -> None:
    """Raises BadInput if a file of `raw` (path by name) is a document of the evaluation set, by name or by bytes."""
    names = {name.casefold(): name for name in evaluation.documents}
    by_hash = {sha256: name for name, sha256 in evaluation.documents.items()}
    for name, path in raw.items():
        if same := names.get(name.casefold()) or by_hash.get(sha256_of(path)):
            raise BadInput(path, f"it is the document {same} of the evaluation set", remedy=REMEDY)


def refuse_near_questions(
    questions: Sequence[tuple[str, str]], encoder: Encoder, evaluation: Evaluation, limits: Thresholds, file: Path
) -> None:
    """`questions` are pairs of id and text, `file` is where they stand.

    Raises BadInput, naming the nearest pairs, if any is as near to an evaluation question as `limits` or nearer.
    """
    near = near_questions([text for _, text in questions], encoder, evaluation, limits)
    if near:
        found = [
            f"{questions[one.at][0]} is nearly {evaluation.ids[one.to]} "
            f"(pieces {one.pieces:.2f}, encoder {one.cosine:.2f})"
            for one in near[:5]
        ]
        more = f" and {len(near) - 5} more" if len(near) > 5 else ""
        raise BadInput(file, f"{'; '.join(found)}{more}", remedy=REMEDY)


class Near(NamedTuple):
    """Positions of a question and of one of the evaluation set, and how similar they are."""

    at: int
    to: int
    pieces: float
    cosine: float


def near_questions(texts: Sequence[str], encoder: Encoder, evaluation: Evaluation, limits: Thresholds) -> list[Near]:
    """Every pair that is as near as `limits` or nearer, in the order of `texts`, of which there must be some."""
    pieces = piece_similarity(piece_signatures(texts), evaluation.pieces)
    cosines = sign_similarity(sign_signatures(encoder.encode(texts)), evaluation.signs)
    found = np.argwhere((pieces >= limits.pieces) | (cosines >= limits.encoder))
    return [Near(int(i), int(j), float(pieces[i, j]), float(cosines[i, j])) for i, j in found]


def piece_signatures(texts: Iterable[str]) -> Bytes:
    """Minwise hashes of the sets of five-letter pieces, the lowest byte of each; uint8 of shape (texts, MINIMA).

    b-bit minwise hashing (Li and König 2010) with b = 8. The words are normalised, so case and punctuation are alike.
    """
    seeds = np.frombuffer(hashlib.shake_256(b"capstone minima").digest(8 * MINIMA), np.uint64)
    rows = [np.empty((0, MINIMA), np.uint8)]
    for text in texts:
        line = f" {' '.join(words(text))} "
        pieces = {line[i : i + PIECE] for i in range(max(1, len(line) - PIECE + 1))}
        hashes = [hashlib.blake2b(piece.encode(), digest_size=8).digest() for piece in pieces]
        mixed = _mixed(np.frombuffer(b"".join(hashes), np.uint64)[:, None] ^ seeds)
        rows.append((mixed.min(axis=0) & np.uint64(0xFF)).astype(np.uint8)[None])
    return np.concatenate(rows)


def piece_similarity(left: Bytes, right: Bytes) -> NDArray[np.float64]:
    """Estimates of the Jaccard similarities, shape (left, right); the standard error is at most 0.045."""
    same = np.stack([(row == right).mean(axis=1) for row in left])
    return np.asarray((same - 1 / 256) / (1 - 1 / 256))


def sign_signatures(vectors: Vectors) -> NDArray[np.bool_]:
    """On which side of BITS random hyperplanes each unit vector lies (Charikar 2002); bool of shape (rows, BITS)."""
    dim = vectors.shape[1]
    stream = np.frombuffer(hashlib.shake_256(b"capstone planes").digest(dim * BITS // 8), np.uint8)
    planes = np.unpackbits(stream).reshape(dim, BITS).astype(np.float32) * 2 - 1
    return np.asarray(vectors @ planes > 0)


def sign_similarity(left: NDArray[np.bool_], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Estimates of the cosines, shape (left, right); the standard error is at most 0.03 above a cosine of 0.7."""
    differing = np.stack([(row != right).mean(axis=1) for row in left])
    return np.asarray(np.cos(np.pi * differing))


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele et al. 2014): every bit of the input moves every bit of the output."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _packed(values: Bytes) -> str:
    return base64.b64encode(values.tobytes()).decode()


def _unpacked(text: str, size: int, path: Path) -> Bytes:
    try:
        values = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    except ValueError as error:
        raise BadInput(path, f"a signature is not base64 ({error})", remedy=LIST_REMEDY) from error
    if len(values) != size:
        raise BadInput(path, f"a signature has {len(values)} bytes instead of {size}", remedy=LIST_REMEDY)
    return values


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns 0, or 2 after a message."""
    parser = argparse.ArgumentParser(prog="python -m models.overlap", description="List an evaluation set by hashes.")
    parser.add_argument("folder", type=Path, help="the evaluation set: questions.jsonl and pdf/")
    parser.add_argument("--models-dir", type=Path, default=MODELS)
    parser.add_argument("--out", type=Path, default=HASHES)
    options = parser.parse_args(arguments)

    def work() -> None:
        with quiet():
            encoder = open_encoder("sentence", options.models_dir, 1)
        write_list(read_set(options.folder, encoder), encoder.id, options.out)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
