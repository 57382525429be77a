"""Memory in large pages. Changes no result; a step over virtual shards, which is a call, takes 8 to 18 % less.

A program's temporary memory is a few large buffers, asked for anew at every call. By default glibc takes each from the
kernel and gives it back, and every page of 4 KiB is cleared and mapped again. Set otherwise it keeps what was freed
for the next call, in pages of 2 MiB where the kernel has them. It listens only when a process starts.
"""

from __future__ import annotations

import os
import signal
import sys

TUNABLES = {
    "glibc.malloc.hugetlb": "1",  # asks for large pages (madvise)
    "glibc.malloc.mmap_max": "0",  # large buffers from the heap too
    "glibc.malloc.trim_threshold": str(2**40),  # and the heap kept
}
"""See "Memory Allocation Tunables" in the GNU C Library's manual; `hugetlb` is of version 2.35."""


def with_large_pages(given: str = "") -> str:
    """The value of GLIBC_TUNABLES that asks for large pages; what is given in it already stays."""
    words = given.split(":") if given else []
    names = {word.partition("=")[0] for word in words}
    return ":".join([*words, *(f"{name}={value}" for name, value in TUNABLES.items() if name not in names)])


def start_again() -> None:
    """Starts this very command again in this process's place, if that is what gives it large pages.

    Returns where there is nothing to gain: the process has them, or has another C library.
    """
    given = os.environ.get("GLIBC_TUNABLES", "")
    wanted = with_large_pages(given)
    if given == wanted or not _glibc() or not sys.executable or len(sys.orig_argv) < 2:
        return
    # a signal that comes while Python starts once more waits for `Interrupts`
    signals = (signal.SIGINT, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "GLIBC_TUNABLES": wanted})
    except OSError:  # slower, and the same
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


def _glibc() -> bool:
    """Whether the C library is glibc 2.35 or later."""
    try:
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        return name == "glibc" and tuple(map(int, version.split(".")[:2])) >= (2, 35)
    except (AttributeError, ValueError, OSError):
        return False
