"""A driver that ends long loops without a word: whoever runs a kernel that may have one is told."""

import logging

import numpy as np
import pytest

import gpucore as gc


@gc.kernel
def total(x: gc.Array[gc.i64], n: gc.i32):
    s = gc.i64(0)
    for k in range(n):
        s += k
    x[0] = s


@gc.kernel
def short(x: gc.Array[gc.i64]):
    s = gc.i64(0)
    for k in range(100):
        s += k
    x[0] = s


def test_a_loop_of_any_length_is_right_or_warned_of_once(gpucore_context, caplog):
    backend = gpucore_context.device.backend
    with (
        caplog.at_level(logging.WARNING, "gpucore"),
        gc.Context(f"{backend}:{gpucore_context.device.ordinal}") as ctx,
    ):
        ctx.device._handle._warned_of_loops = False
        x = ctx.zeros(1, gc.i64)
        short[1, 1](x)
        assert x.numpy()[0] == 4950
        assert not caplog.records
        total[1, 1](x, 60_000)
        assert x.numpy()[0] == np.arange(60_000).sum()
        total[1, 2](x, 60_000)
        total[1, 1](x, 100_000)
        right = x.numpy()[0] == np.arange(100_000).sum()
    said = [r.getMessage() for r in caplog.records]
    if right and not ctx.device.name.startswith("llvmpipe"):
        assert not said
        return
    if not ctx.device.name.startswith("llvmpipe"):
        pytest.fail("the driver ends long loops, and nothing said so")
    assert len(said) == 1
    assert "65,535 iterations" in said[0] and "test_long_loops.py" in said[0]
