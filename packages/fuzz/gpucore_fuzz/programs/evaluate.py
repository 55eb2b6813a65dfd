"""What a program's outputs are, by the reference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpucore_fuzz.programs import structs, views
from gpucore_fuzz.programs.arithmetic import Scalar, apply, bits_of, cast, from_bits, rounded, wrapped
from gpucore_fuzz.programs.tree import (
    Assign,
    Atomic,
    Barrier,
    Break,
    Collective,
    Expression,
    For,
    Function,
    If,
    LocalPair,
    LocalStore,
    Program,
    Return,
    SharedStore,
    Statement,
    Store,
    While,
)

__all__ = ["AmbiguousError", "evaluate"]

ULP = 4
"""How far a function of the library may be from the exact value for its coarse result to count as known."""


class AmbiguousError(Exception):
    """A function's result lies too near a border for its coarse value to be known without its bits."""


_MATH: dict[str, Any] = {
    "rsqrt": lambda x: 1 / math.sqrt(x), "exp": math.exp, "exp2": lambda x: 2.0**x, "log": math.log, "log2": math.log2,
    "log10": math.log10, "sin": math.sin, "cos": math.cos, "tan": math.tan, "asin": math.asin, "acos": math.acos,
    "atan": math.atan, "sinh": math.sinh, "cosh": math.cosh, "tanh": math.tanh, "atan2": math.atan2, "pow": math.pow,
}  # fmt: skip
FUNCTIONS = tuple(_MATH)


@dataclass
class _Thread:
    """A thread's own state."""

    index: int
    lane: int
    variables: dict[str, Scalar]
    locals: dict[str, list[Scalar]]


class _Signal:
    """How a block of statements ended: None, ``break``, ``continue``, or a returned value."""

    __slots__ = ("kind", "value")

    def __init__(self, kind: str, value: Scalar = 0) -> None:
        self.kind, self.value = kind, value


_BREAK, _CONTINUE = _Signal("break"), _Signal("continue")


class _Machine:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.functions: dict[str, Function] = {f.name: f for f in program.functions}
        self.outputs: dict[str, list[Scalar]] = {name: [0] * program.threads for name in program.outputs}
        self.counters: dict[str, list[Scalar]] = {
            name: [0] * size for name, (_, size) in program.counters.items()
        }
        self.shared: dict[str, list[Scalar]] = {}
        self.tallies: dict[str, list[Scalar]] = {}

    # --- expressions ---
    def value(self, e: Expression, thread: _Thread) -> Scalar:
        op = e.op
        if op == "const":
            return e.value
        if op == "var":
            return thread.variables[e.name]
        if op == "load":
            return self.program.values[e.name][thread.index]
        if op == "scalar":
            return self.program.values[e.name][0]
        if op in ("choice", "select"):
            return self.value(e.args[1] if self.value(e.args[0], thread) else e.args[2], thread)
        if op == "and":
            return bool(self.value(e.args[0], thread)) and bool(self.value(e.args[1], thread))
        if op == "or":
            return bool(self.value(e.args[0], thread)) or bool(self.value(e.args[1], thread))
        args = [self.value(x, thread) for x in e.args]
        source = e.args[0].t if e.args else e.t
        if op in ("cast", "implicit"):
            return cast(args[0], source, e.t)
        if op == "bitcast":
            return from_bits(bits_of(args[0], source), e.t)
        if op == "element":
            return self._array(e.name, thread)[_place(args[0])]
        if op == "call":
            return self._call(e.name, args, thread)
        if op == "math":
            return _coarse(e.name, e.t, float(e.value), [float(a) for a in args])
        if op == "thread":
            return thread.lane
        if op == "struct":
            return structs.value(e.name, e.t, args)
        if op == "view":
            return views.value(e.name, e.t, args)
        if op == "record":
            return _record(e.name, e.t, args)
        return apply(op, e.t if op == "dot4" else source, *args)

    def _array(self, name: str, thread: _Thread) -> Sequence[Scalar]:
        if name in thread.locals:
            return thread.locals[name]
        if name in self.shared:
            return self.shared[name]
        if name in self.tallies:
            return self.tallies[name]
        return self.program.tables[name][1]

    def _call(self, name: str, args: Sequence[Scalar], thread: _Thread) -> Scalar:
        function = self.functions[name]
        names = (n for n, _ in function.parameters)
        inner = _Thread(thread.index, thread.lane, dict(zip(names, args, strict=True)), {})
        end = self.run(function.body, inner)
        assert end is not None
        return end.value

    # --- statements ---
    def run(self, body: Sequence[Statement], thread: _Thread) -> _Signal | None:
        for s in body:
            end = self._statement(s, thread)
            if end is not None:
                return end
        return None

    def _converted(self, e: Expression, t: str, thread: _Thread) -> Scalar:
        value = self.value(e, thread)
        return value if e.t == t else cast(value, e.t, t)

    def _statement(self, s: Statement, thread: _Thread) -> _Signal | None:
        match s:
            case Assign(name, t, value):
                thread.variables[name] = self._converted(value, t, thread)
            case If(condition, then, orelse):
                return self.run(then if self.value(condition, thread) else orelse, thread)
            case For() | While():
                return self._loop(s, thread)
            case Break(go_on):
                return _CONTINUE if go_on else _BREAK
            case Return(value):
                return _Signal("return", self.value(value, thread))
            case Store(array, t, value):
                self.outputs[array][thread.index] = self._converted(value, t, thread)
            case LocalStore(array, t, index, value):
                at = _place(self.value(index, thread))
                thread.locals[array][at] = self._converted(value, t, thread)
            case LocalPair(array, t, index, value, other, second):
                a, b = self._converted(value, t, thread), self._converted(second, t, thread)
                thread.locals[array][_place(self.value(index, thread))] = a
                thread.locals[array][_place(self.value(other, thread))] = b
            case SharedStore(array, t, value):
                self.shared[array][thread.lane] = self._converted(value, t, thread)
            case Atomic():
                self._atomic(s, thread)
            case Barrier() | Collective():
                raise AssertionError("barriers and block functions stand at the kernel's top level")
        return None

    def _loop(self, s: For | While, thread: _Thread) -> _Signal | None:
        for _ in self._turns(s, thread):
            end = self.run(s.body, thread)
            if end is _BREAK:
                break
            if end is not None and end is not _CONTINUE:
                return end
        return None

    def _turns(self, s: For | While, thread: _Thread) -> Iterator[None]:
        if isinstance(s, For):
            stop = s.stop if isinstance(s.stop, int) else int(self.value(s.stop, thread))
            for n in range(s.start, stop, s.step):
                thread.variables[s.name] = n
                yield
            return
        thread.variables[s.name] = 0
        while int(thread.variables[s.name]) < s.limit and self.value(s.condition, thread):
            thread.variables[s.name] = int(thread.variables[s.name]) + 1
            yield

    def _atomic(self, s: Atomic, thread: _Thread) -> None:
        array = self.counters[s.array] if s.array in self.counters else self.tallies[s.array]
        at = int(self.value(s.index, thread))
        old, value = int(array[at]), int(self._converted(s.value, s.t, thread))
        new = {
            "add": old + value, "sub": old - value, "min": min(old, value), "max": max(old, value),
            "and": old & value, "or": old | value, "xor": old ^ value,
        }[s.op]  # fmt: skip
        array[at] = wrapped(new, s.t)

    # --- the launch ---
    def launch(self) -> None:
        program = self.program
        phases: list[list[Statement]] = [[]]
        for s in program.body:
            if isinstance(s, Barrier):
                phases.append([])
            elif isinstance(s, Collective):
                phases += [[s], []]
            else:
                phases[-1].append(s)
        width = program.block or program.threads
        for first in range(0, program.threads, width):
            self.shared = {name: [0] * width for name in program.shared}
            self.tallies = {name: [0] * size for name, (_, size) in program.tallies.items()}
            threads = [
                _Thread(first + n, n, {}, {name: [0] * size for name, (_, size) in program.locals.items()})
                for n in range(width)
            ]
            for phase in phases:
                if phase and isinstance(phase[0], Collective):
                    self._collective(phase[0], threads)
                    continue
                for thread in threads:
                    self.run(phase, thread)

    def _collective(self, s: Collective, threads: list[_Thread]) -> None:
        """What the threads of a block compute together."""
        x = [self.value(s.value, thread) for thread in threads]
        found: list[Scalar]
        if s.op in ("any", "all"):
            found = [(any if s.op == "any" else all)(map(bool, x))] * len(x)
        elif s.op == "broadcast":
            found = [x[s.thread] if s.thread < len(x) else own for own in x]
        elif s.op.endswith("_sum"):
            sums = [_prefix(s.value.t, x, last) for last in range(len(x))]
            found = sums if s.op == "inclusive_sum" else [cast(0, "i32", s.t), *sums[:-1]]
        else:
            found = [
                _tree("+" if s.op == "sum" else s.op, s.value.t, x, 0, 1 << (len(x) - 1).bit_length())
            ] * len(x)
        for thread, value in zip(threads, found, strict=True):
            thread.variables[s.name] = value


def _place(index: Scalar) -> int:
    """An index as it is; one below 0, which Python would count from the end, is outside."""
    at = int(index)
    if at < 0:
        raise IndexError(at)
    return at


def _tree(op: str, t: str, x: list[Scalar], start: int, size: int) -> Scalar:
    """A balanced tree over threads, without those past the end."""
    if size == 1:
        return x[start]
    half = size // 2
    left = _tree(op, t, x, start, half)
    return left if start + half >= len(x) else apply(op, t, left, _tree(op, t, x, start + half, half))


def _prefix(t: str, x: list[Scalar], last: int) -> Scalar:
    """The trees that the bits of a thread's number stand for, added from the right."""
    value, size = x[last], 1
    while size <= last:
        if last & size:
            value = apply("+", t, _tree("+", t, x, last & -2 * size, size), value)
        size *= 2
    return value


def _record(name: str, t: str, x: Sequence[Scalar]) -> Scalar:
    """A number from operators on vectors or complex numbers, by those on their parts."""

    def times(a: int, b: int) -> Scalar:
        return apply("*", t, x[a], x[b])

    if name == "dot":
        return apply("+", t, times(0, 2), times(1, 3))
    if name == "sum":
        return apply("+", t, x[1], x[2])
    if name == "cross":
        return apply("-", t, times(1, 1), times(2, 0))
    if name == "real":
        return apply("-", t, times(0, 2), times(1, 3))
    if name == "imag":
        return apply("+", t, times(0, 3), times(1, 2))
    return times(1, 2)


def _coarse(name: str, t: str, scale: float, args: list[float]) -> float:
    """``floor(f(x) * scale + 0.5)`` where every result within a few ulp of the exact one has the same."""
    if name != "pow" and any(map(math.isnan, args)):  # pow(NaN, 0) is 1
        return math.nan
    try:
        exact = float(_MATH[name](*args))
    except (OverflowError, ZeroDivisionError):
        raise AmbiguousError from None
    except ValueError:  # outside the domain, or a pole
        if args[0] == 0:
            raise AmbiguousError from None
        return math.nan
    if math.isnan(exact):
        return math.nan
    low, high = (_stepped(exact, t, way) for way in (-ULP, ULP))
    results = {_scaled(v, t, scale) for v in (low, high)}
    if len(results) != 1:
        raise AmbiguousError
    return results.pop()


def _stepped(value: float, t: str, count: int) -> float:
    """A number some ulp of a dtype away; of f32 for f16 and bf16, which are rounded once more."""
    unit = {"f64": 2.0**-52, "f32": 2.0**-23, "f16": 2.0**-10, "bf16": 2.0**-7}[t]
    tiny = {"f64": 5e-324, "f32": 2.0**-149, "f16": 2.0**-24, "bf16": 2.0**-133}[t]
    return rounded(value + count * max(abs(value) * unit, tiny), t)


def _scaled(value: float, t: str, scale: float) -> float:
    return float(apply("floor", t, apply("+", t, apply("*", t, value, scale), 0.5)))


def evaluate(program: Program) -> dict[str, list[int]]:
    """The bits of the outputs and counters.

    Raises
    ------
    AmbiguousError
        Where a result depends on the last bits of a function of the library.
    """
    machine = _Machine(program)
    with np.errstate(all="ignore"):
        machine.launch()
    found = {name: [bits_of(v, t) for v in machine.outputs[name]] for name, t in program.outputs.items()}
    for name, (t, _) in program.counters.items():
        found[name] = [bits_of(v, t) for v in machine.counters[name]]
    return found
