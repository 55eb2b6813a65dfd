"""Checked mode on the host: error records, one for each stream and program, read at blocking calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gpucore.ir.passes.checks import RECORD_WORDS, decode

if TYPE_CHECKING:
    from gpucore._state import ContextState
    from gpucore.compiler import Program

__all__ = ["Records"]

_NBYTES = 4 * RECORD_WORDS


class _Record:
    __slots__ = ("allocation", "pending", "program")

    def __init__(self, program: Program, allocation: Any) -> None:
        self.program = program
        self.allocation = allocation
        self.pending = False


class Records:
    """The error records of a stream, in the order of their first launches since the last blocking call."""

    def __init__(self, state: ContextState, handle: Any) -> None:
        self._state = state
        self._handle = handle
        self._records: dict[int, _Record] = {}
        self._pending: list[_Record] = []

    def slots(self, program: Program) -> tuple[Any, int, int]:
        """The slots of the hidden argument for a launch of ``program``: allocation, offset, extent."""
        record = self._records.get(id(program))
        state = self._state
        if record is None:
            allocation = state.alloc(state.device._handle, _NBYTES, "device", self._handle)
            self._clear(allocation)
            record = self._records[id(program)] = _Record(program, allocation)
        if not record.pending:
            record.pending = True
            self._pending.append(record)
        return record.allocation, 0, RECORD_WORDS

    def _clear(self, allocation: Any) -> None:
        state = self._state
        state.fill(state.device._handle, allocation, 0, _NBYTES, b"\0\0\0\0", self._handle)

    def read(self) -> None:
        """Wait for the launches so far and raise the first error that one of them found, once."""
        state = self._state
        pending, self._pending = self._pending, []
        first: Exception | None = None
        for record in pending:
            record.pending = False
            words = np.zeros(RECORD_WORDS, np.uint32)
            state.copy(
                state.device._handle,
                memoryview(words.view(np.uint8).data),
                0,
                record.allocation,
                0,
                _NBYTES,
                self._handle,
            )
            if not words[0]:
                continue
            self._clear(record.allocation)
            if first is None:
                first = decode(words.tolist(), record.program.sites, record.program.name)
        if first is not None:
            raise first

    def end(self) -> None:
        """Free the records; the stream is idle."""
        state = self._state
        if state.device._dead is None:
            for record in self._records.values():
                state.free(state.device._handle, record.allocation, None)
        self._records.clear()
        self._pending.clear()
