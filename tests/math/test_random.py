"""``gc.random`` in functions and types: what a seed and an index may be, and what does not matter."""

import math
import random

import numpy as np
import pytest

import gpucore as gc
from gpucore.testing.semantics.functions import philox


@gc.func
def jittered(seed, i):
    return 1.0 + gc.random.uniform(seed, i)


def test_seeds_and_indices_of_any_integer_type_count_as_u64():
    @gc.kernel
    def kernel(y: gc.Array[gc.f32], seed, index):
        y[0] = jittered(seed, index)
        y[1] = 1.0 + gc.random.uniform(gc.u64(seed), gc.u64(index))

    for seed, index in ((7, 9), (-1, 3), (np.uint64(2**64 - 1), -5), (np.int8(-3), np.uint16(40000))):
        y = np.zeros(2, np.float32)
        kernel.interpret(1, 1, y, seed, index)
        word = philox(
            (int(index) & 0xFFFFFFFF, (int(index) >> 32) & 0xFFFFFFFF, 0, 0),
            (int(seed) & 0xFFFFFFFF, (int(seed) >> 32) & 0xFFFFFFFF),
        )[0]
        assert y[0] == y[1] == np.float32(1) + np.float32((word >> 8) * 2.0**-24)


def test_a_seed_that_is_no_integer_is_an_error_at_the_users_line():
    @gc.kernel
    def kernel(y: gc.Array[gc.f32]):
        y[0] = gc.random.uniform(y[0], 1)

    with pytest.raises(
        gc.KernelTypeError, match=r"parameter seed of uniform(.|\n)*gc.u64\(y\[0\]\)"
    ) as caught:
        kernel.interpret(1, 1, np.zeros(1, np.float32))
    assert caught.value.filename == __file__


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_do_not_depend_on_the_kernels_other_types(dtype):
    @gc.kernel
    def kernel(y: gc.Array):
        i = gc.global_id(0)
        y[i] = gc.random.normal(3, i) + gc.random.uniform(3, i)

    y, wanted = np.zeros(8, dtype), np.zeros(8, np.float32)
    kernel.interpret(8, 1, y)
    kernel.interpret(8, 1, wanted)
    assert y.astype(np.float64).tolist() == wanted.astype(np.float64).tolist()


def test_normals_are_box_and_mullers():
    @gc.kernel
    def kernel(x: gc.Array[gc.f32], y: gc.Array[gc.f64], seed: gc.u64):
        i = gc.global_id(0)
        x[i] = gc.random.normal(seed, i)
        y[i] = gc.random.normal_f64(seed, i)

    x, y = np.zeros(200, np.float32), np.zeros(200)
    kernel.interpret(200, 1, x, y, 11)
    for i in range(200):
        a, b, c, d = philox((i, 0, 0, 0), (11, 0))
        signed = b - (b >> 31 << 32)
        wanted = math.sqrt(-2 * math.log((a + 1) / 2**32)) * math.cos(math.pi * signed / 2**31)
        assert x[i] == pytest.approx(wanted, rel=0, abs=2e-6)
        r, s = b << 32 | a, d << 32 | c
        s -= s >> 63 << 64
        wanted = math.sqrt(-2 * math.log(((r >> 11) + 1) / 2**53)) * math.cos(math.pi * s / 2**63)
        assert y[i] == pytest.approx(wanted, rel=0, abs=4e-15)


def test_integers_of_wide_ranges_are_the_upper_half_of_a_product():
    @gc.kernel
    def kernel(y: gc.Array[gc.i64], low: gc.i64, high: gc.i64):
        i = gc.global_id(0)
        y[i] = gc.random.integers(1, i, low, high)

    stream = random.Random(1)
    for _ in range(20):
        low, high = sorted(stream.getrandbits(64) - 2**63 for _ in range(2))
        y = np.zeros(5, np.int64)
        kernel.interpret(5, 1, y, low, high)
        for i in range(5):
            a, b, _, _ = philox((i, 0, 0, 0), (1, 0))
            assert y[i] == low + ((b << 32 | a) * (high - low) >> 64)


def test_on_the_host_it_says_where_it_belongs():
    with pytest.raises(gc.KernelTypeError, match="runs inside kernels"):
        gc.random.uniform(1, 2)
