"""Lineage id -> what it came from; and the same request once more, to see what comes out now."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from services.api.answer import Answerer, Question
from services.api.classify import Classifiers
from services.api.classify_schemas import ClassifyOut
from services.api.generate import Decoding
from services.api.lineage_schemas import (
    AnswerReplay,
    Change,
    CitationsMoved,
    ClassificationReplay,
    LineageOut,
    PassageRead,
    PassagesMoved,
    Piece,
    PromptRead,
    ResultChange,
    ShadowOut,
)
from services.api.schemas import CitationOut
from services.api.shadow import shadowed
from services.core.catalog import Catalog
from services.core.errors import Conflict, NotFound
from services.core.keys import Caller
from services.core.lineage import Logged, logged
from services.core.schemas import iso
from services.core.types import Hit, Passage, PassageFilter

_ROLES = ("encoder", "generator", "adapter", "classifier", "classifier_base")
_PLAIN = ("release", "index_seq", "thresholds", "decoding", "retrieval", "answers", "temperature", "data_sha256")
_ASKED = {"answer": ("question", "collection", "k", "filter"), "classification": ("model", "inputs")}
_SAID = {"answer": ("answer", "mode", "answerability", "citations", "finish_reason"), "classification": ("results",)}
Body = Mapping[str, Any]


def read_lineage(catalog: Catalog, lineage_id: str, caller: Caller) -> LineageOut:
    """Raises NotFound."""
    found = logged(catalog.database, lineage_id, caller)
    lineage = found.body["lineage"]
    return LineageOut(
        id=lineage_id,
        kind=found.kind,
        created_at=iso(found.created_at) or "",
        models={role: lineage.get(role) for role in _ROLES},
        passages=_passages(catalog, found.body.get("passages", [])),
        prompt=PromptRead(id=lineage["prompt"], words=found.body.get("prompt")) if "prompt" in lineage else None,
        git_commit=lineage["git_commit"],
        request={name: found.body.get(name) for name in _ASKED[found.kind]},
        outcome={name: found.body.get(name) for name in _SAID[found.kind]},
        replay_of=found.body.get("replay_of"),
        shadow=_shadow(catalog, lineage_id) if found.kind == "answer" else None,
        **{name: lineage.get(name) for name in _PLAIN},
    )


def replay(
    catalog: Catalog,
    answerer: Answerer,
    classifiers: Classifiers,
    lineage_id: str,
    caller: Caller,
    stop: threading.Event,
) -> AnswerReplay | ClassificationReplay:
    """Ask again what was asked under `lineage_id`, with the parts and the index of now, and compare. Blocks.

    The new answer or classification is logged like any other, and says what it is a replay of. Raises NotFound;
    Conflict if what was asked is not known any more, or cannot be asked here; Overloaded; ClientClosedRequest.
    """
    found = logged(catalog.database, lineage_id, caller)
    if found.kind == "answer":
        try:
            again = answerer.answer(_question(lineage_id, found), stop)
        except NotFound as error:  # a document that the filter names
            raise Conflict(f"{error.detail} The question was asked of it, so it cannot be asked again.") from error
        return _compared_answers(lineage_id, found.body, logged(catalog.database, again.id).body)
    inputs = found.body["inputs"]
    if inputs is None:
        raise Conflict(f"The texts of {lineage_id!r} were too long to be kept (CAPSTONE_CLASSIFICATION_LOG_CHARS).")
    served = classifiers.find(found.body["model"])
    if served is None:
        raise Conflict(f"The classifier {found.body['model']!r} is not served here any more.")
    pairs = [(item["text"], item["text_pair"]) for item in inputs]
    now = classifiers.classify(served, pairs, stop, lineage_id, caller.key)
    return _compared_classifications(lineage_id, found.body, now)


def pieces(before: str, now: str) -> Iterator[Piece]:
    """The words of both, those that both have once, in reading order."""
    old, new = before.split(), now.split()
    for op, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if op == "equal":
            yield Piece(op="same", text=" ".join(old[a:b]))
            continue
        if a < b:
            yield Piece(op="gone", text=" ".join(old[a:b]))
        if c < d:
            yield Piece(op="new", text=" ".join(new[c:d]))


def _shadow(catalog: Catalog, answer_id: str) -> ShadowOut | None:
    found = shadowed(catalog.database, answer_id)
    if found is None:
        return None
    told = {name: found.body.get(name) for name in (*_SAID["answer"], "lineage", "timings_ms")}
    return ShadowOut(release=found.release, created_at=iso(found.created_at) or "", answer=told)


def _passages(catalog: Catalog, ids: Sequence[int]) -> list[PassageRead]:
    there = {passage.chunk_id: passage for passage in catalog.passages([Hit(chunk_id, 0.0) for chunk_id in ids])}
    return [_passage(there[item]) if item in there else PassageRead(chunk_id=item) for item in ids]


def _passage(passage: Passage) -> PassageRead:
    return PassageRead(
        chunk_id=passage.chunk_id,
        document_id=passage.document_id,
        document_name=passage.document_name,
        page=passage.page,
        char_start=passage.char_start,
        char_end=passage.char_end,
        text=passage.text,
    )


def _question(lineage_id: str, found: Logged) -> Question:
    body = found.body
    if "k" not in body:
        raise Conflict(f"{lineage_id!r} was logged before all of the request was: it cannot be asked again.")
    decoding = body["lineage"]["decoding"]
    wanted = body["filter"]
    return Question(
        body["question"],
        body["collection"],
        body["k"],
        Decoding(**{**decoding, "stop": tuple(decoding["stop"])}),
        PassageFilter(**{**wanted, "documents": tuple(wanted["documents"]), "sections": tuple(wanted["sections"])})
        if wanted
        else None,
        replay_of=lineage_id,
    )


def _compared_answers(lineage_id: str, before: Body, now: Body) -> AnswerReplay:
    decoding = before["lineage"]["decoding"]
    mode = _change(before["mode"], now["mode"])
    citations = _citations_moved(before["citations"], now["citations"])
    read, reads = before["passages"], now["passages"]
    return AnswerReplay(
        id=lineage_id,
        replay=now["id"],
        same=before["answer"] == now["answer"] and mode is None and not citations.gone and not citations.new,
        sampled=decoding["temperature"] > 0 and decoding["seed"] is None,
        lineage=_lineage_changes(before["lineage"], now["lineage"]),
        mode=mode,
        text=list(pieces(before["answer"], now["answer"])),
        citations=citations,
        passages=PassagesMoved(
            same=[item for item in read if item in reads],
            gone=[item for item in read if item not in reads],
            new=[item for item in reads if item not in read],
        ),
    )


def _compared_classifications(lineage_id: str, before: Body, again: ClassifyOut) -> ClassificationReplay:
    changes = []
    for index, (old, result) in enumerate(zip(before["results"], again.results, strict=True)):
        new = result.model_dump(mode="json")
        scores = _changes(old["scores"], new["scores"])
        if scores:
            changes.append(ResultChange(index=index, label=_change(old["label"], new["label"]), scores=scores))
    return ClassificationReplay(
        id=lineage_id,
        replay=again.lineage.id,
        same=not changes,
        lineage=_lineage_changes(before["lineage"], again.lineage.model_dump(mode="json")),
        results=changes,
    )


def _citations_moved(before: Sequence[Body], now: Sequence[Body]) -> CitationsMoved:
    def place(citation: Body) -> tuple[Any, ...]:
        return tuple(citation[name] for name in ("document_id", "page", "char_start", "char_end"))

    old, new = ({place(citation): citation for citation in found} for found in (before, now))
    return CitationsMoved(
        same=len(old.keys() & new.keys()),
        gone=[CitationOut.model_validate(old[at]) for at in old if at not in new],
        new=[CitationOut.model_validate(new[at]) for at in new if at not in old],
    )


def _lineage_changes(before: Body, now: Body) -> dict[str, Change]:
    """What differs besides the id. What was not logged yet when `before` was counts as None."""
    return {name: change for name, change in _changes(before, now).items() if name != "id"}


def _changes(before: Body, now: Body) -> dict[str, Change]:
    names = dict.fromkeys([*before, *now])
    found = {name: _change(before.get(name), now.get(name)) for name in names}
    return {name: change for name, change in found.items() if change is not None}


def _change(before: Any, now: Any) -> Change | None:
    return None if before == now else Change(before=before, now=now)
