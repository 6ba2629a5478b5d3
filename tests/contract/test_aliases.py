"""One contract for both ways to read a model registry, each against what a real MLflow has written.

The server is real as well; what MLflow has no way to make (a name that leaves its folder) is in tests of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.core.aliases import MODEL, Aliases, RestAliases, SqlAliases, Version, open_aliases
from services.core.errors import ModelProblem, SettingsProblem, Unavailable
from services.core.release_files import Listed, copy_release, download_release, placed
from services.core.settings import Settings
from tests.mlflow_server import FILES, add_version, start_mlflow
from tests.server import new_database

FIRST, SECOND, DELETED, FOREIGN = (f"capstone@{digit * 12}" for digit in "1234")


@dataclass(frozen=True)
class Registry:
    """`client` is MLflow's own."""

    uri: str
    client: Any


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "server"])
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Versions 1 and 3 are FIRST, 2 is SECOND, 4 was deleted, 5 names no release; champion is 1, challenger 2."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp(request.param)
    server = start_mlflow(folder) if request.param == "server" else None
    try:
        uri = server.url if server else _database(request, folder)
        client = MlflowClient(uri, registry_uri=uri)
        client.create_registered_model(MODEL)
        experiment = client.create_experiment("releases", None if server else (folder / "art").as_uri())
        for number, release in enumerate((FIRST, SECOND, FIRST, DELETED), 1):
            files = FILES | {"adapter/number.txt": str(number).encode()}
            assert add_version(client, release, experiment, files, folder / f"made{number}") == str(number)
        client.delete_model_version(MODEL, "4")
        first = client.get_model_version(MODEL, "1")
        assert first.source is not None
        client.create_model_version(MODEL, first.source, first.run_id)
        client.set_registered_model_alias(MODEL, "champion", "1")
        client.set_registered_model_alias(MODEL, "challenger", "2")
        yield Registry(uri, client)
    finally:
        if server:
            server.kill()


def _database(request: pytest.FixtureRequest, folder: Path) -> str:
    if request.param == "postgresql":
        return new_database(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{folder / 'm.db'}"


@pytest.fixture
def aliases(registry: Registry) -> Iterator[Aliases]:
    found = open_aliases(Settings(mlflow_uri=registry.uri))
    yield found
    found.close()


def test_the_setting_names_the_implementation(registry: Registry, aliases: Aliases) -> None:
    assert type(aliases) is (RestAliases if registry.uri.startswith("http") else SqlAliases)


def test_a_version_is_found_by_alias_number_and_release(registry: Registry, aliases: Aliases) -> None:
    first, second = aliases.resolve("1"), aliases.resolve("2")
    assert first == Version("1", FIRST, registry.client.get_model_version(MODEL, "1").source)
    assert second == Version("2", SECOND, registry.client.get_model_version(MODEL, "2").source)
    assert (aliases.resolve("champion"), aliases.resolve("challenger")) == (first, second)
    assert aliases.resolve(SECOND) == second
    newest = aliases.resolve(FIRST)
    assert newest is not None and newest.version == "3"


@pytest.mark.parametrize(
    "name",
    [
        "previous",
        "4",
        DELETED,
        "5",
        "6",
        FOREIGN,
        "0",
        "-1",
        "99999999999999999999",
        "latest",
        "",
        "a' OR '1'='1",
        "x@'",
    ],
)
def test_what_is_not_there_is_none(aliases: Aliases, name: str) -> None:
    assert aliases.resolve(name) is None


def test_an_alias_that_moves_is_seen_at_once(registry: Registry, aliases: Aliases) -> None:
    for number in ("2", "3"):
        registry.client.set_registered_model_alias(MODEL, "previous", number)
        found = aliases.resolve("previous")
        assert found is not None and found.version == number
    registry.client.delete_registered_model_alias(MODEL, "previous")
    assert aliases.resolve("previous") is None


def test_the_files_come_whole_and_once(aliases: Aliases, tmp_path: Path) -> None:
    version = aliases.resolve("2")
    assert version is not None
    place = aliases.fetch(version, tmp_path / "releases")
    assert place == tmp_path / "releases" / SECOND
    assert {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()} == (
        FILES | {"adapter/number.txt": b"2"}
    )
    assert [path.name for path in place.parent.iterdir()] == [SECOND], "nothing else is left there"
    before = place.stat().st_ino
    (place / "mark").touch()
    assert aliases.fetch(version, tmp_path / "releases") == place
    assert place.stat().st_ino == before and (place / "mark").exists()


def test_a_source_without_a_release_is_a_problem_and_leaves_nothing(aliases: Aliases, tmp_path: Path) -> None:
    version = aliases.resolve("2")
    assert version is not None
    for source in (version.source + "/adapter", version.source + "/nowhere"):
        with pytest.raises(ModelProblem, match=r"no (whole )?release (in|at)"):
            aliases.fetch(version._replace(source=source), tmp_path / "releases")
    assert list((tmp_path / "releases").iterdir()) == []


@pytest.mark.parametrize("source", ["s3://bucket/release", "relative/path", "runs:/abc/release", "file://other/x", ""])
def test_a_source_that_cannot_be_read_here_is_a_problem(aliases: Aliases, tmp_path: Path, source: str) -> None:
    with pytest.raises(ModelProblem, match="cannot be read here"):
        aliases.fetch(Version("1", FIRST, source), tmp_path)


# Registries that are away ---------------------------------------------------------------------------------------


def test_a_database_that_is_not_there_or_empty_has_no_versions(tmp_path: Path) -> None:
    for name in ("nowhere.db", "empty.db"):
        aliases = SqlAliases(f"sqlite:///{tmp_path / name}")
        assert aliases.resolve("champion") is None and aliases.resolve("1") is None
        aliases.close()
        (tmp_path / "empty.db").touch()
    assert not (tmp_path / "nowhere.db").exists(), "reading makes no file"


def test_a_damaged_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "m.db").write_bytes(b"no database " * 100)
    with pytest.raises(Unavailable, match="DatabaseError"):
        SqlAliases(f"sqlite:///{tmp_path / 'm.db'}").resolve("champion")


def test_a_server_that_is_away_or_another_is_unavailable_and_its_address_is_kept_secret() -> None:
    for uri in ("http://user:secret@127.0.0.1:9", "http://user:secret@localhost.invalid"):
        with pytest.raises(Unavailable) as raised:
            RestAliases(uri).resolve("champion")
        assert "secret" not in raised.value.detail and raised.value.retry_after_s


def test_a_server_that_never_answers_is_unavailable() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        aliases = RestAliases(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.2)
        with pytest.raises(Unavailable, match="ReadTimeout"):
            aliases.resolve("champion")
        aliases.close()


@pytest.mark.parametrize(
    "uri",
    ["databricks://x", "sqlite://", "http://user:secret@host:port", "postgresql://user:secret@host:port/x", "/x"],
)
def test_a_registry_of_another_kind_is_a_problem_of_the_settings(uri: str) -> None:
    with pytest.raises(SettingsProblem, match="CAPSTONE_MLFLOW_URI") as raised:
        open_aliases(Settings(mlflow_uri=uri))
    assert "secret" not in raised.value.detail


# Files ----------------------------------------------------------------------------------------------------------


def write_files(folder: Path) -> Path:
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("link", ["release.json", "adapter/link.txt", "adapter/deep", "classifier"])
def test_a_link_is_refused(tmp_path: Path, link: str) -> None:
    source = write_files(tmp_path / "source")
    path = source / link
    if path.exists():
        path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere" if (tmp_path / "elsewhere").exists() else "/etc")
    with pytest.raises(ModelProblem, match="is a link"):
        copy_release(source, tmp_path / "to")


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "..", "", "a/b", "a\\b"])
def test_a_listed_name_that_leaves_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    def listed(path: str) -> list[Listed]:
        return [Listed("release.json", False)] if path == "root" else [Listed(name, False)]

    with pytest.raises(ModelProblem, match="no name of a file"):
        download_release(listed, lambda _path, to: to.touch(), "root", tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_a_fetch_that_breaks_off_leaves_no_release(tmp_path: Path) -> None:
    def half(to: Path) -> None:
        (to / "release.json").touch()
        raise Unavailable("The model registry does not answer.")

    with pytest.raises(Unavailable):
        placed(FIRST, tmp_path, half)
    assert list(tmp_path.iterdir()) == []


def test_what_a_crash_left_is_taken_away_and_what_another_process_fills_is_not(tmp_path: Path) -> None:
    for name, age_s in ((".part-old", 7_200), (".part-new", 10)):
        (tmp_path / name).mkdir()
        then = (tmp_path / name).stat().st_mtime - age_s
        os.utime(tmp_path / name, (then, then))
    placed(FIRST, tmp_path, lambda to: (to / "release.json").touch())
    assert {path.name for path in tmp_path.iterdir()} == {".part-new", FIRST}


def test_two_that_fetch_at_once_both_have_it(tmp_path: Path) -> None:
    both = threading.Barrier(2)
    found: list[Path] = []

    def fill(to: Path) -> None:
        write_files(to)
        both.wait(10)

    threads = [threading.Thread(target=lambda: found.append(placed(FIRST, tmp_path, fill))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert found == [tmp_path / FIRST] * 2
    assert [path.name for path in tmp_path.iterdir()] == [FIRST]
