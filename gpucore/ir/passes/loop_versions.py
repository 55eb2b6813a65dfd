"""Checks of a loop's accesses made before the loop: at both ends of its range, for indices affine in its variable.

Where the accesses stay inside at the first and at the last value of the variable, they stay inside between them, and a copy of
the loop without these checks runs; elsewhere the loop with all checks does.

An index ``i(k)`` is made of sums, differences and products with values that the loop does not change, all in the dtype
``index``, so that it is ``c * k + r`` modulo 2**64.  With ``|c| <= 2**31`` and both ends of the range in 0 .. 2**31 - 1 (tested
before the loop), ``|c * (last - first)|`` is below 2**62. Two ends within an array are within 0 .. 2**63 - 1, so they differ by
exactly that, and so do those between them: nothing wraps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gpucore.ir.dtypes import bool_, i64, index
from gpucore.ir.nodes import (
    Atomic,
    AtomicCas,
    Block,
    Const,
    Extent,
    For,
    GetVar,
    Load,
    Memory,
    Op,
    SetVar,
    Stmt,
    Store,
    ThreadIndex,
    Value,
    While,
    result_of,
    walk,
)  # fmt: skip
from gpucore.ir.ops import SLICE_INDEX
from gpucore.ir.passes.emit import Names, Rewriter

__all__ = ["AffineAccess", "affine_accesses", "ends_inside", "is_bounded", "is_short", "renamed"]

Access = Load | Store | Atomic | AtomicCas
_MOST_STATEMENTS = 200
"""Of the body of a loop that there may be two of."""
_LARGEST = 2**31 - 1
SHORT = 2**16
"""Iterations of a loop that may run in vain where no index says that it is no longer than an array."""
_NARROW = ("i8", "u8", "i16", "u16", "i32")


@dataclass(frozen=True, slots=True)
class AffineAccess:
    """An access of a loop whose indices are affine in its variable."""

    statement: Access
    memory: Memory
    indices: tuple[Value, ...]


class _Body:
    """Where the values of a loop's body come from."""

    def __init__(self, s: For) -> None:
        self.variable = s.variable.name
        self.made: dict[str, Stmt] = {}
        self.changed: set[str] = set()
        for inner in walk(s.body):
            if type(inner) is SetVar:
                self.changed.add(inner.var.name)
            result = result_of(inner)
            if result is not None:
                self.made[result.name] = inner
        self._slopes: dict[str, int | Value | None] = {}

    def slope(self, value: Value) -> int | Value | None:
        """How much a value grows with the variable: a number, or a value that the loop does not change; None where unknown."""
        name = value.name
        if name not in self._slopes:
            self._slopes[name] = self._find_slope(value)
        return self._slopes[name]

    def _find_slope(self, value: Value) -> int | Value | None:
        if value.name == self.variable:
            return 1
        s = self.made.get(value.name)
        match s:
            case None | Const() | Extent() | ThreadIndex():
                return 0
            case GetVar(var=var):
                return None if var.name in self.changed else 0
            case Op(op=op) if op == SLICE_INDEX:
                return None  # inside of its slice, not of the array alone
            case Op(op=op, args=args):
                slopes = [self.slope(a) for a in args]
                if all(slope == 0 for slope in slopes):
                    return 0
                if None in slopes or s.result.dtype not in (index, i64):
                    return None
                return self._combined(op, args, slopes)
            case _:
                return None

    def _combined(
        self, op: str, args: tuple[Value, ...], slopes: list[int | Value | None]
    ) -> int | Value | None:
        match op, slopes:
            case "cast", [one] if args[0].dtype in (index, i64):
                return one
            case "add", [0, one] | [one, 0]:
                return one
            case "sub", [one, 0]:
                return one
            case "add", [int(a), int(b)] if abs(a + b) <= _LARGEST:
                return a + b
            case "sub", [int(a), int(b)] if abs(a - b) <= _LARGEST:
                return a - b
            case "mul", [0, int(b)]:
                return self._times(args[0], b)
            case "mul", [int(a), 0]:
                return self._times(args[1], a)
            case _:
                return None

    def _times(self, factor: Value, slope: int) -> int | Value | None:
        """A slope times a factor that the loop does not change, where it is small."""
        s = self.made.get(factor.name)
        if isinstance(s, Const):
            product = int(s.value) * slope
            return product if abs(product) <= _LARGEST else None
        return factor if slope == 1 and self._is_narrow(factor) else None

    def _is_narrow(self, value: Value) -> bool:
        """Whether a value was widened from 32 bits."""
        s = self.made.get(value.name)
        if isinstance(s, Op) and s.op == "cast" and s.args[0].dtype.is_integer:
            return self._is_narrow(s.args[0])
        return value.dtype.name in _NARROW


def affine_accesses(s: For, guarded: Iterable[int]) -> list[AffineAccess]:
    """The guarded accesses of an innermost loop that are affine in its variable.

    Parameters
    ----------
    guarded : Iterable[int]
        The accesses that are guarded, by ``id``.
    """
    inner = list(walk(s.body))
    if len(inner) > _MOST_STATEMENTS or any(type(x) is For or type(x) is While for x in inner):
        return []
    body = _Body(s)
    wanted = set(guarded)
    return [
        AffineAccess(x, x.memory, x.indices)
        for x in inner
        if isinstance(x, Access) and id(x) in wanted and all(_is_affine(body, i) for i in x.indices)
    ]


def is_bounded(s: For, accesses: Iterable[AffineAccess]) -> bool:
    """Whether an index of the accesses moves with the loop, so that a loop whose ends are inside is no longer than an extent."""
    body = _Body(s)
    slopes = (body.slope(i) for access in accesses for i in access.indices)
    return any(isinstance(slope, int) and slope != 0 for slope in slopes)


def is_short(emitter: Rewriter, start: Value, stop: Value, step: int) -> Value:
    """Emit whether a loop is known to be short enough that all of it may be run in vain."""
    op, const = emitter.op, emitter.const
    low, high = (start, stop) if step > 0 else (stop, start)
    return op("and", op("ge", low, const(-1, index)), op("le", high, const(SHORT, index)))


def _is_affine(body: _Body, value: Value) -> bool:
    return body.slope(value) is not None


class _AtEnd:
    """Evaluates values of a loop's body before the loop, for one value of its variable."""

    def __init__(self, emitter: Rewriter, body: _Body, variable: Value) -> None:
        self.emitter = emitter
        self.made = body.made
        self.found: dict[str, Value] = {body.variable: variable}

    def of(self, value: Value) -> Value:
        """The value as an ``index``."""
        return self.emitter.cast(self._of(value), index)

    def _of(self, value: Value) -> Value:
        found = self.found.get(value.name)
        if found is None:
            found = self.found[value.name] = self._make(value)
        return found

    def _make(self, value: Value) -> Value:
        s = self.made.get(value.name)
        if s is None:
            return self.emitter.v(value)
        result = self.emitter.value(value.dtype)
        match s:
            case Op(args=args):
                again: Stmt = replace(s, result=result, args=tuple(self._of(a) for a in args))
            case _:
                assert isinstance(s, (Const, Extent, ThreadIndex, GetVar))
                again = replace(s, result=result)
        self.emitter.out.append(again)
        return result


def ends_inside(emitter: Rewriter, s: For, accesses: list[AffineAccess], step: int) -> Value:
    """Emit whether the loop does not run, or the accesses stay inside at the first and the last value of its variable.

    Parameters
    ----------
    step : int
        Of the loop, not 0.
    """
    op, const = emitter.op, emitter.const
    start, stop = emitter.v(s.start), emitter.v(s.stop)
    zero = const(0, index)
    # no value is past this one, and the last may be before it: one too many is left to the loop with checks.  The other operand
    # of min and max keeps it from wrapping, and is taken only where the tests of the ends fail anyway
    if step > 0:
        last = op("sub", op("max", stop, const(1, index)), const(1, index))
    else:
        last = op("add", op("min", stop, const(_LARGEST - 1, index)), const(1, index))
    low, high = (start, last) if step > 0 else (last, start)
    inside = op("and", op("ge", low, zero), op("le", high, const(_LARGEST, index)))
    body = _Body(s)
    first_values, last_values = _AtEnd(emitter, body, start), _AtEnd(emitter, body, last)
    seen: set[tuple[str, int, str, bool]] = set()
    for access in accesses:
        for axis, value in enumerate(access.indices):
            slope = body.slope(value)
            rises = isinstance(slope, int) and slope * step > 0
            for at in (last_values, first_values):
                found = at.of(value)
                key = (access.memory.name, axis, found.name, at is last_values)
                if key in seen or (at is last_values and slope == 0):
                    continue
                seen.add(key)
                inside = op("and", inside, op("ge", found, zero))
                if at is first_values and rises:
                    continue  # it is the last one, inside of the array, less what the index has grown
                inside = op("and", inside, op("lt", found, emitter.extent(access.memory, axis)))
    none = op("ge" if step > 0 else "le", start, stop)
    assert none.dtype is bool_
    return op("or", none, inside)


class _Renamer(Rewriter):
    """Gives each value that a block makes a name of its own."""

    def block(self, block: Block) -> Block:
        """The block with fresh names."""
        outer, self.out = self.out, []
        for s in block:
            result = result_of(s)
            fresh = None if result is None else self.value(result.dtype)
            if isinstance(s, For) and fresh is not None:
                self.replaced[s.variable.name] = fresh  # before its body
            self.loc = s.loc
            self._handlers[type(s)](s)
            if result is not None and fresh is not None:
                self.replaced[result.name] = fresh
                self.out[-1] = _with_result(self.out[-1], fresh)
        done = tuple(self.out)
        self.out = outer
        return done


def _with_result(s: Stmt, result: Value) -> Stmt:
    changes = {"variable" if isinstance(s, For) else "result": result}
    changed: Stmt = replace(s, **changes)  # type: ignore[arg-type]
    return changed


def renamed(names: Names, block: Block) -> Block:
    """A block that may stand beside the one that it was made from."""
    return _Renamer(names).block(block)
