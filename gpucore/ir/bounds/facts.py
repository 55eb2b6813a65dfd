"""What is known where an access is made: extents and coordinates of the launch, and what follows from conditions."""

from __future__ import annotations

import math

from gpucore.ir.bounds.integers import Form, Integers
from gpucore.ir.bounds.polynomials import (
    Atoms,
    Fact,
    HostTerm,
    Poly,
    add,
    constant,
    multiply,
    scale,
    subtract,
)
from gpucore.ir.bounds.prover import TRUE
from gpucore.ir.nodes import Memory, Module, Op, ThreadIndex, walk
from gpucore.ir.ops import COMPARISONS

__all__ = ["Threads", "Truths"]


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
    """

    def __init__(
        self, atoms: Atoms, module: Module, *, is_range: bool, small: bool, block: tuple[int, ...] | None
    ) -> None:
        self.atoms = atoms
        self.is_range = is_range
        self.block = block
        self.most = 2**31 - 1 if small else _LARGEST
        self.coordinates: dict[tuple[str, int], Form] = {}
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
