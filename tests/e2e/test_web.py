"""The page at / as somebody in a browser meets it. All but the first test needs Chromium."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.calls import client_of, ingest, problem_of
from tests.papers import story
from tests.server import QUICK, Server, start

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
KEY = "a key of the operator"
TOPIC, NAME = "the lighthouse", "<img src=x onerror=alert(1)>.pdf"  # a name that is to stay a text


def test_the_page_is_made_of_its_own_parts_only(quick: httpx.Client) -> None:
    page = quick.get("/")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    parts = [part for part in re.findall(r'(?:src|href)="([^"]+)"', page.text) if part.startswith("/web/")]
    assert sorted(parts) == ["/web/app.js", "/web/style.css"]
    for part in parts:
        found = quick.get(part)
        assert found.status_code == 200 and found.headers["x-content-type-options"] == "nosniff"
        assert "://" not in found.text, "the page asks nobody else"
    assert problem_of(quick.get("/web/other.js"), 404, "not_found")


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A machine that listens to others, with a document."""
    keys = {"CAPSTONE_API_KEYS": "required", "CAPSTONE_ADMIN_KEY_SHA256": hashlib.sha256(KEY.encode()).hexdigest()}
    server = start(QUICK | keys, tmp_path_factory.mktemp("web"))
    try:
        with client_of(server.wait_ready().url, KEY) as http:
            ingest(http, story(TOPIC, 3), NAME)
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def browser(keyed: Server) -> Iterator[Page]:
    """The page, with a key. What the browser complains of, such as a breach of the policy, fails the test."""
    if CHROMIUM is None:
        pytest.skip("no Chromium or Chrome on PATH (Debian: apt-get install chromium)")
    complaints: list[str] = []
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
    expect.set_options(timeout=30_000)  # milliseconds; other tests may have both cores
    with sync_playwright() as driver, driver.chromium.launch(executable_path=CHROMIUM, args=options) as chromium:
        page = chromium.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Security Policy" in said.text else None)
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(keyed.url)
        page.get_by_label("This server wants a key").fill(KEY)
        page.get_by_role("button", name="Use it").click()
        yield page
        assert complaints == []


def ask(page: Page, question: str) -> None:
    page.get_by_label("Question", exact=True).fill(question)
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_text("Was that right?")).to_be_visible()


def test_without_a_key_nothing_is_shown(browser: Page, keyed: Server) -> None:
    other = browser.context.browser.new_page()  # type: ignore[union-attr]
    other.goto(keyed.url)
    expect(other.get_by_label("This server wants a key")).to_be_visible()
    expect(other.get_by_role("alert")).to_contain_text("Authorization")
    expect(other.get_by_text("3 pages")).not_to_be_visible()
    other.close()


def test_an_answer_comes_with_its_quotes_and_the_marked_page(browser: Page) -> None:
    ask(browser, f"Where is the thing number 2 of {TOPIC} kept?")
    quotes = browser.locator("#answer .quotes button")
    expect(quotes.first).to_contain_text(f"{NAME}, page ")
    expect(quotes.first).to_contain_text("verified")
    picture = browser.get_by_role("img", name="with the quote marked")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 500


def test_a_reader_can_judge_and_see_where_it_came_from(browser: Page) -> None:
    ask(browser, f"Where is the thing number 3 of {TOPIC} kept?")
    browser.get_by_role("button", name="Yes").click()
    expect(browser.get_by_role("button", name="No")).to_be_disabled()
    browser.get_by_text("Where it came from").click()
    expect(browser.locator(".lineage pre")).to_contain_text('"id": "ans_')


def test_documents_come_and_go(browser: Page, tmp_path: Path) -> None:
    fine, broken = tmp_path / "ferry.pdf", tmp_path / "broken.pdf"
    fine.write_bytes(story("the ferry", 4))
    broken.write_bytes(b"no PDF at all")
    documents = browser.get_by_role("region", name="Documents")
    expect(documents.get_by_text(NAME)).to_be_visible()
    documents.get_by_label("Add PDFs").set_input_files(broken)
    expect(browser.get_by_role("alert")).to_contain_text("PDF")
    documents.get_by_label("Add PDFs").set_input_files(fine)
    item = documents.get_by_role("listitem").filter(has_text="ferry.pdf")
    expect(item).to_contain_text("succeeded, 4 of 4 pages")
    item.get_by_role("button", name="Delete ferry.pdf").click()
    expect(item).to_have_count(0)
    browser.reload()
    expect(documents.get_by_text(NAME)).to_be_visible()
    expect(documents.get_by_text("ferry.pdf")).to_have_count(0)
