"""A few bytes of machine code of our own, for what no function of Python or NumPy does.

They lie in a page that is made executable once it can no longer be written, for as long as the process runs.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import sys
from typing import Final

__all__ = ["MachineCode", "runs_here"]

_READ_AND_EXECUTE: Final = 0x1 | 0x4


def runs_here() -> bool:
    """Whether code for Linux on x86-64 runs in this process."""
    return sys.platform == "linux" and platform.machine() == "x86_64" and sys.maxsize > 1 << 32


class MachineCode:
    """Code in a page of its own.

    Attributes
    ----------
    address : int
        Where it begins.

    Raises
    ------
    OSError
        Where the system refuses memory for code.
    """

    def __init__(self, code: bytes) -> None:
        memory = mmap.mmap(-1, mmap.PAGESIZE)
        memory.write(code)
        self._memory = (ctypes.c_char * mmap.PAGESIZE).from_buffer(memory)
        self.address = ctypes.addressof(self._memory)
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        if protect(self.address, mmap.PAGESIZE, _READ_AND_EXECUTE):
            raise OSError(ctypes.get_errno(), "the system refuses memory for code")
