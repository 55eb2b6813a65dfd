"""NumPy and Numba on the CPU, each with its own best flags: parallel, and with and without fastmath."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gpucore.cli.bench.model import Arrays, Maker, Runner, Simple, Work
from gpucore.cli.bench.peers import need


def numpy_peer(step: Callable[[dict[str, Any]], Any], result: str) -> Maker:
    """NumPy with outputs preallocated; ``step`` works in place on the arrays."""

    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        arrays: dict[str, Any] = {name: value.copy() for name, value in inputs.items()}
        return Simple(once=lambda: step(arrays), fetch=lambda: np.asarray(arrays[result]))

    return make


def numba_peer(
    name: str, fastmath: bool, arguments: Callable[[Work, dict[str, Any]], tuple[Any, ...]], result: str
) -> Maker:
    """A function of :mod:`gpucore.cli.bench.peers.numba_kernels`, compiled in parallel."""

    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        need("numba")
        from gpucore.cli.bench.peers import numba_kernels

        function = numba_kernels.compiled(name, fastmath)
        arrays: dict[str, Any] = {key: value.copy() for key, value in inputs.items()}
        call = arguments(work, arrays)
        return Simple(once=lambda: function(*call), fetch=lambda: np.asarray(arrays[result]))

    return make


def numba_both(
    name: str, arguments: Callable[[Work, dict[str, Any]], tuple[Any, ...]], result: str
) -> Mapping[str, Maker]:
    """Numba parallel, with and without fastmath."""
    return {
        "numba parallel": numba_peer(name, False, arguments, result),
        "numba parallel fastmath": numba_peer(name, True, arguments, result),
    }
