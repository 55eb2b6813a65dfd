"""Kernels of the plugin's own, for fills and copies that the driver does not do, or not fast."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from gpucore.hookspecs import CompileOptions, Target
from gpucore.ir import (
    Const,
    Extent,
    Function,
    If,
    Load,
    Memory,
    Module,
    Op,
    Stmt,
    Store,
    ThreadIndex,
    Value,
    bool_,
    dtype,
    i64,
)  # fmt: skip
from gpucore_vulkan.executables import Executable

if TYPE_CHECKING:
    from gpucore_vulkan.pipelines import PipelineContext

__all__ = ["Routines", "copy_module", "fill_module"]


class Routines:
    """The plugin's own kernels on one device, compiled when first asked for.  Thread-safe."""

    def __init__(self, pipelines: PipelineContext, target: Target) -> None:
        self._pipelines = pipelines
        self._target = target
        self._lock = threading.RLock()
        self._loaded: dict[str, Executable] = {}

    def executable(self, module: Module) -> Executable:
        """The loaded kernel of a module; found again by its name."""
        name = module.kernel.name
        with self._lock:
            if name not in self._loaded:
                from gpucore_vulkan.compiler import compile_module  # most programs need none of it

                code = compile_module(self._target, module, CompileOptions())
                self._loaded.setdefault(name, Executable(self._pipelines, code))
            return self._loaded[name]


def fill_module(bits: int) -> Module:
    """A low-level kernel that stores one number everywhere."""
    kind = dtype(f"u{bits}")
    target, number = Memory("target", kind, "global"), Value("number", kind)
    i, n, inside = Value("i", i64), Value("n", i64), Value("inside", bool_)
    body = (
        ThreadIndex(i, "global_id", 0), Extent(n, target, 0), Op(inside, "lt", (i, n)),
        If(inside, (Store(target, (i,), number),)),
    )  # fmt: skip
    return Module(Function(f"fill_u{bits}", (target, number), None, (), (), body))


def copy_module(words: int, block: int) -> Module:
    """A low-level kernel that copies ``words`` words a thread, a block apart; all are loaded before any is stored."""
    word = dtype("u32")
    target, source = Memory("target", word, "global"), Memory("source", word, "global")
    b, t, span, start = (Value(name, i64) for name in ("b", "t", "span", "start"))
    body: list[Stmt] = [
        ThreadIndex(b, "block_id", 0), ThreadIndex(t, "thread_id", 0), Const(span, words * block),
        Op(start, "mul", (b, span)), Op(place := Value("i0", i64), "add", (start, t)),
    ]  # fmt: skip
    places = [place]
    for k in range(1, words):
        step, place = Value(f"step{k}", i64), Value(f"i{k}", i64)
        body += [Const(step, k * block), Op(place, "add", (places[0], step))]
        places.append(place)
    loaded = [Value(f"w{k}", word) for k in range(words)]
    body += [Load(value, source, (place,)) for value, place in zip(loaded, places, strict=True)]
    body += [Store(target, (place,), value) for value, place in zip(loaded, places, strict=True)]
    function = Function(f"copy_{words}x{block}", (target, source), None, (), (), tuple(body))
    return Module(function, noalias=True)
