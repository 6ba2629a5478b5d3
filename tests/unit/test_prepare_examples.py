"""Retrieved passages -> training rows: places, seeds, and which pairs nobody may call negative."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from models.overlap import Thresholds
from models.prepare.examples import INSUFFICIENT, SUFFICIENT, examples, pairs
from models.prepare.params import DataParams
from models.prepare.questions import Question, Split, split_of
from models.prepare.retrieval import Candidate, Retrieved
from services.core.prompt import DEFAULT_PROMPT

GOLD = "The lamp is trimmed at nine, says the keeper of the tower."


def params(**changes: Any) -> DataParams:
    values: dict[str, Any] = {
        "documents": None,
        "test": ("t.pdf",),
        "validation": ("v.pdf",),
        "seed": 1,
        "retrieved": 12,
        "min_passages": 3,
        "max_passages": 5,
        "no_gold_share": 0.0,
        "negatives": 4,
        "squad_questions": None,
        "squad_negatives": 2,
        "max_lost_share": 0.0,
        "overlap": Thresholds(pieces=0.5, encoder=0.9),
    }
    return DataParams(**{**values, **changes})


def question(number: int = 1, answerable: bool = True) -> Question:
    return Question(
        id=f"q{number}",
        document="a.pdf",
        kind="fact",
        question="When is the lamp trimmed?",
        answer="At nine." if answerable else "The documents do not say.",
        short_answers=("nine",) if answerable else (),
        page=2 if answerable else None,
        quote="The lamp is trimmed at nine" if answerable else "",
    )


def retrieved(number: int = 1, answerable: bool = True, texts: tuple[str, ...] = ()) -> Retrieved:
    """Twelve passages, the gold one third, unless other texts are given."""
    chosen = texts or tuple(GOLD if i == 2 and answerable else f"Passage number {i} of the logbook." for i in range(12))
    ranked = tuple(Candidate(("Log",), text, 2, 0.9 - i / 100, i + 1) for i, text in enumerate(chosen))
    return Retrieved(question(number, answerable), ranked, tuple(c for c in ranked if c.text == GOLD))


def example(item: Retrieved, split: Split, data: DataParams) -> dict[str, Any]:
    return examples(item, split, data)[0]


def test_the_gold_passage_lies_at_any_place_equally_often() -> None:
    rows = [example(retrieved(number), "train", params(min_passages=4, max_passages=4)) for number in range(2000)]
    assert all(len(row["passages"]) == 4 and row["passages"][row["gold"]]["text"] == GOLD for row in rows)
    places = Counter(row["gold"] for row in rows)
    assert set(places) == {0, 1, 2, 3}
    assert all(abs(places[place] - 500) < 100 for place in places)  # 5 standard deviations
    sizes = Counter(len(example(retrieved(number), "train", params())["passages"]) for number in range(1500))
    assert set(sizes) == {3, 4, 5} and all(abs(sizes[size] - 500) < 100 for size in sizes)


def test_the_distractors_are_the_nearest_others_in_order() -> None:
    row = example(retrieved(), "test", params(min_passages=4, max_passages=4))
    others = [passage["text"] for i, passage in enumerate(row["passages"]) if i != row["gold"]]
    assert others == [f"Passage number {i} of the logbook." for i in (0, 1, 3)]


def test_a_row_depends_on_its_own_question_and_the_seed_only() -> None:
    alone = example(retrieved(5), "train", params(no_gold_share=0.3))
    for number in range(5):
        example(retrieved(number), "train", params(no_gold_share=0.3))
    assert example(retrieved(5), "train", params(no_gold_share=0.3)) == alone
    seeds = {str(example(retrieved(5), "train", params(seed=seed))) for seed in range(30)}
    assert len(seeds) > 5


def test_a_share_of_the_training_questions_is_asked_once_more_without_the_gold_passage() -> None:
    asked = [examples(retrieved(number), "train", params(no_gold_share=0.15)) for number in range(2000)]
    assert all(rows[0]["gold"] is not None for rows in asked)
    withheld = [row for rows in asked for row in rows[1:]]
    assert abs(len(withheld) - 300) < 80  # 5 standard deviations
    for row in withheld:
        assert row["id"].endswith("/withheld")
        assert row["answer"] == DEFAULT_PROMPT.abstention and row["short_answers"] == [] and row["quote"] == ""
        assert GOLD not in [passage["text"] for passage in row["passages"]]
    for split in ("validation", "test"):
        assert all(len(examples(retrieved(number), split, params(no_gold_share=0.9))) == 1 for number in range(50))


def test_withheld_passages_do_not_answer_either() -> None:
    texts = (GOLD, "Nine bells are rung.", *(f"Passage {i} of the logbook." for i in range(6)))
    asked = [examples(retrieved(number, texts=texts), "train", params(no_gold_share=0.9)) for number in range(200)]
    withheld = [row for rows in asked for row in rows[1:]]
    assert withheld
    assert not any("nine" in passage["text"].lower() for row in withheld for passage in row["passages"])
    crowded = (GOLD, *(f"Nine of {i}." for i in range(6)))  # nothing but passages that may answer
    assert len(examples(retrieved(texts=crowded), "train", params(no_gold_share=0.99))) == 1


def test_an_unanswerable_question_abstains_in_every_split() -> None:
    for split in ("train", "validation", "test"):
        row = example(retrieved(answerable=False), split, params())
        assert row["gold"] is None and row["answer"] == DEFAULT_PROMPT.abstention and len(row["passages"]) >= 3


def test_pairs_are_gold_and_the_nearest_others() -> None:
    rows, left_out = pairs(retrieved(), 4)
    assert left_out == 0
    assert [(row["id"], row["label"], row["retrieval_rank"]) for row in rows] == [
        ("q1/3", SUFFICIENT, 3),
        ("q1/1", INSUFFICIENT, 1),
        ("q1/2", INSUFFICIENT, 2),
        ("q1/4", INSUFFICIENT, 4),
        ("q1/5", INSUFFICIENT, 5),
    ]
    assert rows[0]["text_pair"] == GOLD and rows[0]["retrieval_score"] == pytest.approx(0.88)
    assert {row["group"] for row in rows} == {"q1"} and {row["text"] for row in rows} == {"When is the lamp trimmed?"}
    assert len({row["id"] for row in rows}) == len(rows)
    negatives, _ = pairs(retrieved(answerable=False), 4)
    assert [row["label"] for row in negatives] == [INSUFFICIENT] * 4


def test_a_passage_that_may_answer_is_no_negative() -> None:
    texts = (
        GOLD,
        "Trimmed at NINE, they say.",
        "Ninety is another number.",
        "A quiet night.",
        "At the nine o'clock bell.",
    )
    rows, left_out = pairs(retrieved(texts=texts), 2)
    assert [row["text_pair"] for row in rows] == [GOLD, "Ninety is another number.", "A quiet night."]
    assert left_out == 1  # the one beyond the last negative is not missed
    rows, left_out = pairs(retrieved(texts=texts), 3)
    assert [row["label"] for row in rows].count(INSUFFICIENT) == 2 and left_out == 2


def test_the_same_text_is_taken_once() -> None:
    texts = (GOLD, GOLD.upper(), "A quiet night.", "A quiet  night", "The logbook is blue.")
    item = retrieved(texts=texts)
    rows, _ = pairs(item, 4)
    assert [row["text_pair"] for row in rows] == [GOLD, "A quiet night.", "The logbook is blue."]


def test_gold_beyond_the_ranking_has_no_rank() -> None:
    ranked = tuple(Candidate((), f"Passage {i}.", 1, 0.5, i + 1) for i in range(5))
    item = Retrieved(question(), ranked, (Candidate((), GOLD, 2, None, None),))
    rows, _ = pairs(item, 2)
    assert rows[0]["id"] == "q1/unranked" and rows[0]["retrieval_score"] is None
    assert GOLD in [passage["text"] for passage in example(item, "train", params())["passages"]]


def test_documents_are_in_one_split() -> None:
    data = params()
    assert [split_of(name, data) for name in ("t.pdf", "v.pdf", "other.pdf")] == ["test", "validation", "train"]
    with pytest.raises(ValueError, match="in test and in validation"):
        params(test=("a.pdf", "b.pdf"), validation=("b.pdf",))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"min_passages": 6}, "min_passages is larger"),
        ({"retrieved": 3}, "retrieved must be at least"),
        ({"no_gold_share": 1.0}, "less than 1"),
        ({"seed": "7"}, "valid integer"),
        ({"sead": 7}, "Extra inputs"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        params(**changes)


def test_a_question_is_whole_or_refused() -> None:
    whole = question()
    for changes in ({"quote": " "}, {"short_answers": ()}, {"short_answers": ("",)}, {"page": None}, {"page": 0}):
        with pytest.raises(ValueError):
            Question(**{**whole.model_dump(), **changes})
