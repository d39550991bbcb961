"""What a process that is a node, and nothing else, does to itself before it starts. Never called by the library."""

from __future__ import annotations

import ctypes
import resource

from mycelium.config import MALLOC_MMAP_BYTES, MALLOC_TRIM_BYTES

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def prepare() -> None:
    """Allow as many open files as the system does, and keep glibc from holding on to freed memory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Left to itself, glibc raises both thresholds with the largest buffer it ever freed and then returns nothing
    # (mallopt(3)): what a node holds depends on its history. Other C libraries have neither the function nor the habit.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MALLOC_MMAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, MALLOC_TRIM_BYTES)
