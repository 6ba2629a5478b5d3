"""Loaded by every Python process that has this folder in PYTHONPATH: notes whoever tries to reach another machine.

Appends one JSON object a line to the file named by OFFLINE_WATCH_LOG: one for each process that loads it, and one for
each attempt. Python's own audit events only; what native code does is left to the counters of the kernel.
"""

from __future__ import annotations

import ipaddress
import json
import os
import sys
from typing import Any

_ADDRESS_ARGUMENT = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.gethostbyaddr": 0,
}
_LOCAL_NAMES = {"", "localhost", "None"}


def _is_local(address: Any) -> bool:
    """True for Unix sockets (paths), loopback and the unspecified address."""
    if isinstance(address, tuple):
        host = address[0]
    elif "/" in str(address) or str(address).startswith(("b'", "\0")):
        return True
    else:
        host = address
    name = (host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)).partition("%")[0]
    if name in _LOCAL_NAMES:
        return True
    try:
        ip = ipaddress.ip_address(name)
    except ValueError:
        return False
    return ip.is_loopback or ip.is_unspecified


def _note(**fields: Any) -> None:
    line = json.dumps({"pid": os.getpid(), "process": sys.orig_argv[1:4], **fields}) + "\n"
    descriptor = os.open(os.environ["OFFLINE_WATCH_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    position = _ADDRESS_ARGUMENT.get(event)
    if position is not None and not _is_local(arguments[position]):
        _note(event=event, address=repr(arguments[position]))


if "OFFLINE_WATCH_LOG" in os.environ:
    sys.addaudithook(_hook)
    _note(event="loaded")
