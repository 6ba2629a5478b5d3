"""Bringing raw files here from a folder, a DVC remote, a Debian package and a URL, by their hash."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from models.data.fetch import fetch_raw, main, needed
from models.data.places import dvc_root
from models.data.sources import SOURCES, RawFile, attributions, check_raw, read_sources
from models.errors import BadInput
from models.params import load_params
from tests.tiny import ROOT, params_file

CONTENT = b"%PDF a manual"
NOWHERE = "http://127.0.0.1:9/manual.pdf"  # the discard port: nothing listens


def raw_file(content: bytes = CONTENT, name: str = "manual.pdf", url: str = NOWHERE) -> RawFile:
    sha256 = hashlib.sha256(content).hexdigest()
    return RawFile(name=name, sha256=sha256, bytes=len(content), licence="GPL-2.0", copyright="A. Writer", url=url)


def fetch(raw: Path, local: Path | None, *files: RawFile) -> str:
    told = io.StringIO()
    fetch_raw(files or [raw_file()], raw, local, Console(file=told, width=300))
    return told.getvalue()


@pytest.mark.parametrize("below", [".", "pdf"])
def test_from_a_folder(tmp_path: Path, below: str) -> None:
    local = tmp_path / "local"
    (local / below).mkdir(parents=True)
    (local / below / "manual.pdf").write_bytes(CONTENT)
    assert f"from folder {local}" in fetch(tmp_path / "raw", local)
    assert (tmp_path / "raw" / "manual.pdf").read_bytes() == CONTENT
    shutil.rmtree(local)
    inode = (tmp_path / "raw" / "manual.pdf").stat().st_ino
    assert "nothing to do" in fetch(tmp_path / "raw", None)
    assert (tmp_path / "raw" / "manual.pdf").stat().st_ino == inode


def test_a_changed_file_is_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "manual.pdf").write_bytes(CONTENT)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "manual.pdf").write_bytes(CONTENT[:-1])
    fetch(tmp_path / "raw", tmp_path)
    assert (tmp_path / "raw" / "manual.pdf").read_bytes() == CONTENT


def test_what_cannot_be_had_is_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.mkdir()
    (local / "manual.pdf").write_bytes(b"%PDF another manual")
    (local / "here.pdf").write_bytes(b"here")
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "manual.pdf").write_bytes(b"what was there")
    with pytest.raises(BadInput) as caught:
        fetch(raw, local, raw_file(), raw_file(b"here", "here.pdf"), raw_file(b"gone", "gone.pdf"))
    message = str(caught.value)
    for part in (
        "2 of 3 files",
        f"manual.pdf ({raw_file().sha256})",
        f"folder {local}: refused, SHA-256 {hashlib.sha256(b'%PDF another manual').hexdigest()}",
        f"folder {local}: not in it",
        f"URL: {NOWHERE}",
        "--from",
        "CAPSTONE_TRAIN_DATA",
    ):
        assert part in message
    assert sorted(os.listdir(raw)) == ["here.pdf", "manual.pdf"]
    assert (raw / "manual.pdf").read_bytes() == b"what was there"


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    sources = tmp_path / "sources.yaml"
    sources.write_text(yaml.safe_dump({"files": [raw_file().model_dump(exclude_none=True)]}))
    params = params_file(tmp_path / "params.yaml", {"data": {"documents": ["manual.pdf"]}})
    arguments = ["--raw", str(tmp_path / "raw"), "--sources", str(sources), "--params", str(params)]
    monkeypatch.delenv("CAPSTONE_TRAIN_DATA", raising=False)
    assert main(arguments) == 2
    assert "manual.pdf" in capsys.readouterr().err and not list((tmp_path / "raw").iterdir())
    (tmp_path / "manual.pdf").write_bytes(CONTENT)
    monkeypatch.setenv("CAPSTONE_TRAIN_DATA", str(tmp_path / "nowhere"))
    assert main(arguments) == 2
    assert "there is no such folder" in capsys.readouterr().err
    monkeypatch.setenv("CAPSTONE_TRAIN_DATA", str(tmp_path))
    assert main(arguments) == 0
    assert (tmp_path / "raw" / "manual.pdf").read_bytes() == CONTENT


def test_only_what_the_parameters_select_is_fetched() -> None:
    files = [raw_file(name=name) for name in ("a.pdf", "b.pdf", "xquad.en.json")]

    def names(**more: Any) -> list[str]:
        params = load_params(ROOT / "params.yaml").data.model_copy(update=more)
        return [file.name for file in needed(files, params)]

    assert names(documents=("b.pdf",), squad_questions=None) == ["b.pdf", "xquad.en.json"]
    assert names(documents=None, squad_questions=0) == ["a.pdf", "b.pdf"]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """URL of a server of the files in `tmp_path / "served"`."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "manual.pdf").write_bytes(CONTENT)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_from_a_url(tmp_path: Path, served: str) -> None:
    assert "from URL" in fetch(tmp_path / "raw", None, raw_file(url=f"{served}/manual.pdf"))
    assert (tmp_path / "raw" / "manual.pdf").read_bytes() == CONTENT
    with pytest.raises(BadInput, match="404"):
        fetch(tmp_path / "raw", None, raw_file(b"x", "x.pdf", f"{served}/x.pdf"))
    with pytest.raises(BadInput, match="larger than 3 bytes"):
        fetch(tmp_path / "raw", None, raw_file(b"abc", "y.pdf", f"{served}/manual.pdf"))
    assert os.listdir(tmp_path / "raw") == ["manual.pdf"]


def test_from_a_dvc_remote(tmp_path: Path) -> None:
    """A stage's output that was pushed comes back from the remote, also over a file that was changed meanwhile."""
    repository, raw = tmp_path / "repository", tmp_path / "repository" / "data" / "raw"
    raw.mkdir(parents=True)
    (raw / "manual.pdf").write_bytes(CONTENT)
    stage = {"cmd": "true", "outs": [{"data/raw": {"persist": True}}]}
    (repository / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"fetch": stage}}))
    for command in (
        "init -q --no-scm",
        "config core.analytics false",
        f"remote add -q -d store {tmp_path / 'store'}",
        "commit -q -f fetch",
        "push -q",
    ):
        subprocess.run([sys.executable, "-m", "dvc", *command.split()], cwd=repository, check=True)
    shutil.rmtree(repository / ".dvc" / "cache")
    (raw / "manual.pdf").write_bytes(b"changed")
    assert dvc_root(raw) == repository
    assert "from DVC" in fetch(raw, None)
    assert (raw / "manual.pdf").read_bytes() == CONTENT
    with pytest.raises(BadInput, match="DVC: not in its cache or remote"):
        fetch(raw, None, raw_file(b"gone", "gone.pdf"))
    (raw / "manual.pdf").unlink()
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(BadInput, match="DVC: not in its cache or remote"):
        fetch(raw, None)


def test_a_clone_knows_what_dvc_recorded_and_has_none_of_it(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    (clone / ".dvc").mkdir(parents=True)
    for name in ("dvc.yaml", "dvc.lock", ".dvc/config"):
        shutil.copyfile(ROOT / name, clone / name)
    subprocess.run(["git", "init", "-q"], cwd=clone, check=True)
    with pytest.raises(BadInput, match="DVC: not in its cache or remote"):
        fetch(clone / "data" / "train" / "raw", None, raw_file(b"x", "R-FAQ.pdf"))


@pytest.mark.skipif(not (shutil.which("apt-get") and shutil.which("dpkg-deb")), reason="this is not a Debian")
def test_from_a_debian_package(tmp_path: Path) -> None:
    """Two files of one package, one of them compressed in it."""
    listed = {file.name: file for file in read_sources()}
    chosen = [listed["fhs-3.0.pdf"], listed["project-history.en.pdf"]]
    try:
        told = fetch(tmp_path / "raw", None, *chosen)
    except BadInput as error:
        if "has no" in error.problem or "refused" in error.problem:
            raise
        pytest.skip(f"no Debian archive with these versions can be reached: {error.problem}")
    assert told.count("from Debian") == 2
    assert set(check_raw(chosen, tmp_path / "raw")) == {"fhs-3.0.pdf", "project-history.en.pdf"}


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="this is not a Debian")
def test_a_member_that_leaves_the_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an apt-get of our own, that serves a package with a link to a file outside."""
    (tmp_path / "secret").write_bytes(CONTENT)
    content = tmp_path / "content"
    (content / "DEBIAN").mkdir(parents=True)
    (content / "DEBIAN" / "control").write_text(
        "Package: odd\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: odd\n"
    )
    (content / "manual.pdf").symlink_to(tmp_path / "secret")
    subprocess.run(["dpkg-deb", "--build", str(content), str(tmp_path / "odd.deb")], check=True, capture_output=True)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "apt-get").write_text(f"#!/bin/sh\ncp {tmp_path / 'odd.deb'} .\n")
    (tools / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    file = RawFile(**{**raw_file().model_dump(), "url": None, "package": "odd=1", "path": "manual.pdf"})
    with pytest.raises(BadInput, match=r"odd=1 has no manual\.pdf"):
        fetch(tmp_path / "raw", None, file)


def test_the_real_list() -> None:
    files = read_sources()
    assert len(files) == 65 and len({file.sha256 for file in files}) == 65
    lines = attributions(files)
    assert any("XQuAD" in line and "CC-BY-SA-4.0" in line for line in lines)
    assert all(file.copyright in line and file.licence in line for file, line in zip(files, lines, strict=True))
    local = Path(__file__).parents[2] / "../shared/trainset"
    if not local.is_dir():
        pytest.skip("the shared training set is not here")
    seen = 0
    for file in files:
        if path := next((p for p in (local / file.name, local / "pdf" / file.name) if p.exists()), None):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256 and path.stat().st_size == file.bytes
            seen += 1
    assert seen >= 13


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"url": None}, "either package and path, or url"),
        ({"package": "a=1"}, "either package and path, or url"),
        ({"package": "a=1", "path": "x"}, "either package and path, or url"),
        ({"sha256": "ab"}, "sha256"),
        ({"name": "../x"}, "name"),
        ({"bytes": "12"}, "bytes"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(tmp_path: Path, change: dict[str, object], problem: str) -> None:
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump({"files": [{**raw_file().model_dump(exclude_none=True), **change}]}))
    with pytest.raises(BadInput, match=problem):
        read_sources(path)
    assert SOURCES.is_file()


def test_a_name_may_be_listed_once(tmp_path: Path) -> None:
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump({"files": [raw_file().model_dump(exclude_none=True)] * 2}))
    with pytest.raises(BadInput, match=r"manual\.pdf is listed twice"):
        read_sources(path)


def test_raw_files_are_checked_before_use(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"manual\.pdf: .*missing.*models\.data\.fetch"):
        check_raw([raw_file()], tmp_path)
    (tmp_path / "manual.pdf").write_bytes(b"changed")
    with pytest.raises(BadInput, match=r"manual\.pdf: its SHA-256 should be .*models\.data\.fetch"):
        check_raw([raw_file()], tmp_path)
