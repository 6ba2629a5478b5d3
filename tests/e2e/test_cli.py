"""The `capstone` command as a person at a terminal uses it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.calls import EXAMPLE, ingest
from tests.papers import story, story_page
from tests.pdfs import encrypted_pdf, text_pdf
from tests.questions import jsonl, story_questions
from tests.server import CAPSTONE, NO_WEIGHTS, Server, free_port
from tests.terminal import capstone


@pytest.fixture(scope="module")
def url(quick_system: Server) -> str:
    return quick_system.url


def test_ingest_follows_files_and_folders_until_they_can_be_asked(url: str, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "garden.pdf").write_bytes(story("the garden", 3))
    (tmp_path / "forge.pdf").write_bytes(story("the forge", 30))
    done = capstone("ingest", tmp_path, EXAMPLE, "-c", "cli", url=url)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("garden.pdf.*3/3", "forge.pdf.*30/30", "fhs-3.0.pdf.*50/50"):
        assert re.search(line, done.stdout), done.stdout

    listed = capstone("documents", "-c", "cli", url=url)
    assert listed.returncode == 0
    for name in ("garden.pdf", "forge.pdf", "fhs-3.0.pdf"):
        assert re.search(rf"{name}\s+cli\s+ready", listed.stdout), listed.stdout

    found = capstone("search", story_page("the forge", 4), "-k", "2", "-c", "cli", url=url)
    assert found.returncode == 0
    assert "1. forge.pdf, page 4" in found.stdout
    assert "compass number 4 of the forge" in found.stdout
    assert "3. " not in found.stdout

    asked = capstone("ask", story_page("the garden", 2), "--collection", "cli", url=url)
    assert asked.returncode == 0
    assert "garden.pdf, page 2 · verified" in asked.stdout
    assert re.search(r"lineage ans_\w+", asked.stdout)


def test_a_bad_file_is_named_with_its_reason_and_the_good_ones_are_kept(url: str, tmp_path: Path) -> None:
    (tmp_path / "a-locked.pdf").write_bytes(encrypted_pdf("secret"))
    (tmp_path / "b-letter.pdf").write_text("Dear reader")
    (tmp_path / "c-good.pdf").write_bytes(story("the mill", 2))
    done = capstone("ingest", tmp_path, "-c", "mixed", url=url)
    assert done.returncode == 1
    assert re.search(r"a-locked.pdf: .*password.*\(encrypted\)", done.stdout)
    assert re.search(r"b-letter.pdf: .*\(not_a_pdf\)", done.stdout)
    listed = capstone("documents", "-c", "mixed", url=url).stdout
    assert re.search(r"c-good.pdf\s+mixed\s+ready", listed)
    assert re.search(r"a-locked.pdf\s+mixed\s+failed", listed)
    assert "b-letter.pdf" not in listed


def test_status_tells_models_and_counts(url: str, quick: httpx.Client) -> None:
    ingest(quick, story("the ledger", 5), "ledger.pdf", "counted")
    done = capstone("status", "--url", url)
    assert done.returncode == 0
    assert "ready" in done.stdout
    assert "model hashing-384 (encoder)" in done.stdout and "model scripted (generator)" in done.stdout
    assert "model sufficiency (classifier)" in done.stdout
    assert "  release " not in done.stdout, "none is opened where nothing is read from it"
    assert "collection counted: 1 documents, 5 pages, 5 chunks" in done.stdout


def test_a_text_is_classified(url: str) -> None:
    question = "Which lamp warns of [red]ice[/red]?"
    done = capstone("classify", question, "--pair", "The blue lamp warns of [red]ice[/red].", url=url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"0\.\d+ sufficient\n0\.\d+ insufficient\nlineage cls_\w+", done.stdout), done.stdout
    long = capstone("classify", question, "--pair", "ice " * 600, url=url)
    assert "Only the first 512 tokens were read." in long.stdout
    unknown = capstone("classify", question, "--model", "topics", url=url)
    assert unknown.returncode == 2
    assert "no classifier 'topics'" in unknown.stdout and "sufficiency" in unknown.stdout


def test_the_lineage_of_an_answer_is_shown_and_replayed(url: str, quick: httpx.Client) -> None:
    ingest(quick, story("the orchard", 3), "orchard.pdf", "traced")
    asked = capstone("ask", story_page("the orchard", 2), "-c", "traced", url=url)
    (lineage_id,) = re.findall(r"lineage (ans_\w+)", asked.stdout)
    shown = capstone("lineage", lineage_id, url=url)
    assert shown.returncode == 0
    for line in (
        r"what +answer",
        r"encoder +hashing-384",
        r"index +\d+",
        r"prompt +[0-9a-f]{12}",
        r"commit +[0-9a-f]{40}",
    ):
        assert re.search(rf"^{line}$", shown.stdout, re.MULTILINE), shown.stdout
    assert re.search(r"passage +\d+: orchard.pdf, page 2", shown.stdout)
    assert "the same\n" in capstone("lineage", lineage_id, "--replay", url=url).stdout

    ingest(quick, text_pdf([[story_page("the orchard", 2) + " [red]Lamps[/red]."]]), "other.pdf", "traced")
    replayed = capstone("lineage", lineage_id, "--replay", url=url).stdout
    assert re.search(r"index_seq: \d+ -> \d+", replayed)
    (again,) = re.findall(r"lineage (ans_\w+)", replayed)
    assert re.search(rf"replay of +{lineage_id}", capstone("lineage", again, url=url).stdout)

    classified = capstone("classify", "Is it so?", "--pair", "It is.", url=url).stdout
    (classification_id,) = re.findall(r"lineage (cls_\w+)", classified)
    assert re.search(r"classifier +sufficiency-overlap", capstone("lineage", classification_id, url=url).stdout)
    assert "the same\n" in capstone("lineage", classification_id, "--replay", url=url).stdout

    unknown = capstone("lineage", "ans_unknown", url=url)
    assert (unknown.returncode, "(not_found)" in unknown.stdout) == (2, True)


def test_a_document_is_deleted_by_its_id(url: str, quick: httpx.Client) -> None:
    document = ingest(quick, story("the pier", 2), "pier.pdf", "deleting")
    assert capstone("documents", "--delete", document["id"], url=url).returncode == 0
    assert "pier.pdf" not in capstone("documents", "-c", "deleting", url=url).stdout
    again = capstone("documents", "--delete", document["id"], url=url)
    assert (again.returncode, "(not_found)" in again.stdout) == (2, True)


def test_nothing_found_is_said(url: str) -> None:
    assert "Nothing found." in capstone("search", "anything", "-c", "never-used", url=url).stdout
    asked = capstone("ask", "anything", "-c", "never-used", url=url)
    assert asked.returncode == 0
    assert "do not hold an answer" in asked.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["documents"],
        ["documents", "--delete", "x"],
        ["search", "x"],
        ["ask", "x"],
        ["classify", "x"],
        ["lineage", "x"],
        ["evaluate", "x"],
        ["ingest", EXAMPLE],
        ["reindex"],
    ],
    ids=lambda words: str(words[0]),
)
def test_a_platform_that_is_not_running_is_told_in_a_sentence(words: list[object]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = capstone(*words, url=url)
    assert done.returncode == 2
    said = " ".join(done.stdout.split())
    assert f"No answer from {url}" in said and "capstone up" in said


def test_a_file_that_is_not_there_is_a_usage_error(url: str, tmp_path: Path) -> None:
    done = capstone("ingest", tmp_path / "absent.pdf", url=url)
    assert done.returncode == 2
    assert "absent.pdf" in re.sub(r"[\s│]", "", done.stderr)


def test_evaluate_shows_the_figures_and_keeps_the_report(url: str, tmp_path: Path) -> None:
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        ingest(http, story("the mill", 4), "mill.pdf", "mills")
    rows = story_questions("the mill", "mill.pdf", 4)
    (tmp_path / "mill.jsonl").write_bytes(jsonl(rows))
    report = tmp_path / "report.html"
    done = capstone("evaluate", tmp_path / "mill.jsonl", "--name", "mills", "-c", "mills", "--report", report, url=url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"mills .*5/5", done.stdout), done.stdout
    assert re.search(r"rougeL +\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]", done.stdout), done.stdout
    assert "Not logged to MLflow" in done.stdout
    assert report.read_text().startswith("<!doctype html>")
    assert capstone("evaluate", "mills", "-c", "mills", url=url).returncode == 0

    (tmp_path / "bad.jsonl").write_bytes(jsonl([rows[0], {**rows[1], "answer": ""}]))
    refused = capstone("evaluate", tmp_path / "bad.jsonl", "-c", "mills", url=url)
    assert refused.returncode == 2
    assert "Row 2, answer" in refused.stdout


def test_help_lists_the_commands() -> None:
    done = capstone("--help")
    assert done.returncode == 0
    commands = (
        "up",
        "fetch",
        "ingest",
        "ask",
        "search",
        "classify",
        "lineage",
        "evaluate",
        "gate",
        "documents",
        "reindex",
        "status",
    )
    for command in commands:
        assert re.search(rf"\b{command}\b", done.stdout)


def test_text_of_a_document_is_not_read_as_markup(url: str, tmp_path: Path) -> None:
    """Square brackets are markup to the terminal library; in a document they are only text."""
    data = text_pdf([["Use [bold]--force[/bold] or [/closing] only when the [red]lamp[/red] is lit."]])
    (tmp_path / "[red]odd.pdf").write_bytes(data)
    (tmp_path / "[red]locked.pdf").write_bytes(encrypted_pdf("secret"))
    taken = capstone("ingest", tmp_path, "-c", "markup", url=url)
    assert taken.returncode == 1
    assert re.search(r"\[red\]odd.pdf .*1/1", taken.stdout), taken.stdout
    assert "[red]locked.pdf: " in taken.stdout
    for words in (["search", "force lamp"], ["ask", "When is force used?"]):
        done = capstone(*words, "-c", "markup", url=url)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "[bold]--force[/bold] or [/closing]" in done.stdout
        assert "[red]odd.pdf" in done.stdout
    assert "[red]odd.pdf" in capstone("documents", "-c", "markup", url=url).stdout


def test_up_refuses_a_port_that_is_taken(quick_system: Server, tmp_path: Path) -> None:
    port = quick_system.url.rpartition(":")[2]
    env = {**os.environ, **NO_WEIGHTS}
    done = subprocess.run(
        [CAPSTONE, "up", "--port", port, "--data-dir", str(tmp_path)],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    said = " ".join(done.stdout.split())
    assert f"Cannot listen on 127.0.0.1:{port}" in said and "--port" in said


def test_up_without_weights_says_how_to_get_them(tmp_path: Path) -> None:
    env = {**os.environ, "CAPSTONE_MODELS_DIR": str(tmp_path / "none"), "CAPSTONE_DATA_DIR": str(tmp_path / "data")}
    command = [CAPSTONE, "up", "--port", str(free_port())]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "capstone fetch" in " ".join(done.stdout.split())
    assert "Traceback" not in done.stdout + done.stderr


def test_drift_says_how_far_it_is_and_what_cannot_be_judged_yet(url: str) -> None:
    shown = capstone("drift", url=url)
    assert shown.returncode == 0
    assert re.search(r"Nothing is captured yet|No reference yet: \d+ of 300 answers captured", shown.stdout), (
        shown.stdout
    )
    now = capstone("drift", "--now", url=url)
    assert now.returncode == 2 and "(no_reference)" in now.stdout
    frozen = capstone("drift", "--freeze", url=url)
    assert frozen.returncode == 2 and re.search(r"\((empty_window|too_few_captures)\)", frozen.stdout)
