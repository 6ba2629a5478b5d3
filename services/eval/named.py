"""What a name of a release means now: an id, and the version in the registry, if it is one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from services.core.aliases import CHAMPION, Aliases
from services.core.errors import Conflict, UnknownRelease
from services.core.release import read_release
from services.core.settings import Settings


class Named(NamedTuple):
    """`release` is None where the bases alone are served; `version` where the release is the shipped one, live without
    an alias, or not a version at all."""

    release: str | None
    version: str | None

    @property
    def id(self) -> str:
        """Raises Conflict if there is no release."""
        if self.release is None:
            raise Conflict("No release is live, only the bases are: there is nothing to compare with or to replace.")
        return self.release


class ReleaseNames:
    """All methods raise Unavailable if the registry does not answer."""

    def __init__(self, settings: Settings, aliases: Aliases) -> None:
        self._settings = settings
        self._aliases = aliases

    @property
    def shipped_folder(self) -> Path | None:
        return self._settings.wanted_release

    def live(self) -> Named:
        """The alias `champion`; the shipped release, or None, where nothing was promoted yet."""
        return self.find(CHAMPION) or Named(self._shipped(), None)

    def find(self, name: str) -> Named | None:
        """An alias, the number of a version, or the id of a release; None if the registry has no such version."""
        found = self._aliases.resolve(name)
        return Named(found.release, found.version) if found else None

    def version(self, name: str) -> Named:
        """The same. Raises UnknownRelease instead."""
        if (found := self.find(name)) is None:
            raise UnknownRelease(f"The registry has no release {name!r}. `make register` puts one there.")
        return found

    def asked(self, name: str) -> Named:
        """The same, with the shipped release, which need not be a version, under its id and as the champion."""
        if name == CHAMPION:
            return self.live()
        if (found := self.find(name)) is not None:
            return found
        return Named(name, None) if name == self._shipped() else self.version(name)

    def _shipped(self) -> str | None:
        folder = self.shipped_folder
        return read_release(folder).id if folder else None
