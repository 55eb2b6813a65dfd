"""The conditions of a kernel: which facts follow from their being true or false."""

from __future__ import annotations

from gpucore.ir.bounds.integers import Form, Integers
from gpucore.ir.bounds.polynomials import Fact, add, constant, scale, subtract
from gpucore.ir.bounds.prover import TRUE
from gpucore.ir.nodes import Op
from gpucore.ir.ops import COMPARISONS

__all__ = ["Truths"]

_OPPOSITE = {"lt": "ge", "ge": "lt", "gt": "le", "le": "gt", "eq": "ne", "ne": "eq"}


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
            return self._compared(s.op if truth else _OPPOSITE[s.op], a, b)
        return []

    def _facts_of_choice(self, choice: tuple[str, str, str], truth: bool) -> list[Fact]:
        """Of a bool that is one of two: where one of them is the constant that it is not, it is the other."""
        condition, a, b = choice
        if self.conditions.get(b) is (not truth):
            return [*self.facts(condition, True), *self.facts(a, truth)]
        if self.conditions.get(a) is (not truth):
            return [*self.facts(condition, False), *self.facts(b, truth)]
        return []

    def _compared(self, op: str, a: Form, b: Form) -> list[Fact]:
        needs = a.needs | b.needs
        difference = subtract(b.poly, a.poly)
        up, down = Fact(difference, needs), Fact(scale(difference, -1), needs)
        match op:
            case "le":
                return [up]
            case "lt":
                return [Fact(add(up.poly, constant(-1)), needs)]
            case "ge":
                return [down]
            case "gt":
                return [Fact(add(down.poly, constant(-1)), needs)]
            case "eq":
                return [up, down]
            case _:
                found = []
                for fact in (up, down):
                    if self.prover.prove(fact.poly) is TRUE:
                        found.append(Fact(add(fact.poly, constant(-1)), needs))
                return found
