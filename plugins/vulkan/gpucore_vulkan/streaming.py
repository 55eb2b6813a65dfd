"""Reading write-combined memory, which a graphics card's memory in the host's sight is.

A usual load from there crosses the bus by itself while the processor waits: an H200 gives 1 KiB in 18 us, however it is asked.
MOVNTDQA fetches whole lines of 64 bytes, several at a time (Intel 64 and IA-32 Architectures Software Developer's Manual,
volume 1, section 12.10.3): 1 KiB in 5 us, where a copy by the device takes 25. No function of Python or NumPy uses that
instruction.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gpucore_vulkan.machine_code import MachineCode, runs_here

__all__ = ["LINE", "streaming_read"]

LINE: Final = 64
_CODE: Final = bytes.fromhex(
    "0faef0"  # mfence: what an earlier call has fetched is not used again
    "660f382a06"  # movntdqa xmm0, [rsi]; the loop begins here
    "660f382a4e10"  # movntdqa xmm1, [rsi + 16]
    "660f382a5620"  # movntdqa xmm2, [rsi + 32]
    "660f382a5e30"  # movntdqa xmm3, [rsi + 48]
    "0f1107"  # movups [rdi], xmm0
    "0f114f10"  # movups [rdi + 16], xmm1
    "0f115720"  # movups [rdi + 32], xmm2
    "0f115f30"  # movups [rdi + 48], xmm3
    "4883c640"  # add rsi, 64
    "4883c740"  # add rdi, 64
    "4883ea40"  # sub rdx, 64
    "75cc"  # jnz to the loop's beginning
    "c3"  # ret
)
"""A function of target, source and bytes, by the calling convention of Linux; the source and the bytes are whole lines."""
_CALL: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)

Read = Callable[[int, int, int], None]


class _Code:
    """The function, for as long as the process runs."""

    def __init__(self, code: bytes) -> None:
        self._code = MachineCode(code)
        self.copy_lines = _CALL(self._code.address)

    def read(self, target: int, source: int, nbytes: int) -> None:
        """Copy, by way of memory between where that is not whole lines."""
        before = source % LINE
        span = before + nbytes
        if not nbytes:
            return
        if before or span % LINE:
            span += -span % LINE
            between = ctypes.create_string_buffer(span)
            address = ctypes.addressof(between)
            self.copy_lines(address, source - before, span)
            ctypes.memmove(target, address + before, nbytes)
        else:
            self.copy_lines(target, source, nbytes)


def _is_possible() -> bool:
    """Whether the processor has the instruction, and the code is for this system."""
    if not runs_here():
        return False
    try:
        return " sse4_1 " in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


@functools.cache
def streaming_read() -> Read | None:
    """What copies ``(target, source, nbytes)`` from write-combined memory; None where processor or system do not allow it.

    It reads whole lines of 64 bytes, which never reach into another page.
    """
    if not _is_possible():
        return None
    try:
        return _Code(_CODE).read
    except OSError:
        return None
