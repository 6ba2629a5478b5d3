"""A model card from figures: what the reports say, in words and tables. Nothing here is written by hand but the frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Figures = Mapping[str, Any]
NAMES = {
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "token_f1": "token F1",
    "contains": "short answer contained",
    "lora": "base + LoRA",
    "base": "base alone",
    "lead": "lead copy (first sentence of the first passage)",
    "best_sentence": "best sentence (nearest to the question by the encoder as it came)",
    "tuned_sentence": "best sentence by our tuned encoder",
    "classifier_sentence": "best sentence by our classifier, the one in the prompt",
    "tfidf": "TF-IDF + logistic regression",
    "passage_only": "TF-IDF of the passage only",
    "overlap": "shared words",
    "retrieval": "retrieval (cosine)",
}

NOT_COMPARED = "The form that was trained was not at hand to compare it with."
CLASSIFIER_METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "roc_auc": "ROC-AUC",
    "average_precision": "average precision",
    "calibration_error": "calibration error",
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def figure(facts: Figures) -> str:
    """`{"value", "low", "high"}` as `0.512 [0.431, 0.590]`."""
    return f"{facts['value']:.3f} [{facts['low']:.3f}, {facts['high']:.3f}]"


def quoted(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split()) or "(nothing)"


def provenance(model: Figures, data: Figures) -> str:
    """Where model and data come from: ids, hashes, sources and their licences."""
    rows = [[name, f"`{model[name]}`"] for name in ("id", "base", "data_sha256", "params_sha256", "git_commit")]
    sources = [[source["name"], source["licence"], source["copyright"]] for source in data["sources"]]
    return (
        f"{table(['', ''], rows)}\n\nTrained from these documents and from questions of our own over them "
        f"(`models/data/questions.jsonl`):\n\n{table(['document', 'licence', 'copyright'], sources)}"
    )


def encoder_card(report: Figures) -> str:
    systems = {"base": report["model"]["base"], "tuned": report["encoder"]}
    metrics = list(report["tuned_is_better_by"])
    rows = [[f"`{shown}`", *(figure(report["systems"][name][m]) for m in metrics)] for name, shown in systems.items()]
    better = ["the tuned one is better by", *(figure(report["tuned_is_better_by"][metric]) for metric in metrics)]
    manuals = ", ".join(f"{name} ({count})" for name, count in report["manuals"].items())
    return f"""# {report["encoder"]}

{report["model"]["base"]} with the LoRA adapter `{report["model"]["id"]}` added: where is the passage that answers this question?

**Intended use.** Inside Capstone: vectors of passages and of questions about them, English technical prose.

**Not for** other languages, or texts longer than the 256 tokens that it reads. Its vectors cannot be compared with those of the base.

## Figures
{report["questions"]} answerable questions over test documents that were not trained on, each among all passages of its own manual that
the prepared data holds; dense search alone. Means with 95 % bootstrap intervals, the difference paired by question.

{table(["", *metrics], [*rows, better])}

Manuals, with passages: {manuals}.

## Limits
The passages are those that the base found near some question, so it has met the base's own choice. The test questions were written
in the same way as the training questions. What is left of the gain behind BM25 and the classifier: `python benchmarks/retrieval.py`.

## Data and provenance
{provenance(report["model"], report["data"])}
"""


def generator_card(report: Figures) -> str:
    placed = report["placements"]
    systems = list(placed["not_first"]["systems"])
    metrics = list(placed["not_first"]["systems"][systems[0]])
    results = "\n\n".join(
        f"Gold passage {name.replace('_', ' ')}:\n\n"
        + table(
            ["", *(NAMES[metric] for metric in metrics)],
            [[NAMES[system], *(figure(part["systems"][system][m]) for m in metrics)] for system in systems],
        )
        for name, part in placed.items()
    )
    better = placed["not_first"]["lora_is_better_by"]
    gains = table(
        ["LoRA is better than", *(NAMES[metric] for metric in metrics)],
        [[NAMES[other], *(figure(better[other][metric]) for metric in metrics)] for other in better],
    )
    sliced = "\n\n".join(
        table(
            [name, "questions", NAMES["contains"], NAMES["rougeL"]],
            [
                [value, str(row["questions"]), figure(row["contains"]), figure(row["rougeL"])]
                for value, row in rows.items()
            ],
        )
        for name, rows in report["slices"].items()
    )
    failed = "\n".join(
        f"- **{quoted(row['question'])}**\n  answered: {quoted(row['answered'])}\n  expected: {quoted(row['expected'])}"
        for row in report["failures"]
    )
    return f"""# {report["model"]["id"]}

A LoRA adapter for {report["model"]["base"]}: it answers a question in one sentence, from the sentence of a document that answers it.

**Intended use.** Inside Capstone, behind retrieval: prompt with the best sentence of 3 to 5 passages, English technical prose. Every answer is
checked against quotes of the pages afterwards; the adapter's words alone are no evidence.

**Not for** open questions without passages, advice that harms somebody when it is wrong, other languages. It does not
decide whether the passages hold an answer: that is the classifier's to say.

## Figures
{report["questions"]} answerable questions over test documents that were not trained on; each is asked of the same passages with the one
that holds the answer first, and not first. Means with 95 % bootstrap intervals.

{results}

Paired by question, gold passage not first:

{gains}

![Containment and ROUGE-L of each system](generator.svg)

## Slices
Gold passage not first.

{sliced}

## Failures
The answers furthest from what was expected.

{failed}

## Limits
A model of 135 million parameters: it can put the wrong number beside the right quote, and it repeats what it reads. The
test questions were written in the same way as the training questions, and an earlier trial of the settings was judged by them.

## Form
{_generator_form(report["form"])}

## Data and provenance
{provenance(report["model"], report["data"])}
"""


def _generator_form(form: Figures | None) -> str:
    if form is None:
        return f"Shipped in half precision. {NOT_COMPARED}"
    lost = form["shipped_is_better_by"]
    return (
        f"Shipped in half precision: {form['same_answers']} of {form['answers']} answers are word for word those of the form "
        f"that was trained. It is better\nby {figure(lost['contains'])} in containment and {figure(lost['rougeL'])} in ROUGE-L."
    )


def classifier_card(report: Figures) -> str:
    model, gate = report["model"], report["gate"]
    abstention = report["abstention"]
    abstained = ", ".join(
        f"{name.replace('_', ' ')} {figure(abstention[name])}"
        for name in ("answerable_answered", "unanswerable_refused", "roc_auc")
        if name in abstention
    )
    systems, metrics = list(report["systems"]), list(CLASSIFIER_METRICS)
    head = ["", *CLASSIFIER_METRICS.values()]
    results = table(
        head, [[NAMES.get(s, s), *(figure(report["systems"][s][metric]) for metric in metrics)] for s in systems]
    )
    better = report["classifier_is_better_by"]
    gains = table(
        ["the classifier is better by, than", *CLASSIFIER_METRICS.values()],
        [[NAMES.get(other, other), *(figure(better[other][metric]) for metric in metrics)] for other in better],
    )
    ranking = report["ranking"]
    firsts = table(
        ["order by", "an answering passage comes first", "the classifier is better by"],
        [
            [NAMES.get(name, name), figure(found), figure(ranking["classifier_is_better_by"][name])]
            if name in ranking["classifier_is_better_by"]
            else [NAMES.get(name, name), figure(found), ""]
            for name, found in ranking["gold_first"].items()
        ],
    )
    calibration = report["calibration"]
    gates = "\n".join(
        f"- `{label}` from {found['threshold']} on: precision {found['precision']}, recall {found['recall']}; "
        + "; ".join(
            f"{name.replace('_', ' ')} {figure(found[name])} of {found[name]['questions']}"
            for name in ("answerable_questions_kept", "unanswerable_questions_refused")
            if name in found
        )
        for label, found in gate.items()
    )
    documents = table(
        ["document", "pairs", "accuracy", "ROC-AUC"],
        [
            [name, str(row["rows"]), figure(row["accuracy"]), figure(row["roc_auc"])]
            for name, row in report["slices"]["document"].items()
        ],
    )
    failed = "\n".join(
        f"- **{quoted(row['text'])}** is {row['label']}, was called {row['predicted']} with {row['score']:.2f} "
        f"({row['document']}): {quoted(row['text_pair'] or '')} ..."
        for row in report["failures"]
    )
    return f"""# {model["id"]}

A DistilBERT over {model["base"]}: does this passage answer this question?

**Intended use.** Inside Capstone: to rank retrieved passages and to judge whether they suffice for an answer, in English technical
prose. Input is a question (`text`) and a passage (`text_pair`).

**Not for** judging whether an answer is true, other languages, or passages much longer than the 512 tokens it can read.

## Figures
Test documents that were not trained on, {report["rows"]["test"]["rows"]} pairs. Means with 95 % bootstrap intervals over questions.

{results}

Paired, on the same draws of questions. The passage-only baseline shows what style alone gives away.

{gains}

Among the passages of one question ({ranking["questions"]} questions):

{firsts}

![Receiver operating characteristic](roc.svg) ![Reliability](reliability.svg)

Calibration: temperature {calibration["temperature"]}, chosen on validation documents; expected calibration error before
{figure(calibration["before"]["calibration_error"])}, after {figure(calibration["after"]["calibration_error"])}.

Thresholds, chosen on validation documents, on test questions:

{gates}

A question is answered if the geometric mean of the probabilities of its best passage and its best sentence reaches
{abstention["threshold"]}: {abstained}.

![Risk against coverage](abstention.svg)

## Slices
{documents}

## Failures
The most confident mistakes.

{failed}

## Limits
Negatives are passages that retrieval found near and that hold neither the quote nor a short answer; some may answer in other
words. Passages that hold a short answer, but are not the ones the question was written from, are in no split: nobody knows their
label. The test questions were written in the same way as the training questions.

## Form
{_classifier_form(report["form"])}

## Data and provenance
{provenance(model, report["data"])}
"""


def _classifier_form(form: Figures | None) -> str:
    shipped = "Shipped in half precision without the word embeddings, which are the base's own"
    if form is None:
        return f"{shipped}. {NOT_COMPARED}"
    return (
        f"{shipped}: on {form['inputs']} pairs the largest difference of a\nprobability is "
        f"{form['largest_probability_difference']:.5f}, labels that flip: {form['label_flips']}."
    )
