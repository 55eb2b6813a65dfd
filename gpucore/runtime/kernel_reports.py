"""What kernels report to the host: errors and prints, in memory for each stream that is read when a call waits.

Checked kernels write them, and kernels whose loops the device may end before their time.  Where host and device share memory
(pinned memory), a wait looks at one word of each record, and only an error takes a lock.  Elsewhere records are copied.
"""

from __future__ import annotations

import contextlib
import ctypes
import struct
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpucore.errors import GpucoreError
from gpucore.ir.passes.checks import RECORD_WORDS, decode
from gpucore.ir.passes.sites import FIRST_WORD, PRINT_WORDS, PrintSite, decode_prints

if TYPE_CHECKING:
    from gpucore.compile.pipeline import Program
    from gpucore.hookspecs import Allocation, MemoryKind, StreamHandle
    from gpucore.runtime.state import ContextState

__all__ = ["Prints", "Record", "Records", "deliver"]


def deliver(text: str) -> None:
    """Write to what is ``sys.stdout`` now, so that a notebook shows it in the cell that waits."""
    if text and sys.stdout is not None:
        sys.stdout.write(text)


class Prints:
    """The array that the kernels of a stream print into; used under the lock of the stream's error records.

    Attributes
    ----------
    packed : tuple
        The array as an argument of a launch.
    """

    __slots__ = ("_allocation", "_handle", "_launches", "_state", "packed")

    def __init__(self, state: ContextState, handle: StreamHandle) -> None:
        self._state = state
        self._handle = handle
        self._launches: list[Program] = []
        self._allocation: Allocation = state.alloc(state.device._handle, 4 * PRINT_WORDS, "device", handle)
        self.packed: tuple[Allocation, int, int] = (self._allocation, 0, PRINT_WORDS)
        self._fill(0, PRINT_WORDS, 0)

    def _fill(self, first: int, number: int, value: int) -> None:
        state = self._state
        state.call(
            state.unobserved.fill, state.device._handle, self._allocation, 4 * first, 4 * number,
            struct.pack("<I", value), self._handle,
        )  # fmt: skip

    @property
    def is_pending(self) -> bool:
        """Whether kernels that print were launched since the last :meth:`take`."""
        return bool(self._launches)

    def begin(self, program: Program) -> None:
        """Number the launch that follows on the stream."""
        self._fill(2, 1, len(self._launches))
        self._launches.append(program)

    def take(self) -> str:
        """Wait for the launches so far and give what they printed."""
        if not self._launches:
            return ""
        launches, self._launches = self._launches, []
        head = self._read(FIRST_WORD)
        used = min(FIRST_WORD + int(head[0]), PRINT_WORDS)
        if used == FIRST_WORD and not head[1]:
            return ""
        words = self._read(used)
        self._fill(0, used, 0)

        def sites_of(launch: int) -> tuple[str, Sequence[PrintSite]]:
            program = launches[launch]
            return program.name, program.prints

        return decode_prints(words, sites_of)

    def _read(self, number: int) -> npt.NDArray[np.uint32]:
        state = self._state
        words = np.zeros(number, np.uint32)
        state.call(
            state.unobserved.copy, state.device._handle, memoryview(words.view(np.uint8).data), 0, self._allocation, 0,
            4 * number, self._handle,
        )  # fmt: skip
        return words

    def free(self) -> None:
        """Give the memory back, of a stream that is idle."""
        self._state.free(self._state.device._handle, self._allocation, None)


_NBYTES = 4 * RECORD_WORDS
_RECORDS = 64
"""Records of one table; a stream on which more programs run gets another."""


class _Table:
    """Memory for the records of a stream's programs.

    Attributes
    ----------
    words : numpy.ndarray | None
        The records, a row each, where the host reaches the memory that kernels write.
    """

    __slots__ = ("allocation", "claims", "clean", "used", "words")

    def __init__(self, allocation: Allocation, is_shared: bool) -> None:
        self.allocation = allocation
        self.used = 0
        self.words: npt.NDArray[np.uint32] | None = None
        self.claims = memoryview(b"")
        self.clean = b""
        if is_shared:
            assert allocation.host is not None  # gpucore.backends.hooks has looked at it
            memory = (ctypes.c_uint32 * (_RECORDS * RECORD_WORDS)).from_address(allocation.host)
            self.words = np.frombuffer(memory, np.uint32).reshape(_RECORDS, RECORD_WORDS)
            self.words[...] = 0

    def take(self) -> int:
        """The number of a record that nobody has."""
        number, self.used = self.used, self.used + 1
        if self.words is not None:
            self.claims, self.clean = self.words[: self.used, 0].data, bytes(4 * self.used)
        return number

    def is_claimed(self) -> bool:
        """Whether a kernel claimed one of the records, which the host reaches."""
        return self.claims.tobytes() != self.clean


class Record:
    """What launches of a program on a stream found.

    Where the host reaches it (``is_shared``), :meth:`note` is called before a launch that ``pending`` does not know of, for the
    order in which errors are reported.  Else a launch is made within ``with record as packed``: nobody reads or clears it
    meanwhile, so that a thread that waits for the stream can neither miss what the launch finds nor wipe it out.
    """

    __slots__ = ("_owner", "_prints", "is_shared", "number", "packed", "pending", "program", "table")

    def __init__(self, owner: Records, program: Program, table: _Table, number: int) -> None:
        self._owner = owner
        self.program = program
        self.table = table
        self.number = number
        # launches that print are numbered, under the lock
        self.is_shared = table.words is not None and not program.prints
        self.pending = False
        hidden: dict[str, tuple[Any, ...]] = {"$error": (table.allocation, number * _NBYTES, RECORD_WORDS)}
        self._prints: Prints | None = None
        if program.prints:
            self._prints = owner.prints()
            hidden["$print"] = self._prints.packed
        self.packed: tuple[Any, ...] = tuple(
            slot for param in program.params for slot in hidden.get(param.name, ())
        )
        """The arguments of the launch that belong to the stream."""

    def note(self) -> None:
        """Count the record among those of launches since the last blocking call."""
        owner = self._owner
        if owner.is_taking:
            with owner.lock:  # not while somebody reads an error, whom the launch might meet
                pass
        owner.unread = self.pending = True
        owner.pending.append(self)

    def __enter__(self) -> tuple[Any, ...]:
        owner = self._owner
        owner.lock.acquire()
        owner.unread = True
        if self._prints is not None:
            try:
                self._prints.begin(self.program)
            except BaseException:
                owner.lock.release()
                raise
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

    ``unread`` is true from before a launch is enqueued until the next :meth:`read`.  Of records that the host reaches it speaks
    for their order alone: a launch by another thread may run unnoticed, so a blocking call compares ``claims`` with ``clean``.

    Attributes
    ----------
    claims : list[memoryview]
        The words of each table that kernels claim, where the host reaches them.
    clean : list[bytes]
        What they are while there is no error.
    current : dict[int, Record]
        Of launches from now on, by program: see :meth:`turn`.
    """

    def __init__(self, state: ContextState, handle: StreamHandle) -> None:
        self._state = state
        self._handle = handle
        # who listens to launches may wait for the stream while one is made
        self.lock = threading.RLock()
        self.unread = False
        self.is_taking = False  # an error, under the lock
        self.pending: list[Record] = []
        self._is_shared = "pinned_memory" in state.device.capabilities.names
        self.claims: list[memoryview] = []
        self.clean: list[bytes] = []
        self.current: dict[int, Record] = {}
        self._turns = {0: self.current}
        self._tables: list[_Table] = []
        self._inherited: GpucoreError | None = None
        self._prints: Prints | None = None

    def prints(self) -> Prints:
        """What kernels of the stream print into."""
        with self.lock:
            if self._prints is None:
                prints = Prints(self._state, self._handle)
                number = id(prints.packed[0])
                self._state.device._held[number], self._prints = (prints.packed[0], "device"), prints
            return self._prints

    def turn(self, number: int) -> None:
        """Keep apart what launches of a number find, those from now on."""
        self.current = self._turns.setdefault(number, {})

    def read_turn(self, number: int) -> None:
        """As :meth:`read`, of the launches of a number, which are done."""
        if not self._is_shared:
            self.read()
        self.deliver_prints()
        for record in self._turns[number].values():
            table, program = record.table, record.program
            if table.words is not None:
                error = decode(table.words[record.number].tolist(), program.sites, program.name)
                if error is not None:
                    self._clear(table, record.number, 1)
                    raise error

    def of(self, program: Program) -> Record:
        """The record for launches of ``program``."""
        record = self.current.get(id(program))
        if record is not None:
            return record
        with self.lock:
            record = self.current.get(id(program))
            if record is None:
                if not self._tables or self._tables[-1].used == _RECORDS:
                    table = self._new_table()
                    number = id(table.allocation)
                    self._state.device._held[number] = table.allocation, "device"
                    self._tables.append(table)
                table = self._tables[-1]
                record = self.current[id(program)] = Record(self, program, table, table.take())
                self.claims = [table.claims for table in self._tables]
                self.clean = [table.clean for table in self._tables]
            return record

    def _new_table(self) -> _Table:
        state = self._state
        kind: MemoryKind = "pinned" if self._is_shared else "device"
        table = _Table(
            state.alloc(state.device._handle, _RECORDS * _NBYTES, kind, self._handle), self._is_shared
        )
        if not self._is_shared:
            self._clear(table, 0, _RECORDS)
        return table

    def _clear(self, table: _Table, first: int, number: int) -> None:
        if table.words is not None:
            # the word that kernels claim; the rest is written by who claims it
            table.words[first : first + number, 0] = 0
            return
        state = self._state
        state.call(
            state.unobserved.fill, state.device._handle, table.allocation, first * _NBYTES, number * _NBYTES,
            b"\0\0\0\0", self._handle,
        )  # fmt: skip

    def _read(self, table: _Table, first: int, number: int) -> npt.NDArray[np.uint32]:
        """The words of some records, a row each, after the launches so far: who claimed one may be writing it still."""
        state = self._state
        words = np.zeros((number, RECORD_WORDS), np.uint32)
        state.call(
            state.unobserved.copy, state.device._handle, memoryview(words.reshape(-1).view(np.uint8).data), 0, table.allocation,
            first * _NBYTES, number * _NBYTES, self._handle,
        )  # fmt: skip
        return words

    def read(self) -> None:
        """Wait for the launches so far and raise the first error that one of them found, once.

        Records that the host reaches are looked at as they are: who calls has waited.
        """
        prints = self._prints
        if self._is_shared and self._inherited is None and (prints is None or not prints.is_pending):
            for table in self._tables:
                if table.claims.tobytes() != table.clean:
                    break
            else:
                self.unread = False
                pending = self.pending
                while pending:
                    try:
                        pending.pop().pending = False
                    except IndexError:
                        break  # another thread was faster
                return
        error = self._take()
        if error is not None:
            raise error

    def raise_found(self) -> None:
        """As :meth:`read`, of what was found by now where the host reaches it: who calls need not have waited."""
        claimed = any(table.is_claimed() for table in self._tables) if self._is_shared else self.unread
        if claimed or self._inherited is not None:
            self.read()

    @property
    def holds_error(self) -> bool:
        """Whether :meth:`read` would raise; nothing is taken.  Who calls has waited."""
        with self.lock:
            if self._inherited is not None:
                return True
            if self._is_shared:
                return any(table.is_claimed() for table in self._tables)
            return any(
                self._read(table, record.number, 1)[0, 0]
                for table in self._tables
                for record in self.pending
                if record.table is table
            )

    def _take_pending(self) -> list[Record]:
        pending = self.pending.copy()
        for record in pending:
            # launches join the list, and who finds no error empties it, without the lock
            with contextlib.suppress(ValueError):
                self.pending.remove(record)
            record.pending = False
        return pending

    def _first_error(self) -> GpucoreError | None:
        self.unread = False
        first, self._inherited = self._inherited, None
        pending = self._take_pending()
        if self._is_shared:
            # a launch of another thread may have been noted while the list was taken
            turns = self._turns.values()
            pending += [r for records in turns for r in records.values() if r not in pending]
        found: dict[Record, list[int]] = {}
        for table in self._tables:
            mine = [record for record in pending if record.table is table]
            if not mine or (self._is_shared and not table.is_claimed()):
                continue
            low = min(record.number for record in mine)
            words = self._read(table, low, max(record.number for record in mine) + 1 - low)
            for record in mine:
                row = words[record.number - low]
                if row[0]:
                    found[record] = row.tolist()
                    self._clear(table, record.number, 1)
        for record in pending:
            if record in found and first is None:
                first = decode(found[record], record.program.sites, record.program.name)
        return first

    def _take(self) -> GpucoreError | None:
        with self.lock:
            self.is_taking = True
            try:
                first = self._first_error()
            finally:
                self.is_taking = False
            printed = "" if self._prints is None else self._prints.take()
        deliver(printed)
        return first

    def deliver_prints(self) -> None:
        """Wait for the launches that print and write their text; no error is taken."""
        if self._prints is not None and self._prints.is_pending:
            with self.lock:
                printed = self._prints.take()
            deliver(printed)

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
            while self._tables:
                state.free(state.device._handle, self._tables.pop().allocation, None)
            for records in self._turns.values():
                records.clear()
            self.claims, self.clean = [], []
            prints, self._prints = self._prints, None
            if prints is not None:
                prints.free()
        return error
