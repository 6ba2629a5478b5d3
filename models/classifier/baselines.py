"""What does without the network: bags of words. Each is fitted on training rows; validation rows choose its C."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from models.classifier.data import Example
from models.classifier.metrics import Probabilities, Truth, negative_log_likelihood

Baseline = Callable[[Sequence[Example]], Probabilities]
Features = Callable[[Sequence[Example]], Any]
WORD = r"\w+"
STRENGTHS = (0.1, 1.0, 10.0)  # inverse weights of the L2 penalty


def majority(train: Sequence[Example], truth: Truth, labels: int) -> Baseline:
    """The shares of the labels, whatever is asked."""
    shares = np.bincount(truth, minlength=labels) / len(train)
    return lambda examples: np.tile(shares, (len(examples), 1))


def tfidf(train: Sequence[Example], truth: Truth, validation: Sequence[Example], held_out: Truth) -> Baseline:
    """TF-IDF of one and two words of the text and of the pair, and their cosine, + logistic regression.

    The cosine is what two bags of words can know of each other; without it a linear model sees no overlap at all.
    """
    words = _vectoriser().fit([" ".join(filter(None, example.input)) for example in train])

    def features(examples: Sequence[Example]) -> Any:
        texts = words.transform([example.text for example in examples])
        if all(example.text_pair is None for example in examples):
            return texts
        pairs = words.transform([example.input[1] or "" for example in examples])
        cosines = csr_matrix(texts.multiply(pairs).sum(axis=1))
        return hstack([texts, pairs, cosines], format="csr")

    return _fitted(features, train, truth, validation, held_out)


def passage_only(train: Sequence[Example], truth: Truth, validation: Sequence[Example], held_out: Truth) -> Baseline:
    """TF-IDF of the pair alone + logistic regression: it does not know what is asked.

    What it gets right beyond chance is in the style of the passages, and would be no understanding in another either.
    """
    words = _vectoriser().fit([example.input[1] or "" for example in train])
    return _fitted(
        lambda examples: words.transform([example.input[1] or "" for example in examples]),
        train,
        truth,
        validation,
        held_out,
    )


def _vectoriser() -> TfidfVectorizer:
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORD)


def _fitted(
    features: Features, train: Sequence[Example], truth: Truth, validation: Sequence[Example], held_out: Truth
) -> Baseline:
    known, other = features(train), features(validation)
    # liblinear takes seconds where the default takes minutes; it knows two classes, hence one against the rest.
    models = [
        OneVsRestClassifier(LogisticRegression(C=strength, solver="liblinear")).fit(known, truth)
        for strength in STRENGTHS
    ]
    best = min(models, key=lambda model: negative_log_likelihood(held_out, model.predict_proba(other)))
    return lambda examples: np.asarray(best.predict_proba(features(examples)), np.float64)
