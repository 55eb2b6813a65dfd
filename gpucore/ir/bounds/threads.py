"""What is known of a launch: extents of arrays, coordinates of threads."""

from __future__ import annotations

import math

from gpucore.ir.bounds.integers import Form
from gpucore.ir.bounds.polynomials import Atoms, Fact, HostTerm, Poly, add, constant, multiply, subtract
from gpucore.ir.nodes import Memory, Module, ThreadIndex, walk

__all__ = ["Threads"]

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
