"""Sentences that a border cuts, from a real PDF to the marks on its pages; with the parts that need no weights."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from reportlab.lib.utils import simpleSplit
from sqlalchemy import event

from services.api import app as api
from services.api.cite import citations_of
from services.api.resources import ApiResources
from services.api.resources import open_resources as open_api
from services.core.classifier import OverlapClassifier
from services.core.evidence import evidence_of
from services.core.http import service_app
from services.core.settings import Settings
from services.core.telemetry import Telemetry
from services.ingest import app as ingest
from services.ingest.worker import Worker
from tests import pdfs
from tests.calls import events, upload
from tests.weightless import weightless

WIDTH_PT = 430.0
HEADER = "The Example Manual"
BEFORE = "The lamp of the tower is trimmed at nine, and fog is answered by a bell. Nobody may sleep beside the lamp."
CROSSING = (
    "The keeper of Hythe writes the name of every boat that comes home before the evening, and of every boat that does "
    "not, into a green ledger that lies behind the second door of the chapel."
)
AFTER = "Ropes are dried in the loft. Paint is bought in spring, and oil in autumn."
ASKED = "Into which ledger behind the door of the chapel does the keeper of Hythe write the name of every boat?"

ITEMS = ("kettle", "lantern", "anchor", "violin", "compass", "ladder", "mirror", "barrel", "candle", "hammer")
PLACES = ("harbour", "attic", "orchard", "cellar", "meadow", "station", "tower")
_THINGS = ", ".join(f"a {item} of the {place}" for place in PLACES for item in ITEMS)
LONG = f"The iron chest of Hythe holds {_THINGS} and the silver whistle of the pilot."
LONG_ASKED = "Does the iron chest of Hythe hold the silver whistle of the pilot?"


def lines(text: str) -> list[str]:
    return list(simpleSplit(text, "Helvetica", 11, WIDTH_PT))


def crossing_pdf() -> bytes:
    """Three pages with running headers and footers; the first ends in the middle of CROSSING, at the end of a line."""
    text = lines(f"{BEFORE} {CROSSING} {AFTER}")
    cut = next(number for number, line in enumerate(text, 1) if "every boat that comes" in line)
    assert CROSSING not in " ".join(text[:cut]) and CROSSING not in " ".join(text[cut:])
    return pdfs.text_pdf([text[:cut], text[cut:], lines("The end of it all is written here.")], headers=True)


@dataclass
class Place:
    """The platform in this process; its worker works when it is told to."""

    http: TestClient
    api: ApiResources
    settings: Settings

    def ingest(self, data: bytes, collection: str = "default") -> str:
        document = upload(self.http, data, collection=collection).raise_for_status().json()
        job = self.api.catalog.jobs.claim("worker", 60)
        assert job is not None and job.subject_id == document["id"]
        worker = Worker(self.settings, self.api.catalog, threading.Event())
        worker._owner = "worker"
        worker.work_on(job)
        assert self.api.catalog.document(document["id"]).status == "ready"
        return str(document["id"])

    def ask(self, question: str, **more: Any) -> dict[str, Any]:
        body = {"question": question, "k": 1, "max_tokens": 600, **more}
        answer = self.http.post("/v1/answers", json=body)
        assert answer.status_code == 200, answer.text
        for citation in answer.json()["citations"]:
            page = self.page(citation)
            assert citation["verified"] is True and citation["boxes"]
            assert page["text"][citation["char_start"] : citation["char_end"]] == citation["quote"]
        return dict(answer.json())

    def page(self, citation: dict[str, Any]) -> dict[str, Any]:
        return dict(self.http.get(f"/v1/documents/{citation['document_id']}/pages/{citation['page']}").json())

    def picture(self, citation: dict[str, Any], boxes: Sequence[dict[str, float]]) -> np.ndarray:
        """The page of a citation with `boxes` marked: (height, width, 3), a pixel a point."""
        sides = ("left", "top", "right", "bottom")
        marks = [",".join(str(box[side]) for side in sides) for box in boxes]
        url = f"/v1/documents/{citation['document_id']}/pages/{citation['page']}.png"
        answer = self.http.get(url, params={"dpi": 72, "highlight": marks}).raise_for_status()
        return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB")).astype(int)


@contextmanager
def opened(folder: Path, **more: Any) -> Iterator[Place]:
    settings = weightless(folder, **more)
    with open_api(settings, Telemetry()) as resources:
        rooms = [ingest.room(settings), api.room(settings, resources)]
        largest = ingest.max_body_bytes(settings)
        with TestClient(service_app("Capstone", rooms, settings, max_body_bytes=largest)) as http:
            yield Place(http, resources, settings)


def quotes(answer: dict[str, Any]) -> list[str]:
    return [" ".join(citation["quote"].split()) for citation in answer["citations"]]


# A page's border ------------------------------------------------------------------------------------------------


def test_a_sentence_that_crosses_a_page_is_answered_with_a_quote_on_each(tmp_path: Path) -> None:
    with opened(tmp_path) as place:
        place.ingest(crossing_pdf())
        answer = place.ask(ASKED)
        assert (answer["mode"], answer["answer"]) == ("generated", CROSSING)
        assert [citation["page"] for citation in answer["citations"]] == [1, 2]
        assert " ".join(quotes(answer)) == CROSSING
        assert answer["lineage"]["retrieval"]["join_neighbours"] is True
        for citation in answer["citations"]:
            assert HEADER not in place.page(citation)["text"]
            assert citation["boxes"] and all(80 < box["top"] < box["bottom"] < 780 for box in citation["boxes"])


def test_without_neighbours_only_a_half_is_found(tmp_path: Path) -> None:
    with opened(tmp_path, join_neighbours=False) as place:
        place.ingest(crossing_pdf())
        answer = place.ask(ASKED)
        [half] = quotes(answer)
        assert half in CROSSING and half != CROSSING
        assert answer["lineage"]["retrieval"]["join_neighbours"] is False


def test_with_both_passages_read_the_sentence_is_cited_once(tmp_path: Path) -> None:
    with opened(tmp_path) as place:
        place.ingest(crossing_pdf())
        answer = place.ask(ASKED, k=3)
        assert (answer["answer"], " ".join(quotes(answer))) == (CROSSING, CROSSING)


@pytest.mark.parametrize("number", [1, 2])
def test_a_filter_chooses_passages_and_a_sentence_goes_on_beyond_it(tmp_path: Path, number: int) -> None:
    with opened(tmp_path) as place:
        place.ingest(crossing_pdf())
        only = {"pages": {"from": number, "to": number}}
        answer = place.ask(ASKED, k=3, filter=only)
        assert " ".join(quotes(answer)) == CROSSING
        body = {"question": ASKED, "filter": only}
        with place.http.stream("POST", "/v1/answers", json=body, headers={"Accept": "text/event-stream"}) as response:
            found = dict(events(response))
        assert {passage["page"] for passage in found["passages"]} == {number}
        elsewhere = place.ask(ASKED, k=3, filter={"pages": {"from": 3}})
        assert {citation["page"] for citation in elsewhere["citations"]} <= {3}


def test_each_collection_has_its_own_neighbours(tmp_path: Path) -> None:
    with opened(tmp_path) as place:
        ids = {name: place.ingest(crossing_pdf(), name) for name in ("one", "two")}
        for name, document in ids.items():
            cited = place.ask(ASKED, k=3, collection=name)["citations"]
            assert [(citation["document_id"], citation["page"]) for citation in cited] == [(document, 1), (document, 2)]


def test_a_deleted_document_has_no_neighbours_and_no_half_of_a_sentence(tmp_path: Path) -> None:
    with opened(tmp_path) as place:
        document = place.ingest(crossing_pdf())
        passages = place.api.live.retriever.search("default", ASKED, 1).passages
        windows = place.api.live.retriever.windows(passages)
        [best] = evidence_of(ASKED, passages, OverlapClassifier(), windows).best(1)
        assert len(citations_of(place.api.catalog, passages, [best])) == 2
        place.api.catalog.delete_document(document)
        assert citations_of(place.api.catalog, passages, [best]) == []
        assert place.api.live.retriever.windows(passages) == [None]


def test_all_neighbours_are_read_by_one_query(tmp_path: Path) -> None:
    with opened(tmp_path) as place:
        place.ingest(crossing_pdf())
        place.ingest(pdfs.text_pdf([lines(LONG)]))
        passages = place.api.live.retriever.search("default", ASKED, 10).passages
        assert len(passages) > 3
        said: list[str] = []
        engine = place.api.catalog.database.engine
        event.listen(engine, "before_cursor_execute", lambda *given: said.append(given[2]))
        assert None not in place.api.live.retriever.windows(passages)
        assert len([statement for statement in said if statement.startswith("SELECT")]) == 1
        assert place.api.live.retriever.windows([]) == []


# A chunk's border -----------------------------------------------------------------------------------------------


def test_a_sentence_longer_than_a_chunk_is_one_quote_over_its_border(tmp_path: Path) -> None:
    with opened(tmp_path) as place:
        place.ingest(pdfs.text_pdf([lines(f"{BEFORE} {LONG} {AFTER}")]))
        halves = [
            result["text"] for result in place.http.post("/v1/search", json={"query": LONG_ASKED}).json()["results"]
        ]
        assert len(halves) > 1 and not any("iron chest" in half and "silver whistle" in half for half in halves)
        answer = place.ask(LONG_ASKED)
        [citation] = answer["citations"]
        assert quotes(answer) == [LONG] and citation["page"] == 1
        last = citation["boxes"][-1]["bottom"]
        assert len(citation["boxes"]) == round((last - citation["boxes"][0]["bottom"]) / pdfs.LINE_PT) + 1 >= 19


def test_without_neighbours_a_chunk_is_the_end_of_it(tmp_path: Path) -> None:
    with opened(tmp_path, join_neighbours=False) as place:
        place.ingest(pdfs.text_pdf([lines(f"{BEFORE} {LONG} {AFTER}")]))
        found = quotes(place.ask(LONG_ASKED, k=3))
        assert found and LONG not in found


# The marks on the page ------------------------------------------------------------------------------------------


def test_the_picture_marks_the_boxes_of_the_citations_and_nothing_else(tmp_path: Path) -> None:
    """Where a quote's words are, white has become yellow; no pixel away from them has changed."""
    with opened(tmp_path) as place:
        place.ingest(crossing_pdf())
        citations = place.ask(ASKED)["citations"]
        assert [citation["page"] for citation in citations] == [1, 2]
        for citation in citations:
            plain, marked = place.picture(citation, []), place.picture(citation, citation["boxes"])
            changed = (plain != marked).any(axis=2)
            far = np.ones(changed.shape, bool)
            for word in place.page(citation)["words"]:
                inside = citation["char_start"] <= word["char_start"] < citation["char_end"]
                left, top, right, bottom = (round(word["box"][side]) for side in ("left", "top", "right", "bottom"))
                area = (slice(top, bottom), slice(left, right))
                white = (plain[area] == 255).all(axis=2)
                assert white.any()
                if inside:
                    assert (marked[area][white] == (255, 231, 92)).all(), word
                    far[top - 3 : bottom + 4, left - 5 : right + 6] = False
                else:
                    assert not changed[top + 1 : bottom - 1, left + 1 : right - 1].any(), word
            assert changed.any() and not changed[far].any()
