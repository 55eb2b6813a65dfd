"""Accumulators that may wrap before their value is converted to a wider type.

A variable that begins as an int literal, as in ``s = 1; s *= 2``, is an i32 where only literals meet it, and else takes the
type of what is added to it, a u8 for a u8.  It wraps there, and an array of i64 or a float that it ends in hides that.  Found
is a variable that

- is assigned an int literal, or what comes from int literals alone, so that no cast says its type,
- grows in a loop: from its own value, by multiplication, shifts, or additions of more than a counter's steps,
- is not held back by a comparison in the loop, by ``%``, ``&``, ``min``, or by a number of iterations that is known,
- and is converted to a wider integer or, unless an array of i32 or u32 gave it its type, to a float.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bool_, index
from gpucore.ir.ops import COMPARISONS
from gpucore.lang.diagnostics import article

__all__ = ["NarrowSum", "narrow_sums"]

LONGEST_COUNT = 1 << 15
"""Iterations that are taken for possible: steps that stay below the type's end for as many are a counter's."""


@dataclass(frozen=True)
class NarrowSum:
    """A variable that may wrap before it is widened.

    Attributes
    ----------
    literal : bool
        Whether int literals alone give it its type.
    loc, widened : Loc | None
        Where it grows, and where it is converted to ``wider``.
    """

    name: str
    dtype: DType
    wider: DType
    literal: bool
    loc: ir.Loc | None
    widened: ir.Loc | None

    def __str__(self) -> str:
        why = (
            "only int literals give it a type" if self.literal else "it takes the type of what is added to it"
        )
        line = f" (line {self.widened.line})" if self.widened is not None else ""
        wide = self.wider if self.wider.is_integer else "i32" if self.dtype.bits < 32 else "i64"
        return (
            f"{self.name.partition('.')[0]} is {article(self.dtype)}, since {why}, and may wrap at "
            f"2**{_width(self.dtype)} before it becomes {article(self.wider)}{line}. "
            f"Say its type where it starts: gc.{wide}(...), or gc.{self.dtype}(...) where it may wrap"
        )


@dataclass(frozen=True)
class _Bound:
    """How large a value may be: the magnitudes of variables times their factors, plus ``rest``.

    ``met`` holds all the variables that it was computed from, also where they bound nothing.
    """

    rest: float
    factors: Mapping[str, float] = field(default_factory=dict)
    met: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Loop:
    """A loop, with its iterations as far as they are known."""

    iterations: float = math.inf
    compared: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Assignment:
    name: str
    bound: _Bound
    loops: tuple[_Loop, ...]
    loc: ir.Loc | None


class _Walk:
    """One walk over a body: bounds of values, assignments of the suspects, and where these are converted."""

    def __init__(self, suspects: Mapping[str, bool]) -> None:
        self.suspects = suspects
        self.bounds: dict[str, _Bound] = {}
        self.numbers: dict[str, ir.Number] = {}
        self.assignments: list[_Assignment] = []
        self.casts: list[ir.Op] = []

    def block(self, block: ir.Block, loops: tuple[_Loop, ...]) -> None:
        for s in block:
            match s:
                case ir.If():
                    self.block(s.then, loops)
                    self.block(s.orelse, loops)
                case ir.For():
                    self.block(s.body, (*loops, _Loop(self._iterations(s))))
                case ir.While():
                    inside = (*loops, _Loop())
                    self.block(s.header, inside)
                    self.block(s.body, inside)
                case ir.SetVar(var=var) if var.name in self.suspects:
                    self.assignments.append(_Assignment(var.name, self._of(s.value), loops, s.loc))
                case ir.GetVar(var=var) if var.name in self.suspects:
                    self.bounds[s.result.name] = _Bound(0.0, {var.name: 1.0}, frozenset((var.name,)))
                case ir.Const() if s.result.dtype.is_integer:
                    self.numbers[s.result.name] = s.value
                    self.bounds[s.result.name] = _Bound(float(abs(s.value)))
                case ir.Op():
                    self._operation(s, loops)

    def _iterations(self, loop: ir.For) -> float:
        ends = [self.numbers.get(v.name) for v in (loop.start, loop.stop, loop.step)]
        if None in ends or not ends[2]:
            return math.inf
        return float(len(range(*map(int, ends))))  # type: ignore[arg-type]

    def _of(self, value: ir.Value) -> _Bound:
        found = self.bounds.get(value.name)
        return found if found is not None else _Bound(_largest(value.dtype))

    def _operation(self, s: ir.Op, loops: tuple[_Loop, ...]) -> None:
        args = [self._of(v) for v in s.args]
        met = frozenset[str]().union(*(a.met for a in args))
        if s.op in COMPARISONS:
            for loop in loops:
                loop.compared.update(met)
        if s.op == "cast" and args[0].factors:
            self.casts.append(s)
        if s.result.dtype.is_integer and (met or s.op in ("cast", "mod", "and", "select")):
            self.bounds[s.result.name] = self._bound(s, args, met)

    def _bound(self, s: ir.Op, args: list[_Bound], met: frozenset[str]) -> _Bound:
        largest = _largest(s.result.dtype)
        match s.op:
            case "add" | "sub" | "or" | "xor":
                return _sum(args, met)
            case "mul":
                for one, other in (args, args[::-1]):
                    if not one.factors:
                        return _scaled(other, one.rest, met)
                return _scaled(_sum(args, met), math.inf, met)
            case "shl":
                by = self.numbers.get(s.args[1].name)
                return _scaled(args[0], 2.0 ** int(by) if by is not None and 0 <= by < 64 else math.inf, met)
            case "pow":
                return _scaled(args[0], math.inf, met)
            case "neg" | "abs" | "floordiv":
                return _Bound(args[0].rest, args[0].factors, met)
            case "select":
                factors = {
                    n: max(a.factors.get(n, 0.0) for a in args[1:]) for a in args[1:] for n in a.factors
                }
                return _Bound(max(a.rest for a in args[1:]), factors, met)
            case "cast":
                return _Bound(min(largest, _largest(s.args[0].dtype), args[0].rest or largest), {}, met)
            case "mod":
                return _Bound(largest if args[1].factors else args[1].rest, {}, met)
            case "and":
                return _Bound(min((a.rest for a in args if not a.factors), default=largest), {}, met)
        return _Bound(largest, {}, met)


def _largest(dtype: DType) -> float:
    return 1.0 if dtype is bool_ else 2.0 ** _width(dtype)


def _width(dtype: DType) -> int:
    """Bits below the sign."""
    return dtype.bits - dtype.is_signed


def _sum(args: list[_Bound], met: frozenset[str]) -> _Bound:
    factors: dict[str, float] = {}
    for a in args:
        for name, factor in a.factors.items():
            factors[name] = factors.get(name, 0.0) + factor
    return _Bound(sum(a.rest for a in args), factors, met)


def _scaled(bound: _Bound, by: float, met: frozenset[str]) -> _Bound:
    return _Bound(
        bound.rest * by if bound.rest else 0.0, {n: f * by for n, f in bound.factors.items() if by}, met
    )


class _Growth:
    """Which of the suspects grow in loops from their own values."""

    def __init__(self, walk: _Walk, dtypes: Mapping[str, DType]) -> None:
        self.dtypes = dtypes
        self.of: dict[str, list[_Assignment]] = {}
        for assignment in walk.assignments:
            self.of.setdefault(assignment.name, []).append(assignment)
        self.reached = {name: self._reach(name) for name in self.of}

    def _reach(self, name: str) -> set[str]:
        """The variables that the next value of one may come from."""
        found: set[str] = set()
        pending = [name]
        while pending:
            for assignment in self.of.get(pending.pop(), ()):
                if assignment.loops:
                    fresh = assignment.bound.factors.keys() - found
                    found |= fresh
                    pending += fresh
        return found

    def place(self, name: str) -> _Assignment | None:
        """Where a variable grows beyond its type; None where it does not."""
        circle = {n for n in self.reached.get(name, ()) if name in self.reached.get(n, ())}
        cyclic = [a for n in circle for a in self.of[n] if a.loops and circle & a.bound.factors.keys()]
        cyclic.sort(key=lambda a: a.name != name)
        return next((a for a in cyclic if self._grows(a, circle, cyclic)), None)

    def _grows(self, a: _Assignment, circle: set[str], cyclic: list[_Assignment]) -> bool:
        factor = sum(f for n, f in a.bound.factors.items() if n in circle)
        step = a.bound.rest + sum(
            f * self._constant(n) for n, f in a.bound.factors.items() if n not in circle
        )
        limit = _largest(self.dtypes[a.name])
        if (factor <= 1 and step * LONGEST_COUNT < limit) or any(circle & loop.compared for loop in a.loops):
            return False
        starts = [b for n in circle for b in self.of[n] if b not in cyclic]
        count = a.loops[-1].iterations
        for loop in reversed(a.loops[:-1]):
            if any(loop in b.loops for b in starts):
                break
            count *= loop.iterations
        if math.isinf(count):
            return True
        start = max((b.bound.rest for b in starts), default=limit)
        power = min(count, 64) * math.log2(factor) if factor > 1 else 0.0
        return power >= 64 or 2.0**power * (start + step * count) >= limit

    def _constant(self, name: str) -> float:
        """The largest number of a variable that gets constants alone, else what its type holds."""
        bounds = [a.bound for a in self.of.get(name, ())]
        if any(b.factors for b in bounds):
            return _largest(self.dtypes[name])
        return max((b.rest for b in bounds), default=0.0)


def narrow_sums(body: ir.Block, variables: Mapping[ir.Var, bool]) -> Iterator[NarrowSum]:
    """The accumulators of a function that may wrap before they are widened, each once.

    Parameters
    ----------
    body : Block
        Of the high level.
    variables : Mapping[Var, bool]
        Those that int literals are assigned to, and whether these alone give their types.
    """
    walk = _Walk({v.name: literal for v, literal in variables.items()})
    walk.block(body, ())
    if not walk.casts:
        return
    growth = _Growth(walk, {v.name: v.dtype for v in variables})
    told: set[str] = set()
    for s in walk.casts:
        narrow, wider = s.args[0].dtype, s.result.dtype
        for name in walk.bounds[s.args[0].name].factors:
            literal = walk.suspects[name]
            hidden = literal or narrow.bits < 32 if wider.is_float else wider.bits > narrow.bits
            if name in told or not hidden or wider is index:
                continue
            place = growth.place(name)
            if place is not None:
                told.add(name)
                yield NarrowSum(name, narrow, wider, literal, place.loc, s.loc)
