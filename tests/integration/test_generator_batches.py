"""What the generator is trained on: real tokenizer, tiny Llama."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from models.generator.answers import answers
from models.generator.data import ExampleRow, Tokens, answer_loss, collate, tokenise
from models.generator.evaluate import lead, placements
from models.generator.hints import hints
from models.generator.model import load_base, load_tokenizer
from services.api.generate import Decoding, TransformersGenerator
from services.core.classifier import OverlapClassifier
from services.core.evidence import evidence_of
from services.core.prompt import DEFAULT_PROMPT
from services.core.registry import ModelFiles, resolve
from tests.tiny import examples, tiny_generator

ROWS = [ExampleRow.model_validate(row) for row in examples(7)]
HINTS = hints(ROWS, OverlapClassifier(), DEFAULT_PROMPT.sentences)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> ModelFiles:
    folder = tmp_path_factory.mktemp("models")
    tiny_generator(folder, models_dir / "generator")
    return resolve(folder, "generator")


@pytest.fixture(scope="module")
def batch(base: ModelFiles) -> list[Tokens]:
    tokenizer = load_tokenizer(base)
    return [tokenise(tokenizer, DEFAULT_PROMPT, row, own, row.answer) for row, own in zip(ROWS, HINTS, strict=True)]


def test_the_loss_is_on_the_answers_alone(base: ModelFiles, batch: list[Tokens]) -> None:
    model: Any = load_base(base).float()
    inputs = collate(batch, 2)
    labels = inputs.pop("labels")
    ours = answer_loss(model(**inputs), labels)
    theirs = torch.tensor(0.0)
    for tokens in batch:  # one by one, without padding, by the library's own loss
        ids = torch.tensor([tokens.prompt + tokens.answer])
        targets = ids.clone()
        targets[:, : len(tokens.prompt)] = -100
        theirs = theirs + model(input_ids=ids, labels=targets).loss * len(tokens.answer)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-4)


def test_targets_are_the_answer_and_the_end_of_the_turn(base: ModelFiles, batch: list[Tokens]) -> None:
    tokenizer = load_tokenizer(base)
    labels = collate(batch, 2)["labels"]
    for row, line in zip(ROWS, labels, strict=True):
        assert tokenizer.decode(line[line != -100]) == row.answer + tokenizer.eos_token


def test_batched_answers_are_those_of_serving(base: ModelFiles) -> None:
    said = answers(load_base(base), load_tokenizer(base), DEFAULT_PROMPT, ROWS, HINTS, 12)
    served = TransformersGenerator(base, None, 1)
    for row, text in zip(ROWS, said, strict=True):
        best = evidence_of(row.question, row.passages, OverlapClassifier()).best(DEFAULT_PROMPT.sentences)
        messages = DEFAULT_PROMPT.messages(
            row.question, [passage.text for passage in row.passages], [sentence.text for sentence in best]
        )
        pieces = served.stream(messages, Decoding(max_tokens=12, stop=DEFAULT_PROMPT.stops), threading.Event())
        assert "".join(piece for piece in pieces if isinstance(piece, str)).strip() == text


def test_the_gold_passage_is_moved_and_nothing_else() -> None:
    first, later = placements(ROWS)
    for row, one, other in zip(ROWS, first.rows, later.rows, strict=True):
        assert one.gold == 0
        assert other.gold != 0
        assert other.gold == row.gold or row.gold == 0
        for moved in (one, other):
            assert moved.gold is not None
            assert row.quote in moved.passages[moved.gold].text
            assert sorted(passage.text for passage in moved.passages) == sorted(p.text for p in row.passages)
        assert lead(one) == row.quote
        assert lead(other) != row.quote
