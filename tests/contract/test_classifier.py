"""What every classifier promises, kept by the one with weights and by the one without."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.remembered import RememberedClassifier
from services.core.classifier import (
    Classification,
    Classifier,
    Input,
    OverlapClassifier,
    TransformersClassifier,
    length_batches,
    load_model,
    open_classifier,
    open_tokenizer,
    softmax,
)
from services.core.encoder import cpu_has_bfloat16
from services.core.errors import ModelProblem
from services.core.registry import read_manifest, verify, write_manifest
from tests.classifiers import make_base, make_classifier

QUESTION = "Where does the cat sleep?"
INPUTS: list[tuple[str, str | None]] = [
    (QUESTION, "The cat sleeps on the sofa, as it did yesterday."),
    (QUESTION, "Interest rates rose by half a percent in the last quarter."),
    (QUESTION, None),
    ("", ""),
    ("Ein Kätzchen schläft, 東京 ½ «quotes»?", "a\n\n\tb " * 30),
    ("sofa", "x"),
]
# Rounding of bfloat16 depends on how a batch is padded.
CLOSE = 0.03 if cpu_has_bfloat16() else 1e-5


@pytest.fixture(scope="module", params=["transformers", "overlap"])
def classifier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    if request.param == "overlap":
        return open_classifier("overlap", None, None, threads=1)
    folder = tmp_path_factory.mktemp("classifier")
    base = make_base(folder)
    return open_classifier("transformers", make_classifier(folder / "sufficiency", base), base, threads=1)


def probabilities(results: list[Classification]) -> np.ndarray:
    return np.array([list(result.scores.values()) for result in results])


def test_every_label_has_a_probability(classifier: Classifier) -> None:
    assert classifier.name == "sufficiency" and classifier.labels == ("insufficient", "sufficient")
    results = classifier.classify(INPUTS)
    assert len(results) == len(INPUTS)
    for result in results:
        assert tuple(result.scores) == classifier.labels
        assert all(0 < probability < 1 for probability in result.scores.values())
        assert sum(result.scores.values()) == pytest.approx(1, abs=1e-6)
        assert result.score == result.scores[result.label] == max(result.scores.values())


def test_no_inputs_give_no_results(classifier: Classifier) -> None:
    assert classifier.classify([]) == []


def test_the_same_inputs_give_the_same_results(classifier: Classifier) -> None:
    assert classifier.classify(INPUTS) == classifier.classify(INPUTS)


def test_results_are_in_the_order_asked_and_do_not_depend_on_their_neighbours(classifier: Classifier) -> None:
    """900 inputs of mixed lengths fill several batches."""
    together = classifier.classify(INPUTS * 150)
    for index, one in enumerate(INPUTS):
        alone = classifier.classify([one])
        rows = together[index :: len(INPUTS)]
        assert {(row.tokens, row.truncated) for row in rows} == {(alone[0].tokens, alone[0].truncated)}
        assert np.abs(probabilities(rows) - probabilities(alone)).max() < CLOSE, one


def test_the_pair_matters(classifier: Classifier) -> None:
    answered, unanswered = probabilities(classifier.classify(INPUTS[:2]))
    assert np.abs(answered - unanswered).max() > 0.01


def test_truncation_is_told(classifier: Classifier) -> None:
    assert classifier.max_tokens == 512
    short, long = classifier.classify([("a b c", "d e f"), ("a b c", "d " * 600)])
    assert not short.truncated and short.tokens < classifier.max_tokens
    assert long.truncated and long.tokens == classifier.max_tokens
    question_too = classifier.classify([("a " * 700, "d " * 600)])[0]
    assert question_too.truncated and question_too.tokens == classifier.max_tokens


def test_what_is_cut_off_has_no_influence(classifier: Classifier) -> None:
    one, other = classifier.classify([("a b c", "d " * 600 + tail) for tail in ("e", "f")])
    assert probabilities([one]) == pytest.approx(probabilities([other]), abs=CLOSE)


def test_ids_name_the_classifier(classifier: Classifier) -> None:
    assert classifier.id.startswith("sufficiency")
    assert (classifier.id == OverlapClassifier().id) == isinstance(classifier, OverlapClassifier)


def test_overlap_prefers_the_passage_with_the_words_of_the_question() -> None:
    results = OverlapClassifier().classify(
        [
            ("Which option copies folders?", "The option -r copies folders with all their files."),
            ("Which option copies folders?", "Options are listed below."),
            ("Which option copies folders?", "The river rises in the mountains."),
            ("What is it?", "The river rises in the mountains."),
        ]
    )
    whole, part, nothing, unasked = (result.scores["sufficient"] for result in results)
    assert whole > 0.75 > part > nothing and nothing < 0.25
    assert unasked == 0.5  # no content words: it cannot tell
    assert [result.label for result in results[:3]] == ["sufficient", "insufficient", "insufficient"]


def test_results_are_those_of_transformers_own_model(tmp_path: Path) -> None:
    """One by one, without padding, in float32; temperature divides the logits."""
    base = make_base(tmp_path)
    files = make_classifier(tmp_path / "topics", base, ("one", "two", "three"), name="topics", temperature=2.5)
    model, tokenizer = load_model(files.folder, base.folder), open_tokenizer(base.folder, 512)
    with torch.inference_mode():
        expected = [
            torch.softmax(model(torch.tensor([tokenizer.encode(text, pair).ids])).logits[0] / 2.5, -1).numpy()
            for text, pair in INPUTS
        ]
    found = TransformersClassifier(files, base, threads=1).classify(INPUTS)
    assert np.abs(probabilities(found) - np.array(expected)).max() < CLOSE
    assert {result.label for result in found} <= {"one", "two", "three"}


def test_a_separator_in_a_text_is_text(tmp_path: Path) -> None:
    tokenizer = open_tokenizer(make_base(tmp_path).folder, 64)
    separator = tokenizer.token_to_id("[SEP]")
    assert separator is not None
    assert tokenizer.encode("a [SEP] b", "c").ids.count(separator) == 2


def test_temperature_spreads_the_probabilities_and_keeps_the_order(tmp_path: Path) -> None:
    base = make_base(tmp_path)
    cold, warm = (
        TransformersClassifier(make_classifier(tmp_path / name, base, temperature=value), base, threads=1)
        for name, value in (("cold", 0.5), ("warm", 4.0))
    )
    sharp, flat = (probabilities(each.classify(INPUTS)) for each in (cold, warm))
    assert (sharp.max(1) > flat.max(1)).all()
    assert (sharp.argmax(1) == flat.argmax(1)).all()


def test_another_base_is_refused(tmp_path: Path) -> None:
    files = make_classifier(tmp_path / "sufficiency", make_base(tmp_path / "one", seed=1))
    other = make_base(tmp_path / "two", seed=5)
    with pytest.raises(ModelProblem, match=rf"trained from tiny-distil@[\s\S]*{other.id}"):
        open_classifier("transformers", files, other, threads=1)


def test_no_weights_are_a_model_problem(tmp_path: Path) -> None:
    with pytest.raises(ModelProblem, match="needs a trained model folder"):
        open_classifier("transformers", None, None, threads=1)
    base = make_base(tmp_path)
    with pytest.raises(ModelProblem, match="no base"):
        open_classifier("transformers", base, base, threads=1)


@pytest.mark.parametrize(
    ("member", "value"), [("labels", ["sufficient"]), ("labels", ["a", "a"]), ("labels", ["a", "b", "c"])]
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, member: str, value: object) -> None:
    base = make_base(tmp_path)
    files = make_classifier(tmp_path / "sufficiency", base)
    path = files.folder / "classifier.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), member: value}))
    with pytest.raises(ModelProblem, match=r"classifier\.json"):
        open_classifier("transformers", files, base, threads=1)


@pytest.mark.parametrize("content", ["", "[]", '{"name": "x"}', '{"name":"x","labels":["a","b"],"temperature":0}'])
def test_a_damaged_configuration_is_refused(tmp_path: Path, content: str) -> None:
    base = make_base(tmp_path)
    files = make_classifier(tmp_path / "sufficiency", base)
    (files.folder / "classifier.json").write_text(content)
    with pytest.raises(ModelProblem, match=r"classifier\.json"):
        open_classifier("transformers", files, base, threads=1)


def test_a_weight_too_few_is_refused(tmp_path: Path) -> None:
    base = make_base(tmp_path)
    files = make_classifier(tmp_path / "sufficiency", base)
    weights = load_file(files.folder / "model.safetensors")
    del weights["pre_classifier.bias"]
    save_file(weights, files.folder / "model.safetensors")
    manifest = read_manifest(files.folder)
    write_manifest(files.folder, manifest.origin, manifest.training)
    with pytest.raises(ModelProblem, match=r"does not fit[\s\S]*pre_classifier\.bias"):
        open_classifier("transformers", verify(files.folder), base, threads=1)


def test_batches_hold_every_index_once_and_keep_the_budget() -> None:
    lengths = [5, 300, 12, 300, 299, 7, 9000, 1, 40] * 20
    batches = list(length_batches(lengths, budget=1000))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = max(lengths[index] for index in batch) * len(batch)
        assert padded <= 1000 or len(batch) == 1
    assert list(length_batches([])) == []


def test_softmax_of_large_logits_is_finite() -> None:
    rows = softmax(np.array([[1000.0, 0.0], [-1000.0, -1000.0]], np.float32))
    assert np.isfinite(rows).all() and rows[1].tolist() == [0.5, 0.5]


def test_remembered_inputs_are_not_classified_again() -> None:
    class Counting(OverlapClassifier):
        classified = 0

        def classify(self, inputs: Sequence[Input]) -> list[Classification]:
            self.classified += len(inputs)
            return super().classify(inputs)

    counting = Counting()
    remembered = RememberedClassifier(counting)
    first, second = remembered.classify([*INPUTS, INPUTS[0]]), remembered.classify(INPUTS[::-1])
    assert counting.classified == len(INPUTS)
    assert first == OverlapClassifier().classify([*INPUTS, INPUTS[0]]) and second == first[len(INPUTS) - 1 :: -1]
