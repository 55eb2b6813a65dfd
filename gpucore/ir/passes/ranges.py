"""Range analysis of a function: which ``index`` operations may be done in 32 bits.

A forward abstract interpretation over structured control flow.  Values have one interval where they are
defined and may have a smaller one inside a branch whose condition bounds them; variables are followed
statement by statement and widened at loops.  The last visit of a statement happens in its final
environment, so what it decides there is sound.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

from gpucore.ir.dtypes import DType, index
from gpucore.ir.nodes import (
    Block,
    Break,
    Const,
    Continue,
    Extent,
    For,
    Function,
    GetVar,
    If,
    Op,
    Return,
    SetVar,
    Stmt,
    ThreadIndex,
    Value,
    While,
    walk,
)  # fmt: skip
from gpucore.ir.ops import COMPARISONS
from gpucore.ir.passes.flatten import is_stride
from gpucore.ir.passes.intervals import (
    I32,
    I64,
    U32,
    Interval,
    binary,
    decide,
    join,
    of_dtype,
    refine,
    widen,
    within,
)

Mode: TypeAlias = Literal["low", "unsigned", "wide"]
"""How an operation on ``index`` operands is done: on their low 32 bits, signed or unsigned, or on all 64."""

RING = frozenset({"add", "add.raw", "sub", "mul", "mul.raw", "neg", "not", "and", "or", "xor", "select"})
"""Operations whose low bits depend on nothing but the low bits of their operands."""

_LARGEST_EXTENT = 2**62  # no device addresses as much, and sums of extents still fit
_UNARY = {"neg", "not", "abs", "cast", "bitcast", "popcount", "clz"}


class Ranges:
    """Intervals of the integer values of a function and what follows for its ``index`` operations.

    Attributes
    ----------
    intervals : dict[str, Interval]
        Of each integer value, where it is defined.
    variables : dict[str, Interval]
        Of each ``index`` variable, over all its assignments.
    modes : dict[int, Mode]
        By ``id`` of an operation or a loop.
    positive : set[int]
        Divisions (by ``id``) with a dividend of at least 0 and a divisor of at least 1.
    direct : set[int]
        Loops (by ``id``) whose variable plus step never leaves the width chosen for them.
    decided : dict[int, bool]
        Comparisons (by ``id``) whose outcome the intervals tell.
    """

    def __init__(
        self, function: Function, *, small: bool, block: tuple[int, ...] | None, items: int = 1
    ) -> None:
        self.small = small
        self.block = block
        self.items = items
        self.intervals: dict[str, Interval] = {}
        self.variables: dict[str, Interval] = {}
        self.modes: dict[int, Mode] = {}
        self.positive: set[int] = set()
        self.direct: set[int] = set()
        self.decided: dict[int, bool] = {}
        self._now: dict[str, Interval] = {}
        self._environment: dict[str, Interval] = {}
        self._version: dict[str, int] = {}
        self._read: dict[str, tuple[str, int]] = {}
        self._conditions: dict[str, Op] = {}
        self._tags: dict[str, tuple[str, int]] = {}
        self._collected: list[dict[str, Interval]] = []
        self._has_variables = any(v.dtype is index for v in function.variables)
        extent = (0, 2**31 - 1) if small else (0, _LARGEST_EXTENT)
        for p in function.params:
            if isinstance(p, Value) and p.dtype.is_integer:
                self._define(p, extent if p.name.startswith("$extent") else of_dtype(p.dtype))
        self._visit(function.body)

    def interval(self, value: Value) -> Interval:
        """What is known of a value at the statement being visited."""
        return self._now.get(value.name) or of_dtype(value.dtype)

    def fits(self, name: str) -> bool:
        """Whether a value always fits in i32."""
        return self.small and within(self.intervals.get(name, I64), I32)

    # --- definitions
    def _define(self, value: Value, interval: Interval | None) -> None:
        full = of_dtype(value.dtype)
        if interval is None or not within(interval, full):
            interval = full
        self.intervals[value.name] = interval
        self._now[value.name] = interval

    def _visit(self, block: Block) -> None:
        for position, s in enumerate(block):
            kind = type(s)
            if kind is Op:
                self._op(s)  # type: ignore[arg-type]
            elif kind is Const:
                assert isinstance(s, Const)
                if s.result.dtype.is_integer:
                    self._define(s.result, (int(s.value), int(s.value)))
            elif kind is If:
                assert isinstance(s, If)
                if self._if(s):
                    with self._given(s.condition, False):
                        self._visit(block[position + 1 :])
                    return
            elif kind is For:
                self._for(s)  # type: ignore[arg-type]
            elif kind is While:
                self._while(s)  # type: ignore[arg-type]
            elif kind is SetVar:
                self._set(s)  # type: ignore[arg-type]
            elif kind is GetVar:
                assert isinstance(s, GetVar)
                if s.var.dtype is index:
                    self._define(s.result, self._environment.get(s.var.name))
                    self._read[s.result.name] = (s.var.name, self._version.get(s.var.name, 0))
            elif kind is ThreadIndex:
                self._thread_index(s)  # type: ignore[arg-type]
            elif kind is Extent:
                assert isinstance(s, Extent)
                most = 2**31 - 1 if self.small else _LARGEST_EXTENT
                self._define(s.result, (-most if is_stride(s.memory, s.axis) else 0, most))
            else:
                result: Value | None = getattr(s, "result", None)
                if result is not None and result.dtype.is_integer:
                    self._define(result, None)

    def _thread_index(self, s: ThreadIndex) -> None:
        most = 2**31 - 1 if self.small else _LARGEST_EXTENT
        size = self.block[s.axis] if self.block is not None and s.axis < len(self.block) else None
        interval = (0, most - 1)
        if s.kind == "block_dim":
            interval = (1, most) if size is None else (size, size)
        elif s.kind == "thread_id":
            interval = (0, (size or most) - 1)
        elif s.kind in ("block_id", "grid_dim"):
            blocks = most // ((size or 1) * (self.items if s.axis == 0 else 1))
            interval = (0, blocks - 1) if s.kind == "block_id" else (1, blocks)
        self._define(s.result, interval)
        self._tags[s.result.name] = (s.kind, s.axis)

    def _set(self, s: SetVar) -> None:
        if s.var.dtype is not index:
            return
        interval = self.interval(s.value)
        name = s.var.name
        self._environment[name] = interval
        self._version[name] = self._version.get(name, 0) + 1
        self.variables[name] = join(self.variables[name], interval) if name in self.variables else interval
        for seen in self._collected:
            seen[name] = join(seen[name], interval) if name in seen else interval

    # --- operations
    def _op(self, s: Op) -> None:
        result = s.result.dtype
        if result.kind == "bool":
            self._conditions[s.result.name] = s
            if s.op in COMPARISONS and s.args[0].dtype is index:
                outcome = decide(s.op, self.interval(s.args[0]), self.interval(s.args[1]))
                if outcome is None:
                    self.decided.pop(id(s), None)
                else:
                    self.decided[id(s)] = outcome
        elif result.is_integer:
            self._define(s.result, self._result(s))
        if any(a.dtype is index for a in s.args) or result is index:
            self.modes[id(s)] = self._mode(s)
        if s.op in ("floordiv", "mod") and result is index:
            a, b = (self.interval(x) for x in s.args)
            (self.positive.add if a[0] >= 0 and b[0] > 0 else self.positive.discard)(id(s))

    def _result(self, s: Op) -> Interval | None:
        op, args = s.op, s.args
        if op == "cast":
            source = args[0].dtype
            return self.interval(args[0]) if source.is_integer else (0, 1) if source.kind == "bool" else None
        if op == "select":
            return join(self.interval(args[1]), self.interval(args[2]))
        if op == "popcount" or op == "clz":
            return (0, 64)
        if op in _UNARY:
            a = self.interval(args[0])
            if op == "neg":
                return (-a[1], -a[0])
            if op == "abs":
                return (0 if a[0] <= 0 <= a[1] else min(map(abs, a)), max(map(abs, a)))
            return (-1 - a[1], -1 - a[0]) if op == "not" and args[0].dtype.kind == "int" else None
        if len(args) != 2 or not args[0].dtype.is_integer:
            return None
        if op in ("mul", "add"):
            known = self._coordinates(s)
            if known is not None:
                return known
        return binary(op, self.interval(args[0]), self.interval(args[1]))

    def _coordinates(self, s: Op) -> Interval | None:
        """Products and sums of thread coordinates along one axis are bounded by the launch as a whole."""
        first, second = (self._tags.get(a.name) for a in s.args)
        if first is None or second is None or first[1] != second[1]:
            return None
        kinds, axis = {first[0], second[0]}, first[1]
        most = 2**31 - 1 if self.small else _LARGEST_EXTENT
        if s.op == "mul" and kinds == {"block_id", "block_dim"}:
            self._tags[s.result.name] = ("block_start", axis)
            return (0, most - 1)
        if s.op == "mul" and kinds == {"grid_dim", "block_dim"}:
            return (1, most)
        if s.op == "add" and kinds == {"block_start", "thread_id"}:
            return (0, most - 1)
        return None

    def _mode(self, s: Op) -> Mode:
        if not self.small:
            return "wide"
        op, args = s.op, s.args
        if op == "cast":
            return self._cast_mode(args[0], s.result.dtype)
        if op in ("bitcast", "popcount", "clz"):
            return "wide"
        if s.result.dtype is index:
            if op in RING:
                return "low"
            if op == "shl":
                return "low" if within(self.interval(args[1]), I32) else "wide"
            everything = (*map(self.interval, args), self.intervals[s.result.name])
            return "low" if all(within(i, I32) for i in everything) else "wide"
        intervals = [self.interval(a) for a in args]
        if all(within(i, I32) for i in intervals):
            return "low"
        if op in COMPARISONS and all(within(i, U32) for i in intervals):
            return "unsigned"
        return "wide"

    def _cast_mode(self, source: Value, to: DType) -> Mode:
        if to is index:
            return "low" if source.dtype.is_integer or source.dtype.kind == "bool" else "wide"
        if to.is_integer and to.bits <= 32:
            return "low"
        return "low" if within(self.interval(source), I32) else "wide"

    # --- conditions
    @contextmanager
    def _given(self, condition: Value, truth: bool) -> Iterator[None]:
        """Intervals as a condition bounds them, for the time of a block."""
        saved: list[tuple[str, Interval | None]] = []
        self._assume(condition.name, truth, saved)
        try:
            yield
        finally:
            for name, interval in reversed(saved):
                if interval is None:
                    self._now.pop(name, None)
                else:
                    self._now[name] = interval

    def _assume(self, name: str, truth: bool, saved: list[tuple[str, Interval | None]]) -> None:
        s = self._conditions.get(name)
        if s is None:
            return
        if s.op == "not":
            self._assume(s.args[0].name, not truth, saved)
        elif s.op == ("and" if truth else "or"):
            for a in s.args:
                self._assume(a.name, truth, saved)
        elif s.op in COMPARISONS and s.args[0].dtype.is_integer:
            bounded = refine(s.op, self.interval(s.args[0]), self.interval(s.args[1]), truth)
            if bounded is None:
                return
            for a, interval in zip(s.args, bounded, strict=True):
                saved.append((a.name, self._now.get(a.name)))
                self._now[a.name] = interval
                variable, version = self._read.get(a.name, ("", 0))
                if variable and self._version.get(variable, 0) == version:
                    self._environment[variable] = interval

    # --- control flow
    def _if(self, s: If) -> bool:
        """Visit both branches; whether what follows runs only where the condition was false."""
        before, versions = dict(self._environment), dict(self._version)
        with self._given(s.condition, True):
            self._visit(s.then)
        after_then, self._environment = self._environment, dict(before)
        with self._given(s.condition, False):
            self._visit(s.orelse)
        left = bool(s.then) and isinstance(s.then[-1], (Return, Break, Continue))
        if self._has_variables:
            if not left:
                self._environment = _join_environments(after_then, self._environment)
            # a refinement made inside a branch must not be taken for one made here
            for name, version in self._version.items():
                if versions.get(name, 0) != version:
                    self._version[name] = version + 1
        return left and not s.orelse

    def _for(self, s: For) -> None:
        start, stop, step = self.interval(s.start), self.interval(s.stop), self.interval(s.step)
        upward = (start[0], max(start[0], stop[1] - 1))
        downward = (min(start[1], stop[0] + 1), start[1])
        variable = upward if step[0] >= 0 else downward if step[1] <= 0 else join(upward, downward)
        self._define(s.variable, variable)
        low = self.small and all(within(i, I32) for i in (start, stop, step, variable))
        limit = I32 if low else I64
        direct = step[0] == step[1] != 0 and (
            stop[1] - 1 + step[0] <= limit[1] if step[0] > 0 else stop[0] + 1 + step[0] >= limit[0]
        )
        if low and not direct:
            # the number of iterations must fit as well
            low = step[0] == step[1] and (abs(step[0]) >= 2 or stop[1] - start[0] <= I32[1])
        self.modes[id(s)] = "low" if low else "wide"
        (self.direct.add if direct else self.direct.discard)(id(s))
        self._loop(s, s.body)

    def _while(self, s: While) -> None:
        self._loop(s, s.header, s.condition, s.body)

    def _loop(self, s: Stmt, first: Block, condition: Value | None = None, second: Block = ()) -> None:
        names = _index_variables(first) | _index_variables(second) if self._has_variables else frozenset()
        entry = {n: self._environment.get(n, I64) for n in names}
        while True:
            current = dict(entry)
            for name in names:
                self._environment[name] = entry[name]
                self._version[name] = self._version.get(name, 0) + 1
            self._collected.append({})
            self._visit(first)
            if condition is not None:
                with self._given(condition, True):
                    self._visit(second)
            collected = self._collected.pop()
            for name, interval in collected.items():
                if name in entry and not within(interval, entry[name]):
                    entry[name] = widen(entry[name], interval)
            if entry == current:
                break
        for name in names:
            self._environment[name] = entry[name]
            self._version[name] = self._version.get(name, 0) + 1


def _index_variables(block: Block) -> frozenset[str]:
    return frozenset(s.var.name for s in walk(block) if type(s) is SetVar and s.var.dtype is index)


def _join_environments(a: dict[str, Interval], b: dict[str, Interval]) -> dict[str, Interval]:
    # a variable that one side does not know is unset there, or unbounded
    return {name: join(a[name], b[name]) for name in a.keys() & b.keys()}
