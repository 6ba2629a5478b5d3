"""Every command in the documents is run as it is written, or is listed here with what runs it instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.main import get_command

from services.cli import app
from services.core.settings import Settings
from tests.calls import EXAMPLE, client_of, ingest
from tests.placeholders import Desk, ask_much, environment, folder_of_a_user, small_platform
from tests.server import CAPSTONE, QUICK, ROOT, Server, free_port, launch
from tests.shell_blocks import DOCUMENTS, LANGUAGES, Command, blocks, spans, statements
from tests.waiting import until

MAKEFILE = (ROOT / "Makefile").read_text()
CI = (ROOT / ".ci" / "run").read_text()
NOWHERE = "nowhere: "  # and why

# A command that matches is not run here: it is long, needs what a test does not have, or changes the machine. Beside it
# stands what runs it: a file, a target of the Makefile (of which .ci/run calls what fits), or why nothing does.
ELSEWHERE = {
    r"make (test|check|offline|crash|smoke|watch)( (offline|crash|watch))*": ".ci/run",
    r"make (lint types imports|configurations)": "Makefile",  # parts of `make check`
    r"make test (PARTS=.*|COVER=1 && make coverage)": ".github/workflows/ci.yml",
    r"make openapi": "tests/unit/test_openapi.py",
    r"make openapi-diff .*": "tests/unit/test_openapi.py",
    r"make metrics-diff .*": ".github/workflows/models.yml",
    r"make run": "tests/e2e/test_commands_in_documents.py",
    r"make help": "Makefile",
    r"make e2e-compose": "tests/compose/prove.py",
    r"make e2e-space": "tests/space/prove.py",
    r"make loop": "tests/loop/drive.py",
    r"make (train|register)": "tests/train/smoke.py",
    r"(\.venv/bin/)?capstone up": "tests/server.py",
    r"docker-compose (up|build|ps)\b.*": "tests/compose/stack.py",
    r"docker-compose run --rm tools backup .*": "tests/compose/prove.py",
    r"docker-compose run --rm tools restore .*": "tests/compose/prove.py",
    r"docker-compose (run .* secrets|exec eval) .*": "tests/compose/prove.py",
    r"docker compose --env-file .*": "tests/integration/test_deploy.py",
    r"docker-compose --profile minimal .*": NOWHERE + "it is a part of what `make e2e-compose` starts",
    r"docker-compose --profile gpu .*": NOWHERE + "it needs a GPU",
    r"docker-compose (exec alertmanager|logs) .*": NOWHERE + "it only looks at what `make e2e-compose` has started",
    r"docker-compose run .* grafana .*": NOWHERE + "where we work nobody can get the image of Grafana",
    r"CAPSTONE_BIND=0\.0\.0\.0 docker-compose .*": NOWHERE + "it would publish the platform of a test to everybody",
    r"docker build": "tests/compose/stack.py",
    r"docker (build -f|run -p) .*": "tests/space/prove.py",
    r"curl https://OWNER-NAME\.hf\.space/.*": "tests/space/prove.py",
    r"cosign verify [\s\S]*": NOWHERE + "no image was ever signed: no registry can be reached where we work",
    r"(kubectl|helm) [\s\S]*": NOWHERE + "it needs a cluster; infra/k8s/check.py judges what it would apply",
    r"CAPSTONE_DATABASE_URL=\S+ \.venv/bin/capstone restore .*": "tests/e2e/test_backup.py",
    r"CAPSTONE_API_KEY=KEY capstone ask .*": "tests/compose/prove.py",
    r"\.venv/bin/python -m infra\.tools": ".ci/run",
    r"(\.venv/bin/)?python -m infra\.build": "tests/unit/test_infra.py",
    r"\.venv/bin/python -m models\.restore": "tests/integration/test_restore.py",
    r"\.venv/bin/python -m models\.classifier\.train .*": "tests/integration/test_own_classifier.py",
    r"\.venv/bin/capstone classify .* --model topics": "tests/integration/test_own_classifier.py",
    r"\.venv/bin/mlflow ui .*": NOWHERE + "it only looks; tests/mlflow_server.py starts the same server",
    r"torchrun .*": "tests/integration/test_generator_training.py",
    r"python -m models\.retrain": "tests/loop/drive.py",
    r"python -m services\.(ingest\.worker|eval\.retrain_worker)": "tests/server.py",
    r"dvc repro( encoder| evaluate| train_encoder| --single-item train_generator)?": "tests/train/smoke.py",
    r"python benchmarks/\w+\.py.*": "benchmarks",  # by hand: their figures are in the documents
    r"(\.venv/bin/)?capstone retraining RUN( --approve)?": "tests/integration/test_retraining.py",
    r"curl -X POST \$U/v1/retraining-runs/RUN/approve": "tests/integration/test_retraining.py",
    r"curl .*http://(ALERTMANAGER|PROMETHEUS):.*": "tests/watchers.py",
    r"amtool check-config .*": "infra/check.py",
    r"amtool .*": "tests/watch/alertmanager.py",
    r"prometheus --config\.file=.*": "tests/watchers.py",
    r"git pull": NOWHERE + "it would change the checkout",
    r"source \.venv/bin/activate": NOWHERE + "the terminal of these tests is as after it",
    r"pre-commit install": NOWHERE + "it would change the checkout; its hooks are the commands of `make check`",
}

# What comes of a command that does not simply succeed: its exit status, and what it says.
EXPECTED = {
    r"capstone evaluate .*--against champion": (1, "no"),  # the gate is asked, and another random release is no gain
}
# What has to be so before it.
BEFORE: dict[str, Callable[[Desk], None]] = {
    r"capstone promote|-X POST \$U/v1/releases -H": Desk.let_pass,
    r"capstone rollback|/v1/releases/rollback": Desk.promoted_once,
    r"--against champion|against=champion|VERDICT": Desk.shipped_is_live,
    r"-F dataset=mine -F release": lambda desk: desk.need("EVALUATION"),
    r"/v1/drift/(windows|reports|references)": Desk.shipped_was_asked,
}


def listed(command: Command) -> str | None:
    return next((where for words, where in ELSEWHERE.items() if re.fullmatch(words, command.bare)), None)


def is_mention(command: Command) -> bool:
    """A sentence names a subcommand, without what it needs: that it exists is all that can be wrong."""
    return re.fullmatch(r"capstone [a-z]+", command.bare) is not None


def commands() -> list[Command]:
    """Each once, the README's last: the pages that it leads to have the same ones in an order in which they belong."""
    found = sorted([*statements(), *spans()], key=lambda command: command.document == "README.md")
    return list({command.bare: command for command in reversed(found)}.values())[::-1]


COMMANDS = commands()
RUN = [command for command in COMMANDS if not listed(command) and not is_mention(command)]


@dataclass(frozen=True)
class Desks:
    """Two platforms: one is small and changes its releases, the other has the real models, as a newcomer has them."""

    small: Desk
    real: Desk

    def of(self, command: Command) -> Desk:
        """Whatever names a real model, and the README's answers."""
        answers = command.document == "README.md" and re.search(r" ask |/v1/answers", command.text)
        return self.real if command.language == "python" or answers else self.small


@pytest.fixture(scope="module")
def desks(system: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desks]:
    root = tmp_path_factory.mktemp("documents")
    folder = folder_of_a_user(root / "checkout")
    server, shipped, challenger = small_platform(root)
    try:
        with client_of(server.wait_ready().url) as http, client_of(system.url) as real:
            ingest(http, EXAMPLE.read_bytes(), EXAMPLE.name)
            ingest(real, EXAMPLE.read_bytes(), EXAMPLE.name)
            ask_much(http)
            env = environment(server, folder, root / "data")
            small = Desk(server, http, folder, env, shipped, challenger)
            yield Desks(small, Desk(system, real, folder, environment(system, folder, root / "unused")))
    finally:
        server.kill()


@pytest.mark.parametrize("command", RUN, ids=lambda command: f"{command.where} {command.bare[:60]}")
def test_a_command_does_what_the_document_says(desks: Desks, command: Command) -> None:
    desk = desks.of(command)
    for words, prepare in BEFORE.items():
        if re.search(words, command.bare):
            prepare(desk)
    status, says = next((told for words, told in EXPECTED.items() if re.search(words, command.bare)), (0, ""))
    done = desk.run(command)
    assert done.returncode == status, f"{command.where}\n{command.text}\n{done.stdout}{done.stderr}"
    assert says in done.stdout


def test_make_run_shows_a_newcomer_an_answer(tmp_path: Path) -> None:
    """The recipe of the Makefile, without the weights, which take their time."""
    recipe = re.search(r"^run:.*\n\t\$\(BIN\)/capstone (.+)$", MAKEFILE, re.MULTILINE)
    assert recipe
    port = free_port()
    server = launch([CAPSTONE, *recipe[1].split(), "--port", str(port)], QUICK, tmp_path, port)
    try:
        until(lambda: "Try, in another terminal" in server.tail())
    finally:
        server.kill()
    shown = server.tail()
    assert "50/50" in shown and "verified" in shown and f"Serving on {server.url}" in shown


def test_no_command_is_forgotten_and_no_entry_is_left_over() -> None:
    assert RUN and all(any(re.fullmatch(words, command.bare) for command in COMMANDS) for words in ELSEWHERE), [
        words for words in ELSEWHERE if not any(re.fullmatch(words, command.bare) for command in COMMANDS)
    ]
    for words in (*EXPECTED, *BEFORE):
        assert any(re.search(words, command.bare) for command in RUN), words


@pytest.mark.parametrize("where", sorted(set(ELSEWHERE.values())))
def test_what_is_run_elsewhere_is_run_there(where: str) -> None:
    assert where.startswith(NOWHERE) or (ROOT / where).exists()


@pytest.mark.parametrize("target", sorted({w for c in COMMANDS for w in re.findall(r"^make ([\w-]+)", c.bare)}))
def test_a_target_is_there(target: str) -> None:
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)
    if listed(Command("", 0, "sh", f"make {target}")) == ".ci/run":
        assert re.search(rf"^make {target}$|\bmake {target}\b", CI, re.MULTILINE)


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if re.search(r"\bpython (benchmarks/|-m (?!services\.cli))", c.bare)], ids=str
)
def test_a_program_is_there(command: Command) -> None:
    found = re.search(r"python (?:-m ([\w.]+)|(\S+\.py))", command.bare)
    assert found
    path = found[2] or found[1].replace(".", "/")
    source = next(p for p in (ROOT / path, ROOT / f"{path}.py", ROOT / path / "__main__.py") if p.is_file()).read_text()
    assert [option for option in re.findall(r"(--[\w-]+)", command.bare) if f'"{option}"' not in source] == []


@pytest.mark.parametrize("command", [c for c in COMMANDS if is_mention(c)], ids=lambda command: command.bare)
def test_a_subcommand_is_there(command: Command) -> None:
    group = get_command(app)
    assert command.bare.split()[1] in group.list_commands(group.make_context("capstone", ["status"]))  # type: ignore[attr-defined]


def test_blocks_say_what_they_are() -> None:
    assert {block.language for block in blocks()} <= LANGUAGES, "name the language of a block"


def test_settings_that_documents_name_are_there() -> None:
    known = {f"CAPSTONE_{name.upper()}" for name in Settings.model_fields}
    known |= set(re.findall(r"`(CAPSTONE_\w+)`", (ROOT / "docs" / "configuration.md").read_text()))
    for path in DOCUMENTS:
        for name, more in re.findall(r"(CAPSTONE_[A-Z0-9_]*[A-Z0-9])(_?\.\.\.)?", path.read_text()):
            assert name in known or (more and any(one.startswith(name) for one in known)), f"{path.name}: {name}"


def test_links_between_documents_lead_somewhere() -> None:
    for path in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", path.read_text()):
            name, _, section = target.partition("#")
            page = (path.parent / name).resolve() if name else path
            assert page.exists(), f"{path.name}: {target}"
            if section:
                headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
                assert section in [anchor(heading) for heading in headings], f"{path.name}: {target}"


def anchor(heading: str) -> str:
    """The fragment that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
