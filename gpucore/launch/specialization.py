"""Kernels of the kernel language: from captured source to typed modules and programs."""

from __future__ import annotations

import contextlib
import functools
import linecache
import threading
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from gpucore._messages import shown_file
from gpucore.compile.pipeline import (
    Program,
    RangeKind,
    Variant,
    compile_program,
    known_bounds,
    lower,
    once,
    program_key,
)
from gpucore.errors import KernelTypeError, LaunchError, RaceWarning, WrapWarning
from gpucore.ir import nodes
from gpucore.ir.choices import CHOICES, chosen
from gpucore.ir.ops import is_linked
from gpucore.ir.records import RecordType, array_name
from gpucore.ir.text import print_module
from gpucore.lang.types import ArgumentType, ArrayType, ConstValue
from gpucore.launch.arguments import RecordConverter, component_views, example_type, with_default_float
from gpucore.launch.kernel import Kernel, Parameter
from gpucore.launch.shapes import check_multiple
from gpucore.runtime.array import Array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpucore.compile.pipeline import Toolchain
    from gpucore.hookspecs import Target
    from gpucore.ir.bounds.analysis import Bounds
    from gpucore.ir.passes.checks import Check
    from gpucore.lang import Captured
    from gpucore.lang.accumulators import NarrowSum
    from gpucore.launch.launch_conditions import BoundsSummary
    from gpucore.runtime.state import ContextState

__all__ = ["LanguageSource", "LanguageSpecialization"]

Math = Literal["strict", "fast"]


@dataclass(eq=False)
class LanguageSpecialization:
    """One specialization of a kernel: its linked, high-level module.

    Attributes
    ----------
    module : Module
    plain : Module
        Before linking.
    written : frozenset[str]
        Names of the arrays that it writes.
    """

    name: str
    plain: nodes.Module
    module: nodes.Module
    written: frozenset[str]
    traits: Any
    owner: Any

    def check_range(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise where the kernel depends on how threads are grouped, which a range launch leaves open, or where
        threads along an axis that it does not look at would all store to the same elements.
        """
        if self._obstacles:
            raise LaunchError(
                f"{name} uses {', '.join(self._obstacles)}, and a range launch chooses the blocks itself; "
                f"launch it with {name}[grid, block](...)"
            )
        read = self._read_axes
        if read is None:
            return
        for axis, extent in enumerate(shape):
            if extent > 1 and axis not in read:
                raise LaunchError(
                    f"{name} is launched over {shape}, but never reads gc.global_id({axis}): the {extent} "
                    "threads along that axis would all store to the same elements; use the id, or leave the axis out"
                )

    @functools.cached_property
    def _obstacles(self) -> list[str]:
        """What in the kernel a range launch cannot serve, in words."""
        return range_obstacles(self.traits)

    @functools.cached_property
    def needs_block(self) -> bool:
        """Whether compiled code may depend on the block's shape."""
        return bool(self._obstacles)

    @functools.cached_property
    def sized_module(self) -> nodes.Module | None:
        """The module, where the launch decides the shape of a shared array."""
        return self.module if any(not m.shape for m in self.module.kernel.memories) else None

    @functools.cached_property
    def block_multiple(self) -> int:
        """What the number of threads in a block is a multiple of."""
        return 32 if self.traits.uses_tiles else 1

    @functools.cached_property
    def _read_axes(self) -> frozenset[int] | None:
        """The axes whose ids the kernel reads, where each needs to be read; None where any may be left out."""
        statements = list(nodes.walk(self.plain.kernel.body))
        read = frozenset(s.axis for s in statements if isinstance(s, nodes.ThreadIndex))
        stores = any(isinstance(s, nodes.Store) and s.memory.space == "global" for s in statements)
        atomics = any(isinstance(s, (nodes.Atomic, nodes.AtomicCas)) for s in statements)
        return read if read and stores and not atomics else None

    def variant(
        self, check: Check, kind: RangeKind, small: bool, noalias: bool, block: tuple[int, ...], items: int
    ) -> Variant:
        """How the module is compiled for a launch."""
        wanted = items > 1 or self.needs_block
        return Variant(check, kind, small, noalias, block if wanted else None, items)

    def bounds(self, *, is_range: bool, small: bool, block: tuple[int, ...] | None) -> Bounds:
        """What is known of its accesses."""
        key = (is_range, small, block)
        found = self._bounds.get(key)
        if found is None:
            from gpucore.ir.bounds.analysis import analyse

            # two threads may both do this; they come to the same
            found = analyse(self.module, is_range=is_range, small=small, block=block)
            found = self._bounds.setdefault(key, found)
        return found

    def bounds_summary(
        self,
        state: ContextState,
        candidates: Sequence[Variant],
        *,
        is_range: bool,
        small: bool,
        block: tuple[int, ...] | None,
    ) -> BoundsSummary:
        """What launches need to know of its accesses; from the cache, where one of the candidates was compiled before."""
        from gpucore.launch.launch_conditions import BoundsSummary

        key = (is_range, small, block)
        found = self._summaries.get(key)
        if found is None:
            if key not in self._bounds:
                # the one that is the likelier to be there is read first
                for variant in sorted(candidates, key=lambda v: bool(v.check) is not self._follows_data):
                    program = program_key(state.toolchain, self.module, variant, self._text)
                    found = BoundsSummary.from_json(known_bounds(program[0], state.settings))
                    if found is not None:
                        self._key_of[variant] = state.toolchain, program
                        break
            if found is None:
                found = BoundsSummary.of(self.bounds(is_range=is_range, small=small, block=block))
            found = self._summaries.setdefault(key, found)
        for variant in candidates:
            self._summary_of[variant] = found
        return found

    @functools.cached_property
    def _follows_data(self) -> bool:
        """Whether it seems that what it loads decides where it accesses: a guess, made in passing."""
        loaded: set[str] = set()
        for s in nodes.walk(self.module.kernel.body):
            match s:
                case (
                    nodes.Load(result=result, indices=indices) | nodes.Atomic(result=result, indices=indices)
                ):
                    if any(i.name in loaded for i in indices):
                        return True
                    loaded.add(result.name)
                case nodes.Store(indices=indices):
                    if any(i.name in loaded for i in indices):
                        return True
                case nodes.Op(result=result, args=args) if any(a.name in loaded for a in args):
                    loaded.add(result.name)
        return False

    @functools.cached_property
    def _text(self) -> str:
        """The module's, without locations: part of the keys of the cache."""
        return print_module(self.module, locations=False)

    @functools.cached_property
    def _summaries(self) -> dict[tuple[bool, bool, tuple[int, ...] | None], BoundsSummary]:
        return {}

    @functools.cached_property
    def _summary_of(self) -> dict[Variant, BoundsSummary]:
        """What is kept with the code of a variant."""
        return {}

    @functools.cached_property
    def _key_of(self) -> dict[Variant, tuple[Toolchain, tuple[str, dict[str, str]]]]:
        """The keys of variants that were found in the cache, until they are loaded."""
        return {}

    @functools.cached_property
    def _bounds(self) -> dict[tuple[bool, bool, tuple[int, ...] | None], Bounds]:
        return {}

    @functools.cached_property
    def can_coarsen(self) -> bool:
        """Whether a thread of a range launch may take several elements, and gains by it."""
        from gpucore.ir.passes.range_launches import can_coarsen

        return can_coarsen(self.module)

    def is_loaded(self, state: ContextState, variant: Variant) -> bool:
        """Whether this process has the program on the device."""
        return variant in state.device._programs.get(self, {})

    def program(self, state: ContextState, variant: Variant) -> Program:
        """The program for a launch, compiled where there is none yet."""
        device = state.device
        with device._lock:
            table = device._programs.setdefault(self, {})

        def make() -> Program:
            device._unload_if_idle()
            with nesting(self.owner):
                summary = self._summary_of.get(variant)
                toolchain, key = self._key_of.pop(variant, (None, None))
                program = compile_program(
                    state.toolchain,
                    self.module,
                    variant,
                    state.settings,
                    self.name,
                    text=self._text,
                    bounds=None if summary is None else summary.to_json(),
                    keyed=key if toolchain is state.toolchain else None,
                )
            table[variant] = program
            return program

        found: Program = once((id(device), id(self), variant), lambda: table.get(variant), make)
        return found


class LanguageSource:
    """A captured kernel and its specializations."""

    def __init__(self, captured: Captured, subgroup: int | None, math: Math | None) -> None:
        self.captured = captured
        self.subgroup = subgroup
        self.math = math
        self._lock = threading.RLock()
        self._specializations: dict[Any, LanguageSpecialization] = {}
        self._warned: set[tuple[type[Warning], str, nodes.Loc | None]] = set()

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters; annotations are resolved when first asked for."""
        return self.captured.parameters

    def watched(self, types: tuple[ArgumentType, ...]) -> list[tuple[Any, str, Any]]:
        """Where the captured constants live: a mapping or an object, the name in it, the value now."""
        return self.captured.watched(types)

    def constants(self, types: tuple[ArgumentType, ...]) -> tuple[Any, ...]:
        """The captured constants as they are now."""
        return self.captured.constants(types)

    def specialize(
        self, types: tuple[ArgumentType, ...], ndim: int, math: Math, target: Target | None
    ) -> LanguageSpecialization:
        """The specialization for these types on devices of a target; built and linked once."""
        keep: frozenset[str] = frozenset()
        if target is not None:
            keep = (target.fast_native if math == "fast" else keep) | (target.features & CHOICES)
        key = (types, ndim, math, self.constants(types), keep)
        found = self._specializations.get(key)
        if found is not None:
            return found
        with self._lock:
            found = self._specializations.get(key)
            if found is None:
                found = self._build(types, ndim, math, keep)
                if len(self._specializations) >= 256:
                    self._specializations.pop(next(iter(self._specializations)))
                self._specializations[key] = found
            return found

    def _build(
        self, types: tuple[ArgumentType, ...], ndim: int, math: Math, keep: frozenset[str]
    ) -> LanguageSpecialization:
        from gpucore import lang

        narrow: list[NarrowSum] = []
        plain = lang.build(self.captured, types, ndim=ndim, math=math, subgroup=self.subgroup, narrow=narrow)
        with nesting(self.captured):
            linked = _linked(plain, keep)
            traits = lang.traits(plain)
            if traits.race is not None and traits.race.by_id:
                self._warn(
                    RaceWarning,
                    f"{traits.race}. Which one stays is not fixed: use gc.atomic_add or another atomic, or store "
                    "to elements that the thread's id keeps apart. Where the data keeps them apart, silence this warning",
                    traits.race.loc,
                )
            for found in narrow:
                self._warn(WrapWarning, str(found), found.loc, found.name)
            return LanguageSpecialization(
                plain.kernel.name,
                plain,
                linked,
                frozenset(map(array_name, nodes.written_arrays(plain))),
                traits,
                self.captured,
            )

    def _warn(self, category: type[Warning], message: str, loc: nodes.Loc | None, of: str = "") -> None:
        """Say once of a kernel that it races, and once of each accumulator that it may wrap, at the user's line."""
        told = (category, of, loc if of else None)
        if told in self._warned:
            return
        self._warned.add(told)
        file, line = (loc.file, loc.line) if loc is not None else (self.captured.filename, 1)
        # the name of a cell is no file that Python could read the line from
        source = f"\n  {linecache.getline(file, line).strip()}" if shown_file(file) != file else ""
        warnings.warn_explicit(
            f"{self.captured.name}: {message} (gpucore.errors.{category.__name__}){source}",
            category,
            shown_file(file),
            line,
        )

    # --- without a device
    def module(self, values: tuple[Any, ...], ndim: int | None, math: Math) -> nodes.Module:
        """The typed IR for example arguments."""
        return self._for(values, ndim, math, None).plain

    def _for(
        self, values: tuple[Any, ...], ndim: int | None, math: Math, target: Target | None
    ) -> LanguageSpecialization:
        examples = [example_type(p, v) for p, v in zip(self.parameters, values, strict=True)]
        types = with_default_float(self.parameters, values, examples)
        if ndim is not None:
            return self.specialize(types, ndim, math, target)
        failure: Exception | None = None
        for axes in range(1, nodes.MOST_AXES + 1):
            try:
                return self.specialize(types, axes, math, target)
            except (KernelTypeError, SyntaxError) as error:
                failure = failure or error
        assert failure is not None
        raise failure

    def portability(self) -> tuple[bool, str]:
        """Whether the same bits are promised, and why not."""
        from gpucore import lang

        return lang.portability(self.captured, self.subgroup, self.math)

    def render(self, kernel: Kernel, backend: str, values: tuple[Any, ...]) -> str:
        """The source that a backend would compile, for its default target."""
        from gpucore.backends import discovery
        from gpucore.compile.capabilities import refuse_newer
        from gpucore.hookspecs import CompileOptions

        hooks = discovery.bind(backend, discovery.load(backend))
        target = hooks.target(None)
        specialization = self._for(values, None, kernel.math or "strict", target)
        with nesting(self.captured):
            low = lower(specialization.module, target, Variant(small=True, noalias=True)).module
            refuse_newer(low, hooks.ir_version, backend, kernel.__name__)
            return hooks.render(target, low, CompileOptions())

    def interpret(
        self,
        kernel: Kernel,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        values: tuple[Any, ...],
        *,
        subgroup_size: int,
        detect_races: bool,
        shape: tuple[int, ...] | None = None,
    ) -> frozenset[str]:
        """Run the linked module with the interpreter; the names of the arrays that it writes.

        Parameters
        ----------
        shape : tuple[int, ...], optional
            Of a range launch, which refuses kernels that look at their blocks.
        """
        from gpucore.ir.interpreter import interpret
        from gpucore.ir.verify import verify

        examples = [
            example_type(p, v, who=f"{kernel.__name__}: the argument {p.name!r}")
            for p, v in zip(self.parameters, values, strict=True)
        ]
        types = with_default_float(self.parameters, values, examples)
        for parameter, value in zip(self.parameters, values, strict=True):
            if isinstance(value, Array):
                raise LaunchError(
                    f"{kernel.__name__}: the argument {parameter.name!r} is on a device; "
                    f"{kernel.__name__}[grid, block].interpret(...) takes Arrays too, here give .numpy()"
                )
        specialization = self.specialize(types, len(grid), kernel.math or "strict", None)
        if shape is not None:
            specialization.check_range(kernel.__name__, shape)
        else:
            check_multiple(kernel.__name__, block, specialization.block_multiple)
        run = [
            part
            for parameter, value, type_ in zip(self.parameters, values, types, strict=True)
            for part in _interpreted(f"{kernel.__name__}: the argument {parameter.name!r}", value, type_)
        ]
        with nesting(self.captured):
            verify(specialization.module, level="high")
            interpret(
                specialization.module,
                grid,
                block,
                run,
                subgroup_size=subgroup_size,
                detect_races=detect_races,
            )
        return specialization.written


def nesting(captured: Any) -> contextlib.AbstractContextManager[None]:
    """Turns the end of Python's stack into an error at the kernel's deepest line."""
    from gpucore import lang

    return lang.not_too_deep(captured)


def _linked(module: nodes.Module, keep: frozenset[str]) -> nodes.Module:
    """The module with its math functions and the code for a target; passes are imported only where they are needed."""
    if module.subgroup not in (None, 32):
        keep = frozenset(k for k in keep if not k.endswith("=lanes"))
    module = replace(module, kernel=chosen(module.kernel, keep))
    functions = (module.kernel, *module.functions)
    if not any(isinstance(s, nodes.Op) and is_linked(s.op) for f in functions for s in nodes.walk(f.body)):
        return module
    from gpucore.ir.passes import link
    from gpucore.math import library

    return link(module, library, keep)


def _interpreted(who: str, value: Any, type_: ArgumentType) -> list[Any]:
    """What the interpreter is given for an argument."""
    if isinstance(type_, ConstValue):
        return []
    if not isinstance(type_.dtype, RecordType):
        return [value]
    if isinstance(type_, ArrayType):
        return list(component_views(type_.dtype, value))
    return list(RecordConverter(type_.dtype, who)(value))


def range_obstacles(traits: Any) -> list[str]:
    """What in a kernel a range launch cannot serve, in words."""
    named = {
        "uses_thread_ids": "thread or block ids",
        "uses_shared": "shared memory",
        "uses_barriers": "barriers",
        "uses_subgroups": "subgroup operations",
    }
    return [words for attribute, words in named.items() if getattr(traits, attribute)]
