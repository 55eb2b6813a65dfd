"""What the tests of all backends lean on."""

from __future__ import annotations

import numpy as np
import pytest

import gpucore as gc


def bits(array):
    """An ndarray's elements as unsigned integers, so that the sign of zero is compared too; NaN is one value."""
    raw = np.array(array, order="C").view(f"u{array.dtype.itemsize}")
    if array.dtype.kind not in "biu":
        raw[np.isnan(array)] = np.array(np.nan, array.dtype).view(raw.dtype)
    return raw


@pytest.fixture
def same(gpucore_context):
    """Run a kernel on the device and on the interpreter: both give the same bits; gives the arrays."""

    def check(kernel, grid, block, *args, subgroup_size=32):
        wanted = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
        given = [gpucore_context.array(a) if isinstance(a, np.ndarray) else a for a in args]
        kernel.interpret(grid, block, *wanted, subgroup_size=subgroup_size, detect_races=False)
        kernel[grid, block](*given)
        found = [a.numpy() if isinstance(a, gc.Array) else a for a in given]
        for number, (a, b) in enumerate(zip(wanted, found, strict=True)):
            if isinstance(a, np.ndarray):
                assert b.dtype == a.dtype
                assert b.shape == a.shape
                np.testing.assert_array_equal(bits(b), bits(a), err_msg=f"argument {number}")
        return [a for a in found if isinstance(a, np.ndarray)]

    return check


@pytest.fixture
def second(gpucore_context, gpucore_backend):
    """Another context on the same device, closed after the test."""
    with gc.Context(f"{gpucore_backend}:{gpucore_context.device.ordinal}") as context:
        yield context
