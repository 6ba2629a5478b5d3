"""Names of releases -> verified files on this machine: the one that was shipped, and those of the model registry."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from services.core.aliases import CHAMPION, Aliases, Version
from services.core.errors import ModelProblem, UnknownRelease
from services.core.registry import Release, resolve_release


class Wanted(NamedTuple):
    """What a name stands for at the moment. `id` is None for the bases alone, `version` None for what was shipped."""

    id: str | None
    version: Version | None


class Sources:
    """`folder` is where releases are brought to; `shipped` is None where the bases are served alone."""

    def __init__(self, aliases: Aliases, shipped: Release | None, folder: Path, models_dir: Path) -> None:
        self._aliases = aliases
        self._shipped = shipped
        self._folder = folder
        self._models_dir = models_dir

    @property
    def shipped(self) -> Wanted:
        return Wanted(self._shipped.id if self._shipped else None, None)

    def champion(self) -> Wanted:
        """What the alias names; what was shipped if there is no such alias. Raises Unavailable."""
        version = self._aliases.resolve(CHAMPION)
        return Wanted(version.release, version) if version else self.shipped

    def named(self, name: str) -> Wanted:
        """Raises UnknownRelease if there is none; Unavailable if the registry, which is needed then, is away."""
        if name == self.shipped.id:
            return self.shipped
        version = self._aliases.resolve(name)
        if version is None:
            raise UnknownRelease(f"There is no release {name!r} in the model registry.")
        return Wanted(version.release, version)

    def verified(self, wanted: Wanted) -> Release | None:
        """Every byte of it proved. Raises ModelProblem if it is damaged or made for other bases, Unavailable if its
        files are not to be had now."""
        if wanted.version is None or wanted.id == self.shipped.id:
            return self._shipped
        try:
            return self._proved(wanted.version)
        except ModelProblem:
            return self._proved(wanted.version)  # from its source: it may be the copy here that was damaged

    def _proved(self, version: Version) -> Release:
        folder = self._aliases.fetch(version, self._folder)
        try:
            release = resolve_release(folder, self._models_dir)
            if release.id != version.release:
                raise ModelProblem(f"Version {version.version} should be {version.release}, and holds {release.id}.")
        except ModelProblem:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return release
