"""The platform as `prepare` uses it: started, asked, always gone afterwards."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from models.errors import BadInput
from models.prepare.platform import started
from models.prepare.questions import Question
from models.prepare.retrieval import retrieve
from models.progress import Steps
from services.core.errors import Unavailable
from tests import papers

TOPIC = "the harbour log"


def quiet_steps() -> Steps:
    return Steps(Console(file=io.StringIO()))


def question(quote: str, page: int | None = 3) -> Question:
    return Question(
        id="q1",
        document="log.pdf",
        kind="fact",
        question="Which candle of the harbour log is moved when?",
        answer="x",
        short_answers=("door 21",) if page else (),
        page=page,
        quote=quote,
    )


def test_ingest_search_and_the_passage_with_the_quote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPSTONE_DATABASE_URL", "sqlite:////nowhere/at/all.db")  # settings of the user are not ours
    log, other = tmp_path / "log.pdf", tmp_path / "other.pdf"
    log.write_bytes(papers.story(TOPIC, 120))
    other.write_bytes(papers.story("the castle log", 2))
    with started(tmp_path, "hashing", quiet_steps()) as platform:
        platform.ingest({"log": log, "other": other}, quiet_steps())
        found = platform.search("the violin number 3 of the harbour log", "log", 5)
        assert [item.rank for item in found] == [1, 2, 3, 4, 5]
        assert found[0].page == 3 and all(-1 <= item.score <= 1 for item in found)
        assert all("castle" in item.text for item in platform.search(TOPIC, "other", 5))

        whole = papers.story_page(TOPIC, 3)
        near = retrieve(platform, question(whole), "log", 2)
        assert len(near.ranked) == 2 and len(near.gold) == 1 and near.gold[0].text == whole
        assert near.gold[0].rank is None or near.gold[0].rank > 2  # asked for otherwise, and found by its quote
        cut = retrieve(platform, question(whole[:-12] + " tomorrow."), "log", 2)  # nearly all of its words
        assert [passage.text for passage in cut.gold] == [whole]
        assert retrieve(platform, question(whole.replace("violin", "viola")[:60] + " x y z" * 9), "log", 2).gold == ()
        assert retrieve(platform, question("", page=None), "log", 2).gold == ()

        other.write_bytes(b"%PDF-1.4 torn")
        with pytest.raises(BadInput, match=r"other\.pdf: ingest failed: "):
            platform.ingest({"torn": other}, quiet_steps())
        with pytest.raises(Unavailable, match=r"answered POST /v1/search with .*invalid_request"):
            platform.search("", "log", 5)
        url = platform.url
    with pytest.raises(httpx.ConnectError):
        httpx.get(url + "/livez", trust_env=False)


def test_a_platform_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(Unavailable, match=r"did not start[\s\S]*capstone fetch"),
        started(tmp_path, "sentence", quiet_steps()),
    ):
        pass


STARTS = """
import signal, sys, time
from pathlib import Path
from rich.console import Console
from models.prepare.platform import started
from models.progress import Steps
signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background inherits that it is ignored
with started(Path(sys.argv[1]), "hashing", Steps(Console(stderr=True))) as platform:
    print(platform.url, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_it_does_not_outlive_the_stage(tmp_path: Path, how: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", STARTS, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert httpx.get(url + "/livez", trust_env=False).is_success
        process.send_signal(how)
    deadline = time.monotonic() + 60
    while True:
        try:
            httpx.get(url + "/livez", trust_env=False)
        except httpx.HTTPError:
            break
        assert time.monotonic() < deadline, "it still answers"
