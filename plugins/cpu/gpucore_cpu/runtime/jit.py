"""Machine code loaded into this process, and its end in the right order."""

from __future__ import annotations

import threading
import weakref
from contextlib import ExitStack

import llvmlite.binding as llvm

from gpucore_cpu.toolchain import initialise

__all__ = ["LoadedCode"]

_lock = threading.Lock()
"""Held while code is loaded; not while it goes, which may happen in a collection within any call into LLVM.
llvmlite itself lets one call in at a time."""


class LoadedCode:
    """An LLVM execution engine with the LLVM context that it needs until its end.

    LLVM crashes when a context goes before the modules in it.  A cyclic collection takes objects in any order,
    so a finalizer holds both, out of the collector's reach, and disposes of the engine first.

    Parameters
    ----------
    source : str
        LLVM IR.
    data : bytes, optional
        A relocatable object.
    opt : int
        How much the code generator optimises.
    """

    def __init__(self, source: str = "", data: bytes | None = None, opt: int = 2) -> None:
        initialise()
        with _lock, ExitStack() as parts:
            context = llvm.create_context()
            parts.callback(context.close)
            module = llvm.parse_assembly(source, context)
            parts.callback(module.close)
            models = {} if data is None else {"codemodel": "small", "reloc": "pic"}
            machine = llvm.Target.from_default_triple().create_target_machine(opt=opt, **models)
            self._engine = llvm.create_mcjit_compiler(module, machine)
            parts.callback(self._engine.close)
            if data is not None:
                self._engine.add_object_file(llvm.ObjectFileRef.from_data(data))
            self._engine.finalize_object()
            self._finalizer = weakref.finalize(self, parts.pop_all().close)
        # the process takes its memory along; a thread may still be in the code
        self._finalizer.atexit = False

    def address(self, name: str) -> int:
        """The address of a function."""
        with _lock:
            address: int = self._engine.get_function_address(name)
        return address

    def close(self) -> None:
        """Unload the code; nothing may run it any more."""
        self._finalizer()
