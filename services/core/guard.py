"""Who may send a request to /v1, decided before anything of it is read.

Where the service listens on loopback only, everybody on the machine may, but no web page in a browser on it: the name
that was asked for must be this machine's (else a page could point its own name here), and what changes something must
not come from another site. Everywhere else a key is needed, unless CAPSTONE_ANONYMOUS_SCOPE lets everybody read. What
the key must allow is declared at each route: `READ` or `Reader`, `Writer`, `ReaderOfAll`, `Admin`. Who is sent away is
counted by `requests_refused_total`.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Annotated, Any
from urllib.parse import urlsplit

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from services.core.database import Database
from services.core.errors import CapstoneError, Forbidden, OtherSite, Unauthorized, Unavailable, UnknownHost
from services.core.keys import Caller, KeyRefused, KeyStore, StandingKeys
from services.core.keys import Scope as KeyScope
from services.core.notes import note
from services.core.problems import problem_of
from services.core.settings import Settings, is_loopback

# Alertmanager's webhook has a bearer token of its own (CAPSTONE_ALERT_TOKEN, checked at the route): it needs no key.
_OTHER_TOKEN = {("POST", "/v1/alerts")}
_CHANGES_NOTHING = ("GET", "HEAD", "OPTIONS")
_LOOKUPS = 16  # at a time; each is a query of a row by its primary key
_HOW = "Send `Authorization: Bearer KEY`, with a key that `capstone keys create` has made."


class Guard:
    """Pure ASGI middleware. Never touches the body. Everything outside /v1 is open: probes, metrics, docs."""

    def __init__(self, app: ASGIApp, settings: Settings, database: Callable[[], Database]) -> None:
        self._app = app
        self._settings = settings
        self._database = database
        service = settings.service_key.get_secret_value() if settings.service_key else None
        self._standing = StandingKeys(settings.admin_key_sha256, service)
        self._lookups = CapacityLimiter(_LOOKUPS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _guarded(scope):
            await self._app(scope, receive, send)
            return
        try:
            scope["state"]["caller"] = await self._caller(scope)
        except CapstoneError as error:
            await problem_of(Request(scope), error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _caller(self, scope: Scope) -> Caller:
        """Raises Unauthorized, UnknownHost, OtherSite, or Unavailable if the catalog is away."""
        headers = Headers(scope=scope)
        if not key_needed(self._settings, scope):
            _refuse_browsers_of_others(scope["method"], headers, self._settings.allowed_host_names)
            return Caller(None, "admin")
        if "authorization" not in headers and self._settings.anonymous_scope is not None:
            return Caller(None, self._settings.anonymous_scope)
        scheme, _, text = headers.get("authorization", "").partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer" or not text:
            note(refused="missing")
            raise Unauthorized(_HOW)
        caller = self._standing.find(text)
        if caller is None:
            caller = await to_thread.run_sync(self._recognise, text, limiter=self._lookups)
        note(key=caller.key)
        return caller

    def _recognise(self, text: str) -> Caller:
        try:
            return KeyStore(self._database()).recognise(text)
        except KeyRefused as error:
            note(refused=error.reason)
            raise
        except SQLAlchemyError as error:
            raise Unavailable("The catalog database does not answer.", retry_after_s=5) from error


class Needs:
    """A route's dependency: the scope that the key must have. `everywhere`: of a key that sees all collections, because
    what the route shows or changes belongs to no single one."""

    def __init__(self, scope: KeyScope, *, everywhere: bool = False) -> None:
        self.scope = scope
        self.everywhere = everywhere

    async def __call__(
        self,
        request: Request,
        _: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],  # /docs can send it
    ) -> Caller:
        caller = getattr(request.state, "caller", None)
        if not isinstance(caller, Caller):  # not behind the guard: shut rather than open
            note(refused="missing")
            raise Unauthorized(_HOW)
        if not caller.may(self.scope):
            note(refused="scope")
            raise Forbidden(f"This needs a key of the scope `{self.scope}`; this key's is `{caller.scope}`.")
        if self.everywhere and caller.collections is not None:
            note(refused="collections")
            raise Forbidden("This concerns all collections, and the key is limited to some.")
        return caller


READ = Depends(Needs("read"))
Reader = Annotated[Caller, READ]
Writer = Annotated[Caller, Depends(Needs("write"))]
ReaderOfAll = Annotated[Caller, Depends(Needs("read", everywhere=True))]
Admin = Annotated[Caller, Depends(Needs("admin", everywhere=True))]


def key_needed(settings: Settings, scope: Scope) -> bool:
    """`auto` trusts no setting alone: both ends of the connection have to be loopback too, where they are addresses."""
    if settings.api_keys != "auto":
        return settings.keys_required
    return settings.keys_required or any(_elsewhere(scope.get(end)) for end in ("server", "client"))


def _guarded(scope: Scope) -> bool:
    path: str = scope["path"]
    return (path == "/v1" or path.startswith("/v1/")) and (scope["method"], path) not in _OTHER_TOKEN


def _elsewhere(end: Any) -> bool:
    """An address that is not this machine's own. A name is of a caller within this process."""
    try:
        return bool(end) and not ip_address(end[0]).is_loopback
    except ValueError:
        return False


def _refuse_browsers_of_others(method: str, headers: Headers, allowed: frozenset[str]) -> None:
    """Raises UnknownHost or OtherSite. Programs that are no browsers send neither Sec-Fetch-Site nor Origin."""
    host = headers.get("host", "").lower()
    name = _name_of(host)
    if not (is_loopback(name) or name in allowed or "*" in allowed):
        note(refused="host")
        raise UnknownHost("The service is not known by that name. CAPSTONE_ALLOWED_HOSTS has further ones.")
    if method in _CHANGES_NOTHING:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    own = site in ("same-origin", "none") if site else origin is None or _host_of(origin) == host
    if not own:
        note(refused="other_site")
        raise OtherSite("A page of another site may change nothing here.")


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _host_of(origin: str) -> str:
    """The host and port of an origin; empty for `null`."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
