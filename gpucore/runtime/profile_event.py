"""What a profile notes: pieces of work, or of waiting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["EventKind", "ProfileEvent"]

EventKind = Literal["kernel", "copy", "fill", "wait", "range", "alloc"]


@dataclass(frozen=True, slots=True)
class ProfileEvent:
    """One piece of work, or of waiting.

    Attributes
    ----------
    kind : {"kernel", "copy", "fill", "wait", "range", "alloc"}
        Kernels, copies and fills are timed on the device; waits, ranges and allocations on the host.
    name : str
        The kernel's, the range's, or what was done: ``"copy to device"``, ``"wait for stream"``, ``"allocate"``.
    stream : str or None
        Whose work it is, or was waited for: ``"cpu:0 default"``, ``"cuda:1 stream 2"``. Ranges have none.
    start_ns, end_ns : int
        By the clock of ``time.perf_counter_ns``.
    bytes : int
        Copied, filled or allocated; else 0.
    queued_ns : int
        When the host enqueued it; ``start_ns - queued_ns`` is the time in the queue.
    thread : str
        The host's thread.
    """

    kind: EventKind
    name: str
    stream: str | None
    start_ns: int
    end_ns: int
    bytes: int = 0
    queued_ns: int = 0
    thread: str = ""

    @property
    def duration_ns(self) -> int:
        """Nanoseconds from start to end."""
        return self.end_ns - self.start_ns
