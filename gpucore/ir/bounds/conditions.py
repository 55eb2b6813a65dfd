"""Conditions on a launch: how the host evaluates polynomials over extents, scalar arguments and the launch shape."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from gpucore.ir.bounds.polynomials import Atoms, Frozen, HostTerm, Poly, host_operation, thaw

__all__ = ["HostText", "describe", "describe_poly", "host_function"]


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
