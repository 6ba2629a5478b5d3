"""Prometheus and Alertmanager with their tools: those that are installed, else Debian's, unpacked into data/tools.

`python -m infra.tools` brings them and says where they are. It takes no root and installs nothing. The versions are
the distribution's, and apt checks their signatures; another system installs its own and has them on PATH.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
_UNPACKED = ROOT / "data" / "tools"
_SHARE = "/usr/share"
# Name: the Debian package, and what else the program may be called.
PROGRAMS = {
    "prometheus": ("prometheus", ()),
    "promtool": ("prometheus", ()),
    "alertmanager": ("prometheus-alertmanager", ("prometheus-alertmanager",)),
    "amtool": ("prometheus-alertmanager", ()),
}


def find(name: str) -> Path | None:
    """The program, if this machine has it already; nothing is downloaded."""
    for each in (name, *PROGRAMS[name][1]):
        if found := shutil.which(each) or shutil.which(each, path=str(_UNPACKED / "usr" / "bin")):
            return Path(found)
    return None


def bring(name: str) -> Path:
    """The program, downloaded first if it is not there. Raises RuntimeError, with the remedy, if that is impossible."""
    if found := find(name):
        return found
    package = PROGRAMS[name][0]
    _UNPACKED.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["apt-get", "-q", "download", package], cwd=folder, check=True, capture_output=True)
            (archive,) = Path(folder).glob("*.deb")
            subprocess.run(["dpkg", "-x", str(archive), str(_UNPACKED)], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        remedy = f"Install {package}, or try `apt-get update` first."
        raise RuntimeError(f"{name} is not here, and apt did not bring it ({error}). {remedy}") from error
    found = find(name)
    assert found is not None, f"{package} has no {name}"
    return found


def command(name: str) -> list[str]:
    """What starts the program: its path, behind what it needs to find its own files.

    Debian's Alertmanager reads its templates from /usr/share. One that is only unpacked sees its own there, in a
    namespace of its own.
    """
    program, share = bring(name), _UNPACKED / "usr" / "share"
    if name != "alertmanager" or not program.is_relative_to(_UNPACKED):
        return [str(program)]
    mount = f'mount -t overlay overlay -o "lowerdir=$0:{_SHARE}" {_SHARE} && exec "$@"'
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, str(share), str(program)]


def main() -> int:
    """Exit code 77 if they cannot be had here; anything else that goes wrong is a mistake of ours."""
    for program in PROGRAMS:
        try:
            print(program, bring(program))
        except RuntimeError as error:
            print(error)
            return 77
    return 0


if __name__ == "__main__":
    sys.exit(main())
