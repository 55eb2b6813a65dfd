"""Loops and the checks in them: made before the loop, at both ends of its range; while loops that count; loops that are tried.

The variable of a while loop that counts has a sign and 32 or 64 bits, grows by 1 in the last statement and nowhere else, and
the loop does not change ``n``. A value below ``n`` has a successor, so counting wraps neither here nor there. The variable
is still set at the end of each iteration: what follows the loop, or leaves it, finds what it would have found.

A loop that changes variables alone may run twice: what its variables held before is kept. In the trial a load outside its array
reads the first element in its place, and a variable remembers that there was one. So compilers see a loop without exits, which
they unroll, with several loads on their way at a time.

A wrong load must not make a trial long: a loop with a way out (``break``) is not tried, for what it waits for may never be read
once a load was wrong; nor is one whose range no index bounds (:func:`~gpucore.ir.passes.checked_loops.is_bounded`).

Of the other loops: where the accesses stay inside at the first and at the last value of the variable, they stay inside
between them, and a copy of the loop without these checks runs; elsewhere the loop with all checks does.

An index ``i(k)`` is made of sums, differences and products with values that the loop does not change, all in the dtype
``index``, so that it is ``c * k + r`` modulo 2**64.  With ``|c| <= 2**31`` and both ends of the range in 0 .. 2**31 - 1 (tested
before the loop), ``|c * (last - first)|`` is below 2**62. Two ends within an array are within 0 .. 2**63 - 1, so they differ by
exactly that, and so do those between them: nothing wraps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gpucore.ir.dtypes import bool_, i32, i64, index
from gpucore.ir.nodes import (
    Atomic,
    AtomicCas,
    Block,
    Call,
    Const,
    Continue,
    Extent,
    For,
    GetVar,
    If,
    Load,
    Memory,
    Op,
    SetVar,
    Stmt,
    Store,
    ThreadIndex,
    Value,
    Var,
    While,
    operands_of,
    result_of,
    walk,
)
from gpucore.ir.ops import SLICE_INDEX
from gpucore.ir.passes.emit import Names, Rewriter

__all__ = [
    "OUTSIDE",
    "AffineAccess",
    "Counted",
    "Trial",
    "affine_accesses",
    "counted",
    "ends_inside",
    "is_bounded",
    "is_short",
    "renamed",
    "trial_of",
]


@dataclass(frozen=True, slots=True)
class Counted:
    """A loop that counts.

    Attributes
    ----------
    variable : Var
        What counts.
    before : Block
        What works out the limit, to be done once.
    limit : Value
        The first value with which the loop does not go on.
    body : Block
    """

    variable: Var
    before: Block
    limit: Value
    body: Block

    def body_with(self, counter: Value, zero: Value) -> Block:
        """The body with the counter of a ``for`` loop in the place of the variable, where that is read."""
        return _read_from(self.body, self.variable, counter, zero)


def counted(s: While) -> Counted | None:
    """How a loop counts; None where it does not."""
    last = s.body[-1] if s.body else None
    if not isinstance(last, SetVar) or last.var.dtype not in (i32, i64, index):
        return None
    variable = last.var
    made = {r.name: x for x in walk((*s.header, *s.body)) if (r := result_of(x)) is not None}
    changed = [x.var.name for x in walk(s.body) if isinstance(x, SetVar)]
    if changed.count(variable.name) != 1 or any(isinstance(x, Continue) for x in walk(s.body)):
        return None
    match made.get(last.value.name):
        case Op(op="add", args=(a, b)) if _reads(made, a, variable) and _is_one(made, b):
            pass
        case _:
            return None
    condition = made.get(s.condition.name)
    if not isinstance(condition, Op) or condition.op != "lt" or not _reads(made, condition.args[0], variable):
        return None
    counting = {condition.args[0].name, s.condition.name}
    before = tuple(x for x in s.header if (r := result_of(x)) is None or r.name not in counting)
    if not all(_is_repeatable(x, changed) for x in before):
        return None
    limit = condition.args[1]
    kept = {r.name for x in before if (r := result_of(x)) is not None}
    if limit.name in made and limit.name not in kept:
        return None
    if any(v.name in counting for x in (*before, *walk(s.body)) for v in operands_of(x)):
        return None
    return Counted(variable, before, limit, s.body)


def _reads(made: dict[str, Stmt], value: Value, variable: Var) -> bool:
    s = made.get(value.name)
    return isinstance(s, GetVar) and s.var.name == variable.name


def _is_one(made: dict[str, Stmt], value: Value) -> bool:
    s = made.get(value.name)
    return isinstance(s, Const) and s.value == 1


def _is_repeatable(s: Stmt, changed: list[str]) -> bool:
    """Whether a statement gives the same before the loop as in it."""
    if isinstance(s, GetVar):
        return s.var.name not in changed
    return isinstance(s, (Const, Extent, ThreadIndex, Op))


def _read_from(block: Block, variable: Var, counter: Value, zero: Value) -> Block:
    """The block; a value of dtype ``index`` is the counter plus ``zero``, so that its growth is seen."""
    read = {x.result.name for x in block if isinstance(x, GetVar) and x.var.name == variable.name}
    found: list[Stmt] = []
    for s in block:
        match s:
            case GetVar(result=result) if result.name in read:
                same = result.dtype is index
                args = (counter, zero) if same else (counter,)
                found.append(Op(result, "add" if same else "cast", args, s.loc))
            case Op(op="cast", result=result, args=(arg,)) if result.dtype is index and arg.name in read:
                found.append(Op(result, "add", (counter, zero), s.loc))
            case If():
                then, orelse = (_read_from(b, variable, counter, zero) for b in (s.then, s.orelse))
                found.append(replace(s, then=then, orelse=orelse))
            case _:
                found.append(s)
    return tuple(found)


OUTSIDE = "$outside"
"""What the names of variables begin with that say whether a loop is still to be run with reports."""

_MOST_TRIED = 200
_REPEATABLE = (Const, Op, Call, GetVar, SetVar, Extent, Load, ThreadIndex, If, Continue)


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial of a loop needs.

    Attributes
    ----------
    memories : tuple[Memory, ...]
        Of the loads that are checked in the loop: each must have an element.
    kept : tuple[Var, ...]
        The variables that a second run begins with.
    """

    memories: tuple[Memory, ...]
    kept: tuple[Var, ...]


def trial_of(s: For, guarded: Iterable[int], kernel: Block, assigned: set[str]) -> Trial | None:
    """The trial of an innermost loop; None where it does more than change variables, has a way out, or no checked load.

    Parameters
    ----------
    guarded : Iterable[int]
        The accesses that are checked in the loop, by ``id``.
    kernel : Block
        The body of the kernel.
    assigned : set[str]
        Variables that were set on each way to the loop.
    """
    inner = list(walk(s.body))
    if (
        len(inner) > _MOST_TRIED
        or not all(isinstance(x, _REPEATABLE) for x in inner)
        or any(type(x) is Op and x.op == SLICE_INDEX for x in inner)
    ):
        return None
    wanted = set(guarded)
    memories = {x.memory.name: x.memory for x in inner if isinstance(x, Load) and id(x) in wanted}
    if not memories:
        return None
    kept: dict[str, Var] = {}
    for x in inner:
        if type(x) is SetVar:
            if x.var.name in assigned:
                kept[x.var.name] = x.var
            elif not _is_of_one_iteration(x.var, s.body, kernel):
                return None
    return Trial(tuple(memories.values()), tuple(kept.values()))


def _is_of_one_iteration(var: Var, body: Block, kernel: Block) -> bool:
    """Whether a variable is set anew in each iteration before it is read, and is read nowhere else."""

    def reads(block: Block) -> int:
        return sum(1 for x in walk(block) if type(x) is GetVar and x.var.name == var.name)

    if reads(kernel) != reads(body):
        return False
    for x in body:
        if type(x) is SetVar and x.var.name == var.name:
            return True
        if any(isinstance(y, (GetVar, SetVar)) and y.var.name == var.name for y in walk((x,))):
            return False
    return False


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
