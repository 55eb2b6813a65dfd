"""Integer polynomials over atoms, what an index is made of; conditions on a launch, and how the host evaluates them.

An atom is a number that stays what it is once it is known: an extent, a scalar argument, a thread coordinate, the variable of a
loop in one iteration, a loaded element.  Atoms that the host knows before a launch are *host atoms*.  In a polynomial each
monomial has at most one other atom, so that with respect to what the host does not know a polynomial is linear.

A polynomial is a dict from monomials (sorted tuples of atom numbers, ``()`` for the constant) to coefficients other than 0. It is
never changed once it is made.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

__all__ = [
    "Atom",
    "Atoms",
    "Case",
    "Fact",
    "Frozen",
    "HostTerm",
    "HostText",
    "Poly",
    "add",
    "constant",
    "describe",
    "describe_poly",
    "freeze",
    "host_function",
    "host_operation",
    "multiply",
    "number_of",
    "scale",
    "subtract",
    "thaw",
]


Interval: TypeAlias = tuple[int, int]
Monomial: TypeAlias = tuple[int, ...]
Poly: TypeAlias = dict[Monomial, int]
Frozen: TypeAlias = tuple[tuple[Monomial, int], ...]
"""A polynomial that can be an element of a set."""


def constant(number: int) -> Poly:
    """A number as a polynomial."""
    return {(): number} if number else {}


def number_of(poly: Poly) -> int | None:
    """The number that a polynomial is, or None."""
    return 0 if not poly else poly.get(()) if len(poly) == 1 else None


def add(a: Poly, b: Poly, factor: int = 1) -> Poly:
    """``a + factor * b``."""
    result = dict(a)
    for monomial, coefficient in b.items():
        total = result.get(monomial, 0) + factor * coefficient
        if total:
            result[monomial] = total
        else:
            result.pop(monomial, None)
    return result


def subtract(a: Poly, b: Poly) -> Poly:
    """``a - b``."""
    return add(a, b, -1)


def scale(a: Poly, factor: int) -> Poly:
    """``factor * a``."""
    return {monomial: factor * coefficient for monomial, coefficient in a.items()} if factor else {}


def multiply(a: Poly, b: Poly) -> Poly:
    """``a * b``."""
    result: Poly = {}
    for first, x in a.items():
        for second, y in b.items():
            monomial = tuple(sorted(first + second)) if first and second else first or second
            total = result.get(monomial, 0) + x * y
            if total:
                result[monomial] = total
            else:
                result.pop(monomial, None)
    return result


def host_operation(op: str, a: int, b: int) -> int:
    """An operation on numbers as kernels do it: a zero divisor gives 0."""
    if op in ("floordiv", "mod"):
        return (a // b if op == "floordiv" else a % b) if b else 0
    return min(a, b) if op == "min" else max(a, b)


def freeze(a: Poly) -> Frozen:
    """The polynomial as a key."""
    return tuple(sorted(a.items()))


def thaw(a: Frozen) -> Poly:
    """The polynomial of a key."""
    return dict(a)


class HostTerm(NamedTuple):
    """How the host finds the number of a host atom.

    Attributes
    ----------
    kind : str
        ``extent`` (of array ``name`` along ``axis``), ``scalar`` (argument ``name``), ``range``, ``grid`` or ``block`` (of the
        launch along ``axis``), or an operation (``floordiv``, ``mod``, ``min``, ``max``) on ``operands``.
    """

    kind: str
    name: str = ""
    axis: int = 0
    operands: tuple[Frozen, ...] = ()


class Fact(NamedTuple):
    """``poly >= 0``, where the host finds that all of ``needs`` are at least 0."""

    poly: Poly
    needs: frozenset[Frozen] = frozenset()


class Case(NamedTuple):
    """One of the polynomials that an atom may be equal to, and what holds where it is."""

    poly: Poly
    facts: tuple[Fact, ...] = ()
    needs: frozenset[Frozen] = frozenset()


@dataclass(slots=True)
class Atom:
    """What is known of an atom.

    Attributes
    ----------
    host : HostTerm | None
        How the host finds it, where it can.
    interval : Interval
        Always holds.
    facts : list[Fact]
        Hold wherever the atom exists.
    cases : tuple[Case, ...]
        One of them holds wherever the atom exists; empty where nothing of the kind is known.
    usual : int
        What a host atom is in a launch of usual size, to choose among conditions.
    span : Poly | None
        Of a thread coordinate: it takes every number from 0 up to this, this left out, independently of other coordinates.
    """

    interval: Interval
    host: HostTerm | None = None
    facts: list[Fact] = field(default_factory=list)
    cases: tuple[Case, ...] = ()
    span: Poly | None = None
    usual: int = 1024


class Atoms:
    """The atoms of one kernel, by number; a later one is defined by earlier ones."""

    def __init__(self) -> None:
        self.all: list[Atom] = []
        self._hosts: dict[HostTerm, int] = {}

    def __getitem__(self, number: int) -> Atom:
        return self.all[number]

    def new(self, interval: Interval) -> int:
        """A new atom of which only the interval is known."""
        self.all.append(Atom(interval))
        return len(self.all) - 1

    def host(self, term: HostTerm, interval: Interval, usual: int = 1024) -> int:
        """The atom of a host term; the same one each time."""
        number = self._hosts.get(term)
        if number is None:
            number = self._hosts[term] = self.new(interval)
            self.all[number].host = term
            self.all[number].usual = usual
        return number

    def sample(self, number: int) -> int:
        """The number of a host atom in a launch of usual size."""
        term = self.all[number].host
        if term is None or not term.operands:
            return self.all[number].usual
        a, b = (
            sum(c * math.prod(self.sample(n) for n in m) for m, c in operand) for operand in term.operands
        )
        return host_operation(term.kind, a, b)

    def is_host(self, a: Poly) -> bool:
        """Whether the host can evaluate the polynomial."""
        every = self.all
        return all(every[n].host is not None for monomial in a for n in monomial)

    def newest(self, a: Poly) -> int:
        """The newest atom of the polynomial that the host does not know, or -1."""
        every, found = self.all, -1
        for monomial in a:
            for number in monomial:
                if number > found and every[number].host is None:
                    found = number
        return found

    def is_linear(self, a: Poly) -> bool:
        """Whether no monomial has two atoms that the host does not know."""
        every = self.all
        return all(len(m) < 2 or sum(every[n].host is None for n in m) < 2 for m in a)

    def interval(self, a: Poly) -> Interval:
        """Between which numbers the polynomial lies, as the intervals of its atoms say."""
        low = high = 0
        every = self.all
        for monomial, coefficient in a.items():
            x = y = coefficient
            if len(monomial) == 1:
                p, q = every[monomial[0]].interval
                x, y = (x * p, x * q) if x > 0 else (x * q, x * p)
            else:
                for number in monomial:
                    p, q = every[number].interval
                    corners = (x * p, x * q, y * p, y * q)
                    x, y = min(corners), max(corners)
            low += x
            high += y
        return low, high


_FUNCTIONS: dict[str, Any] = {
    name: functools.partial(host_operation, name) for name in ("floordiv", "mod", "min", "max")
}


class HostText:
    """Python text for polynomials over host atoms.

    The text reads the extents and scalars from a tuple ``reads`` in the order of ``terms``, and the launch shape from the tuples
    ``range_``, ``grid`` and ``block``.

    Parameters
    ----------
    terms : Iterable[HostTerm]
        What the tuple begins with.

    Attributes
    ----------
    terms : list[HostTerm]
        The extents and scalars that the text reads.
    """

    def __init__(self, atoms: Atoms, terms: Iterable[HostTerm] = ()) -> None:
        self._atoms = atoms
        self.terms = list(terms)
        self._places = {term: place for place, term in enumerate(self.terms)}

    def poly(self, poly: Poly) -> str:
        """The text of a polynomial."""
        parts = []
        for monomial, coefficient in sorted(poly.items()):
            factors = [self._atom(n) for n in monomial]
            parts.append(
                "*".join([*([str(coefficient)] if coefficient != 1 or not factors else []), *factors])
            )
        return "+".join(f"({p})" if p.startswith("-") else p for p in parts) or "0"

    def _at_least_0(self, poly: Poly) -> str:
        """Whether the polynomial is: the short text, for each first launch compiles it."""
        less = self.poly({m: -c for m, c in poly.items() if c < 0})
        more = self.poly({m: c for m, c in poly.items() if c > 0})
        return f"{less} <= {more}"

    def _atom(self, number: int) -> str:
        term = self._atoms[number].host
        assert term is not None
        if term.kind in ("extent", "scalar"):
            place = self._places.get(term)
            if place is None:
                place = self._places[term] = len(self.terms)
                self.terms.append(term)
            return f"reads[{place}]"
        if term.kind in ("range", "grid", "block"):
            return f"{'range_' if term.kind == 'range' else term.kind}[{term.axis}]"
        return f"{term.kind}({', '.join(self.poly(thaw(o)) for o in term.operands)})"

    def holds(self, alternatives: Iterable[Iterable[Frozen]]) -> str:
        """The text of a condition: all of any one set are at least 0."""
        sets = [" and ".join(self._at_least_0(thaw(p)) for p in sorted(s)) or "True" for s in alternatives]
        return " or ".join(f"({s})" for s in sets) or "False"


@functools.lru_cache(maxsize=256)
def host_function(expression: str) -> Callable[..., Any]:
    """``f(reads, range_, grid, block)`` for an expression that :class:`HostText` wrote."""
    text = f"lambda reads, range_, grid, block: {expression}"
    made: Callable[..., Any] = eval(text, dict(_FUNCTIONS))
    return made


def describe(atoms: Atoms, alternatives: Iterable[Iterable[Frozen]]) -> str:
    """A condition in the words of the kernel's author."""
    return " or ".join(" and ".join(describe_poly(atoms, thaw(p)) for p in sorted(s)) for s in alternatives)


def describe_poly(atoms: Atoms, poly: Poly) -> str:
    """``poly >= 0`` with nothing negative on either side."""
    less = {m: -c for m, c in poly.items() if c < 0}
    more = {m: c for m, c in poly.items() if c > 0}
    if less.get((), 0) == 1 and len(less) > 1:
        return f"{_sum(atoms, {m: c for m, c in less.items() if m})} < {_sum(atoms, more)}"
    return f"{_sum(atoms, less)} <= {_sum(atoms, more)}"


def _sum(atoms: Atoms, poly: Poly) -> str:
    parts = []
    for monomial, coefficient in sorted(poly.items(), reverse=True):
        names = [_name(atoms, n) for n in monomial]
        parts.append(" * ".join([*([str(coefficient)] if coefficient != 1 or not names else []), *names]))
    return " + ".join(parts) or "0"


def _name(atoms: Atoms, number: int) -> str:
    term = atoms[number].host
    if term is None:
        return f"v{number}"
    if term.kind == "extent":
        return f"{term.name}.shape[{term.axis}]"
    if term.kind == "scalar":
        return term.name
    if term.kind in ("range", "grid", "block"):
        return f"{term.kind}[{term.axis}]"
    operands = [_sum(atoms, thaw(o)) for o in term.operands]
    sign = {"floordiv": "//", "mod": "%"}.get(term.kind)
    if sign:
        left, right = (o if o.replace(".", "").isalnum() else f"({o})" for o in operands)
        return f"({left} {sign} {right})"
    return f"{term.kind}({', '.join(operands)})"
