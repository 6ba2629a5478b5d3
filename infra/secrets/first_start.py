"""Makes what is secret, once: `python first_start.py FOLDER`. Nothing that is there is ever changed.

Each service has a folder that only its user can open, and files of mode 0400 in it. Standard library only; runs as
root, to give files to others, without a network, and ends.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

# Users of the images. The folders are volumes, each mounted by those that need it and by nobody else.
CAPSTONE, POSTGRES, GRAFANA, NOBODY = 10001, 999, 472, 65534
DATABASE = "postgresql+psycopg://{name}:{password}@postgres:5432/{name}"


def first_start(folder: Path) -> list[str]:
    """Write every file that is not there; returns their paths. What two services share comes from the first file."""
    made: list[str] = []

    def secret(path: str, owner: int, value: str | None = None) -> str:
        return _kept(folder / path, secrets.token_urlsafe(32) if value is None else value, owner, made)

    secret("postgres/postgres_password", POSTGRES)
    for name, address in (("capstone", "services/capstone_database_url"), ("mlflow", "mlflow/backend_store_uri")):
        password = secret(f"postgres/{name}_password", POSTGRES)
        secret(address, CAPSTONE, DATABASE.format(name=name, password=password))
    token = secret("services/capstone_alert_token", CAPSTONE)
    secret("alertmanager/capstone_alerts_token", NOBODY, token)
    secret("grafana/admin_password", GRAFANA)
    return made


def _kept(path: Path, value: str, owner: int, made: list[str]) -> str:
    """The content of `path`, which is `value` if the file was not there. Appears whole or not at all."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with os.fdopen(descriptor, "w") as file:
            file.write(value)
            file.flush()
            os.fchown(descriptor, owner, owner)
            os.fsync(descriptor)
        part.rename(path)
        _sync(path.parent)
        os.chown(path.parent, owner, owner)
        path.parent.chmod(0o500)
        made.append(str(path))
    return path.read_text()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    os.umask(0o022)
    for name in first_start(Path(sys.argv[1])):
        print(f"made {name}")
