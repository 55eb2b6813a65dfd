"""Proves that a polynomial is never negative: Fourier and Motzkin's elimination, goal by goal.

A goal ``e >= 0`` loses its newest atom by subtracting a non-negative multiple of a fact that has the atom too, or by going
through the cases that the atom may be.  What is left in the end has host atoms only: it holds by itself, or becomes a condition
on the launch.  All steps keep to integers: from ``k * e >= -(k - 1)`` follows ``e >= 0``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

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
    host_operation,
    multiply,
    number_of,
    scale,
    subtract,
    thaw,
)
from gpucore.ir.passes.intervals import binary

__all__ = ["FALSE", "TRUE", "Alternatives", "Prover", "both"]

Alternatives: TypeAlias = tuple[frozenset[Frozen], ...]
"""Sets of polynomials: what is to be proved holds where all of any one set are at least 0."""

TRUE: Alternatives = (frozenset(),)
FALSE: Alternatives = ()

_MOST_ALTERNATIVES = 4
_MOST_NEEDS = 8
_SMALL = 4096
"""Bounds of dtypes and launches past this lead to conditions that no launch fulfils."""
_DEPTH = 12
_STEPS = 60
"""Steps for one goal."""
_ALL_STEPS = 3000
"""Steps for one kernel: what is left after them is checked on the device."""


def both(a: Alternatives, b: Alternatives) -> Alternatives:
    """What makes both hold."""
    if a is TRUE or b is FALSE:
        return b
    if b is TRUE or a is FALSE:
        return a
    return _best({x | y for x in a for y in b})


def _best(sets: set[frozenset[Frozen]]) -> Alternatives:
    if frozenset() in sets:
        return TRUE
    if len(sets) == 1:
        return tuple(sets)
    few = [s for s in sets if len(s) <= _MOST_NEEDS and not any(other < s for other in sets)]
    few.sort(key=lambda s: (len(s), sum(len(p) for p in s), sorted(s)))
    return tuple(few)


class Prover:
    """Proves goals from what is known at one point of a kernel."""

    def __init__(self, atoms: Atoms) -> None:
        self.atoms = atoms
        self.steps = _ALL_STEPS
        self._left = 0
        self._facts: list[Fact] = []
        self._by_atom: dict[int, list[Fact]] = {}
        self._hosts: list[Fact] = []
        self._known: dict[tuple[int, Frozen], Alternatives] = {}
        self._scope = 0
        self._scopes = [0]

    # --- what is known
    def know(self, fact: Fact) -> None:
        """A fact holds until the end of the scope."""
        fact = self.normal(fact)
        if all(not m for m in fact.poly):
            return
        for other in self.rounded(fact):
            self.know(other)
        self._facts.append(fact)
        for number in self._index_of(fact):
            self._by_atom.setdefault(number, []).append(fact)
        if self.atoms.newest(fact.poly) < 0:
            self._hosts.append(fact)
        self._scope += 1
        self._scopes[-1] = self._scope

    def normal(self, fact: Fact) -> Fact:
        """The same fact in its smallest integers."""
        divisor = math.gcd(*(c for m, c in fact.poly.items() if m))
        if divisor > 1:
            return Fact({m: c // divisor for m, c in fact.poly.items() if c // divisor}, fact.needs)
        return fact

    def rounded(self, fact: Fact) -> list[Fact]:
        """What follows where all that the host does not know is a multiple: ``h // 8 >= k`` from ``h >= 8 * k``."""
        poly = fact.poly
        size = math.gcd(*(c for m, c in poly.items() if not self.atoms.is_host({m: c})))
        if size < 2:
            return []
        whole = {m: c // size for m, c in poly.items() if c // size and (not m or c % size == 0)}
        rest = self.on_host("floordiv", subtract(poly, scale(whole, size)), constant(size))
        assert rest is not None
        return [Fact(add(rest, whole), fact.needs)]

    def on_host(self, op: str, a: Poly, b: Poly) -> Poly | None:
        """An operation that the host can do itself."""
        if not (self.atoms.is_host(a) and self.atoms.is_host(b)):
            return None
        x, y = number_of(a), number_of(b)
        if x is not None and y is not None:
            return constant(host_operation(op, x, y))
        interval = binary(op, self.atoms.interval(a), self.atoms.interval(b))
        if interval is None:
            return None
        term = HostTerm(op, operands=(freeze(a), freeze(b)))
        number = self.atoms.host(term, interval)
        if op == "floordiv" and y is not None and y > 0 and not self.atoms[number].facts:
            self.divides(number, a, b)
        return {(number,): 1}

    def divides(self, number: int, a: Poly, d: Poly, needs: frozenset[Frozen] = frozenset()) -> None:
        """An atom is the floor of ``a / d``: between ``a - d + 1`` and ``a`` when multiplied by ``d``."""
        rest = subtract(a, multiply(d, {(number,): 1}))
        self.atoms[number].facts += [Fact(rest, needs), Fact(subtract(add(d, constant(-1)), rest), needs)]

    def _index_of(self, fact: Fact) -> set[int]:
        every = self.atoms
        return {n for monomial in fact.poly for n in monomial if every[n].host is None}

    @contextmanager
    def scope(self) -> Iterator[None]:
        """What becomes known inside is forgotten at the end."""
        mark = len(self._facts)
        self._scopes.append(self._scopes[-1])
        try:
            yield
        finally:
            self._scopes.pop()
            while len(self._facts) > mark:
                fact = self._facts.pop()
                for number in self._index_of(fact):
                    self._by_atom[number].pop()
                if self._hosts and self._hosts[-1] is fact:
                    self._hosts.pop()

    # --- proofs
    def prove(self, goal: Poly) -> Alternatives:
        """What the host must find for ``goal >= 0``: TRUE for nothing, FALSE where no proof was found."""
        low, high = self.atoms.interval(goal)
        if low >= 0:
            return TRUE
        if high < 0:
            return FALSE
        if self._is_known(goal):
            return TRUE
        key = (self._scopes[-1], freeze(goal))
        found = self._known.get(key)
        if found is None:
            self._left = min(_STEPS, self.steps)
            before = self._left
            found = self._known[key] = self._search(goal, _DEPTH, ())
            self.steps -= before - self._left
        return found

    def _is_known(self, goal: Poly) -> bool:
        """Whether a fact says it in as many words: most guards do."""
        newest = self.atoms.newest(goal)
        facts = self._by_atom.get(newest)
        if not facts:
            return False
        size, rest = len(goal) - (() in goal), goal.get((), 0)
        for poly, needs in reversed(facts):
            if needs or poly.get((), 0) > rest or len(poly) - (() in poly) != size:
                continue
            if all(goal.get(m) == c for m, c in poly.items() if m):
                return True
        return False

    def _search(self, goal: Poly, depth: int, used: tuple[Fact, ...]) -> Alternatives:
        low, high = self.atoms.interval(goal)
        if low >= 0:
            return TRUE
        newest = self.atoms.newest(goal)
        if newest < 0:
            return self._by_host(goal, high)
        self._left -= 1
        if depth == 0 or self._left < 0:
            return FALSE
        coefficient, signs = self._coefficient(goal, newest)
        assumed: frozenset[Frozen] = frozenset()
        if signs[0] < 0 < signs[1]:
            # a stride that is an argument: take it to be positive, and let the host see to it
            up = sum(coefficient.values()) > 0
            known = self._by_host(coefficient if up else scale(coefficient, -1), 1)
            assumed, signs = known[0], ((0, signs[1]) if up else (signs[0], 0))
        found: set[frozenset[Frozen]] = set()
        bounded = False
        atom = self.atoms[newest]
        for fact in (*self._by_atom.get(newest, ())[::-1], *atom.facts):
            if sum(fact is other for other in used) >= 2:
                continue
            step = self._eliminate(goal, newest, coefficient, signs, fact)
            if step is None:
                continue
            rest, needs = step
            bounded = True
            for alternative in self._search(rest, depth - 1, (*used, fact)):
                found.add(alternative | needs | assumed)
            if frozenset() in found:
                return TRUE
        bound = atom.interval[0] if signs[0] >= 0 else atom.interval[1] if signs[1] <= 0 else None
        if bound is not None and (abs(bound) <= _SMALL or not bounded):
            rest = add({m: c for m, c in goal.items() if newest not in m}, coefficient, bound)
            found.update(alternative | assumed for alternative in self._search(rest, depth - 1, used))
            if frozenset() in found:
                return TRUE
        if atom.cases:
            found.update(self._by_cases(goal, newest, coefficient, depth, used))
        return self.likely(_best(found))

    def likely(self, alternatives: Alternatives) -> Alternatives:
        """The few that a launch most likely fulfils, the likeliest first."""
        if len(alternatives) < 2:
            return alternatives
        order = sorted(alternatives, key=lambda s: (sum(self._sample(p) < 0 for p in s), len(s)))
        return tuple(order[:_MOST_ALTERNATIVES])

    def shortest(self, alternatives: Alternatives) -> Alternatives:
        """The same conditions without those that follow from others of their set, and without sets that cannot hold."""
        if all(len(s) == 1 for s in alternatives):
            return alternatives
        numbers = {p: frozenset(n for m, _ in p for n in m) for s in alternatives for p in s}
        interval = self.atoms.interval
        found = []
        for polys in alternatives:
            # of two that have no atom in common none says anything of the other
            pairs = [(a, b) for a in polys for b in polys if a is not b and numbers[a] & numbers[b]]
            if any(a < b and interval(add(thaw(a), thaw(b)))[1] < 0 for a, b in pairs):
                continue
            found.append(polys - {a for a, b in pairs if interval(subtract(thaw(a), thaw(b)))[0] >= 0})
        return tuple(found)

    def _sample(self, poly: Frozen) -> int:
        """The number that a polynomial has in a launch of usual size."""
        total = 0
        for monomial, coefficient in poly:
            for number in monomial:
                coefficient *= self.atoms.sample(number)
            total += coefficient
        return total

    def _coefficient(self, goal: Poly, number: int) -> tuple[Poly, tuple[int, int]]:
        coefficient = {tuple(n for n in m if n != number): c for m, c in goal.items() if number in m}
        return coefficient, self.atoms.interval(coefficient)

    def _eliminate(
        self, goal: Poly, number: int, coefficient: Poly, signs: tuple[int, int], fact: Fact
    ) -> tuple[Poly, frozenset[Frozen]] | None:
        """The goal less a multiple of the fact, without the atom; None where the fact bounds the other side."""
        other, _ = self._coefficient(fact.poly, number)
        if len(other) == 1 and () in other:
            divisor = other[()]
            direction = coefficient if divisor > 0 else scale(coefficient, -1)
            if (signs[1] if divisor > 0 else -signs[0]) <= 0:
                return None
            common = math.gcd(divisor, *coefficient.values())
            times = abs(divisor) // common
            factor = {m: c // common for m, c in direction.items()}
            rest = subtract(add(scale(goal, times), constant(times - 1)), multiply(factor, fact.poly))
        else:
            ratio = next((coefficient.get(m, 0) // c for m, c in other.items()), 0)
            if ratio <= 0 or scale(other, ratio) != coefficient:
                return None
            rest = add(goal, fact.poly, -ratio)
        if any(number in m for m in rest) or not self.atoms.is_linear(rest):
            return None
        return rest, fact.needs

    def _by_cases(
        self, goal: Poly, number: int, coefficient: Poly, depth: int, used: tuple[Fact, ...]
    ) -> Alternatives:
        rest = {m: c for m, c in goal.items() if number not in m}
        result = TRUE
        for case in self.atoms[number].cases:
            with self.scope():
                # what is known of the atom is known of what it is
                substituted = [self._with_case(fact, number, case) for fact in self._by_atom.get(number, ())]
                facts = [*case.facts, *(fact for fact in substituted if fact is not None)]
                if self._impossible(facts):
                    continue
                for fact in facts:
                    self.know(fact)
                case_goal = add(rest, multiply(coefficient, case.poly))
                if not self.atoms.is_linear(case_goal):
                    return FALSE
                found = self._search(case_goal, depth - 1, used)
            if case.needs:
                found = both(found, (case.needs,))
            result = self.likely(both(result, found))
            if not result:
                return FALSE
        return result

    def _with_case(self, fact: Fact, number: int, case: Case) -> Fact | None:
        coefficient, _ = self._coefficient(fact.poly, number)
        rest = {m: c for m, c in fact.poly.items() if number not in m}
        poly = add(rest, multiply(coefficient, case.poly))
        return Fact(poly, fact.needs | case.needs) if self.atoms.is_linear(poly) else None

    def _impossible(self, facts: Iterable[Fact]) -> bool:
        return any(not fact.needs and self.atoms.interval(fact.poly)[1] < 0 for fact in facts)

    def _by_host(self, goal: Poly, high: int) -> Alternatives:
        for fact in self._hosts:
            if self.atoms.interval(subtract(goal, fact.poly))[0] >= 0:
                return (fact.needs,) if fact.needs else TRUE
        if self._by_operation(goal):
            return TRUE
        return FALSE if high < 0 else (frozenset((freeze(self.normal(Fact(goal)).poly),)),)

    def _by_operation(self, goal: Poly) -> bool:
        """Whether what is known of a quotient on the host decides."""
        for number in sorted({n for m in goal for n in m}, reverse=True):
            for fact in self.atoms[number].facts:
                coefficient, signs = self._coefficient(goal, number)
                step = self._eliminate(goal, number, coefficient, signs, fact)
                if step is not None and not step[1] and self.atoms.interval(step[0])[0] >= 0:
                    return True
        return False
