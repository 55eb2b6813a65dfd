"""Interrupts at each place where CPython lets a signal's handler run."""

from __future__ import annotations

import dis
import itertools
import sys
from types import CodeType, FrameType
from typing import Any


class Interrupted:
    """Calls a function again and again, with an interrupt at the first, the second, ... place where one may come.

    Parameters
    ----------
    modules : str
        How the names of the modules begin in which they come; launch functions are among them.
    """

    def __init__(self, *modules: str) -> None:
        self._modules = modules
        self._places: dict[CodeType, set[int]] = {}
        self._left = 0

    def _offsets(self, code: CodeType) -> set[int]:
        """Where a signal's handler may run: behind calls and beginnings of functions, and at jumps back.

        The interpreter holds the call responsible, tracing the instruction behind it: where what is to be done about
        an exception differs between the two, the place is left out.
        """
        if code not in self._places:
            listed = dis.Bytecode(code)
            table = [(entry.start, entry.end) for entry in listed.exception_entries]

            def covered(offset: int) -> set[tuple[int, int]]:
                return {(start, end) for start, end in table if start <= offset < end}

            places = set()
            for before, after in itertools.pairwise(listed):
                if before.opname == "JUMP_BACKWARD":
                    places.add(before.offset)
                elif before.opname.startswith(("CALL", "RESUME")) and before.opname != "CALL_INTRINSIC_1":
                    if covered(before.offset) == covered(after.offset):
                        places.add(after.offset)
            self._places[code] = places
        return self._places[code]

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "call":
            name = frame.f_globals.get("__name__", "")
            if not name.startswith(self._modules) and not frame.f_code.co_filename.startswith("<launch"):
                return None
            frame.f_trace_opcodes = True
        elif event == "opcode" and frame.f_lasti in self._offsets(frame.f_code) and not _is_finalizing(frame):
            self._left -= 1
            if self._left == 0:
                raise KeyboardInterrupt
        return self._trace

    def run(
        self, function: Any, after: Any, *, least: int, whole_between: bool = sys.version_info >= (3, 13)
    ) -> None:
        """``after(interrupted)`` follows every call.

        An exception takes places out, and Python 3.13 traces the instructions of a function from its second call on: a whole call
        between brings all of them in, for functions that leave nothing behind.
        """
        for place in range(1, 10_000):
            if whole_between:
                self._traced(function, 0)
            interrupted = self._traced(function, place)
            after(interrupted)
            if not interrupted:
                assert place > least, "hardly anything was interrupted"
                return

    def _traced(self, function: Any, place: int) -> bool:
        """Call the function with an interrupt at a place, or nowhere (0); whether it came."""
        self._left = place
        # Python 3.12 looks at this before tracing begins
        sys._getframe().f_trace_opcodes = True
        sys.settrace(self._trace)
        try:
            function()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)
        return False


def _is_finalizing(frame: FrameType | None) -> bool:
    """Whether a frame runs for a finalizer: Python prints an exception there, and goes on."""
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
