"""From captured functions to IR: the interface of the kernel language."""

from __future__ import annotations

import ast
import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from gpucore.errors import GpucoreError, KernelSyntaxError, KernelTypeError
from gpucore.ir import nodes as ir
from gpucore.ir.choices import chosen
from gpucore.ir.dtypes import DType, i32
from gpucore.ir.records import RecordType
from gpucore.lang.accumulators import NarrowSum
from gpucore.lang.builder import build_kernel, build_pure
from gpucore.lang.capture import Captured, DeviceFunction, capture
from gpucore.lang.diagnostics import Source
from gpucore.lang.hazards import Race, divergent_barrier, visible_race
from gpucore.lang.operands import Array, Operand, Typed, wrap_python
from gpucore.lang.record_values import parameter_array, parameter_record
from gpucore.lang.syntax import Impure, Library
from gpucore.lang.types import (
    REQUIRED,
    ArgumentType,
    ArrayType,
    ConstValue,
    Parameter,
    ScalarType,
    float_rule,
)

__all__ = ["Traits", "build", "build_function", "not_too_deep", "portability", "traits"]

MOST_CALLS = 25
"""Device functions that call one another this deep are why a recursion ends, where one ends."""


def build(
    captured: Captured,
    arguments: Sequence[ArgumentType],
    *,
    ndim: int = 1,
    math: Literal["strict", "fast"] = "strict",
    subgroup: int | None = None,
    inline_functions: bool = False,
    narrow: list[NarrowSum] | None = None,
) -> ir.Module:
    """Compile a captured kernel for argument types to a high-level module.

    Accumulators that may wrap before they are widened are added to ``narrow``.

    Raises
    ------
    KernelSyntaxError, KernelTypeError
        At the user's line.
    """
    try:
        with not_too_deep(captured):
            return _build(captured, tuple(arguments), ndim, math, subgroup, inline_functions, narrow)
    except GpucoreError as error:
        failure = error.with_traceback(None)
        failure.__cause__ = failure.__context__ = None
    raise failure


@contextlib.contextmanager
def not_too_deep(captured: Captured) -> Iterator[None]:
    """Refuse a kernel that nests deeper than Python's stack lets it be compiled, at its deepest line."""
    try:
        yield
    except RecursionError:
        pass
    else:
        return
    deepest: ast.AST = captured.definition
    level = [deepest]
    while level:
        following = [child for node in level for child in ast.iter_child_nodes(node)]
        deepest = next((node for node in following if hasattr(node, "lineno")), deepest)
        level = following
    captured.source.syntax_error(
        deepest,
        "this nests too deep to be compiled",
        "Split it: give parts of a long expression names of their own, and a long chain of elif to several ifs "
        "or functions.",
    )


def _build(
    captured: Captured,
    arguments: tuple[ArgumentType, ...],
    ndim: int,
    math: Literal["strict", "fast"],
    subgroup: int | None,
    inline_functions: bool,
    narrow: list[NarrowSum] | None,
) -> ir.Module:
    parameters = captured.parameters
    if len(parameters) != len(arguments):
        raise KernelTypeError(
            f"{captured.name} has {len(parameters)} parameters, and {len(arguments)} types were given"
        )
    params: list[ir.Memory | ir.Value] = []
    bindings: dict[str, Operand] = {}
    for parameter, argument in zip(parameters, arguments, strict=True):
        match argument:
            case ArrayType(RecordType() as record, rank, layout):
                bindings[parameter.name], memories = parameter_array(parameter.name, record, rank, layout)
                params.extend(memories)
            case ScalarType(RecordType() as record):
                bindings[parameter.name], values = parameter_record(parameter.name, record)
                params.extend(values)
            case ArrayType(dtype, rank, layout):
                memory = ir.Memory(parameter.name, dtype, "global", rank, layout=layout)
                params.append(memory)
                bindings[parameter.name] = Array(memory)
            case ScalarType(dtype):
                value = ir.Value(parameter.name, dtype)
                params.append(value)
                bindings[parameter.name] = Typed(value)
            case ConstValue(value=constant):
                bindings[parameter.name] = wrap_python(constant)
    library = Library(inline_functions, float_rule(parameters, arguments))
    try:
        kernel = build_kernel(captured, library, ndim, tuple(params), bindings)
    except RecursionError:
        if library.deepest < MOST_CALLS:
            raise
        captured.source.syntax_error(
            captured.definition,
            f"its functions call one another {library.deepest} deep or more, which is too deep to compile",
            "Let one function do the work of several, or write a loop.",
        )
    used = {s.function for s in ir.walk(kernel.body) if isinstance(s, ir.Call)}
    found = divergent_barrier(chosen(kernel))
    if found is not None:
        _refuse_barrier([captured, *library.inlined], *found)
    if narrow is not None:
        narrow += library.narrow
    module = ir.Module(kernel, _reached(library.order, used), ndim, math, subgroup)
    for s in kernel.body:
        if isinstance(s, ir.Allocate):
            _refuse_unknown_size([captured, *library.inlined], module, s)
    return module


def _refuse_unknown_size(functions: list[Captured], module: ir.Module, s: ir.Allocate) -> None:
    """Refuse a shared array whose size the host does not find out before the launch."""
    from gpucore.ir.bounds.analysis import analyse

    bounds = analyse(module, is_range=False, small=True)
    if not all(bounds.atoms.is_host(size.poly) for size in bounds.sizes[s.memory.name]):
        source, node = _at(functions, s.loc)
        source.type_error(
            node,
            "the host does not know the shape of this array before the launch",
            "Make it of scalar parameters, extents, gc.block_dim(0) and numbers, with + - * // % min max.",
        )


def _reached(functions: list[ir.Function], used: set[str]) -> tuple[ir.Function, ...]:
    """The functions that the kernel calls, callees first; what earlier passes left over is dropped."""
    by_name = {f.name: f for f in functions}
    needed: set[str] = set()
    pending = list(used)
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending += [s.function for s in ir.walk(by_name[name].body) if isinstance(s, ir.Call)]
    return tuple(f for f in functions if f.name in needed)


def _at(functions: list[Captured], place: ir.Loc | None) -> tuple[Source, ast.AST]:
    """The source that a place is in, and a node there."""
    source, node = functions[0].source, ast.Pass(lineno=1, col_offset=0)
    if place is not None:
        source = next((c.source for c in functions if c.source.holds(place)), source)
        node.lineno = place.line - source.first + 1
        node.col_offset = max(place.column - source.indent, 0)
    return source, node


def _refuse_barrier(functions: list[Captured], place: ir.Loc, reason: ir.Loc | None) -> None:
    """Refuse a barrier where it stands: in the kernel, or in a device function that was inlined."""
    source, node = _at(functions, place)
    why = f" (line {reason.line} decides)" if reason is not None else ""
    source.syntax_error(
        node,
        f"not every thread of the block reaches this barrier: it depends on a thread id{why}",
        "Move the barrier out of the branch or the loop; let all threads pass it and guard the work instead.",
    )


def build_function(function: Any, dtypes: tuple[DType, ...], name: str) -> tuple[ir.Function, ...]:
    """Compile a device function on scalars, and what it calls, callees first.

    Raises
    ------
    KernelTypeError
        When it does more than compute on scalars.
    """
    if not isinstance(function, DeviceFunction):
        function = DeviceFunction(capture(function, device=True))
    library = Library()
    library.calling.append((function,))
    names = [p.name for p in function.captured.parameters]
    try:
        built = build_pure(function, dict(zip(names, dtypes, strict=True)), {}, library, name)
    except Impure as impure:
        raise KernelTypeError(f"{function.__name__} is no function of scalars: it has {impure}") from None
    used = {s.function for s in ir.walk(built.body) if isinstance(s, ir.Call)}
    return (*_reached(library.order, used), built)


@dataclass(frozen=True)
class Traits:
    """What a kernel uses, whether its bits are promised on every device, and the first race that can be read off it."""

    uses_thread_ids: bool
    uses_shared: bool
    uses_barriers: bool
    uses_subgroups: bool
    uses_atomics: bool
    uses_tiles: bool
    portable: bool
    note: str
    race: Race | None


def traits(module: ir.Module) -> Traits:
    """Look at a high-level module."""
    uses_tiles = any(isinstance(s, ir.TileProduct) for s in ir.walk(module.kernel.body))
    rounding = _tile_note(module)
    module = replace(module, kernel=chosen(module.kernel))
    statements = list(ir.walk(module.kernel.body))
    race = visible_race(module)
    note = rounding or _note(module, statements) or (str(race) if race is not None else "")
    return Traits(
        uses_thread_ids=any(isinstance(s, ir.ThreadIndex) and s.kind != "global_id" for s in statements),
        uses_shared=any(m.space == "shared" for m in module.kernel.memories),
        uses_barriers=any(isinstance(s, ir.Barrier) for s in statements),
        uses_subgroups=any(isinstance(s, ir.Subgroup) for s in statements),
        uses_atomics=any(isinstance(s, (ir.Atomic, ir.AtomicCas)) for s in statements),
        uses_tiles=uses_tiles,
        portable=not note,
        note=note,
        race=race,
    )


def _tile_note(module: ir.Module) -> str:
    for s in ir.walk(module.kernel.body):
        if isinstance(s, ir.TileProduct) and s.total.dtype.is_float:
            line = f" (line {s.loc.line})" if s.loc is not None else ""
            return f"tensor cores round sums of products of {s.factor} in their own way{line}"
    return ""


def _note(module: ir.Module, statements: list[ir.Stmt]) -> str:
    read = {v.name for s in statements for v in ir.operands_of(s)}

    def line(statement: ir.Stmt) -> str:
        return f" (line {statement.loc.line})" if statement.loc is not None else ""

    for s in statements:
        if isinstance(s, ir.Atomic) and s.op in ("add", "sub") and s.memory.dtype.is_float:
            return f"atomic_{s.op} on {s.memory.dtype} adds in an order that is not fixed{line(s)}"
        if isinstance(s, (ir.Atomic, ir.AtomicCas)) and s.result.name in read:
            return f"the old element that an atomic gives depends on the order of threads{line(s)}"
        if isinstance(s, ir.Atomic) and s.op == "exchange":
            return f"which atomic_exchange or atomic_store comes last is not fixed{line(s)}"
        if isinstance(s, ir.AtomicCas):
            return f"which atomic_cas succeeds is not fixed{line(s)}"
        if isinstance(s, ir.Subgroup) and module.subgroup is None:
            return f"the width of a subgroup differs between devices{line(s)}; fix it with @gc.kernel(subgroup=32)"
    if module.math == "fast":
        return 'math="fast" lets each device round in its own way'
    return ""


def portability(
    captured: Captured, subgroup: int | None, math: Literal["strict", "fast"] | None
) -> tuple[bool, str]:
    """Whether a kernel's bits are promised on every device, and why not.

    Arrays whose dtype is not annotated are taken as f64 where the annotated floats are, else as f32.
    """
    annotated = [p for p in captured.parameters if p.dtype is not None]
    usual = float_rule(annotated, [ArrayType(p.dtype) for p in annotated if p.dtype is not None]).default
    # in the place of a value, or of a function of one argument or more
    examples = (1, abs, max) if any(p.kind == "constexpr" for p in captured.parameters) else (1,)
    failure: GpucoreError | None = None
    for example, ndim in itertools.product(examples, range(1, ir.MOST_AXES + 1)):
        arguments = [_example(p, usual, example) for p in captured.parameters]
        try:
            found = traits(build(captured, arguments, ndim=ndim, math=math or "strict", subgroup=subgroup))
        except (KernelSyntaxError, KernelTypeError) as error:
            failure = failure or error
            continue
        return found.portable, found.note
    return False, f"it could not be compiled for examples of its types: {failure}"


def _example(p: Parameter, usual: DType, constant: Any) -> ArgumentType:
    if p.kind == "array":
        return ArrayType(p.dtype or usual, p.rank or 1)
    if p.kind == "scalar":
        assert p.dtype is not None
        return ScalarType(p.dtype)
    if p.kind == "constexpr":
        return ConstValue(constant if p.default is REQUIRED else p.default)
    return ScalarType(i32)
