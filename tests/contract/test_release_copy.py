"""Releases out of a real MLflow and into it again: from a database of one's own, and from a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from services.backup import mlflow_copy
from services.backup.registry import ReleaseCopy
from services.core.aliases import MODEL, open_aliases
from services.core.errors import Unavailable
from services.core.settings import Settings
from tests.mlflow_server import FILES, add_version, start_mlflow

pytestmark = pytest.mark.timeout(900)  # MLflow is started again and again, and imports much each time
FIRST, DELETED, THIRD = (f"capstone@{digit * 12}" for digit in "123")


def settings_of(data_dir: Path, uri: str | None) -> Settings:
    return Settings(data_dir=data_dir, mlflow_uri=uri, promotion_timeout_s=300)


@pytest.fixture(scope="module", params=["sqlite", "server"])
def systems(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Settings]]:
    """One to copy from, with versions 1 and 3, and an empty one to copy to; it may be the same server for both."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp(request.param)
    server = start_mlflow(folder) if request.param == "server" else None
    try:
        uri = server.url if server else None
        source, target = (settings_of(folder / name, uri) for name in ("source", "target"))
        source.mlflow_dir.mkdir(parents=True)
        client = MlflowClient(source.tracking_uri, registry_uri=source.tracking_uri)
        client.create_registered_model(MODEL)
        experiment = client.create_experiment("made", None if server else (source.mlflow_dir / "artifacts").as_uri())
        for number, release in enumerate((FIRST, DELETED, THIRD), 1):
            files = FILES | {"adapter/number.txt": str(number).encode()}
            assert add_version(client, release, experiment, files, folder / f"made{number}") == str(number)
        client.delete_model_version(MODEL, "2")
        run_id = client.get_model_version(MODEL, "3").run_id
        assert run_id is not None
        client.log_param(run_id, "seed", "7")
        client.log_metric(run_id, "f1", 0.1 + 0.2)
        client.set_tag(run_id, "data", "d" * 64)
        client.update_model_version(MODEL, "3", description="für später")
        client.set_registered_model_alias(MODEL, "previous", "1")
        client.set_registered_model_alias(MODEL, "champion", "3")
        yield [source, target]
    finally:
        if server:
            server.kill()


def copier(settings: Settings) -> ReleaseCopy:
    return ReleaseCopy(settings, lambda: None)


def without_places(listed: Any) -> Any:
    return {**listed, "versions": [{**version, "source": None} for version in listed["versions"]]}


def test_versions_come_back_with_their_numbers_files_and_aliases(systems: list[Settings], tmp_path: Path) -> None:
    from mlflow import MlflowClient

    source, target = systems
    listed = copier(source).listed()
    assert [(version["version"], version["tags"]) for version in listed["versions"]] == [
        (1, {"release": FIRST}),
        (3, {"release": THIRD}),
    ]
    assert listed["versions"][1].items() >= {"description": "für später"}.items()
    assert listed["versions"][1]["run"] | {"name": None} == {
        "name": None,
        "tags": {"data": "d" * 64},
        "params": {"seed": "7"},
        "metrics": {"f1": 0.1 + 0.2},
    }
    place = tmp_path / "registry"
    place.mkdir()
    copier(source).fetch(listed, place)
    assert (place / "3" / "release" / "adapter" / "number.txt").read_text() == "3"
    client = MlflowClient(target.tracking_uri, registry_uri=target.tracking_uri)
    if target.mlflow_uri:
        client.delete_registered_model(MODEL)  # the same server, emptied
    assert mlflow_copy._list(client) == {"aliases": {}, "versions": []}

    copier(target).register(listed, place)
    assert without_places(mlflow_copy._list(client)) == without_places(listed)
    with closing(open_aliases(target)) as aliases:
        champion, previous = aliases.resolve("champion"), aliases.resolve("previous")
        assert champion is not None and previous is not None
        assert (champion.version, champion.release, previous.version) == ("3", THIRD, "1")
        assert aliases.resolve("2") is None
        folder = aliases.fetch(champion, tmp_path / "fetched")
    for name, content in FILES.items():
        assert (folder / name).read_bytes() == content

    mlflow_copy._register(client, listed, place, None)  # as after one that was cut off
    assert without_places(mlflow_copy._list(client)) == without_places(listed)
    other = {**listed, "versions": [{**listed["versions"][0], "tags": {"release": DELETED}}]}
    with pytest.raises(RuntimeError, match="another version 1"):
        mlflow_copy._register(client, other, place, None)


def test_a_registry_that_is_away_is_told_without_its_password(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "http://somebody:pass-word@127.0.0.1:9")
    with pytest.raises(Unavailable) as refused:
        copier(settings).listed()
    assert "cannot be copied" in refused.value.detail and "pass-word" not in refused.value.detail


def test_a_registry_that_was_never_made_is_empty_and_stays_so(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "data", None)
    assert copier(settings).listed() == {"aliases": {}, "versions": []}
    assert not settings.data_dir.exists()
