"""Machine code loaded into this process, and its end in the right order."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import itertools
import sys
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from types import MappingProxyType

import llvmlite.binding as llvm

from gpucore.plugin_api import plugin_folder, read_kept, write_kept
from gpucore_cpu.host import host_target
from gpucore_cpu.toolchain import assemble, initialise
from gpucore_cpu.uninterrupted import uninterrupted

__all__ = ["LoadedCode", "load_kept"]

_lock = threading.RLock()
"""Held while code is loaded or unloaded; llvmlite itself lets one call in at a time."""
_dropped: deque[ExitStack] = deque()
"""What finalizers left to be unloaded."""
_unloaded = itertools.count(1)
"""How many were unloaded so far."""
TRIM_EVERY = 256
"""After so many, which took seconds to compile, going through the free memory (milliseconds) costs nothing to speak of."""
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
    finalizer holds both, out of the collector's reach.  It may run within any call into LLVM, and only notes what to
    unload, code first, when code is loaded or unloaded next.

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
        self._addresses, parts = uninterrupted(_link, builder, names)
        self._finalizer = weakref.finalize(self, _dropped.append, parts)
        # the process takes its memory along; a thread may still be in the code
        self._finalizer.atexit = False

    def address(self, name: str) -> int:
        """The address of one of the functions asked for."""
        return self._addresses[name]

    def close(self) -> None:
        """Unload the code; nothing may run it any more."""
        self._finalizer()
        uninterrupted(_unload_dropped)


def _link(builder: llvm.JITLibraryBuilder, names: Sequence[str]) -> tuple[dict[str, int], ExitStack]:
    """The addresses, and what to close in the end."""
    with _lock, ExitStack() as parts:
        _unload_all()
        linker = llvm.create_lljit_compiler(_machine(), use_jit_link=True, suppress_errors=True)
        parts.callback(linker.close)
        linked = builder.link(linker, "code")
        parts.callback(linked.close)
        return {name: int(linked[name]) for name in names}, parts.pop_all()


def _unload_dropped() -> None:
    with _lock:
        _unload_all()


def _unload_all() -> None:
    while _dropped:
        _dropped.popleft().close()
        if next(_unloaded) % TRIM_EVERY == 0:
            _trim()


def _trim() -> None:
    """Have the C library return free memory to the system: thousands of linkers that go at once leave it hundreds of MB."""
    # glibc alone keeps it, and has this
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if malloc_trim is not None:
        malloc_trim(0)


def load_kept(
    name: str, text: str, names: Sequence[str], symbols: Mapping[str, int] = _NOTHING
) -> LoadedCode:
    """Load LLVM IR of the plugin's own; its object code is kept for later processes."""
    folder = plugin_folder("cpu")
    identity = f"{llvm.llvm_version_info}, {host_target().arch}, {sys.platform}\n{text}"
    if folder is None:
        return LoadedCode(assemble(text), names, symbols)
    file = folder / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:32]}"
    data = read_kept(file)
    if data is not None:
        with suppress(RuntimeError):  # what LLVM does not take is made anew
            return LoadedCode(data, names, symbols)
    data = assemble(text)
    write_kept(file, data)
    return LoadedCode(data, names, symbols)
