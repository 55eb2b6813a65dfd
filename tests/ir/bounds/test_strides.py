"""Loops in strides, as tiles are loaded: nothing is checked exactly where sizes are multiples."""

from types import SimpleNamespace

import numpy as np
import pytest

import gpucore as gc
from gpucore.ir.bounds.analysis import analyse
from gpucore.ir.interpreter import interpret
from gpucore.launch.launch_conditions import LaunchBounds

SIZES = range(51)


@gc.kernel
def tile(x: gc.Array[gc.i32], n: gc.i32) -> None:
    one = gc.local(1, gc.i32)
    t = gc.thread_id(0)
    for s in range(0, x.shape[0], 8):
        one[0] = x[s + t % 8]


@gc.kernel
def ahead(x: gc.Array[gc.i32], n: gc.i32) -> None:
    one = gc.local(1, gc.i32)
    t = gc.thread_id(0)
    for s in range(0, x.shape[0], 8):
        if s + 8 < x.shape[0]:
            one[0] = x[s + 8 + t % 8]


@gc.kernel
def two_ahead(x: gc.Array[gc.i32], n: gc.i32) -> None:
    one = gc.local(1, gc.i32)
    t = gc.thread_id(0)
    for s in range(0, x.shape[0], 8):
        if not (s >= x.shape[0] - 16 or t > 100):
            one[0] = x[s + 16 + t % 8]
        elif s + 8 < x.shape[0] and t >= 0:
            one[0] = x[s + 8 + t % 8]


@gc.kernel
def chosen(x: gc.Array[gc.i32], n: gc.i32) -> None:
    one = gc.local(1, gc.i32)
    t = gc.thread_id(0)
    for s in range(0, x.shape[0], 8):
        following = s + 8 if s + 8 < x.shape[0] else s
        one[0] = x[following + t % 8]


@gc.kernel
def backwards(x: gc.Array[gc.i32], n: gc.i32) -> None:
    one = gc.local(1, gc.i32)
    t = gc.thread_id(0)
    for s in range(x.shape[0] - 1, -1, -8):
        if s - 8 >= 0:
            one[0] = x[s - 8 - t % 8]


@gc.kernel
def of_blocks(x: gc.Array[gc.i32], n: gc.i32) -> None:
    one = gc.local(1, gc.i32)
    t = gc.thread_id(0)
    for s in range(gc.block_id(0) * 16, x.shape[0], 24):
        one[0] = x[s + t % 8]


@gc.kernel
def counting(x: gc.Array[gc.i32], n: gc.i32) -> None:
    one = gc.local(1, gc.i32)
    t = gc.thread_id(0)
    s = gc.i64(0)
    while s < x.shape[0]:
        if s + 8 < x.shape[0]:
            one[0] = x[s + 8 + t % 8]
        s += 8


@gc.kernel
def unsigned(x: gc.Array[gc.i32], n: gc.i32) -> None:
    one = gc.local(1, gc.i32)
    t = gc.thread_id(0)
    s = gc.u32(0)
    while s < x.shape[0]:
        if s + 8 <= x.shape[0] - 1:
            one[0] = x[s + 8 + t % 8]
        s += 8


@gc.kernel
def left(x: gc.Array[gc.i32], n: gc.i32) -> None:
    one = gc.local(1, gc.i32)
    t = gc.thread_id(0)
    for s in range(0, x.shape[0], 8):
        if s + 8 >= x.shape[0]:
            break
        one[0] = x[s + 8 + t % 8]


def found(kernel, sizes, n=0):
    """Of each size whether the host lets the kernel run without checks, and whether the interpreter finds a wrong access."""
    module = kernel.ir(gc.Array[gc.i32], gc.i32)
    bounds = LaunchBounds(analyse(module, is_range=False, small=True), "auto", "k")
    for size in sizes:
        reads = tuple(size if term.kind == "extent" else n for term in bounds.terms)
        level = bounds.level(SimpleNamespace(shape=None, grid=(2,), block=(8,)), reads)
        try:
            interpret(module, (2,), (8,), [np.zeros(size, np.int32), n], detect_races=False)
        except gc.KernelBoundsError:
            yield size, level is False, True
        else:
            yield size, level is False, False


@pytest.mark.parametrize(
    "kernel", [tile, ahead, two_ahead, chosen, backwards, of_blocks, counting, unsigned, left], ids=str
)
def test_nothing_is_checked_where_sizes_are_multiples(kernel):
    for size, unchecked, wrong in found(kernel, SIZES):
        assert unchecked == (size % 8 == 0), size
        assert not (unchecked and wrong), size


@gc.kernel
def from_argument(x: gc.Array[gc.i32], n: gc.i32) -> None:
    one = gc.local(1, gc.i32)
    t = gc.thread_id(0)
    for s in range(gc.i64(n), x.shape[0], 8):
        if s + 8 < x.shape[0]:
            one[0] = x[s + 8 + t % 8]


@gc.kernel
def by_argument(x: gc.Array[gc.i32], n: gc.i32) -> None:
    one = gc.local(1, gc.i32)
    t = gc.thread_id(0)
    for s in range(0, x.shape[0], n):
        if s + 8 < x.shape[0]:
            one[0] = x[s + 8 + t % 8]


def test_a_first_value_of_the_host_is_taken_off():
    for n in (-9, -8, 0, 1, 5, 8, 13):
        for size, unchecked, wrong in found(from_argument, SIZES, n):
            assert not (unchecked and wrong), (size, n)
            if n >= 0 and size > n:
                assert unchecked == ((size - n) % 8 == 0), (size, n)


def test_a_stride_of_the_launch_is_not_rounded_to():
    for n in (1, 2, 8):
        assert not any(unchecked and wrong for _, unchecked, wrong in found(by_argument, SIZES, n)), n


@gc.kernel
def wrapping(x: gc.Array[gc.i32], n: gc.i32) -> None:
    one = gc.local(1, gc.i32)
    t = gc.thread_id(0)
    for s in range(n, 2147483647, 8):
        following = gc.i32(s) + 8
        if following < 2147483647:  # as are the least i32s, which follow the last ones
            one[0] = x[(gc.i64(following) + t % 8) // 134217728]


def test_sums_that_wrap_are_not_taken_for_multiples():
    answers = [
        answer for n in (2**31 - 40, 2**31 - 9, 2**31 - 8, 2**31 - 3) for answer in found(wrapping, (16,), n)
    ]
    assert any(wrong for _, _, wrong in answers)
    assert not any(unchecked and wrong for _, unchecked, wrong in answers)
