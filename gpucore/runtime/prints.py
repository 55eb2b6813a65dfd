"""What kernels print: an array for each stream on which such kernels run, read when a call waits for the stream."""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gpucore.ir.passes.prints import FIRST_WORD, PRINT_WORDS, PrintSite, decode

if TYPE_CHECKING:
    from gpucore.compile.pipeline import Program
    from gpucore.hookspecs import Allocation, StreamHandle
    from gpucore.runtime.state import ContextState

__all__ = ["Prints", "deliver"]


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

        return decode(words, sites_of)

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
