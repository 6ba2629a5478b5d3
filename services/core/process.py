"""What only the operating system can do: ending with the parent process, and how memory goes back."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE_BYTES = 1024 * 1024
_NEVER_BYTES = 2**30


def give_large_blocks_back() -> None:
    """Have blocks of a mebibyte and more go back to the system when they are freed. glibc only; else nothing.

    By itself glibc raises that limit to the largest block freed so far, up to 32 MiB. Activations of ever new sizes,
    which is what texts of all lengths make, then leave holes in the heap that are never given back.
    """
    _mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def keep_large_blocks() -> None:
    """Have blocks of up to a gibibyte stay with the process when they are freed. glibc only; else nothing.

    For trainings, which ask for the same large blocks at every step: by itself glibc gives them back, and the system
    clears them before it hands them out again, which takes it as long as the step's own work.
    """
    _mallopt(_M_MMAP_THRESHOLD, _NEVER_BYTES)
    _mallopt(_M_TRIM_THRESHOLD, _NEVER_BYTES)


def _mallopt(parameter: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(parameter, value)


def return_memory() -> None:
    """Give memory that was freed back to the system, which the allocator would keep. glibc only; else nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies, however it dies. Linux only; elsewhere does nothing.

    Exits at once if the parent `parent_pid` is gone already.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)
