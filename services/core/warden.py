"""A command that does not outlive who asked for it, nor do its children: `... -m services.core.warden DIR COMMAND...`

The asking process holds the other end of this one's standard input, and starts it as the leader of a group. When it
dies, however it dies, the input ends, and the whole group is killed. The parent-death signal would reach one process
only, and a pipeline has children of children.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO


def guarded(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start `command` in `folder` under a warden; `kill_group` ends it and everything that it has started."""
    return subprocess.Popen(
        [sys.executable, "-m", __name__, str(folder), *command],
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def kill_group(warden: subprocess.Popen[bytes]) -> None:
    """Kill what runs under the warden, if it has not ended."""
    if warden.poll() is None:
        os.killpg(warden.pid, signal.SIGKILL)  # not reaped yet, so the number is still ours
        warden.wait()


def _watch() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.killpg(0, signal.SIGKILL)


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status of the command; 127 if it cannot be started."""
    folder, *command = arguments
    threading.Thread(target=_watch, daemon=True).start()
    try:
        status = subprocess.call(command, cwd=folder, stdin=subprocess.DEVNULL)
    except OSError as error:
        print(f"{command[0]} cannot be started in {folder} ({error.strerror})", file=sys.stderr)
        return 127
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
