"""Machine code loaded into this process, and its end in the right order."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import MappingProxyType

import llvmlite.binding as llvm

from gpucore_cpu.toolchain import initialise

__all__ = ["LoadedCode"]

_lock = threading.Lock()
"""Held while code is loaded; not while it goes, which may happen in a collection within any call into LLVM.
llvmlite itself lets one call in at a time."""
_NOTHING: Mapping[str, int] = MappingProxyType({})


@functools.cache
def _machine() -> llvm.TargetMachine:
    """What the objects are for, as linkers ask it; one serves them all."""
    initialise()
    return llvm.Target.from_default_triple().create_target_machine(codemodel="small", reloc="pic")


class LoadedCode:
    """A relocatable object, linked by JITLink into memory of its own.

    JITLink gives all sections of an object one range of addresses, wherever in the address space that is.  Each object
    has a linker of its own: one for all of them would keep a record of every object that it ever linked.

    A cyclic collection takes objects in any order, and LLVM crashes when a linker goes before what it linked; so a
    finalizer holds both, out of the collector's reach, and unloads the code first.

    Parameters
    ----------
    data : bytes
        The object file.
    names : sequence of str
        The functions whose addresses are wanted.
    symbols : mapping of str to int, optional
        Addresses of what neither the object nor the process defines.

    Raises
    ------
    RuntimeError
        When LLVM refuses the object, or a symbol is missing.
    """

    def __init__(self, data: bytes, names: Sequence[str], symbols: Mapping[str, int] = _NOTHING) -> None:
        builder = llvm.JITLibraryBuilder().add_object_img(data)
        for name in names:
            builder.export_symbol(name)
        for name, address in symbols.items():
            builder.import_symbol(name, address)
        with _lock, ExitStack() as parts:
            linker = llvm.create_lljit_compiler(_machine(), use_jit_link=True, suppress_errors=True)
            parts.callback(linker.close)
            linked = builder.link(linker, "code")
            parts.callback(linked.close)
            self._addresses = {name: int(linked[name]) for name in names}
            self._finalizer = weakref.finalize(self, parts.pop_all().close)
        # the process takes its memory along; a thread may still be in the code
        self._finalizer.atexit = False

    def address(self, name: str) -> int:
        """The address of one of the functions asked for."""
        return self._addresses[name]

    def close(self) -> None:
        """Unload the code; nothing may run it any more."""
        self._finalizer()
