"""Error records on the host: one for each stream and program, read at blocking calls.

Checked kernels write them, and kernels whose loops the device may end before their time.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from gpucore.errors import GpucoreError
from gpucore.ir.passes.checks import RECORD_WORDS, decode

if TYPE_CHECKING:
    from gpucore.compile.pipeline import Program
    from gpucore.hookspecs import Allocation, StreamHandle
    from gpucore.runtime.state import ContextState

__all__ = ["Record", "Records"]

_NBYTES = 4 * RECORD_WORDS


class Record:
    """What launches of a program on a stream found; a launch is made within ``with record as packed``.

    The record counts as written once the launch is enqueued, and nobody reads or clears it while a launch is being
    enqueued: a thread that waits for the stream meanwhile can neither miss what the launch finds nor wipe it out.
    """

    __slots__ = ("_owner", "allocation", "packed", "pending", "program")

    def __init__(self, owner: Records, program: Program, allocation: Allocation) -> None:
        self._owner = owner
        self.program = program
        self.allocation = allocation
        self.pending = False
        self.packed: tuple[Allocation, int, int] = (allocation, 0, RECORD_WORDS)

    def __enter__(self) -> tuple[Allocation, int, int]:
        owner = self._owner
        owner.lock.acquire()
        owner.unread = True
        return self.packed

    def __exit__(self, *exc: object) -> None:
        owner = self._owner
        if not self.pending:
            self.pending = True
            owner.pending.append(self)
        # again: who listens to the launch may have read meanwhile
        owner.unread = True
        owner.lock.release()


class Records:
    """The error records of a stream, in the order of their first launches since the last blocking call.

    ``unread`` is true from before a launch is enqueued until the next :meth:`read`: while it is false there is nothing to
    read, and a blocking call need not ask.
    """

    def __init__(self, state: ContextState, handle: StreamHandle) -> None:
        self._state = state
        self._handle = handle
        # who listens to launches may wait for the stream while one is made
        self.lock = threading.RLock()
        self.unread = False
        self.pending: list[Record] = []
        self._records: dict[int, Record] = {}
        self._inherited: GpucoreError | None = None

    def of(self, program: Program) -> Record:
        """The record for launches of ``program``."""
        record = self._records.get(id(program))
        if record is not None:
            return record
        with self.lock:
            record = self._records.get(id(program))
            if record is None:
                state = self._state
                allocation = state.alloc(state.device._handle, _NBYTES, "device", self._handle)
                self._clear(allocation)
                record = self._records[id(program)] = Record(self, program, allocation)
            return record

    def _clear(self, allocation: Allocation) -> None:
        state = self._state
        state.call(
            state.unobserved.fill, state.device._handle, allocation, 0, _NBYTES, b"\0\0\0\0", self._handle
        )  # fmt: skip

    def read(self) -> None:
        """Wait for the launches so far and raise the first error that one of them found, once."""
        error = self._take()
        if error is not None:
            raise error

    def _take(self) -> GpucoreError | None:
        state = self._state
        with self.lock:
            self.unread = False
            first, self._inherited = self._inherited, None
            pending, self.pending = self.pending, []
            for record in pending:
                record.pending = False
                words = np.zeros(RECORD_WORDS, np.uint32)
                state.call(
                    state.unobserved.copy, state.device._handle, memoryview(words.view(np.uint8).data), 0, record.allocation, 0,
                    _NBYTES, self._handle,
                )  # fmt: skip
                if not words[0]:
                    continue
                self._clear(record.allocation)
                if first is None:
                    first = decode(words.tolist(), record.program.sites, record.program.name)
            return first

    def inherit(self, error: GpucoreError) -> None:
        """Raise it at the next :meth:`read`: nobody can wait for the stream that it came from any more."""
        with self.lock:
            if self._inherited is None:
                self._inherited = error
            self.unread = True

    def end(self) -> GpucoreError | None:
        """Free the records, of a stream that is idle; what none was told yet."""
        state = self._state
        if state.device._dead is not None:
            return None
        error = self._take()
        with self.lock:
            for record in self._records.values():
                state.free(state.device._handle, record.allocation, None)
            self._records.clear()
        return error
