"""From the high level to the low: linking to the portable library, all passes in order, and functions lowered before."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gpucore.ir.dtypes import bf16, f16, f32
from gpucore.ir.nodes import Call, Function, InitLocal, Load, Memory, Module, Op, Store, walk
from gpucore.ir.ops import BASELINE, is_linked, op_key
from gpucore.ir.passes.checks import Check, Site, checks
from gpucore.ir.passes.emit import Names, Rewriter, names_of
from gpucore.ir.passes.flatten import flatten_function
from gpucore.ir.passes.legalise import legalise
from gpucore.ir.passes.loop_limit import mark_loops
from gpucore.ir.passes.narrow import narrow_function
from gpucore.ir.passes.range_launches import coarsen, range_guard
from gpucore.ir.passes.simplify import simplify
from gpucore.ir.passes.sites import PrintSite, lower_prints
from gpucore.ir.verify import verify

if TYPE_CHECKING:
    from gpucore.ir.bounds.analysis import Bounds


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


_KEPT_FUNCTIONS = 512


@dataclass(frozen=True, slots=True)
class LowerOptions:
    """What a module is lowered for.

    Attributes
    ----------
    native, fast_native, atomics : frozenset[str]
        As in :class:`gpucore.hookspecs.Target`.
    check : Check
        What is checked; see :data:`gpucore.ir.passes.checks.Check`.
    range_launch : {"nd", "folded", "linear"} | None
        How a range launch is guarded; None for a launch with a grid and a block.
    small : bool
        Every array has fewer than 2**31 elements and no extent of 2**31 or more; every axis of the launch
        has fewer than 2**31 threads.
    noalias : bool
        Array parameters do not overlap, save where neither is written.
    library : Callable[[str], tuple[Function, ...]]
        ``gpucore.math.library``.
    block : tuple[int, ...] | None
        The block in array order where the code is made for one block alone: ids are bounded by it.
    items : int
        Elements a thread of a range launch takes along axis 0; above 1 only for kernels that ``can_coarsen``,
        with ``range_launch="nd"`` and a ``block``.
    double : bool
        Whether the device computes in f64; without it the routines for f32 do without.
    loop_limit : int | None
    speculates : bool
        As in :class:`gpucore.hookspecs.Target`.
    shared : tuple[int, ...]
        Elements of the shared memories whose extents come with the launch.
    """

    native: frozenset[str]
    library: Library
    fast_native: frozenset[str] = frozenset()
    atomics: frozenset[str] = frozenset()
    check: Check = False
    range_launch: Literal["nd", "folded", "linear"] | None = None
    small: bool = True
    noalias: bool = False
    block: tuple[int, ...] | None = None
    double: bool = True
    items: int = 1
    loop_limit: int | None = None
    speculates: bool = False
    shared: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Lowered:
    """A low-level module, and what the site numbers of its error record and of its prints mean."""

    module: Module
    sites: tuple[Site, ...] = ()
    prints: tuple[PrintSite, ...] = ()


def lower(module: Module, options: LowerOptions) -> Lowered:
    """Lower a linked high-level module for a target.

    Raises
    ------
    NotSupportedError
        For an atomic that the device lacks and that cannot be built; ``capability`` names it.
    """
    repeats = options.loop_limit is None
    module, sites = checks(
        module,
        check=options.check,
        bounds=_bounds(module, options),
        repeats=repeats,
        speculates=options.speculates,
    )
    module, prints = lower_prints(module, is_range=options.range_launch is not None)
    if options.items > 1 and options.block is not None:
        module = coarsen(module, options.items, options.block)
    else:
        module = range_guard(module, options.range_launch)
    allowed = BASELINE | options.native
    if module.math == "fast":
        allowed |= options.fast_native
    routines = _Routines(options.library, _Setting(allowed, options.double))
    for function in module.functions:
        routines.add(function)
    kernel = narrow_function(
        flatten_function(module.kernel, options.shared),
        small=options.small,
        block=options.block,
        items=options.items,
    )
    kernel = simplify(legalise(kernel, allowed, options.atomics, routines, double=options.double))
    functions = _reached(kernel, routines.functions)
    noalias = options.noalias or module.noalias
    lowered = Module(kernel, functions, module.ndim, module.math, module.subgroup, noalias)
    if options.loop_limit is not None:
        lowered, sites = mark_loops(lowered, options.loop_limit, sites)
        functions = lowered.functions
    verify(lowered, level="low", native=allowed, known=_KEPT.verified(functions, allowed))
    _KEPT.note_verified(functions, allowed)
    return Lowered(lowered, sites, prints)


def _bounds(module: Module, options: LowerOptions) -> Bounds | None:
    """What is known of the accesses; the host has found out the same before a launch."""
    if not options.check:
        return None
    from gpucore.ir.bounds.analysis import analyse

    is_range = options.range_launch is not None
    return analyse(module, is_range=is_range, small=options.small, block=options.block)


def _reached(kernel: Function, functions: dict[str, Function]) -> tuple[Function, ...]:
    """The functions that the kernel still calls, directly or not, callees first."""
    required = _called(kernel)
    kept: list[Function] = []
    for name, function in reversed(functions.items()):
        if name in required:
            kept.append(function)
            required |= _called(function)
    return tuple(reversed(kept))


def _called(function: Function) -> set[str]:
    return {s.function for s in walk(function.body) if type(s) is Call}


@dataclass(frozen=True, slots=True)
class _Setting:
    """What the code of a device function depends on."""

    allowed: frozenset[str]
    double: bool


class _Routines:
    """The device functions of a module, lowered, callees first; library routines come as they are asked
    for.
    """

    def __init__(self, library: Library, setting: _Setting) -> None:
        self.library = library
        self.setting = setting
        self.functions: dict[str, Function] = {}
        self._names: dict[str, str] = {}

    def name(self, key: str) -> str:
        """The name of the function for a key; the module will hold it."""
        name = self._names.get(key)
        if name is None:
            members = self.library(key)
            for member in members:
                self.add(member)
            name = self._names[key] = members[-1].name
        return name

    def add(self, function: Function) -> None:
        """Lower a function, or find it lowered before, and add it after what it calls."""
        if function.name in self.functions:
            return
        for needed in _KEPT.lowered(function, self.library, self.setting):
            self.functions.setdefault(needed.name, needed)


class _Kept:
    """Functions lowered before, the last function after those that lowering it brought in.

    Entries are found by identity: the library gives the same objects each time.  They hold their key alive,
    so an identity is never used twice.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._entries: OrderedDict[tuple[int, _Setting], tuple[Function, tuple[Function, ...]]]
        self._entries = OrderedDict()
        self._verified: OrderedDict[tuple[int, frozenset[str]], Function] = OrderedDict()

    def lowered(self, function: Function, library: Library, setting: _Setting) -> tuple[Function, ...]:
        key = (id(function), setting)
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
                return entry[1]
        # two threads may both do this; they come to the same
        routines = _Routines(library, setting)
        flat = narrow_function(flatten_function(function), small=True)
        done = simplify(legalise(flat, setting.allowed, frozenset(), routines, double=setting.double))
        members = (*routines.functions.values(), done)
        with self._lock:
            self._entries[key] = (function, members)
            while len(self._entries) > _KEPT_FUNCTIONS:
                self._entries.popitem(last=False)
        return members

    def verified(self, functions: tuple[Function, ...], allowed: frozenset[str]) -> frozenset[str]:
        """Names of the functions that the verifier has seen before."""
        with self._lock:
            return frozenset(f.name for f in functions if (id(f), allowed) in self._verified)

    def note_verified(self, functions: tuple[Function, ...], allowed: frozenset[str]) -> None:
        """The verifier has seen these."""
        with self._lock:
            for function in functions:
                self._verified[id(function), allowed] = function
            while len(self._verified) > _KEPT_FUNCTIONS:
                self._verified.popitem(last=False)


_KEPT = _Kept()
