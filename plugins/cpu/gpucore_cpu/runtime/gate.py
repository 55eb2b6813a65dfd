"""Gates: each stream has one, and what runs of the stream holds it, in whichever thread that is."""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any

from gpucore_cpu.runtime.gate_ir import CONDITION, GATE_WORDS, MUTEX, gate_ir
from gpucore_cpu.runtime.jit import load_kept

__all__ = ["Gate", "Native", "native"]

_POSIX = ("pthread_mutex_lock", "pthread_mutex_unlock", "pthread_cond_wait", "pthread_cond_broadcast")
_WINDOWS = (
    "AcquireSRWLockExclusive",
    "ReleaseSRWLockExclusive",
    "SleepConditionVariableSRW",
    "WakeAllConditionVariable",
)
_OPEN_SYMBOLS = ("gate_lock", "gate_unlock", "gate_wait", "gate_wake")

_ADDRESS, _SIZE, _BYTES, _CODE = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_int


@functools.cache  # making one takes longer than all else about a stream
def _system() -> Any:
    return getattr(ctypes, "windll").kernel32 if sys.platform == "win32" else ctypes.CDLL(None)  # noqa: B009


class Native:
    """The native functions of gates, loaded once a process.

    Those whose names begin with ``try_`` take a gate, do the work and give it back in one call.  They return 0, or 1 where
    somebody else holds the gate, or 2 where it is closed.
    """

    def __init__(self) -> None:
        system = _system()
        names = _WINDOWS if sys.platform == "win32" else _POSIX
        symbols = {
            symbol: ctypes.cast(getattr(system, name), ctypes.c_void_p).value or 0
            for symbol, name in zip(_OPEN_SYMBOLS, names, strict=True)
        }
        types: dict[str, tuple[Any, ...]] = {
            # takes bytes: an argument without a type goes by its address at once, where ctypes makes an object for one of
            # c_char_p before (60 of 380 ns of a launch, Python 3.12)
            "gpucore_try_launch": (_CODE,),
            "gpucore_try_graph": (_CODE, _ADDRESS, _ADDRESS, _ADDRESS, _SIZE),
            "gpucore_run_graph": (None, _ADDRESS, _ADDRESS, _SIZE),
            "gpucore_try_task": (_CODE, _ADDRESS, _BYTES),
            "gpucore_run_task": (None, _ADDRESS, _BYTES),
            "gpucore_try_move": (_CODE, _ADDRESS, _ADDRESS, _ADDRESS, _SIZE),
            "gpucore_try_fill": (_CODE, _ADDRESS, _ADDRESS, _SIZE, _BYTES, _SIZE),
            "gpucore_fill": (None, _ADDRESS, _SIZE, _BYTES, _SIZE),
            "gpucore_gate_enter": (_CODE, _ADDRESS),
            "gpucore_gate_leave": (None, _ADDRESS),
            "gpucore_gate_pass": (None, _ADDRESS),
            "gpucore_gate_close": (None, _ADDRESS),
        }
        self._code = load_kept("gate", gate_ir(), tuple(types), symbols)
        functions: dict[str, Any] = {
            name: ctypes.CFUNCTYPE(*prototype)(self._code.address(name)) for name, prototype in types.items()
        }
        self.try_launch = functions["gpucore_try_launch"]
        self.try_graph = functions["gpucore_try_graph"]
        self.run_graph = functions["gpucore_run_graph"]
        self.try_task = functions["gpucore_try_task"]
        self.run_task = functions["gpucore_run_task"]
        self.try_move = functions["gpucore_try_move"]
        self.try_fill = functions["gpucore_try_fill"]
        self.fill = functions["gpucore_fill"]
        self.enter = functions["gpucore_gate_enter"]
        self.leave = functions["gpucore_gate_leave"]
        self.pass_by = functions["gpucore_gate_pass"]
        self.close = functions["gpucore_gate_close"]


native = functools.cache(Native)
"""The functions, loaded when first asked for."""


class Gate:
    """Held by the one thread that runs work of a stream.

    Attributes
    ----------
    address : int
    state : memoryview
        Whose first element is the state, as :mod:`.gate_ir` names it.
    """

    __slots__ = ("_words", "address", "state")

    def __init__(self) -> None:
        self._words = (ctypes.c_int64 * (GATE_WORDS + 8))()
        start = ctypes.addressof(self._words)
        self.address = -(-start // 64) * 64
        self.state = memoryview(self._words).cast("B").cast("q")[(self.address - start) // 8 :]
        if sys.platform != "win32":
            libc = _system()
            libc.pthread_mutex_init(ctypes.c_void_p(self.address + 8 * MUTEX), None)
            libc.pthread_cond_init(ctypes.c_void_p(self.address + 8 * CONDITION), None)
