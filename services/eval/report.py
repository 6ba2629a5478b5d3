"""An evaluation as one page of HTML that needs no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from services.core.schemas import iso
from services.eval.judge import BEST_SENTENCE, LEAD, RELEASE, Judgement
from services.eval.metrics import retrieval_names
from services.eval.plots import histogram, interval_bars
from services.eval.store import Evaluation
from services.eval.summary import SLICED
from services.eval.verdict_html import verdict_html

NAMES = {RELEASE: "release", BEST_SENTENCE: "best sentence", LEAD: "lead copy"}
_ANSWERS = ("answer_words", "rouge1", "rouge2", "rougeL", "rougeLsum", "token_f1", "contains")
_OTHERS = ("citation_precision", "abstention_error", "refused", "answered_unanswerable")
_TITLES = {
    "answer_words": "words",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum",
    "token_f1": "token F1",
    "contains": "short answer contained",
    "citation_precision": "citation precision",
    "abstention_error": "abstention error",
    "refused": "answerable, but refused",
    "answered_unanswerable": "unanswerable, but answered",
    "answer_ms": "answer, ms",
    "mrr@10": "MRR@10",
    "ndcg@10": "nDCG@10",
}
_PLOTTED = ("contains", "token_f1", "rougeL", "rouge1", "citation_precision", "abstention_error")
QUESTIONS_SHOWN = 500
_STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }
table { border-collapse: collapse; font-size: 13px; margin: .6rem 0 }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid #ddd; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
small { color: #667; display: block }
details { border-bottom: 1px solid #ddd; padding: .3rem 0 }
dt { font-weight: bold } dd { margin: 0 0 .5rem 1rem; overflow-wrap: anywhere }
.warning { background: #fff3d6; padding: .5rem 1rem }
.passed { background: #e2f3e5; padding: .5rem 1rem }
svg { max-width: 100%; height: auto }
"""

Facts = Mapping[str, float] | None


def report_html(
    evaluation: Evaluation,
    summary: Mapping[str, Any],
    judgements: Sequence[Judgement],
    outcome: Mapping[str, Any] | None = None,
    verdict: Mapping[str, Any] | None = None,
) -> str:
    """The page. Every text of a dataset, document or model in it is escaped.

    Of two releases side by side, `outcome` is the verdict in short, and `verdict` the whole, if there is one.
    """
    title = f"Evaluation of {evaluation.dataset.name}"
    parts = [
        _facts(evaluation, summary),
        verdict_html(outcome, verdict) if outcome else "",
        "<h2>Answers</h2>",
        _systems(summary, _ANSWERS),
        _expected(summary),
        _systems(summary, _OTHERS),
        _answers_plot(summary),
        "<h2>Better than the baselines by</h2>",
        "<p>Release minus baseline, question by question. Of the abstention error, less is better.</p>",
        _better(summary),
        "<h2>Retrieval and latency</h2>",
        _table(["", *map(_title, retrieval_names())], [["passages", *_cells(summary, RELEASE, retrieval_names())]]),
        _latency(summary, judgements),
        *(_slice(name, rows) for name, rows in summary["slices"].items()),
        "<h2>Questions, the worst first</h2>",
        *_questions(judgements),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{''.join(parts)}</body></html>"
    )


def _facts(evaluation: Evaluation, summary: Mapping[str, Any]) -> str:
    lineages = summary["lineages"]
    last = lineages[-1]
    told = {
        "evaluation": f"{evaluation.id}, {iso(evaluation.created_at)}",
        "dataset": f"{evaluation.dataset.name}, {summary['questions']} questions, {summary['answerable']} answerable",
        "collection": evaluation.collection,
        "release": f"{last['release'] or 'none'} (asked for: {evaluation.release})",
        "generator": f"{last['generator']}, adapter {last['adapter'] or 'none'}",
        "classifier": last["classifier"],
        "answers": ", ".join(f"{count} {mode}" for mode, count in sorted(summary["modes"].items())),
    }
    if evaluation.tracking is not None:
        run, detail = evaluation.tracking["run_id"], evaluation.tracking["detail"]
        told["MLflow"] = f"run {run}" if run else f"not logged: {detail}"
    out = "".join(f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in told.items())
    changed = '<p class="warning">What answers changed during this evaluation: its figures are of a mixture.</p>'
    return f"<dl>{out}</dl>" + (changed if len(lineages) > 1 else "")


def _systems(summary: Mapping[str, Any], metrics: Sequence[str]) -> str:
    rows = [[name, *_cells(summary, system, metrics)] for system, name in NAMES.items()]
    return _table(["", *map(_title, metrics)], rows)


def _expected(summary: Mapping[str, Any]) -> str:
    if summary["expected_words"] is None:
        return ""
    words = summary["expected_words"]["value"]
    return (
        f"<p>Expected answers have {words:.1f} words on average. Longer answers raise the recall in ROUGE; no answer "
        "counts as 0. Brackets are 95 % intervals.</p>"
    )


def _cells(summary: Mapping[str, Any], system: str, metrics: Sequence[str]) -> list[str]:
    return [_figure(summary["systems"][system].get(metric)) for metric in metrics]


def _answers_plot(summary: Mapping[str, Any]) -> str:
    rows = {_title(metric): [summary["systems"][system][metric] for system in NAMES] for metric in _PLOTTED}
    return interval_bars("Release and baselines", list(NAMES.values()), rows)


def _better(summary: Mapping[str, Any]) -> str:
    names = list(next(iter(summary["better"].values())))
    rows = [[NAMES[system], *(_figure(table[name]) for name in names)] for system, table in summary["better"].items()]
    return _table(["than", *map(_title, names)], rows)


def _latency(summary: Mapping[str, Any], judgements: Sequence[Judgement]) -> str:
    rows = [
        [name.removesuffix("_ms"), f"{ms['p50']:,.0f} ms", f"{ms['p95']:,.0f} ms"]
        for name, ms in summary["latency_ms"].items()
    ]
    seconds = [one["systems"][RELEASE]["metrics"]["answer_ms"] / 1000 for one in judgements]
    title = "Seconds to an answer"
    return _table(["", "p50", "p95"], rows) + f"<p>{title}:</p>" + histogram(title, seconds, " s")


def _slice(name: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    cells = [[value, str(row["questions"]), *(_figure(row[m]) for m in SLICED)] for value, row in rows.items()]
    plot = {value: [row["contains"]] for value, row in rows.items()}
    return (
        f"<h2>By {name}{' of the question' if name == 'length' else ''}</h2>"
        + _table([name, "questions", *map(_title, SLICED)], cells)
        + f"<p>{_title('contains')}:</p>"
        + interval_bars(f"{_title('contains')} by {name}", ["release"], plot)
    )


def _questions(judgements: Sequence[Judgement]) -> list[str]:
    def worth(one: Judgement) -> tuple[float, float, float, str]:
        figures = one["systems"][RELEASE]["metrics"]
        return -figures["abstention_error"], figures["contains"] or 0.0, figures["rougeL"] or 0.0, one["id"]

    out = [_question(one) for one in sorted(judgements, key=worth)[:QUESTIONS_SHOWN]]
    if len(judgements) > QUESTIONS_SHOWN:
        out.append(f"<p>{len(judgements) - QUESTIONS_SHOWN} more are in the JSON of this report.</p>")
    return out


def _question(one: Judgement) -> str:
    release = one["systems"][RELEASE]
    figures = ", ".join(
        f"{_title(name)} {value:.3g}" for name, value in release["metrics"].items() if value is not None
    )
    cited = "; ".join(f"{each['document']}, page {each['page']}: “{each['quote']}”" for each in release["citations"])
    told = {
        "expected": one["answer"] if one["answerable"] else "no answer: the documents do not hold one",
        "pages": ", ".join(map(str, one["pages"])) or "none",
        f"release ({release['mode']})": release["answer"],
        "its citations": cited or "none",
        "its figures": figures,
        "best sentence": one["systems"][BEST_SENTENCE]["answer"],
        "lead copy": one["systems"][LEAD]["answer"],
    }
    body = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in told.items())
    head = f"{one['id']} · {one['kind']} · {release['mode']} — {one['question']}"
    return f"<details><summary>{escape(head)}</summary><dl>{body}</dl></details>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells of `rows` after the first are HTML already; names are escaped here."""
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    lines = ("<tr>" + "".join(f"<td>{cell}</td>" for cell in (escape(row[0]), *row[1:])) + "</tr>" for row in rows)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _figure(facts: Facts) -> str:
    if facts is None:
        return "–"
    digits = 3 if abs(facts["high"]) < 10 else 1
    value, low, high = (f"{facts[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value}<small>[{low}, {high}]</small>"


def _title(metric: str) -> str:
    return _TITLES.get(metric, metric)
