"""Programs as trees, and the Python text that they stand for."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from gpucore_fuzz.programs import views
from gpucore_fuzz.programs.arithmetic import FLOATS, Scalar
from gpucore_fuzz.programs.structs import STRUCTS, definitions
from gpucore_fuzz.programs.views import VIEWS

__all__ = [
    "FIRST_INNER_SEED",
    "FIRST_SIZED_SEED",
    "RECORDS",
    "Assign",
    "Atomic",
    "Barrier",
    "Break",
    "Collective",
    "Expression",
    "For",
    "Function",
    "If",
    "LocalPair",
    "LocalStore",
    "Program",
    "Return",
    "SharedStore",
    "Statement",
    "Store",
    "While",
    "expressions_of",
    "text_of",
]


FIRST_SIZED_SEED = 72_000_000
"""Programs from this seed on have shared arrays whose size the launch decides, too; a seed keeps its program."""

FIRST_INNER_SEED = 73_000_000
"""Programs from this seed on are written with functions and lambdas within the kernel, and functions as arguments, too."""


@dataclass(frozen=True, slots=True)
class Expression:
    """An operation, a leaf, or an implicit conversion.

    Attributes
    ----------
    op : str
        An operation of :mod:`~gpucore_fuzz.programs.arithmetic`; ``const`` (name: how it is written), ``var``, ``load``
        (an input array at this thread), ``scalar``, ``element`` (of a table, a local or a shared array), ``cast``,
        ``bitcast``, ``implicit`` (written as its operand), ``select``, ``choice`` (a conditional expression), ``and``,
        ``or``, ``call``, ``math`` (a function of the library, made coarse), ``thread``, ``record`` (of ``RECORDS``),
        ``struct`` (of ``STRUCTS``), ``view`` (of ``VIEWS``).
    t : str
        The dtype.
    args : tuple[Expression, ...]
    name : str
        Of what a leaf or a call names.
    value : Scalar
        Of a constant.
    """

    op: str
    t: str
    args: tuple[Expression, ...] = ()
    name: str = ""
    value: Scalar = 0


@dataclass(frozen=True, slots=True)
class Assign:
    """``name = value``; ``t`` is the variable's dtype, and the value's is converted to it."""

    name: str
    t: str
    value: Expression


@dataclass(frozen=True, slots=True)
class If:
    condition: Expression
    then: tuple[Statement, ...]
    orelse: tuple[Statement, ...] = ()


@dataclass(frozen=True, slots=True)
class For:
    """``for name in range(start, stop, step)``; ``unrolled``: a ``static_range``; ``stop`` may be an i32 expression."""

    name: str
    start: int
    stop: int | Expression
    step: int
    body: tuple[Statement, ...]
    unrolled: bool = False


@dataclass(frozen=True, slots=True)
class While:
    """Up to ``limit`` turns while a condition holds; ``name`` counts them."""

    name: str
    limit: int
    condition: Expression
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Break:
    """Leave the innermost loop, or go on with its next turn."""

    go_on: bool = False


@dataclass(frozen=True, slots=True)
class Return:
    value: Expression


@dataclass(frozen=True, slots=True)
class Store:
    """``array[i] = value`` into an output of dtype ``t``."""

    array: str
    t: str
    value: Expression


@dataclass(frozen=True, slots=True)
class LocalStore:
    array: str
    t: str
    index: Expression
    value: Expression


@dataclass(frozen=True, slots=True)
class LocalPair:
    """``array[index], array[other] = value, second``: both values before either store."""

    array: str
    t: str
    index: Expression
    value: Expression
    other: Expression
    second: Expression


@dataclass(frozen=True, slots=True)
class SharedStore:
    """``array[thread] = value``."""

    array: str
    t: str
    value: Expression


@dataclass(frozen=True, slots=True)
class Barrier:
    pass


@dataclass(frozen=True, slots=True)
class Atomic:
    """``gc.atomic_OP(array, index, value)``; the old element is not used."""

    op: str
    array: str
    t: str
    index: Expression
    value: Expression


@dataclass(frozen=True, slots=True)
class Collective:
    """``name = gc.block_OP(value)``, a variable of the value's dtype; ``thread`` is whom a broadcast takes it from."""

    name: str
    t: str
    op: str
    value: Expression
    thread: int = 0


Statement: TypeAlias = (
    Assign
    | If
    | For
    | While
    | Break
    | Return
    | Store
    | LocalStore
    | LocalPair
    | SharedStore
    | Barrier
    | Atomic
    | Collective
)


@dataclass(frozen=True)
class Function:
    """A device function; its parameters are variables."""

    name: str
    parameters: tuple[tuple[str, str], ...]
    t: str
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Program:
    """A kernel with everything that it needs, and its launch.

    Attributes
    ----------
    inputs, outputs, scalars : dict[str, str]
        Parameters and their dtypes; inputs and outputs have one element a thread.
    counters : dict[str, tuple[str, int]]
        Arrays of atomics among the parameters, their dtypes and lengths; they start as zeros.
    tables, locals : dict[str, tuple[str, tuple[Scalar, ...]]]
        Captured constants; arrays of each thread, of which only the length counts.
    shared : dict[str, str]
        Arrays of the block with an element a thread, and their dtypes.
    tallies : dict[str, tuple[str, int]]
        Shared arrays of atomics, zeroed by the first threads before the first barrier.
    values : dict[str, tuple[Scalar, ...]]
        The data of inputs and scalars.
    grid, block : int
        A block of 0 is a range launch.
    """

    seed: int
    inputs: dict[str, str]
    outputs: dict[str, str]
    scalars: dict[str, str]
    counters: dict[str, tuple[str, int]]
    tables: dict[str, tuple[str, tuple[Scalar, ...]]]
    locals: dict[str, tuple[str, int]]
    shared: dict[str, str]
    tallies: dict[str, tuple[str, int]]
    functions: tuple[Function, ...]
    body: tuple[Statement, ...]
    grid: int
    block: int
    values: dict[str, tuple[Scalar, ...]] = field(repr=False)

    @property
    def threads(self) -> int:
        """Threads of the launch."""
        return self.grid * max(self.block, 1)


def literal(value: Scalar, t: str) -> str:
    """A number as it stands in a kernel, without its dtype."""
    if t == "bool":
        return str(bool(value))
    if t not in FLOATS:
        return str(int(value))
    value = float(value)
    if math.isnan(value):
        return "math.nan"
    if math.isinf(value):
        return "math.inf" if value > 0 else "-math.inf"
    return repr(value)


_DTYPE = {"bool": "gc.bool_"}


def dtype_text(t: str) -> str:
    """A dtype as it is written."""
    return _DTYPE.get(t, f"gc.{t}")


_INFIX = frozenset(
    {"+", "-", "*", "/", "//", "%", "**", "&", "|", "^", "<<", ">>", "<", "<=", ">", ">=", "==", "!="}
)
_PREFIX = {"neg": "-", "~": "~", "not": "not "}
_CALLS = {
    "min": "min", "max": "max", "abs": "abs", "clamp": "gc.clamp", "popcount": "gc.popcount", "clz": "gc.clz",
    "dot4": "gc.dot4",
    "isnan": "gc.isnan", "isinf": "gc.isinf", "floor": "gc.floor", "ceil": "gc.ceil", "trunc": "gc.trunc",
    "round": "gc.round", "sqrt": "gc.sqrt", "fma": "gc.fma", "select": "gc.select",
}  # fmt: skip


RECORDS = {
    "dot": "gc.dot(gc.vec2[{t}]({0}, {1}), gc.vec2[{t}]({2}, {3}))",
    "sum": "(gc.vec4[{t}]({0}, {1}, {2}, {3}) + gc.vec4[{t}]({3}, {2}, {1}, {0})).y",
    "cross": "gc.cross(gc.vec3[{t}]({0}, {1}, {2}), gc.vec3[{t}]({3}, {0}, {1})).x",
    "real": "({z}({0}, {1}) * {z}({2}, {3})).real",
    "imag": "({z}({0}, {1}) * {z}({2}, {3})).imag",
    "scaled": "({z}({0}, {1}) * {2} + {3}).imag",
}
"""Expressions of vectors and complex numbers that give a number of four; the last three are of f32 and f64."""


def expression_text(e: Expression) -> str:
    """An expression, in parentheses where it has an operator."""
    a = [expression_text(x) for x in e.args]
    op = e.op
    if op in _INFIX or op in ("and", "or"):
        return f"({a[0]} {op} {a[1]})"
    if op in _PREFIX:
        return f"({_PREFIX[op]}{a[0]})"
    if op in _CALLS:
        return f"{_CALLS[op]}({', '.join(a)})"
    match op:
        case "const":
            written = literal(e.value, e.t)
            if e.name == "bare":
                return f"({written})" if written.startswith("-") else written
            return written if e.t == "bool" else f"{dtype_text(e.t)}({written})"
        case "var" | "scalar":
            return e.name
        case "load":
            return f"{e.name}[i]"
        case "element":
            return f"{e.name}[{a[0]}]"
        case "cast":
            return f"gc.cast({a[0]}, {dtype_text(e.t)})" if e.name == "cast" else f"{dtype_text(e.t)}({a[0]})"
        case "bitcast":
            return f"gc.bitcast({a[0]}, {dtype_text(e.t)})"
        case "implicit":
            return a[0]
        case "choice":
            return f"({a[1]} if {a[0]} else {a[2]})"
        case "call":
            return f"{e.name}({', '.join(a)})"
        case "math":
            return f"gc.floor(gc.{e.name}({', '.join(a)}) * {literal(e.value, e.t)} + 0.5)"
        case "thread":
            return "t"
        case "view":
            return VIEWS[e.name].format(*a, t=dtype_text(e.t), n=e.t)
        case "struct":
            return STRUCTS[e.name].format(*a, t=dtype_text(e.t), n=e.t)
        case "record":
            return RECORDS[e.name].format(
                *a, t=dtype_text(e.t), z="gc.complex128" if e.t == "f64" else "gc.complex64"
            )
    raise AssertionError(f"no text for {op}")


def _block(statements: tuple[Statement, ...], indent: str) -> Iterator[str]:
    if not statements:
        yield f"{indent}pass"
    for s in statements:
        yield from _lines(s, indent)


def _lines(s: Statement, indent: str) -> Iterator[str]:
    inner = indent + "    "
    match s:
        case Assign(name, _, value):
            yield f"{indent}{name} = {expression_text(value)}"
        case If(condition, then, orelse):
            yield f"{indent}if {expression_text(condition)}:"
            yield from _block(then, inner)
            if len(orelse) == 1 and isinstance(orelse[0], If):
                first, *rest = _lines(orelse[0], indent)
                yield f"{indent}el{first.lstrip()}"
                yield from rest
            elif orelse:
                yield f"{indent}else:"
                yield from _block(orelse, inner)
        case For(name, start, stop, step, body, unrolled):
            end = str(stop) if isinstance(stop, int) else expression_text(stop)
            bounds = f"{start}, {end}, {step}" if step != 1 else f"{start}, {end}" if start else end
            yield f"{indent}for {name} in {'gc.static_range' if unrolled else 'range'}({bounds}):"
            yield from _block(body, inner)
        case While(name, limit, condition, body):
            yield f"{indent}{name} = gc.i32(0)"
            yield f"{indent}while {name} < {limit} and {expression_text(condition)}:"
            yield f"{inner}{name} += 1"
            yield from _block(body, inner)
        case Break(go_on):
            yield f"{indent}{'continue' if go_on else 'break'}"
        case Return(value):
            yield f"{indent}return {expression_text(value)}"
        case Store(array, _, value):
            yield f"{indent}{array}[i] = {expression_text(value)}"
        case LocalStore(array, _, index, value):
            yield f"{indent}{array}[{expression_text(index)}] = {expression_text(value)}"
        case LocalPair(array, _, index, value, other, second):
            targets = ", ".join(f"{array}[{expression_text(e)}]" for e in (index, other))
            yield f"{indent}{targets} = {expression_text(value)}, {expression_text(second)}"
        case SharedStore(array, _, value):
            yield f"{indent}{array}[t] = {expression_text(value)}"
        case Barrier():
            yield f"{indent}gc.barrier()"
        case Collective(name, _, op, value, thread):
            more = f", {thread}" if op == "broadcast" else ""
            yield f"{indent}{name} = gc.block_{op}({expression_text(value)}{more})"
        case Atomic(op, array, _, index, value):
            yield f"{indent}gc.atomic_{op}({array}, {expression_text(index)}, {expression_text(value)})"


def text_of(program: Program) -> str:
    """The program as a Python file that defines the kernel ``k``."""
    lines = ["import math", "", "import gpucore as gc", ""]
    for name, (t, values) in program.tables.items():
        lines.append(f"{name} = ({', '.join(literal(v, t) for v in values)},)")
    style = program.seed % 4 if program.seed >= FIRST_INNER_SEED else 0
    functions: list[str] = []
    for f in program.functions:
        parameters = ", ".join(f"{name}: {dtype_text(t)}" for name, t in f.parameters)
        written = [f"def {f.name}({parameters}) -> {dtype_text(f.t)}:", *_block(f.body, "    ")]
        functions += [f"    {line}" for line in written] if style % 2 else ["", "@gc.func", *written]
    if style % 2 == 0:
        lines += functions
    if style >= 2:
        lines += ["", "@gc.func", "def through1(f, a):", "    return f(a)"]
        lines += ["", "@gc.func", "def through2(f, a, b):", "    return f(a, b)"]
    arrays = {**program.inputs, **program.outputs, **{n: t for n, (t, _) in program.counters.items()}}
    kind = "Strided" if program.seed >= views.FIRST_SEED else "Array"
    parameters = ", ".join(
        [f"{n}: gc.{kind}[{dtype_text(t)}]" for n, t in arrays.items()]
        + [f"{n}: {dtype_text(t)}" for n, t in program.scalars.items()]
    )
    lines += ["", "@gc.kernel", f"def k({parameters}) -> None:"]
    lines.append("    i = gc.global_id(0)")
    if program.block:
        lines.append("    t = gc.thread_id(0)")
    # every other newer program asks for as many elements as the launch has threads
    length = (
        "gc.block_dim(0)" if program.seed >= FIRST_SIZED_SEED and program.seed % 2 else str(program.block)
    )
    lines += [f"    {n} = gc.shared({length}, {dtype_text(t)})" for n, t in program.shared.items()]
    lines += [f"    {n} = gc.shared({size}, {dtype_text(t)})" for n, (t, size) in program.tallies.items()]
    for n, (t, size) in program.tallies.items():
        lines += [f"    if t < {size}:", f"        {n}[t] = {dtype_text(t)}(0)"]
    if program.tallies:
        lines.append("    gc.barrier()")
    lines += [f"    {n} = gc.local({size}, {dtype_text(t)})" for n, (t, size) in program.locals.items()]
    if style % 2:
        lines += functions
    body = list(_block(program.body, "    "))
    lines += [_with_functions(line, program) for line in body] if style >= 2 else body
    head = 4 + len(program.tables)
    return "\n".join([*lines[:head], *definitions(lines), *views.definitions(lines), *lines[head:]]) + "\n"


def _with_functions(line: str, program: Program) -> str:
    """A line with its value from a lambda, and with functions that others call."""
    for f in program.functions:
        line = line.replace(f"{f.name}(", f"through{len(f.parameters)}({f.name}, ")
    # a number without a dtype takes the variable's, which a result does not
    found = re.fullmatch(r"( +v\d+ = )((?!\(?-?[\d.e+-]+\)?$|\(?-?math\.\w+\)?$).+)", line)
    return f"{found[1]}(lambda: {found[2]})()" if found else line


def expressions_of(s: Statement) -> tuple[Expression, ...]:
    """The expressions that a statement holds itself, those of inner statements left out."""
    match s:
        case Assign(value=e) | Return(value=e) | Store(value=e) | SharedStore(value=e) | Collective(value=e):
            return (e,)
        case If(condition=e) | While(condition=e):
            return (e,)
        case For(stop=stop):
            return () if isinstance(stop, int) else (stop,)
        case LocalStore(index=a, value=b) | Atomic(index=a, value=b):
            return (a, b)
        case LocalPair(index=a, value=b, other=c, second=d):
            return (a, b, c, d)
        case _:
            return ()
