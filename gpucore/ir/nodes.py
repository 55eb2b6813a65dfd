"""The typed IR: structured control flow over single-assignment values, mutable variables and memories.

A :class:`Module` is one kernel, specialised for its argument types, and the device functions it calls.
Nodes are frozen; a pass builds new ones.  Source locations take no part in equality.

Two levels share these nodes (``verify(module, level=...)``):

``"high"``
    What the language front end makes and the interpreter runs.  Every operation of :data:`gpucore.ir.ops.OPS` is total and
    means what the language reference says; arrays are indexed by one value an axis; the dtype ``index`` appears.
``"low"``
    What renderers get, after ``gpucore.ir.passes.lower``: only operations that the target declares native or that
    :data:`gpucore.ir.ops.BASELINE` lists; one flat element offset an access; no ``index`` (narrowed to i32 or widened to
    i64); every shape of a block's memory; hidden parameters, named with a leading ``$``, at the end.
"""
# ruff: noqa: RUF009 - every class needs a location field of its own

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from gpucore.ir.dtypes import DType

IR_VERSION = 1

MOST_AXES = 8
"""Of arrays and of ranges."""

Space = Literal["global", "shared", "local", "const"]
Layout = Literal["contiguous", "rows", "strided"]
IdKind = Literal["global_id", "thread_id", "block_id", "block_dim", "grid_dim"]
Number: TypeAlias = "int | float | bool"


@dataclass(frozen=True, slots=True)
class Loc:
    """A place in the user's Python source; line counts from 1, column from 0."""

    file: str
    line: int
    column: int = 0


def _loc() -> Loc | None:
    return field(default=None, compare=False, repr=False)


def _one_nan(value: Number) -> Number:
    # tuples compare by identity before equality, so a single NaN object makes equal nodes compare equal
    return math.nan if value != value else value


@dataclass(frozen=True, slots=True)
class Value:
    """The result of a statement, a scalar parameter or a loop variable; names are unique in a function."""

    name: str
    dtype: DType


@dataclass(frozen=True, slots=True)
class Var:
    """A mutable scalar variable of a function.  Reading it before it was set is undefined (verified)."""

    name: str
    dtype: DType


@dataclass(frozen=True, slots=True)
class Memory:
    """Something that is indexed.

    Attributes
    ----------
    name : str
        Unique in its module.
    space : {"global", "shared", "local", "const"}
        A kernel's array parameter, block memory, memory of one thread, or a table of constants.
    rank : int
        Number of axes.
    shape : tuple[int, ...]
        Static extents; empty where they come with the launch: in the space ``global``, and where an :class:`Allocate` gives them.
    values : tuple
        The contents of a ``const`` memory in C order, as Python numbers.
    layout : {"contiguous", "rows", "strided"}
        How the elements of an array parameter lie: in C order; with strides of their own, that of the last axis being one; with
        strides of their own. At the low level an array with strides has the rank ``2 * axes + 1``: :class:`Extent` reads its
        extents, then its strides in elements, then how many elements lie below the first one; the pointer goes to the lowest.
    """

    name: str
    dtype: DType
    space: Space
    rank: int = 1
    shape: tuple[int, ...] = ()
    values: tuple[Number, ...] = ()
    layout: Layout = "contiguous"

    def __post_init__(self) -> None:
        if any(v != v for v in self.values):
            object.__setattr__(self, "values", tuple(_one_nan(v) for v in self.values))


# --- statements --------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Const:
    """A literal.  Floats are Python floats that the dtype represents exactly (NaN and infinities allowed)."""

    result: Value
    value: Number
    loc: Loc | None = _loc()

    def __post_init__(self) -> None:
        if self.value != self.value:
            object.__setattr__(self, "value", math.nan)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Const):
            return NotImplemented
        # as tuples, for NaN: from Python 3.13 on what dataclasses make compares the numbers themselves
        return (self.result, self.value) == (other.result, other.value)


@dataclass(frozen=True, slots=True)
class Op:
    """An elementwise operation without side effects: see :data:`gpucore.ir.ops.OPS`."""

    result: Value
    op: str
    args: tuple[Value, ...]
    loc: Loc | None = _loc()


@dataclass(frozen=True, slots=True)
class Call:
    """A call of one of the module's functions, which take and return scalars only."""

    result: Value
    function: str
    args: tuple[Value, ...]
    loc: Loc | None = _loc()


@dataclass(frozen=True, slots=True)
class GetVar:
    result: Value
    var: Var
    loc: Loc | None = _loc()


@dataclass(frozen=True, slots=True)
class SetVar:
    var: Var
    value: Value
    loc: Loc | None = _loc()


@dataclass(frozen=True, slots=True)
class Extent:
    """The extent of an array of no static shape, an ``index`` (low level: i32 or i64; with strides see :class:`Memory`)."""

    result: Value
    memory: Memory
    axis: int
    loc: Loc | None = _loc()


@dataclass(frozen=True, slots=True)
class Load:
    result: Value
    memory: Memory
    indices: tuple[Value, ...]
    loc: Loc | None = _loc()


@dataclass(frozen=True, slots=True)
class Store:
    memory: Memory
    indices: tuple[Value, ...]
    value: Value
    loc: Loc | None = _loc()


@dataclass(frozen=True, slots=True)
class InitLocal:
    """Fill a local memory with zeros, at this point (``gc.local`` gives a fresh array each time it runs)."""

    memory: Memory
    loc: Loc | None = _loc()


@dataclass(frozen=True, slots=True)
class Allocate:
    """Give a shared memory its extents, which the host knows; at the kernel's top level, high level only."""

    memory: Memory
    extents: tuple[Value, ...]
    loc: Loc | None = _loc()


@dataclass(frozen=True, slots=True)
class Atomic:
    """Read, combine, write as one step, relaxed, device scope; the result is the old element.

    ``op`` is one of add sub min max and or xor exchange.  At the low level ``bits`` may name an integer
    dtype of the element's width through which the element is seen (``exchange`` on f32 as u32).
    """

    result: Value
    op: str
    memory: Memory
    indices: tuple[Value, ...]
    value: Value
    bits: DType | None = None
    loc: Loc | None = _loc()


@dataclass(frozen=True, slots=True)
class AtomicCas:
    """Compare the element's bits with ``expected`` and store ``desired`` when equal; the result is the old element.

    With ``bits`` (low level) expected, desired and result are of that integer dtype.
    """

    result: Value
    memory: Memory
    indices: tuple[Value, ...]
    expected: Value
    desired: Value
    bits: DType | None = None
    loc: Loc | None = _loc()

    @property
    def only_loads(self) -> bool:
        """Whether it changes nothing, since it would store what it found: a relaxed load, device scope, is enough."""
        return self.expected == self.desired


@dataclass(frozen=True, slots=True)
class ThreadIndex:
    """A coordinate of the thread in array order: axis 0 is the slowest of ``module.ndim`` axes."""

    result: Value
    kind: IdKind
    axis: int
    loc: Loc | None = _loc()


@dataclass(frozen=True, slots=True)
class Subgroup:
    """A subgroup operation; ``op`` is a key of :data:`gpucore.ir.ops.SUBGROUP_OPS`."""

    result: Value
    op: str
    args: tuple[Value, ...]
    loc: Loc | None = _loc()


@dataclass(frozen=True, slots=True)
class Barrier:
    loc: Loc | None = _loc()


@dataclass(frozen=True, slots=True)
class Fence:
    """``memory_fence()``: orders this thread's accesses to global and shared memory, device scope."""

    loc: Loc | None = _loc()


@dataclass(frozen=True, slots=True)
class Assert:
    """High level only; the checks pass turns it into a report or drops it."""

    condition: Value
    message: str
    loc: Loc | None = _loc()


@dataclass(frozen=True, slots=True)
class Print:
    """Print the values, once the host reads them.  High level, in the kernel only; ``text`` is as of ``str.format``."""

    text: str
    values: tuple[Value, ...]
    loc: Loc | None = _loc()


@dataclass(frozen=True, slots=True)
class TileProduct:
    """``total += left @ right``, of matrices that 32 threads of a block hold in local memories; all threads of the block run it.

    :mod:`gpucore.lang.block_library` says who has which elements, of the dtype ``factor`` or u32 words of them. ``shape`` is
    (m, n, k), of ``(m, k) @ (k, n)``. Only for targets that have such an instruction.
    """

    total: Memory
    left: Memory
    right: Memory
    factor: DType
    shape: tuple[int, int, int]
    loc: Loc | None = _loc()


@dataclass(frozen=True, slots=True)
class If:
    condition: Value
    then: Block
    orelse: Block = ()
    loc: Loc | None = _loc()


@dataclass(frozen=True, slots=True)
class For:
    """``for variable in range(start, stop, step)``.

    The three bounds and the variable have one dtype (high: ``index``; low: i32 or i64).  A step of zero runs
    no iteration.  The variable is a fresh value each iteration.  ``Continue`` goes to the next one.

    ``site`` (low level, targets with a ``loop_limit`` only) is what goes into the first word of the array parameter
    ``$error``, where that is zero, if the device ends the loop before its time; 0 asks for nothing.
    """

    variable: Value
    start: Value
    stop: Value
    step: Value
    body: Block
    loc: Loc | None = _loc()
    site: int = 0


@dataclass(frozen=True, slots=True)
class While:
    """Run ``header``, stop when ``condition`` (a value of the header) is false, run ``body``, repeat.

    ``Continue`` in the body goes to the header.  The header holds no Break, Continue or Return.  ``site`` is as in
    :class:`For`.
    """

    header: Block
    condition: Value
    body: Block
    loc: Loc | None = _loc()
    site: int = 0


@dataclass(frozen=True, slots=True)
class Break:
    loc: Loc | None = _loc()


@dataclass(frozen=True, slots=True)
class Continue:
    loc: Loc | None = _loc()


@dataclass(frozen=True, slots=True)
class Return:
    """Ends the thread (in a kernel, no value) or the call (in a function, one value).  May stand anywhere."""

    value: Value | None = None
    loc: Loc | None = _loc()


Stmt: TypeAlias = (
    Const | Op | Call | GetVar | SetVar | Extent | Load | Store | InitLocal | Allocate | Atomic | AtomicCas
    | ThreadIndex | Subgroup | Barrier | Fence | Assert | Print | TileProduct | If | For | While | Break | Continue | Return
)  # fmt: skip
Block: TypeAlias = tuple[Stmt, ...]


# --- containers --------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Function:
    """The kernel, or a device function on scalars.

    Attributes
    ----------
    params : tuple[Memory | Value, ...]
        The kernel's are arrays (space ``global``) and scalars, in the order of the Python signature without
        constexpr parameters; a device function's are scalars.
    result : DType | None
        None for a kernel.
    variables : tuple[Var, ...]
        Every variable that the body uses.
    memories : tuple[Memory, ...]
        Every shared, local and const memory that the body uses; only a kernel has shared ones.
    """

    name: str
    params: tuple[Memory | Value, ...]
    result: DType | None
    variables: tuple[Var, ...]
    memories: tuple[Memory, ...]
    body: Block


@dataclass(frozen=True, slots=True)
class Module:
    """A specialised kernel and what it reaches.

    Attributes
    ----------
    kernel : Function
    functions : tuple[Function, ...]
        Callees before callers.
    ndim : int
        Axes of the launch, 1 to 3 (high level under ``over``: 1 to 8).
    math : {"strict", "fast"}
    subgroup : int | None
        The subgroup width asked for; None lets the device choose.
    noalias : bool
        Array parameters do not overlap, save where neither is written.
    """

    kernel: Function
    functions: tuple[Function, ...] = ()
    ndim: int = 1
    math: Literal["strict", "fast"] = "strict"
    subgroup: int | None = None
    noalias: bool = False

    def __str__(self) -> str:
        from gpucore.ir.text import print_module

        return print_module(self)

    @property
    def arrays(self) -> tuple[Memory, ...]:
        """The array parameters, hidden ones included."""
        return tuple(p for p in self.kernel.params if isinstance(p, Memory))

    @property
    def scalars(self) -> tuple[Value, ...]:
        """The scalar parameters, hidden ones included."""
        return tuple(p for p in self.kernel.params if isinstance(p, Value))


def blocks_of(statement: Stmt) -> tuple[Block, ...]:
    """The nested blocks of a statement, in order of execution."""
    match statement:
        case For(body=body):
            return (body,)
        case If(then=a, orelse=b) | While(header=a, body=b):
            return (a, b)
        case _:
            return ()


def memories_of(statement: Stmt) -> tuple[Memory, ...]:
    """The memories that a statement itself names."""
    names = ("total", "left", "right") if isinstance(statement, TileProduct) else ("memory",)
    return tuple(getattr(statement, name) for name in names if hasattr(statement, name))


def walk(block: Block) -> Iterator[Stmt]:
    """Every statement of a block and of the blocks within, in source order."""
    for statement in block:
        yield statement
        for inner in blocks_of(statement):
            yield from walk(inner)


def result_of(statement: Stmt) -> Value | None:
    """The value that a statement defines (a loop's variable included), or None."""
    return statement.variable if isinstance(statement, For) else getattr(statement, "result", None)


def operands_of(statement: Stmt) -> tuple[Value, ...]:
    """The values that a statement itself reads, not those of its nested blocks."""
    match statement:
        case Op(args=values) | Call(args=values) | Subgroup(args=values):
            return values
        case Print(values=values) | Load(indices=values) | Allocate(extents=values):
            return values
        case SetVar(value=Value() as value) | Return(value=Value() as value):
            return (value,)
        case Store(indices=indices, value=value) | Atomic(indices=indices, value=value):
            return (*indices, value)
        case AtomicCas(indices=indices, expected=expected, desired=desired):
            return (*indices, expected, desired)
        case Assert(condition=condition) | If(condition=condition) | While(condition=condition):
            return (condition,)
        case For(start=start, stop=stop, step=step):
            return (start, stop, step)
        case _:
            return ()


def written_arrays(module: Module) -> frozenset[str]:
    """Names of the array parameters that the kernel writes, atomics included."""
    body, writes = walk(module.kernel.body), (Store, Atomic, AtomicCas)
    return frozenset(s.memory.name for s in body if isinstance(s, writes) and s.memory.space == "global")
