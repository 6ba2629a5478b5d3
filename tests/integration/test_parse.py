"""PDF bytes -> raw pages and pictures, through the real child process."""

from __future__ import annotations

import io
import json
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from services.core.errors import DocumentProblem, NotFound
from services.core.geometry import boxes_for
from services.core.types import Box, PageKind
from services.ingest.layout import assemble
from services.ingest.pdf import lockdown
from services.ingest.pdf.raw import RawInfo, RawPage
from services.ingest.pdf.sandbox import ParseLimits, looks_like_pdf, open_pdf, render_page
from tests import pdfs

ROOT = Path(__file__).parents[2]
MANUALS = ROOT.parent / "shared" / "evalset" / "pdf"
CONFINED = pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.uname().machine not in lockdown.ARCHITECTURES,
    reason="the filter is for Linux on x86_64 and aarch64",
)
GOOD = pdfs.text_pdf(
    [["Hello world, dear reader.", "Second line."], ["Another page."], ["The end."]],
    title="A title",
    outline=["First", "Second"],
    headers=True,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.pdf"


def read(path: Path, limits: ParseLimits | None = None, first_page: int = 1) -> tuple[RawInfo, list[RawPage]]:
    with open_pdf(path, limits, first_page) as reader:
        return reader.info, list(reader.pages())


def has_ended(pid: int, timeout_s: float = 20) -> bool:
    """Wait for a process that may not be our child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], timeout_s)[0])
    finally:
        os.close(descriptor)


def test_a_good_file(file: Path) -> None:
    file.write_bytes(GOOD)
    info, pages = read(file)
    assert (info.document.page_count, info.document.title) == (3, "A title")
    assert [(entry.title, entry.page, entry.top) for entry in info.outline] == [("First", 1, 88.0), ("Second", 2, 88.0)]
    assert info.problem is None
    assert [page.number for page in pages] == [1, 2, 3]
    assert [pages[0].width, pages[0].height] == pytest.approx([595.28, 841.89], abs=0.01)
    first = next(word for line in pages[0].lines for word in line.words if word.text == "Hello")
    assert first.box.left == pytest.approx(pdfs.LEFT_PT, abs=1.5)
    assert first.box.top < pdfs.TOP_PT - 7 and pdfs.TOP_PT <= first.box.bottom < pdfs.TOP_PT + 4
    assert "Hello world, dear reader." in assemble(info, pages)[0].text


def test_reading_can_go_on_where_it_stopped(file: Path) -> None:
    file.write_bytes(GOOD)
    assert read(file, first_page=3)[1] == read(file)[1][2:]
    assert read(file, first_page=4)[1] == []


def test_page_labels(file: Path) -> None:
    file.write_bytes(pdfs.labelled_pdf())
    assert read(file)[0].labels == ("i", "ii", "1")


def test_an_empty_password_opens_a_file(file: Path) -> None:
    file.write_bytes(pdfs.encrypted_pdf(""))
    info, pages = read(file)
    assert pages[0].lines[0].text == "Secret words."
    assert (info.document.title, info.outline[0].title, info.problem) == ("Sealed", "Only part", None)


def test_pages_without_text_are_told_apart(file: Path) -> None:
    file.write_bytes(pdfs.picture_pdf(with_text_page=True))
    kinds = [page.kind for page in assemble(*read(file))]
    assert kinds == [PageKind.no_text_layer, PageKind.blank, PageKind.body]


CPU_BOMB = pdfs.bomb_pdf(b"BT 0 0 m 9 9 l S ET " * 40_000, 200)
MEMORY_BOMB = pdfs.bomb_pdf(b" " * (1 << 20), 2500)


@pytest.mark.parametrize(
    ("data", "limits", "code"),
    [
        pytest.param(b"", ParseLimits(), "empty_file", id="empty"),
        pytest.param(b"<html>no</html>", ParseLimits(), "not_a_pdf", id="html"),
        pytest.param(b"%PDF-1.7\n" + bytes(range(256)) * 40, ParseLimits(), "damaged", id="noise"),
        pytest.param(GOOD[: len(GOOD) // 3], ParseLimits(), "damaged", id="first-third"),
        pytest.param(GOOD[: len(GOOD) - 40], ParseLimits(), "damaged", id="end-missing"),
        pytest.param(pdfs.encrypted_pdf("secret"), ParseLimits(), "encrypted", id="password"),
        pytest.param(pdfs.no_pages_pdf(), ParseLimits(), "no_pages", id="no-pages"),
        pytest.param(GOOD, ParseLimits(max_pages=2), "too_many_pages", id="pages"),
        pytest.param(GOOD, ParseLimits(max_chars=80), "too_many_characters", id="characters"),
        pytest.param(GOOD, ParseLimits(max_output_mb=0), "too_many_characters", id="output"),
        pytest.param(GOOD, ParseLimits(wall_s=0.001), "parse_timeout", id="wall"),
        pytest.param(CPU_BOMB, ParseLimits(cpu_s=1), "parse_timeout", id="cpu-bomb"),
        pytest.param(MEMORY_BOMB, ParseLimits(memory_mb=512), "parse_memory", id="memory-bomb"),
    ],
)
def test_bad_files_and_limits(file: Path, data: bytes, limits: ParseLimits, code: str) -> None:
    file.write_bytes(data)
    with pytest.raises(DocumentProblem) as caught:
        read(file, limits)
    assert caught.value.code == code
    assert caught.value.detail.endswith(".") and len(caught.value.detail.split()) >= 4
    file.write_bytes(GOOD)
    assert len(read(file)[1]) == 3  # nothing is left behind that would hurt the next file


def test_a_page_that_cannot_be_read_fails_the_document(file: Path) -> None:
    lost = GOOD.replace(b"/Type /Page\n", b"/Type /Pagf\n").replace(b"/Type /Page ", b"/Type /Pagf ")
    assert lost != GOOD
    file.write_bytes(lost)
    with pytest.raises(DocumentProblem) as caught:
        read(file)
    assert caught.value.code in ("damaged", "no_pages")


def test_a_crash_is_a_problem_of_the_file(file: Path) -> None:
    file.write_bytes(pdfs.text_pdf([["word " * 15] * 50] * 200))
    with open_pdf(file) as reader:
        pages = reader.pages()
        next(pages)
        os.kill(reader.pid, signal.SIGSEGV)
        with pytest.raises(DocumentProblem) as caught:
            list(pages)
    assert caught.value.code == "parser_crashed"


def test_a_stopped_child_does_not_stop_the_parent(file: Path) -> None:
    file.write_bytes(pdfs.text_pdf([["word " * 15] * 50] * 200))
    with open_pdf(file, ParseLimits(wall_s=3)) as reader:
        os.kill(reader.pid, signal.SIGSTOP)
        with pytest.raises(DocumentProblem) as caught:
            list(reader.pages())
        pid = reader.pid
    assert caught.value.code == "parse_timeout"
    assert has_ended(pid)


def test_leaving_early_ends_the_child(file: Path) -> None:
    file.write_bytes(pdfs.text_pdf([["word " * 15] * 50] * 200))
    with open_pdf(file) as reader:
        next(reader.pages())
        pid = reader.pid
    assert has_ended(pid)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel of Linux ends children with their parent")
def test_a_killed_parent_takes_the_child_along(file: Path) -> None:
    file.write_bytes(pdfs.text_pdf([["word " * 15] * 50] * 400))
    script = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from services.ingest.pdf.sandbox import open_pdf
        with open_pdf(Path({str(file)!r})) as reader:
            print(reader.pid, flush=True)
            sys.stdin.read()
    """)
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    assert parent.stdout is not None and parent.stdin is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    parent.stdin.close()
    assert has_ended(pid)


@CONFINED
def test_what_a_confined_process_may_not_do(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import ctypes, errno, json, mmap, os, signal, socket, subprocess, threading
        sys_path = {str(ROOT)!r}
        import sys; sys.path.append(sys_path)
        from services.ingest.pdf import lockdown
        intel = os.uname().machine == "x86_64"
        lockdown.limit_resources(cpu_s=5, memory_bytes=1 << 30)
        assert lockdown.confine()
        parent = os.getppid()
        attempts = {{
            "socket": lambda: socket.socket(),
            "unix socket": lambda: socket.socket(socket.AF_UNIX),
            "socketpair": lambda: socket.socketpair(),
            "read a file": lambda: os.open("/etc/hostname", os.O_RDONLY),
            "write a file": lambda: os.open({str(tmp_path / "x")!r}, os.O_WRONLY | os.O_CREAT),
            "list a folder": lambda: os.listdir("/"),
            "fork": lambda: os.fork(),
            "exec": lambda: os.execv("/bin/true", ["true"]),
            "kill": lambda: os.kill(parent, 0),
            "more cpu": lambda: __import__("resource").setrlimit(0, (9, 9)),
            "executable memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
        }}
        seen = {{}}
        for name, attempt in attempts.items():
            try:
                attempt()
                seen[name] = "allowed"
            except OSError as error:
                seen[name] = errno.errorcode[error.errno]
            except ValueError as error:  # setrlimit reports EPERM so
                seen[name] = "EPERM"
        try:
            threading.Thread(target=print).start()
            seen["thread"] = "allowed"
        except RuntimeError:
            seen["thread"] = "EPERM"
        libc = ctypes.CDLL(None, use_errno=True)
        for name, number in (("ptrace", 101 if intel else 117), ("io_uring_setup", 425)):
            libc.syscall(number, 0, 0, 0, 0)
            seen[name] = errno.errorcode[ctypes.get_errno()]
        if intel:
            libc.syscall(0x40000000 + 41, 2, 1, 0)
            seen["socket by its x32 number"] = errno.errorcode[ctypes.get_errno()]
        print(json.dumps(seen))
    """)
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert len(seen) >= 14
    assert set(seen.values()) == {"EPERM"}, seen


@CONFINED
def test_the_child_is_confined(file: Path) -> None:
    file.write_bytes(GOOD)
    assert read(file)[0].confined


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("crop", [(0, 0, 400, 600), (100, 200, 380, 560)])
def test_boxes_are_where_the_ink_is(file: Path, quarters: int, crop: tuple[float, float, float, float]) -> None:
    file.write_bytes(pdfs.turned_pdf(quarters, crop))
    info, (raw,) = read(file)
    (page,) = assemble(info, [raw])
    size = (crop[2] - crop[0], crop[3] - crop[1])
    assert (page.width, page.height) == (size if quarters % 2 == 0 else size[::-1])
    assert ("OUTSIDE" in page.text) == (crop[0] == 0)
    start = page.text.index("TARGET")
    (box,) = boxes_for(page.words, start, start + 6)
    picture = Image.open(io.BytesIO(render_page(file, 1, dpi=144))).convert("L")
    assert picture.size == (page.width * 2, page.height * 2)
    around = picture.crop((2 * box.left - 18, 2 * box.top - 18, 2 * box.right + 18, 2 * box.bottom + 18))
    ink = ImageChops.invert(around).getbbox()
    assert ink is not None
    left, top, right, bottom = (side / 2 - 9 for side in ink)  # relative to the corner of the box
    assert -2 <= left <= 8 and -2 <= top <= 8
    assert -8 <= right - (box.right - box.left) <= 2 and -8 <= bottom - (box.bottom - box.top) <= 2


def test_highlights_are_yellow_and_leave_the_text_black(file: Path) -> None:
    file.write_bytes(GOOD)
    info, pages = read(file)
    page = assemble(info, pages)[0]
    start = page.text.index("Hello world")
    boxes = boxes_for(page.words, start, start + 11)
    plain = Image.open(io.BytesIO(render_page(file, 1, dpi=72))).convert("RGB")
    marked = Image.open(io.BytesIO(render_page(file, 1, dpi=72, highlight=boxes))).convert("RGB")
    changed = ImageChops.difference(plain, marked).getbbox()
    assert changed is not None
    assert all(abs(a - b) <= 3 for a, b in zip(changed, boxes[0], strict=True))
    corner = (int(boxes[0].right), int(boxes[0].bottom))
    assert marked.getpixel(corner) == (255, 231, 92)
    darkest = marked.crop(changed).convert("L").tobytes()
    assert min(darkest) < 90


def test_a_page_that_does_not_exist_and_too_many_boxes(file: Path) -> None:
    file.write_bytes(GOOD)
    for number in (0, 4):
        with pytest.raises(NotFound):
            render_page(file, number)
    with pytest.raises(ValueError, match="boxes"):
        render_page(file, 1, highlight=[Box(0, 0, 1, 1)] * 1001)


def test_a_huge_page_is_rendered_smaller(file: Path) -> None:
    file.write_bytes(pdfs.turned_pdf(0, (0, 0, 400, 600)))
    picture = Image.open(io.BytesIO(render_page(file, 1, dpi=2400)))
    assert picture.width * picture.height <= 16_000_000


def test_looks_like_pdf() -> None:
    assert looks_like_pdf(GOOD[:1024])
    assert looks_like_pdf(b"\xef\xbb\xbf\n%PDF-1.4")
    assert not looks_like_pdf(b"PK\x03\x04")
    assert not looks_like_pdf(b" " * 1024 + b"%PDF-1.4")


@pytest.mark.skipif(not MANUALS.is_dir(), reason="no manuals beside the repository")
def test_a_real_manual() -> None:
    info, raw = read(MANUALS / "bashref.pdf")
    pages = assemble(info, raw)
    assert len(pages) == 196
    assert [page.number for page in pages if page.kind is PageKind.contents] == [3, 4, 5, 6, *range(188, 197)]
    text = pages[11].text
    assert text.startswith(
        "3.1.2 Quoting\n\nQuoting is used to remove the special meaning of certain characters or words to"
    )
    assert "Chapter 3" not in text
    assert pages[11].sections[1][1] == ("Basic Shell Features", "Shell Syntax", "Quoting", "Escape Character")
    words = [word for page in pages for word in page.text.split()]
    assert sum(map(len, words)) / len(words) < 6
    for page in pages:
        for word in page.words:
            box = word.box
            assert 0 <= box.left <= box.right <= page.width and 0 <= box.top <= box.bottom <= page.height
