"""Takes every right away from the running process that reading bytes it already holds does not need.

Called by the parser child after its imports and before it looks at the file. Cannot be undone. On Linux (x86_64,
aarch64) a seccomp-BPF filter lets through only the system calls in `ALLOWED`; all others fail with EPERM: no sockets,
no new process or thread, no file opened, no signal to another process, no memory made executable. Layout of the
filter and of `struct seccomp_data`: linux/seccomp.h, linux/filter.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
import sys

PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 4, 22, 38
SECCOMP_MODE_FILTER = 2
RET_KILL_PROCESS, RET_ERRNO, RET_ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
X32_BIT = 0x40000000  # x86_64 also answers to these numbers, with another table
PROT_EXEC = 4
AT_NR, AT_ARCH, AT_ARGS = 0, 4, 16  # byte offsets in seccomp_data; an argument is 8 bytes, low word first

# name -> (x86_64, aarch64)
ALLOWED = {
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67),
    "lseek": (8, 62), "close": (3, 57), "fstat": (5, 80), "newfstatat": (262, 79), "fcntl": (72, 25),
    "munmap": (11, 215), "brk": (12, 214), "mremap": (25, 216), "madvise": (28, 233),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132),
    "futex": (202, 98), "sched_yield": (24, 124), "restart_syscall": (219, 128),
    "getpid": (39, 172), "gettid": (186, 178), "getrusage": (98, 165), "getrandom": (318, 278),
    "clock_gettime": (228, 113), "gettimeofday": (96, 169),
    "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip
NO_EXEC = {"mmap": (9, 222), "mprotect": (10, 226)}  # allowed without PROT_EXEC, their third argument
TGKILL = (234, 131)  # allowed on this process only: abort() uses it
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH_*


def limit_resources(*, cpu_s: int, memory_bytes: int) -> None:
    """CPU seconds (SIGXCPU), address space in bytes; no file may grow, no core is dumped.

    macOS does not honour RLIMIT_AS; there only the wall clock of the parent stops a memory bomb.
    """
    limits = [
        (resource.RLIMIT_CPU, cpu_s, cpu_s + 1),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_AS, memory_bytes, memory_bytes),
    ]
    for which, soft, hard in limits:
        ceiling = resource.getrlimit(which)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        try:
            resource.setrlimit(which, (soft, hard))
        except (ValueError, OSError):
            if sys.platform.startswith("linux"):
                raise


def confine() -> bool:
    """Install the filter. False where this system has none; raises OSError where it should work and does not."""
    known = ARCHITECTURES.get(platform.machine())
    if not sys.platform.startswith("linux") or known is None:
        return False
    column, audit_arch = known
    _prctl(PR_SET_DUMPABLE, 0)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    program = build_filter(column, audit_arch, os.getpid())
    code = ctypes.create_string_buffer(program, len(program))

    class SockFprog(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    fprog = SockFprog(len(program) // 8, ctypes.addressof(code))
    _prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(fprog))
    return True


def build_filter(column: int, audit_arch: int, pid: int) -> bytes:
    """The BPF program, 8 bytes an instruction. `column` picks the numbers of one architecture."""
    deny, allow = _op(RETURN, RET_ERRNO | errno.EPERM), _op(RETURN, RET_ALLOW)
    program = [
        _op(LOAD, AT_ARCH),
        _op(JUMP_EQUAL, audit_arch, if_true=1),
        _op(RETURN, RET_KILL_PROCESS),
        _op(LOAD, AT_NR),
        _op(JUMP_AT_LEAST, X32_BIT, if_false=1),
        deny,
    ]
    for numbers in ALLOWED.values():
        program += [_op(JUMP_EQUAL, numbers[column], if_false=1), allow]
    for numbers in NO_EXEC.values():
        program += [
            _op(JUMP_EQUAL, numbers[column], if_false=4),
            _op(LOAD, AT_ARGS + 2 * 8),
            _op(JUMP_ANY_BIT, PROT_EXEC, if_false=1),
            deny,
            allow,
        ]
    program += [
        _op(JUMP_EQUAL, TGKILL[column], if_false=3),
        _op(LOAD, AT_ARGS),
        _op(JUMP_EQUAL, pid, if_false=1),
        allow,
        deny,
    ]
    return b"".join(program)


def _op(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    """One `struct sock_filter`; jumps count instructions to skip."""
    return struct.pack("HBBI", code, if_true, if_false, value)


def _prctl(option: int, value: int, pointer: int = 0) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    unsigned = ctypes.c_ulong
    if libc.prctl(option, unsigned(value), unsigned(pointer), unsigned(0), unsigned(0)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
