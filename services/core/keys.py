"""API keys: made, listed, revoked, recognised.

A key is `cap_<id>_<secret>` and is shown once; what is kept is its SHA-256. The secret has 256 random bits, so there is
nothing to guess and a slow hash would protect nothing. Its row is looked up by the id for every request: a key that is
revoked is so for every process at once.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import insert, select, update

from services.core.database import Database
from services.core.errors import NotFound, Unauthorized
from services.core.tables import api_keys
from services.core.within import ALL, Within

Scope = Literal["read", "write", "admin"]  # each may do what those before it may
SCOPES: tuple[Scope, ...] = get_args(Scope)
DAY_S = 24 * 3600.0
_KEY = re.compile(r"cap_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_NO_HASH = "0" * 64  # compared with where there is no row, so that both take equally long


class KeyRefused(Unauthorized):
    """`reason` is one of: malformed, unknown, revoked, expired."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request, by the id of the key (None: no key is asked for), and what that key allows."""

    key: str | None
    scope: Scope
    collections: Within = ALL

    def may(self, scope: Scope) -> bool:
        return SCOPES.index(self.scope) >= SCOPES.index(scope)

    def require(self, collection: str) -> None:
        """Raises NotFound, whether that collection is there or not, if the key is limited to others."""
        if self.collections is not None and collection not in self.collections:
            raise NotFound(f"There is no collection {collection!r} for this key.")


@dataclass(frozen=True, slots=True)
class Key:
    """Without its secret, which nobody has but its owner. Times are in seconds since the epoch."""

    id: str
    name: str
    scope: Scope
    collections: list[str] | None  # None: all
    created_at: float
    expires_at: float | None
    revoked_at: float | None

    def status(self, now: float) -> str:
        """active, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


_FIELDS = tuple(api_keys.c[name] for name in Key.__dataclass_fields__)


class KeyStore:
    """Keys in the catalog. Methods block."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def create(
        self, scope: Scope, *, name: str, collections: Collection[str] = (), expires_in_days: float | None = None
    ) -> tuple[Key, str]:
        """A new key, and its text, which is not kept. No collections: all of them."""
        key_id = secrets.token_hex(6)
        text = f"cap_{key_id}_{secrets.token_urlsafe(32)}"
        with self._db.write() as connection:
            now = self._db.now(connection)
            expires_at = None if expires_in_days is None else now + expires_in_days * DAY_S
            key = Key(key_id, name, scope, sorted(set(collections)) or None, now, expires_at, None)
            row = {field: getattr(key, field) for field in Key.__dataclass_fields__}
            connection.execute(insert(api_keys).values(**row, sha256=sha256_of(text)))
        return key, text

    def all(self) -> list[Key]:
        """Oldest first, those that are no longer good as well."""
        with self._db.read() as connection:
            rows = connection.execute(select(*_FIELDS).order_by(api_keys.c.created_at, api_keys.c.id))
            return [Key(**row._mapping) for row in rows]

    def revoke(self, key_id: str) -> Key:
        """No process takes it from now on. Again changes nothing. Raises NotFound."""
        good = (api_keys.c.id == key_id) & api_keys.c.revoked_at.is_(None)
        with self._db.write() as connection:
            connection.execute(update(api_keys).where(good).values(revoked_at=self._db.now(connection)))
            row = connection.execute(select(*_FIELDS).where(api_keys.c.id == key_id)).first()
        if row is None:
            raise NotFound(f"There is no key {key_id!r}. `capstone keys list` shows them.")
        return Key(**row._mapping)

    def recognise(self, text: str) -> Caller:
        """Whose key that is. Raises KeyRefused. Whether it has expired is told by this machine's clock."""
        match = _KEY.fullmatch(text)
        if match is None:
            raise KeyRefused("malformed", "That is no key of this platform: they begin with `cap_`.")
        with self._db.read() as connection:
            row = connection.execute(select(*_FIELDS, api_keys.c.sha256).where(api_keys.c.id == match[1])).first()
        same = hmac.compare_digest(sha256_of(text), row.sha256 if row is not None else _NO_HASH)
        if row is None or not same:
            raise KeyRefused("unknown", "The key is not known.")
        key = _key_of(row)
        if (status := key.status(time.time())) != "active":
            raise KeyRefused(status, f"The key is {status}.")
        return Caller(key.id, key.scope, ALL if key.collections is None else frozenset(key.collections))


class StandingKeys:
    """Keys that come with the settings and have no row: good before there is a catalog, until the setting changes."""

    def __init__(self, admin_sha256: str | None, service: str | None) -> None:
        """`admin_sha256` is of an admin's key. `service` is what our services show each other; they only read."""
        known: dict[str, Caller] = {}
        if admin_sha256:
            known[admin_sha256] = Caller("admin", "admin")
        if service:
            known[sha256_of(service)] = Caller("service", "read")
        self._known: Mapping[str, Caller] = known

    def find(self, text: str) -> Caller | None:
        given, found = sha256_of(text), None
        for digest, caller in self._known.items():
            if hmac.compare_digest(given, digest):
                found = caller
        return found


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _key_of(row: Any) -> Key:
    return Key(**{name: getattr(row, name) for name in Key.__dataclass_fields__})
