"""Kernels that combine the arrays of several devices, from left to right."""

from __future__ import annotations

from collections.abc import Callable

import gpucore.lang.builtins as gc
from gpucore.lang.capture import func
from gpucore.launch.kernel import Kernel, kernel

__all__ = ["FOLDS", "FOLDS_FOR_ALL", "MOST_PARTS"]

MOST_PARTS = 4
"""Arrays that one launch combines."""


def _folds(combine: Callable[[float, float], float]) -> dict[int, Kernel]:
    @kernel
    def fold2(out, a, b):  # type: ignore[no-untyped-def]
        i = gc.global_id(0)
        out[i] = combine(a[i], b[i])

    @kernel
    def fold3(out, a, b, c):  # type: ignore[no-untyped-def]
        i = gc.global_id(0)
        out[i] = combine(combine(a[i], b[i]), c[i])

    @kernel
    def fold4(out, a, b, c, d):  # type: ignore[no-untyped-def]
        i = gc.global_id(0)
        out[i] = combine(combine(combine(a[i], b[i]), c[i]), d[i])

    return {2: fold2, 3: fold3, 4: fold4}


def _folds_for_all(combine: Callable[[float, float], float]) -> dict[int, Kernel]:
    @kernel
    def fold2_for_all(out, out1, a, b):  # type: ignore[no-untyped-def]
        i = gc.global_id(0)
        combined = combine(a[i], b[i])
        out[i] = combined
        out1[i] = combined

    @kernel
    def fold3_for_all(out, out1, out2, a, b, c):  # type: ignore[no-untyped-def]
        i = gc.global_id(0)
        combined = combine(combine(a[i], b[i]), c[i])
        out[i] = combined
        out1[i] = combined
        out2[i] = combined

    @kernel
    def fold4_for_all(out, out1, out2, out3, a, b, c, d):  # type: ignore[no-untyped-def]
        i = gc.global_id(0)
        combined = combine(combine(combine(a[i], b[i]), c[i]), d[i])
        out[i] = combined
        out1[i] = combined
        out2[i] = combined
        out3[i] = combined

    return {2: fold2_for_all, 3: fold3_for_all, 4: fold4_for_all}


@func
def _sum(a, b):  # type: ignore[no-untyped-def]
    return a + b


_COMBINE: dict[str, Callable[[float, float], float]] = {"sum": _sum, "min": gc.min, "max": gc.max}

FOLDS = {name: _folds(combine) for name, combine in _COMBINE.items()}
"""By operation and number of arrays: kernels ``(out, a, b, ...)`` that combine them from left to right."""

FOLDS_FOR_ALL = {name: _folds_for_all(combine) for name, combine in _COMBINE.items()}
"""The same with as many results as arrays: kernels ``(out, out1, ..., a, b, ...)``."""
