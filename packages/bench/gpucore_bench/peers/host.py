"""NumPy and Numba on the CPU, each with its own best flags: parallel, with and without fastmath, waiting passively and
spinning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpucore_bench.model import Arrays, Maker, Runner, Simple, Work
from gpucore_bench.peers import need, remote


def numpy_peer(step: Callable[[dict[str, Any]], Any], result: str) -> Maker:
    """NumPy with outputs preallocated; ``step`` works in place on the arrays."""

    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        arrays: dict[str, Any] = {name: value.copy() for name, value in inputs.items()}
        return Simple(once=lambda: step(arrays), fetch=lambda: np.asarray(arrays[result]))

    return make


@dataclass(frozen=True)
class Call:
    """A call of a function of :mod:`gpucore_bench.peers.numba_kernels`.

    Attributes
    ----------
    name : str
    arguments : tuple
        Names of arrays, and NumPy scalars.
    result : str
        The array that holds what was computed.
    outputs : Mapping
        Shape and NumPy dtype of each array that is no input.
    """

    name: str
    arguments: tuple[str | np.generic, ...]
    result: str
    outputs: Mapping[str, tuple[Any, str]] = field(default_factory=dict)

    def runner(self, inputs: Arrays, fastmath: bool) -> Simple:
        """Compiled in parallel, with arrays of its own."""
        from gpucore_bench.peers import numba_kernels

        function = numba_kernels.compiled(self.name, fastmath)
        arrays = {name: value.copy() for name, value in inputs.items()}
        arrays |= {name: np.zeros(shape, dtype) for name, (shape, dtype) in self.outputs.items()}
        given = [arrays[a] if isinstance(a, str) else a for a in self.arguments]
        return Simple(once=lambda: function(*given), fetch=lambda: arrays[self.result])

    def maker(self, fastmath: bool = False) -> Maker:
        """A contender in this process, whose threads wait passively."""

        def make(work: Work, inputs: Arrays, context: Any) -> Runner:
            need("numba")
            return self.runner(inputs, fastmath)

        return make

    def spinning(self, label: str, fastmath: bool = False) -> dict[str, Maker]:
        """A contender in a process of its own, whose threads wait as Numba's do by default."""
        arguments = [a if isinstance(a, str) else [a.dtype.str, a.item()] for a in self.arguments]
        return remote.peer(
            label, "numba", "numba_spinning", self.name,
            arguments=arguments, result=self.result, outputs=dict(self.outputs), fastmath=fastmath,
        )  # fmt: skip


def numba_both(
    name: str,
    arguments: tuple[str | np.generic, ...],
    result: str,
    outputs: Mapping[str, tuple[Any, str]] | None = None,
) -> dict[str, Maker]:
    """Numba parallel, with and without fastmath."""
    call = Call(name, arguments, result, outputs or {})
    return {"numba parallel": call.maker(), "numba parallel fastmath": call.maker(True)}


SPINNING_SIZE = 1 << 18
"""The largest size, in elements, at which waiting is a part of the time that is worth showing both ways."""


def numba_every(
    n: int, name: str, arguments: tuple[str | np.generic, ...], result: str,
    outputs: Mapping[str, tuple[Any, str]] | None = None,
) -> dict[str, Maker]:  # fmt: skip
    """As :func:`numba_both`; at sizes that fit in caches, where threads meet often, spinning too."""
    makers = numba_both(name, arguments, result, outputs)
    if n <= SPINNING_SIZE:
        call = Call(name, arguments, result, outputs or {})
        makers |= call.spinning("numba parallel, spinning")
        makers |= call.spinning("numba parallel fastmath, spinning", True)
    return makers
