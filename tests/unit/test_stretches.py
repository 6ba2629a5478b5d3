"""Passages cut to a few words: around the evidence where there is some, anywhere where there is none."""

from __future__ import annotations

from models.classifier.data import Example
from models.classifier.params import Stretches
from models.classifier.stretches import Evidence, cloze, stretches
from models.schedule import Schedule

PASSAGE = " ".join(f"w{n}" for n in range(100))


def row(label: str, group: str = "q1", pair: str | None = PASSAGE) -> Example:
    return Example(text="which?", text_pair=pair, label=label, group=group)


def params(draws: int = 1, negatives: int = 5, questions: int = 0) -> Stretches:
    training = Schedule(
        epochs=1,
        batch_size=1,
        micro_batch_size=1,
        learning_rate=0.1,
        warmup_share=0,
        weight_decay=0,
        max_steps=None,
        evaluate_every=1,
        patience=1,
        seed=1,
    )
    return Stretches(words=10, draws=draws, negatives=negatives, cloze=questions, training=training)


def cut(rows: list[Example], evidence: dict[str, str], seed: int = 1) -> list[str | None]:
    known = {group: Evidence(quote, ()) for group, quote in evidence.items()}
    return [each.text_pair for each in stretches(rows, known, "yes", params(), seed)]


def test_a_positive_stretch_holds_the_evidence_wherever_it_starts() -> None:
    rows = [row("yes", f"q{n}") for n in range(40)]
    found = cut(rows, {each.group: "w50, w51 - w52." for each in rows})
    starts = set()
    for text in found:
        assert text is not None and {"w50", "w51", "w52"} <= set(text.split()) and len(text.split()) == 10
        assert text in PASSAGE
        starts.add(text.split()[0])
    assert len(starts) > 4


def test_evidence_at_the_ends_and_longer_than_a_stretch() -> None:
    assert cut([row("yes")], {"q1": "w0 w1"}) == [" ".join(f"w{n}" for n in range(10))]
    assert cut([row("yes")], {"q1": "w98 w99"}) == [" ".join(f"w{n}" for n in range(90, 100))]
    (long,) = cut([row("yes")], {"q1": " ".join(f"w{n}" for n in range(30, 60))})
    assert long is not None and 30 <= int(long.split()[0][1:]) <= 50


def test_a_positive_row_without_evidence_is_left_out() -> None:
    assert cut([row("yes"), row("yes", "q2"), row("no")], {"q2": "elsewhere entirely"}) == cut([row("no")], {})
    assert cut([row("yes", pair=None), row("no", pair=None)], {"q1": "w1"}) == []


def test_others_are_cut_anywhere_and_always_alike() -> None:
    rows = [row("no", f"q{n}") for n in range(40)]
    found = cut(rows, {})
    assert all(text is not None and text in PASSAGE and len(text.split()) == 10 for text in found)
    assert len(set(found)) > 20
    assert found == cut(rows, {}) != cut(rows, {}, seed=2)


def test_a_short_passage_stays_whole() -> None:
    assert cut([row("yes", pair="the answer is 42."), row("no", pair="nothing here")], {"q1": "answer is 42"}) == [
        "nothing here",
        "the answer is 42.",
    ]


def test_every_draw_takes_other_cuts_and_other_negatives() -> None:
    rows = [row("yes"), *(row("no", pair=f"n{n} {PASSAGE}") for n in range(6))]
    known = {"q1": Evidence("w50", ())}
    once, twice = (stretches(rows, known, "yes", params(draws, negatives=2), 1) for draws in (1, 20))
    assert [example.label for example in once] == ["no", "no", "yes"]
    assert len(twice) == 60 and twice[:3] == once
    assert len({example.text_pair for example in twice if example.label == "yes"}) > 4
    assert all("w50" in (example.text_pair or "").split() for example in twice if example.label == "yes")


def test_a_cloze_question_has_words_of_its_passage_and_a_negative_from_the_same_document() -> None:
    texts = {"a": PASSAGE, "b": PASSAGE.replace("w", "v"), "c": "too short"}
    rows = [row("yes", pair=text).model_copy(update={"document": name}) for name, text in texts.items()]
    found = cloze(rows, "yes", "no", params(questions=30), seed=1)
    assert [each.label for each in found] == ["yes", "no"] * 30
    assert {each.document for each in found} == {"a", "b"}
    for positive, negative in zip(found[::2], found[1::2], strict=True):
        assert positive.text == negative.text and positive.group == negative.group
        assert set(positive.text.split()) <= set((positive.text_pair or "").split())
        for each in (positive, negative):
            assert len((each.text_pair or "").split()) == 10 and (each.text_pair or "") in texts[each.document or ""]


def test_no_cloze_questions_where_no_passage_is_long_enough() -> None:
    assert cloze([row("yes", pair="too short")], "yes", "no", params(questions=3), seed=1) == []
