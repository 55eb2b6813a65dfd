"""The integers of a kernel as polynomials: which arithmetic is exact, what is known of quotients, masks and extremes; extents and
coordinates of the launch, and what follows from conditions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from gpucore.ir.bounds.polynomials import (
    Atoms,
    Case,
    Fact,
    Frozen,
    HostTerm,
    Poly,
    add,
    constant,
    freeze,
    multiply,
    number_of,
    scale,
    subtract,
)
from gpucore.ir.bounds.prover import TRUE, Prover, both
from gpucore.ir.dtypes import DType
from gpucore.ir.nodes import Memory, Module, Op, ThreadIndex, Value, walk
from gpucore.ir.ops import COMPARISONS
from gpucore.ir.passes.intervals import OPPOSITE, Interval, binary, join, of_dtype, within

__all__ = ["NO_NEEDS", "Form", "Integers", "Threads", "Truths"]


NO_NEEDS: frozenset[Frozen] = frozenset()


class Form(NamedTuple):
    """An integer as a polynomial, where the host finds that all of ``needs`` are at least 0."""

    poly: Poly
    needs: frozenset[Frozen] = NO_NEEDS


class Integers:
    """The integer values of a kernel by name.

    Integers wrap: a sum or product is the polynomial that it looks like only where that is proven to fit its dtype, or where the
    host finds that it does.  Else it is an atom of its own.
    """

    def __init__(self, atoms: Atoms, prover: Prover) -> None:
        self.atoms = atoms
        self.prover = prover
        self.forms: dict[str, Form] = {}
        self._quotients: dict[tuple[Frozen, Frozen], int] = {}

    def form(self, value: Value) -> Form:
        found = self.forms.get(value.name)
        if found is None:
            found = self.forms[value.name] = self.unknown(of_dtype(value.dtype))
        return found

    def unknown(self, interval: Interval) -> Form:
        return Form({(self.atoms.new(interval),): 1})

    def fit(self, poly: Poly, needs: frozenset[Frozen], dtype: DType) -> Form | None:
        """A result of exact arithmetic as a value of its dtype; None where it may have wrapped."""
        limits = of_dtype(dtype)
        if not self.atoms.is_linear(poly):
            return None
        low, high = self.atoms.interval(poly)
        proof = TRUE
        if high > limits[1]:
            proof = self.prover.prove(subtract(constant(limits[1]), poly))
        if low < limits[0] and proof:
            proof = both(proof, self.prover.prove(subtract(poly, constant(limits[0]))))
        if not proof:
            return None
        return Form(poly, needs | proof[0])

    def product(self, a: Poly, b: Poly) -> Poly:
        """The product; where both have atoms of the device, an atom with what intervals say."""
        exact = multiply(a, b)
        if self.atoms.is_linear(exact):
            return exact
        interval = binary("mul", self.atoms.interval(a), self.atoms.interval(b))
        assert interval is not None
        return {(self.atoms.new(interval),): 1}

    # --- operations
    def interval_of(self, s: Op) -> Interval:
        """What intervals alone say of a result."""
        full = of_dtype(s.result.dtype)
        if s.op in ("popcount", "clz"):
            return (0, 64)
        if s.op == "cast" and s.args[0].dtype.kind == "bool":
            return (0, 1)
        if len(s.args) == 2 and all(a.dtype.is_integer for a in s.args):
            found = binary(s.op, *(self._safe_interval(a) for a in s.args))
            if found is not None and within(found, full):
                return found
        return full

    def _safe_interval(self, value: Value) -> Interval:
        """The interval of a value that holds on every condition."""
        form = self.form(value)
        return of_dtype(value.dtype) if form.needs else self.atoms.interval(form.poly)

    def result(self, s: Op) -> Form | None:
        op, args, dtype = s.op, s.args, s.result.dtype
        if op == "cast" and args[0].dtype.is_integer:
            form = self.form(args[0])
            return form if within(of_dtype(args[0].dtype), of_dtype(dtype)) else self.fit(*form, dtype)
        if not all(a.dtype.is_integer for a in args) or op == "bitcast":
            return None
        first = self.form(args[0])
        if len(args) == 1:
            return self._unary(op, first, dtype)
        return self._binary(op, first, self.form(args[1]), dtype) if len(args) == 2 else None

    def _unary(self, op: str, a: Form, dtype: DType) -> Form | None:
        if op not in ("neg", "abs"):
            return None
        negative = self.fit(scale(a.poly, -1), a.needs, dtype)
        return negative if op == "neg" or negative is None else self._extreme("max", a, negative)

    def _binary(self, op: str, a: Form, b: Form, dtype: DType) -> Form | None:
        needs = a.needs | b.needs
        match op:
            case "add":
                return self.fit(add(a.poly, b.poly), needs, dtype)
            case "sub":
                return self.fit(subtract(a.poly, b.poly), needs, dtype)
            case "mul":
                return self.fit(self.product(a.poly, b.poly), needs, dtype)
            case "shl" | "shr":
                amount = number_of(b.poly)
                if amount is None or not 0 <= amount < dtype.bits:
                    return None
                if op == "shl":
                    return self.fit(scale(a.poly, 1 << amount), needs, dtype)
                return self._quotient(a.poly, constant(1 << amount), needs, dtype)
            case "floordiv":
                return self._quotient(a.poly, b.poly, needs, dtype)
            case "mod":
                return self._remainder(a.poly, b.poly, needs, dtype)
            case "and":
                return self._masked(a, b)
            case "min" | "max":
                return self._extreme(op, a, b)
            case _:
                return None

    def _quotient(self, a: Poly, d: Poly, needs: frozenset[Frozen], dtype: DType) -> Form | None:
        host = self.prover.on_host("floordiv", a, d)
        if host is not None:
            return self.fit(host, needs, dtype)
        positive = self._positive(d)
        if positive is None:
            return None
        quotient = self._quotient_atom(a, d, positive)
        return None if quotient is None else self.fit(quotient, needs, dtype)

    def _positive(self, d: Poly) -> frozenset[Frozen] | None:
        """What makes a divisor positive; None where it may be anything."""
        if not self.atoms.is_host(d):
            return None
        proof = self.prover.prove(add(d, constant(-1)))
        return proof[0] if proof else None

    def _quotient_atom(self, a: Poly, d: Poly, positive: frozenset[Frozen]) -> Poly | None:
        """The floor of ``a / d`` as an atom."""
        number = number_of(d)
        if number is not None and all(c % number == 0 for c in a.values()):
            return {m: c // number for m, c in a.items()}
        interval = binary("floordiv", self.atoms.interval(a), self.atoms.interval(d))
        if interval is None:
            return None
        key = (freeze(a), freeze(d))
        found = self._quotients.get(key)
        if found is None:
            found = self._quotients[key] = self.atoms.new(interval)
            self.prover.divides(found, a, d, positive)
        return {(found,): 1}

    def _remainder(self, a: Poly, d: Poly, needs: frozenset[Frozen], dtype: DType) -> Form | None:
        host = self.prover.on_host("mod", a, d)
        if host is not None:
            return self.fit(host, needs, dtype)
        positive = self._positive(d)
        if positive is None:
            return None
        if not positive:
            dividend, divisor = self.atoms.interval(a), self.atoms.interval(d)
            if dividend[0] >= 0 and dividend[1] < divisor[0]:
                return self.fit(a, needs, dtype)
        quotient = self._quotient_atom(a, d, positive)
        if quotient is None:
            return None
        rest = subtract(a, multiply(d, quotient))
        # a remainder by a positive number fits where the number does
        return Form(rest, needs | positive)

    def _masked(self, a: Form, b: Form) -> Form | None:
        mask, other = (b, a) if number_of(b.poly) is not None else (a, b)
        number = number_of(mask.poly)
        if number is None or number < 0:
            return None
        if number & (number + 1) == 0 and not other.needs:
            low, high = self.atoms.interval(other.poly)
            if low >= 0 and high <= number:
                return other
            quotient = self._quotient_atom(other.poly, constant(number + 1), NO_NEEDS)
            if quotient is not None:
                return Form(subtract(other.poly, scale(quotient, number + 1)))
        found = self.atoms.new((0, number))
        if not other.needs and self.atoms.interval(other.poly)[0] >= 0:
            self.atoms[found].facts.append(Fact(subtract(other.poly, {(found,): 1})))
        return Form({(found,): 1})

    def _extreme(self, op: str, a: Form, b: Form) -> Form:
        """The smaller or the larger of two."""
        sign = 1 if op == "min" else -1
        poly = self.prover.on_host(op, a.poly, b.poly)
        if poly is None:
            interval = binary(op, self.atoms.interval(a.poly), self.atoms.interval(b.poly))
            assert interval is not None
            number = self.atoms.new(interval)
            poly = {(number,): 1}
            atom = self.atoms[number]
            difference = scale(subtract(b.poly, a.poly), sign)  # at least 0 where a is the one
            atom.facts += [Fact(scale(subtract(p, poly), sign)) for p in (a.poly, b.poly)]
            atom.cases = (Case(a.poly, (Fact(difference),)), Case(b.poly, (Fact(scale(difference, -1)),)))
        return Form(poly, a.needs | b.needs)

    def choice(self, a: Form, if_a: Sequence[Fact], b: Form, if_b: Sequence[Fact]) -> Form:
        """One of two numbers, and what holds where it is the one or the other."""
        if a == b:
            return a
        number = self.atoms.new(join(self.atoms.interval(a.poly), self.atoms.interval(b.poly)))
        self.atoms[number].cases = (Case(a.poly, tuple(if_a)), Case(b.poly, tuple(if_b)))
        # on either way: what one of them needs must hold for the interval to mean anything
        return Form({(number,): 1}, a.needs | b.needs)


_LARGEST = 2**62
"""No device addresses as much."""


class Threads:
    """Extents and coordinates as atoms.

    Parameters
    ----------
    is_range, small, block
        As in :func:`gpucore.ir.bounds.analyse`.

    Attributes
    ----------
    coordinates : dict[tuple[str, int], Form]
        Those that were asked for, by kind and axis.
    sizes : dict[str, tuple[Form, ...]]
        The extents of shared memories that come with the launch.
    """

    def __init__(
        self, atoms: Atoms, module: Module, *, is_range: bool, small: bool, block: tuple[int, ...] | None
    ) -> None:
        self.atoms = atoms
        self.is_range = is_range
        self.block = block
        self.most = 2**31 - 1 if small else _LARGEST
        self.coordinates: dict[tuple[str, int], Form] = {}
        self.sizes: dict[str, tuple[Form, ...]] = {}
        # axes of which block and thread are looked at too: there the global id is made of them
        self.mixed = {
            s.axis
            for s in walk(module.kernel.body)
            if type(s) is ThreadIndex and s.kind in ("thread_id", "block_id")
        }

    def extent(self, memory: Memory, axis: int) -> Poly:
        """An extent of an array."""
        if memory.shape:
            return constant(memory.shape[axis])
        if memory.space == "shared":
            return self.sizes[memory.name][axis].poly
        # flat arrays hold what others have in two axes
        usual = 1 << (20 if memory.rank == 1 else 10)
        return {(self.atoms.host(HostTerm("extent", memory.name, axis), (0, self.most), usual),): 1}

    def coordinate(self, kind: str, axis: int) -> Form:
        """A coordinate of the thread, or an extent of the launch."""
        found = self.coordinates.get((kind, axis))
        if found is None:
            found = self.coordinates[kind, axis] = self._coordinate(kind, axis)
        return found

    def _coordinate(self, kind: str, axis: int) -> Form:
        if self.is_range:
            if kind != "global_id":
                return Form({(self.atoms.new((0, self.most)),): 1})
            return self._thread({(self.atoms.host(HostTerm("range", "", axis), (1, self.most)),): 1})
        if kind == "block_dim":
            if self.block is not None and axis < len(self.block):
                return Form(constant(self.block[axis]))
            return Form({(self.atoms.host(HostTerm("block", "", axis), (1, self.most), 16),): 1})
        if kind == "grid_dim":
            # all threads of a launch together are as many as the largest axis may have
            most = self.most // math.prod(self.block or (1,))
            return Form({(self.atoms.host(HostTerm("grid", "", axis), (1, max(most, 1)), 64),): 1})
        size, blocks = self.coordinate("block_dim", axis).poly, self.coordinate("grid_dim", axis).poly
        if kind == "thread_id":
            return self._thread(size)
        if kind == "block_id":
            return self._thread(blocks)
        if axis not in self.mixed:
            return self._thread(multiply(blocks, size))
        block, thread = self.coordinate("block_id", axis).poly, self.coordinate("thread_id", axis).poly
        return Form(add(multiply(block, size), thread))

    def _thread(self, span: Poly) -> Form:
        """A coordinate from 0 up to ``span``, which it does not reach."""
        high = max(min(self.atoms.interval(span)[1], self.most) - 1, 0)
        number = self.atoms.new((0, high))
        atom = self.atoms[number]
        atom.span = span
        atom.facts.append(Fact(add(subtract(span, {(number,): 1}), constant(-1))))
        return Form({(number,): 1})


class Truths:
    """The bool values of a kernel by name.

    Attributes
    ----------
    conditions : dict
        How a bool came about: an operation, a constant, or one of two other bools by a third, as after a branch.
    """

    def __init__(self, integers: Integers) -> None:
        self.integers = integers
        self.prover = integers.prover
        self.conditions: dict[str, Op | tuple[str, str, str] | bool] = {}

    def choose(self, condition: str, a: Form, b: Form) -> Form:
        """The number that is ``a`` where a condition holds, else ``b``."""
        return self.integers.choice(a, self.facts(condition, True), b, self.facts(condition, False))

    def choice(self, condition: str, a: str, b: str) -> str:
        """The name of a bool that is ``a`` where a condition holds, else ``b``."""
        name = f"?{len(self.conditions)}"
        self.conditions[name] = (condition, a, b)
        return name

    def facts(self, name: str, truth: bool) -> list[Fact]:
        """What follows from a condition being true, or false."""
        s = self.conditions.get(name)
        if s is None or isinstance(s, bool):
            return []
        if isinstance(s, tuple):
            return self._facts_of_choice(s, truth)
        if s.op == "not":
            return self.facts(s.args[0].name, not truth)
        if s.op == ("and" if truth else "or") and s.args[0].dtype.kind == "bool":
            return [f for a in s.args for f in self.facts(a.name, truth)]
        if s.op == "select":
            return self._facts_of_choice((s.args[0].name, s.args[1].name, s.args[2].name), truth)
        if s.op in COMPARISONS and s.args[0].dtype.is_integer:
            a, b = self.integers.form(s.args[0]), self.integers.form(s.args[1])
            return self._compared(s.op if truth else OPPOSITE[s.op], a, b)
        return []

    def _facts_of_choice(self, choice: tuple[str, str, str], truth: bool) -> list[Fact]:
        """Of a bool that is one of two: where one of them is the constant that it is not, it is the other."""
        condition, a, b = choice
        for one, other, way in ((a, b, True), (b, a, False)):
            if self.conditions.get(other) is (not truth):
                return [*self.facts(condition, way), *self.facts(one, truth)]
        return []

    def _compared(self, op: str, a: Form, b: Form) -> list[Fact]:
        needs = a.needs | b.needs
        difference = subtract(b.poly, a.poly)
        signs = {"l": (1,), "g": (-1,)}.get(op[0], (1, -1))
        polys = [scale(difference, sign) for sign in signs]
        if op == "ne":
            polys = [poly for poly in polys if self.prover.prove(poly) is TRUE]
        less = 1 if op in ("lt", "gt", "ne") else 0
        return [Fact(subtract(poly, constant(less)), needs) for poly in polys]
