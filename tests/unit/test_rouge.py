from __future__ import annotations

import pytest
from rouge_score import rouge_scorer

from services.core.rouge import VARIANTS, score_pairs

PAIRS = [
    ("the cat sat on the mat", "the cat lay on the mat"),
    ("Files in /var/tmp are kept.", "Files are preserved between reboots."),
    ("", "something"),
]


@pytest.mark.parametrize("stemmer", [False, True])
def test_scores_are_those_of_rouge_score(stemmer: bool) -> None:
    scorer = rouge_scorer.RougeScorer(list(VARIANTS), use_stemmer=stemmer)
    rows = score_pairs([(prediction, [reference]) for prediction, reference in PAIRS], stemmer=stemmer)
    for (prediction, reference), row in zip(PAIRS, rows, strict=True):
        for name, want in scorer.score(reference, prediction).items():
            got = (row[name].precision, row[name].recall, row[name].f1)
            assert got == pytest.approx((want.precision, want.recall, want.fmeasure), abs=1e-9)


def test_of_several_references_the_best_counts() -> None:
    [row] = score_pairs([("a b c", ["x y z", "a b c"])], ["rouge1"])
    assert row["rouge1"].f1 == 1.0
