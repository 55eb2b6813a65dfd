"""Integers converted to one dtype and on to another keep no bit that the first has no room for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import gpucore as gc

DTYPES = (gc.i8, gc.u8, gc.i16, gc.u16, gc.i32, gc.u32, gc.i64, gc.u64)
EDGES = (0, 1, 2, 0x7F, 0x80, 0x81, 0xFF, 0x100, 0x7FFF, 0x8000, 0x8001, 0xFFFE, 0xFFFF, 0x10001, 0x6BFF3540,
         0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100000080, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF)  # fmt: skip


@gc.kernel
def twice(x, out, between: gc.constexpr, to: gc.constexpr):
    i = gc.global_id(0)
    out[i] = to(between(x[i]))


@gc.kernel
def sums(x, out, between: gc.constexpr, to: gc.constexpr):
    i = gc.global_id(0)
    v = between(x[i])
    out[i] = to(v + v) + to(v)


def wrap(value: int, dtype: gc.DType) -> int:
    value &= 2**dtype.bits - 1
    return value - 2**dtype.bits if dtype.is_signed and value >> (dtype.bits - 1) else value


@pytest.mark.parametrize("source", DTYPES, ids=str)
def test_conversions_in_a_row(gpucore_context, source):
    values = [wrap(edge, source) for edge in EDGES]
    x = gpucore_context.array(np.array(values, source.numpy))
    for between, to in itertools.product(DTYPES[:4], DTYPES):
        out = gpucore_context.zeros(len(values), to)
        twice.over(len(values))(x, out, between, to)
        assert out.numpy().tolist() == [wrap(wrap(v, between), to) for v in values], (between, to)


@pytest.mark.parametrize("between", DTYPES[:4], ids=str)
def test_sums_wrap_before_they_are_converted(gpucore_context, between):
    values = [wrap(edge, gc.i32) for edge in EDGES]
    x = gpucore_context.array(np.array(values, np.int32))
    for to in DTYPES:
        out = gpucore_context.zeros(len(values), to)
        sums.over(len(values))(x, out, between, to)
        narrow = [wrap(v, between) for v in values]
        assert out.numpy().tolist() == [
            wrap(wrap(wrap(v + v, between), to) + wrap(v, to), to) for v in narrow
        ], (between, to)
