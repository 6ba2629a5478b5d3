"""One question asked of the release and of the baselines beside it, and judged. Knows nothing of jobs."""

from __future__ import annotations

from typing import Any

from services.core.errors import JobProblem
from services.eval import baselines, metrics
from services.eval.ask import Api
from services.eval.dataset import Question

OTHER_RELEASE = "other_release"
RELEASE, LEAD, BEST_SENTENCE = "release", "lead", "best_sentence"
SYSTEMS = (RELEASE, LEAD, BEST_SENTENCE)
_LINEAGE = ("release", "generator", "adapter", "classifier", "encoder", "prompt", "retrieval", "git_commit")

Judgement = dict[str, Any]  # as JSON; its shape is the docstring of `judged`


def judged(question: Question, collection: str, release_id: str | None, api: Api) -> Judgement:
    """Everything that is known of one question afterwards, enough to compare it with another evaluation of the same.

    The row itself; `found`: places of the passages, best first; `systems`: for each of `SYSTEMS` its `answer`, `mode`,
    `abstained`, `citations`, and `metrics` by name (None where not defined), for the release also `answer_id`,
    `answerability`, `timings_ms` and `lineage`. Raises JobProblem (`other_release` if not `release_id` has answered;
    None: no release, the bases alone) or Unavailable.
    """
    passages, search_ms = api.search(question.question, collection, metrics.DEPTH, release_id)
    answer, answer_ms = api.answer(question.question, collection, release_id)
    if (spoke := answer["lineage"]["release"]) != release_id:
        raise JobProblem(OTHER_RELEASE, f"{release_id or 'No release'} was asked, and {spoke or 'none'} has answered.")
    places = [(passage["document_name"], passage["page"]) for passage in passages]
    wanted = {(question.document, page) for page in question.pages}
    release = {
        "answer": answer["answer"],
        "mode": answer["mode"],
        "abstained": answer["abstained"],
        "answer_id": answer["id"],
        "answerability": answer["answerability"],
        "citations": [
            {
                "document": citation["document_name"],
                "page": citation["page"],
                "quote": citation["quote"],
                "char_start": citation["char_start"],
                "char_end": citation["char_end"],
                "verified": citation["verified"],
            }
            for citation in answer["citations"]
        ],
        "timings_ms": answer["timings_ms"],
        "lineage": {name: answer["lineage"][name] for name in _LINEAGE},
    }
    read = passages[: answer["lineage"]["retrieval"]["answer_passages"]]
    systems = {
        RELEASE: release,
        LEAD: _said(baselines.lead(read)),
        BEST_SENTENCE: _said(baselines.best_sentence(question.question, read, api.encode)),
    }
    for system in systems.values():
        system["metrics"] = _figures(question, system, wanted)
    of_release = {**metrics.retrieval(places, wanted), "search_ms": search_ms, "answer_ms": answer_ms}
    cited = release["citations"]
    of_release["citations_verified"] = sum(each["verified"] for each in cited) / len(cited) if cited else None
    release["metrics"] |= of_release
    found = [{"document": document, "page": page} for document, page in places]
    return {**question.model_dump(mode="json"), "answerable": question.answerable, "found": found, "systems": systems}


def _said(sentence: baselines.Sentence | None) -> dict[str, Any]:
    """A baseline's answer, in the shape of the release's; it has nothing to say only where nothing was found."""
    if sentence is None:
        return {"answer": "", "mode": "abstained", "abstained": True, "citations": []}
    cited = {"document": sentence.document, "page": sentence.page, "quote": sentence.text}
    return {"answer": sentence.text, "mode": "extractive", "abstained": False, "citations": [cited]}


def _figures(question: Question, system: dict[str, Any], wanted: set[metrics.Place]) -> metrics.Figures:
    if question.answerable:
        figures = metrics.answer(system["answer"], system["abstained"], question.answer, question.short_answers)
    else:
        figures = dict.fromkeys(metrics.answer_names())
    cited = [(citation["document"], citation["page"]) for citation in system["citations"]]
    figures |= metrics.citations(cited, wanted)
    return figures | metrics.abstention(system["abstained"], question.answerable)
