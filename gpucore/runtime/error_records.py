"""Error records on the host: a table for each stream with a record for each program, read at once at blocking calls.

Checked kernels write them, and kernels whose loops the device may end before their time.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gpucore.errors import GpucoreError
from gpucore.ir.passes.checks import RECORD_WORDS, decode

if TYPE_CHECKING:
    from gpucore.compile.pipeline import Program
    from gpucore.hookspecs import Allocation, StreamHandle
    from gpucore.runtime.state import ContextState

__all__ = ["Record", "Records"]

_NBYTES = 4 * RECORD_WORDS
_RECORDS = 64
"""Records of one table; a stream on which more programs run gets another."""


class _Table:
    """Memory of the device for the records of a stream's programs."""

    __slots__ = ("allocation", "used")

    def __init__(self, allocation: Allocation) -> None:
        self.allocation = allocation
        self.used = 0


class Record:
    """What launches of a program on a stream found; a launch is made within ``with record as packed``.

    The record counts as written once the launch is enqueued, and nobody reads or clears it while a launch is being
    enqueued: a thread that waits for the stream meanwhile can neither miss what the launch finds nor wipe it out.
    """

    __slots__ = ("_owner", "number", "packed", "pending", "program", "table")

    def __init__(self, owner: Records, program: Program, table: _Table, number: int) -> None:
        self._owner = owner
        self.program = program
        self.table = table
        self.number = number
        self.pending = False
        self.packed: tuple[Allocation, int, int] = (table.allocation, number * _NBYTES, RECORD_WORDS)

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
        self._tables: list[_Table] = []
        self._inherited: GpucoreError | None = None

    def of(self, program: Program) -> Record:
        """The record for launches of ``program``."""
        record = self._records.get(id(program))
        if record is not None:
            return record
        with self.lock:
            record = self._records.get(id(program))
            if record is None:
                if not self._tables or self._tables[-1].used == _RECORDS:
                    self._tables.append(self._new_table())
                table = self._tables[-1]
                record = self._records[id(program)] = Record(self, program, table, table.used)
                table.used += 1
            return record

    def _new_table(self) -> _Table:
        state = self._state
        table = _Table(state.alloc(state.device._handle, _RECORDS * _NBYTES, "device", self._handle))
        self._clear(table, 0, _RECORDS)
        return table

    def _clear(self, table: _Table, first: int, number: int) -> None:
        state = self._state
        state.call(
            state.unobserved.fill, state.device._handle, table.allocation, first * _NBYTES, number * _NBYTES,
            b"\0\0\0\0", self._handle,
        )  # fmt: skip

    def _read(self, table: _Table, first: int, number: int) -> npt.NDArray[np.uint32]:
        """The words of some records, a row each."""
        state = self._state
        words = np.zeros((number, RECORD_WORDS), np.uint32)
        state.call(
            state.unobserved.copy, state.device._handle, memoryview(words.reshape(-1).view(np.uint8).data), 0, table.allocation,
            first * _NBYTES, number * _NBYTES, self._handle,
        )  # fmt: skip
        return words

    def read(self) -> None:
        """Wait for the launches so far and raise the first error that one of them found, once."""
        error = self._take()
        if error is not None:
            raise error

    def _take(self) -> GpucoreError | None:
        with self.lock:
            self.unread = False
            first, self._inherited = self._inherited, None
            pending, self.pending = self.pending, []
            found: dict[Record, list[int]] = {}
            for table in self._tables:
                mine = [record for record in pending if record.table is table]
                if not mine:
                    continue
                low = min(record.number for record in mine)
                words = self._read(table, low, max(record.number for record in mine) + 1 - low)
                for record in mine:
                    record.pending = False
                    row = words[record.number - low]
                    if row[0]:
                        found[record] = row.tolist()
                        self._clear(table, record.number, 1)
            for record in pending:
                if record in found and first is None:
                    first = decode(found[record], record.program.sites, record.program.name)
            return first

    def inherit(self, error: GpucoreError) -> None:
        """Raise it at the next :meth:`read`: nobody can wait for the stream that it came from any more."""
        with self.lock:
            if self._inherited is None:
                self._inherited = error
            self.unread = True

    def end(self) -> GpucoreError | None:
        """Free the records, of a stream that is idle; what was not reported yet."""
        state = self._state
        if state.device._dead is not None:
            return None
        error = self._take()
        with self.lock:
            for table in self._tables:
                state.free(state.device._handle, table.allocation, None)
            self._tables.clear()
            self._records.clear()
        return error
