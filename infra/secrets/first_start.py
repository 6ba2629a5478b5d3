"""Makes what is secret, once: `python first_start.py FOLDER`. Nothing that is there is ever changed.

Each service has a folder that only its user can open, and files of mode 0400 in it. Standard library only; runs as
root, to give files to others, without a network, and ends.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

# Folders, and the users of the images that read them. Each is a volume, mounted by those that need it and nobody else.
OWNERS = {"services": 10001, "mlflow": 10001, "postgres": 999, "grafana": 472, "alertmanager": 65534, "admin": 0}
DATABASE = "postgresql+psycopg://{name}:{password}@postgres:5432/{name}"


def first_start(root: Path, owners: Mapping[str, int] = OWNERS) -> list[str]:
    """Write every file that is not there; returns their paths. What two services share is read from its first file."""
    made: list[str] = []

    def secret(folder: str, name: str, value: str | None = None) -> str:
        path = root / folder / name
        if not path.exists():
            _write(path, value or secrets.token_urlsafe(32), owners[folder])
            made.append(f"{folder}/{name}")
        return path.read_text()

    secret("postgres", "postgres_password")
    for name, folder, file in (
        ("capstone", "services", "capstone_database_url"),
        ("mlflow", "mlflow", "backend_store_uri"),
    ):
        password = secret("postgres", f"{name}_password")
        secret(folder, file, DATABASE.format(name=name, password=password))
    token = secret("services", "capstone_alert_token")
    secret("alertmanager", "capstone_alerts_token", token)
    secret("grafana", "admin_password")
    secret("services", "capstone_service_key", f"cap_service_{secrets.token_urlsafe(32)}")
    # The services are told the hash only: the key itself is for whoever runs the platform, in a folder that is mounted
    # nowhere else.
    key = secret("admin", "admin_key", f"cap_admin_{secrets.token_urlsafe(32)}")
    secret("services", "capstone_admin_key_sha256", hashlib.sha256(key.encode()).hexdigest())
    return made


def _write(path: Path, value: str, owner: int) -> None:
    """Make the file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "w") as file:
        os.fchown(descriptor, owner, -1)
        file.write(value)
        file.flush()
        os.fsync(descriptor)
    part.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
        os.fchown(folder, owner, -1)
        os.fchmod(folder, 0o700)
    finally:
        os.close(folder)


if __name__ == "__main__":
    for made in first_start(Path(sys.argv[1])):
        print(f"made {made}")
