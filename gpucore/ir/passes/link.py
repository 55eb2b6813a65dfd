"""Linking: mathematical functions become calls of the portable library."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gpucore.ir.dtypes import bf16, f16, f32
from gpucore.ir.nodes import Call, Function, InitLocal, Load, Memory, Module, Op, Store, walk
from gpucore.ir.ops import is_linked, op_key
from gpucore.ir.passes.emit import Names, Rewriter, names_of

Library = Callable[[str], tuple[Function, ...]]
"""``library("exp.f32")``: the functions that implement a key, callees first, the one for the key itself
last.
"""


def link(module: Module, library: Library, keep: frozenset[str] = frozenset()) -> Module:
    """Replace each mathematical operation on floats by a call; f16 and bf16 go through f32.

    Parameters
    ----------
    module : Module
        High level.
    library : Callable[[str], tuple[Function, ...]]
        Gives the functions of a key such as ``"exp.f32"``.
    keep : frozenset[str]
        In fast mode, the keys that stay operations (the target's ``fast_native``); strict mode links all.
    """
    linker = Linker(library, keep if module.math == "fast" else frozenset())
    functions = [linker.function(f) for f in module.functions]
    kernel = linker.function(module.kernel)
    if kernel is module.kernel and not linker.functions:
        return module
    known = {f.name for f in functions}
    added = [f for name, f in linker.functions.items() if name not in known]
    return Module(kernel, (*added, *functions), module.ndim, module.math, module.subgroup, module.noalias)


class Linker:
    """Collects the library functions that are asked for, callees first."""

    def __init__(self, library: Library, keep: frozenset[str]) -> None:
        self.library = library
        self.keep = keep
        self.functions: dict[str, Function] = {}
        self._names: dict[str, str] = {}

    def name(self, key: str) -> str:
        """The name of the function that implements a key; it and its callees are added."""
        name = self._names.get(key)
        if name is None:
            members = self.library(key)
            name = self._names[key] = members[-1].name
            for member in members:
                if member.name not in self.functions:
                    linked = self.function(member)
                    self.functions[member.name] = linked
        return name

    def function(self, function: Function) -> Function:
        """The function with its mathematical operations replaced."""
        if not any(
            type(s) is Op and is_linked(s.op) and s.args[0].dtype.is_float for s in walk(function.body)
        ):
            return function
        rewriter = _Link(Names(names_of(function)), self)
        body = rewriter.block(function.body)
        return Function(
            function.name, function.params, function.result, function.variables, function.memories, body
        )


def renamed(function: Function, names: Mapping[str, str], prefix: str) -> Function:
    """The function and its calls under other names where ``names`` has one; its memories with a prefix."""
    memories = {
        m.name: Memory(f"{prefix}.{m.name}", m.dtype, m.space, m.rank, m.shape, m.values)
        for m in function.memories
    }
    return Function(
        names.get(function.name, function.name),
        function.params,
        function.result,
        function.variables,
        tuple(memories.values()),
        _Rename(names, memories).block(function.body),
    )


class _Rename(Rewriter):
    def __init__(self, functions: Mapping[str, str], memories: Mapping[str, Memory]) -> None:
        super().__init__(Names(set()))
        self.functions = functions
        self.memories = memories

    def on_call(self, s: Call) -> None:
        self.out.append(Call(s.result, self.functions.get(s.function, s.function), s.args, s.loc))

    def on_load(self, s: Load) -> None:
        self.out.append(Load(s.result, self.memories[s.memory.name], s.indices, s.loc))

    def on_store(self, s: Store) -> None:
        self.out.append(Store(self.memories[s.memory.name], s.indices, s.value, s.loc))

    def on_init_local(self, s: InitLocal) -> None:
        self.out.append(InitLocal(self.memories[s.memory.name], s.loc))


class _Link(Rewriter):
    def __init__(self, names: Names, linker: Linker) -> None:
        super().__init__(names)
        self.linker = linker

    def on_op(self, s: Op) -> None:
        dtype = s.args[0].dtype
        if not is_linked(s.op) or not dtype.is_float:
            super().on_op(s)
            return
        keep = self.linker.keep
        if op_key(s.op, tuple(a.dtype for a in s.args), dtype) in keep:
            super().on_op(s)
            return
        wide = f32 if dtype is f16 or dtype is bf16 else dtype
        args = tuple(self.cast(a, wide) if a.dtype.is_float else a for a in self.vs(s.args))
        key = f"{s.op}.{wide.name}"
        given = wide if s.result.dtype.is_float else s.result.dtype
        if key in keep:
            result = self.op(s.op, *args)
        else:
            result = self.call(self.linker.name(key), given, *args)
        self.replaced[s.result.name] = self.cast(result, s.result.dtype)
