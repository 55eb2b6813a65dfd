"""What variables hold at the head of a loop.

A variable that changes by the same number in every iteration is what it was at first plus that number times the iterations.  Of
others it is assumed that they never fall below, or rise above, what some variable of the loop was at first; what an iteration
does not keep is dropped until the rest is kept (Flanagan and Leino, "Houdini, an annotation assistant for ESC/Java", 2001).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gpucore.ir.bounds.integers import NO_NEEDS, Form, Integers
from gpucore.ir.bounds.polynomials import (
    Case,
    Fact,
    Frozen,
    Poly,
    add,
    constant,
    multiply,
    number_of,
    scale,
    subtract,
)
from gpucore.ir.bounds.prover import FALSE, TRUE
from gpucore.ir.dtypes import DType
from gpucore.ir.nodes import For, Var
from gpucore.ir.passes.intervals import of_dtype

__all__ = ["Counted", "Loop"]

_MOST_ITERATIONS = 2**62
"""No thread lives as long."""


@dataclass
class _Invariant:
    """``sign * (value at the head - base) >= 0``, where the host finds that all of ``needs`` are at least 0."""

    sign: int
    base: Form
    needs: frozenset[Frozen]
    alive: bool = True

    def fact(self, poly: Poly) -> Fact:
        difference = subtract(poly, self.base.poly)
        return Fact(difference if self.sign > 0 else scale(difference, -1), self.needs)


@dataclass
class _Carried:
    """A variable that a loop changes.

    Attributes
    ----------
    start : Form | None
        Before the loop, where that is known.
    delta : Poly | None
        What each iteration adds, as long as nothing speaks against it.
    refused : bool
        Something did.
    seen : list[Poly | None]
        What the iterations of this pass add.
    """

    name: str
    dtype: DType
    start: Form | None
    invariants: list[_Invariant] = field(default_factory=list)
    delta: Poly | None = None
    delta_needs: frozenset[Frozen] = NO_NEEDS
    refused: bool = False
    seen: list[Poly | None] = field(default_factory=list)
    head: Form = field(default_factory=lambda: Form({}))


class Counted:
    """A ``for`` loop: its variable, and how often it runs."""

    def __init__(self, s: For, integers: Integers) -> None:
        self.variable = s.variable
        self.integers = integers
        self.prover = integers.prover
        self.start, self.stop = integers.form(s.start), integers.form(s.stop)
        step = integers.form(s.step)
        self.number = number_of(step.poly) or 0
        low, high = integers.atoms.interval(step.poly)
        self.sign = 0 if low < 0 < high else 1 if low >= 0 else -1
        self.needs = self.start.needs | self.stop.needs | step.needs

    def _before_stop(self, variable: Poly) -> Fact:
        """A value of the variable is not past the end."""
        return Fact(add(scale(subtract(self.stop.poly, variable), self.sign), constant(-1)), self.needs)

    def _bound(self, atom: int, variable: Poly) -> None:
        """A value of the variable that an atom decides is not past the end."""
        fact = self._before_stop(variable)
        self.integers.atoms[atom].facts += [fact, *self.prover.rounded(fact)]

    def enter(self, count: int) -> None:
        """The variable in the iteration that ``count`` numbers from 0."""
        atoms, forms = self.integers.atoms, self.integers.forms
        if self.number:
            poly = add(self.start.poly, {(count,): self.number})
            self._bound(count, poly)
            self.prover.know(self._before_stop(self.start.poly))  # it runs at all
            forms[self.variable.name] = Form(poly, self.needs)
            return
        variable = atoms.new(of_dtype(self.variable.dtype))
        poly = {(variable,): 1}
        forms[self.variable.name] = Form(poly)
        if self.sign:
            atoms[variable].facts.append(Fact(scale(subtract(poly, self.start.poly), self.sign), self.needs))
            self._bound(variable, poly)

    def total(self) -> Poly:
        """How often it ran, behind it."""
        atoms = self.integers.atoms
        if not self.number:
            return {(atoms.new((0, _MOST_ITERATIONS)),): 1}
        # not at all, or as often as leaves the variable of the last iteration before the end
        some = atoms.new((1, _MOST_ITERATIONS))
        self._bound(some, add(self.start.poly, {(some,): self.number, (): -self.number}))
        none = scale(subtract(self.start.poly, self.stop.poly), self.sign)
        total = atoms.new((0, _MOST_ITERATIONS))
        atoms[total].cases = (Case({}, (Fact(none, self.needs),)), Case({(some,): 1}))
        return {(total,): 1}


class Loop:
    """The variables that a loop changes, over several passes through its body.

    Attributes
    ----------
    count : int
        The atom that numbers the iterations, of this pass.
    has_break : bool
    """

    def __init__(
        self,
        integers: Integers,
        assigned: Iterable[Var],
        starts: Callable[[str], Form | None],
    ) -> None:
        self.integers = integers
        self.atoms = integers.atoms
        self.prover = integers.prover
        self.carried = [_Carried(var.name, var.dtype, starts(var.name)) for var in assigned]
        for variable in self.carried:
            self._suggest(variable)
        self.counted: Counted | None = None
        self.count = -1
        self.has_break = False
        self._changed = False

    def _suggest(self, variable: _Carried) -> None:
        if variable.start is None:
            return
        for other in self.carried:
            if other.start is None:
                continue
            for sign in (1, -1):
                difference = scale(subtract(variable.start.poly, other.start.poly), sign)
                proof = TRUE if other is variable else self.prover.prove(difference)
                if proof:
                    needs = other.start.needs | variable.start.needs | proof[0]
                    variable.invariants.append(_Invariant(sign, other.start, needs))

    # --- a pass
    def begin(self, *, last: bool) -> None:
        """A pass begins; in the last one nothing is assumed."""
        self._changed = self.has_break = False
        for variable in self.carried:
            variable.seen = []
            if last:
                variable.invariants, variable.delta, variable.refused = [], None, True

    def enter(self) -> dict[str, Form | str]:
        """What the variables hold at the head."""
        self.count = self.atoms.new((0, _MOST_ITERATIONS))
        if self.counted is not None:
            self.counted.enter(self.count)
        for variable in self.carried:
            if variable.delta is not None:
                variable.head = self._after_iterations(variable, {(self.count,): 1})
            else:
                variable.head = self._kept(variable)
        return {variable.name: variable.head for variable in self.carried}

    def _after_iterations(self, variable: _Carried, count: Poly) -> Form:
        assert variable.start is not None
        assert variable.delta is not None
        steps = multiply(variable.delta, count)
        return Form(add(variable.start.poly, steps), variable.start.needs | variable.delta_needs)

    def _kept(self, variable: _Carried) -> Form:
        """Something of which the invariants hold."""
        number = self.atoms.new(of_dtype(variable.dtype))
        poly: Poly = {(number,): 1}
        self.atoms[number].facts += [i.fact(poly) for i in variable.invariants if i.alive]
        return Form(poly)

    def edge(self, environment: dict[str, Form | str], *, is_break: bool) -> None:
        """The end of an iteration, or a way out of the loop: what was assumed must hold again."""
        self.has_break |= is_break
        for variable in self.carried:
            held = environment.get(variable.name)
            now = held if isinstance(held, Form) else None
            if variable.delta is None:
                if not is_break:
                    variable.seen.append(self._difference(variable, now))
                for invariant in variable.invariants:
                    if invariant.alive:
                        self._check(invariant, now)
            elif not is_break:
                self._check_delta(variable, now)

    def _difference(self, variable: _Carried, now: Form | None) -> Poly | None:
        difference = None if now is None else subtract(now.poly, variable.head.poly)
        return difference if difference is not None and self.atoms.is_host(difference) else None

    def _check_delta(self, variable: _Carried, now: Form | None) -> None:
        if now is None or subtract(now.poly, variable.head.poly) != variable.delta:
            variable.refused, variable.delta = True, None
            self._changed = True
        elif not now.needs <= variable.head.needs:
            variable.delta_needs |= now.needs
            self._changed = True

    def _check(self, invariant: _Invariant, now: Form | None) -> None:
        proof = FALSE if now is None else self.prover.prove(invariant.fact(now.poly).poly)
        if now is None or not proof:
            invariant.alive = False
            self._changed = True
            return
        needs = proof[0] | now.needs
        if not needs <= invariant.needs:
            invariant.needs |= needs
            self._changed = True

    def is_settled(self) -> bool:
        """Whether the pass kept what it assumed, and found nothing more to assume."""
        for variable in self.carried:
            if variable.delta is not None or variable.refused or variable.start is None or not variable.seen:
                continue
            first = variable.seen[0]
            if first is not None and all(seen == first for seen in variable.seen):
                variable.delta = first
                self._changed = True
        return not self._changed

    def leave(self) -> dict[str, Form | str]:
        """What the variables hold behind the loop."""
        result: dict[str, Form | str] = {}
        for variable in self.carried:
            if variable.delta is None:
                # without a break that is what they held at the last test
                result[variable.name] = self._kept(variable) if self.has_break else variable.head
            elif self.has_break:
                result[variable.name] = self.integers.unknown(of_dtype(variable.dtype))
            elif self.counted is not None:
                result[variable.name] = self._after_iterations(variable, self.counted.total())
            else:
                result[variable.name] = variable.head
        return result
