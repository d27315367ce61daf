"""Keeps a serving process small under glibc: freed memory goes back to the system.

Embedding runs in a pool of threads. By default each thread grows an arena of its own and glibc raises its thresholds
with every large block, so that 120 questions took a process from 292 to 404 MB; with these settings from 285 to 294.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""`mallopt` parameters, from malloc.h."""
_SETTINGS = {_TRIM_THRESHOLD: 128 * 1024, _MMAP_THRESHOLD: 128 * 1024, _ARENA_MAX: 2}


def return_freed_memory() -> None:
    """Set the thresholds to glibc's documented starting values, which also stops it from moving them."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none, and need none
    if mallopt is not None:
        for parameter, value in _SETTINGS.items():
            mallopt(parameter, value)
