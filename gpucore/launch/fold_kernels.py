"""Kernels that combine the arrays of several devices, from left to right."""

from __future__ import annotations

import gpucore.lang.builtins as gc
from gpucore.launch.kernel import Kernel, kernel

__all__ = ["FOLDS", "FOLDS_FOR_ALL", "MOST_PARTS"]

MOST_PARTS = 4
"""Arrays that one launch combines."""


@kernel
def _sum2(out, a, b):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    out[i] = a[i] + b[i]


@kernel
def _sum3(out, a, b, c):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    out[i] = (a[i] + b[i]) + c[i]


@kernel
def _sum4(out, a, b, c, d):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    out[i] = ((a[i] + b[i]) + c[i]) + d[i]


@kernel
def _min2(out, a, b):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    out[i] = gc.min(a[i], b[i])


@kernel
def _min3(out, a, b, c):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    out[i] = gc.min(gc.min(a[i], b[i]), c[i])


@kernel
def _min4(out, a, b, c, d):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    out[i] = gc.min(gc.min(gc.min(a[i], b[i]), c[i]), d[i])


@kernel
def _max2(out, a, b):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    out[i] = gc.max(a[i], b[i])


@kernel
def _max3(out, a, b, c):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    out[i] = gc.max(gc.max(a[i], b[i]), c[i])


@kernel
def _max4(out, a, b, c, d):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    out[i] = gc.max(gc.max(gc.max(a[i], b[i]), c[i]), d[i])


@kernel
def _sum2_for_all(out, out1, a, b):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    combined = a[i] + b[i]
    out[i] = combined
    out1[i] = combined


@kernel
def _sum3_for_all(out, out1, out2, a, b, c):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    combined = (a[i] + b[i]) + c[i]
    out[i] = combined
    out1[i] = combined
    out2[i] = combined


@kernel
def _sum4_for_all(out, out1, out2, out3, a, b, c, d):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    combined = ((a[i] + b[i]) + c[i]) + d[i]
    out[i] = combined
    out1[i] = combined
    out2[i] = combined
    out3[i] = combined


@kernel
def _min2_for_all(out, out1, a, b):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    combined = gc.min(a[i], b[i])
    out[i] = combined
    out1[i] = combined


@kernel
def _min3_for_all(out, out1, out2, a, b, c):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    combined = gc.min(gc.min(a[i], b[i]), c[i])
    out[i] = combined
    out1[i] = combined
    out2[i] = combined


@kernel
def _min4_for_all(out, out1, out2, out3, a, b, c, d):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    combined = gc.min(gc.min(gc.min(a[i], b[i]), c[i]), d[i])
    out[i] = combined
    out1[i] = combined
    out2[i] = combined
    out3[i] = combined


@kernel
def _max2_for_all(out, out1, a, b):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    combined = gc.max(a[i], b[i])
    out[i] = combined
    out1[i] = combined


@kernel
def _max3_for_all(out, out1, out2, a, b, c):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    combined = gc.max(gc.max(a[i], b[i]), c[i])
    out[i] = combined
    out1[i] = combined
    out2[i] = combined


@kernel
def _max4_for_all(out, out1, out2, out3, a, b, c, d):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    combined = gc.max(gc.max(gc.max(a[i], b[i]), c[i]), d[i])
    out[i] = combined
    out1[i] = combined
    out2[i] = combined
    out3[i] = combined


FOLDS: dict[str, dict[int, Kernel]] = {
    "sum": {2: _sum2, 3: _sum3, 4: _sum4},
    "min": {2: _min2, 3: _min3, 4: _min4},
    "max": {2: _max2, 3: _max3, 4: _max4},
}
"""By operation and number of arrays: kernels ``(out, a, b, ...)`` that combine them from left to right."""

FOLDS_FOR_ALL: dict[str, dict[int, Kernel]] = {
    "sum": {2: _sum2_for_all, 3: _sum3_for_all, 4: _sum4_for_all},
    "min": {2: _min2_for_all, 3: _min3_for_all, 4: _min4_for_all},
    "max": {2: _max2_for_all, 3: _max3_for_all, 4: _max4_for_all},
}
"""The same with as many results as arrays: kernels ``(out, out1, ..., a, b, ...)``."""
