"""``gc.dot4``: exact dot products of packed bytes, as NumPy computes them from the bytes themselves."""

import numpy as np
import pytest

import gpucore as gc


@gc.kernel
def rows_signed(
    a: gc.Array2[gc.u32], x: gc.Array1[gc.u32], sums: gc.Array1[gc.i32], ones: gc.Array1[gc.i32]
) -> None:
    i = gc.global_id(0)
    total = 0
    bytes_of_a = 0
    for k in range(a.shape[1]):
        total = gc.dot4(a[i, k], x[k], total)
        bytes_of_a = gc.dot4(a[i, k], 0x01010101, bytes_of_a)
    sums[i] = total
    ones[i] = bytes_of_a


def test_a_product_of_a_matrix_of_bytes_is_numpys(gpucore_context: gc.Context) -> None:
    rng = np.random.default_rng(5)
    a = rng.integers(-128, 128, (37, 64)).astype(np.int8)
    x = rng.integers(-128, 128, 64).astype(np.int8)
    a[3], x[:8] = -128, -128
    ctx = gpucore_context
    sums, ones = ctx.zeros(37, gc.i32), ctx.zeros(37, gc.i32)
    rows_signed.over(37)(ctx.array(a.view(np.uint32)), ctx.array(x.view(np.uint32)), sums, ones)
    np.testing.assert_array_equal(sums.numpy(), a.astype(np.int32) @ x.astype(np.int32))
    np.testing.assert_array_equal(ones.numpy(), a.sum(axis=1, dtype=np.int32))


@gc.kernel
def forms(
    u: gc.Array1[gc.u32], v: gc.Array1[gc.u32], s: gc.Array1[gc.i32], start: gc.u32, out: gc.Array2[gc.u32]
) -> None:
    i = gc.global_id(0)
    out[i, 0] = gc.dot4(u[i], v[i], start)
    out[i, 1] = gc.u32(gc.dot4(u[i], s[i], gc.i32(start)))
    out[i, 2] = gc.dot4(s[i], u[i], start)
    out[i, 3] = gc.dot4(s[i], -1, start)
    out[i, 4] = gc.dot4(u[i], 0xFFFFFFFF, start)
    out[i, 5] = gc.dot4(v[0], v[i], gc.dot4(u[0], u[0], start))


def test_each_form_reads_its_bytes_as_the_page_says(gpucore_context: gc.Context) -> None:
    rng = np.random.default_rng(6)
    u, v, s = (rng.integers(0, 256, (50, 4)).astype(np.uint8) for _ in range(3))
    u[0] = 255
    start = 0xFFFF_FF00
    ctx = gpucore_context
    out = ctx.zeros((50, 6), gc.u32)
    words = [ctx.array(part.view(np.uint32).ravel()) for part in (u, v)]
    forms.over(50)(*words, ctx.array(s.view(np.int32).ravel()), start, out)
    wide_u, wide_v = u.astype(np.int64), v.astype(np.int64)
    wide_s = s.view(np.int8).astype(np.int64)
    expected = np.stack(
        [
            (wide_u * wide_v).sum(1),
            (wide_u * wide_s).sum(1),
            (wide_u * wide_s).sum(1),
            -wide_s.sum(1),
            255 * wide_u.sum(1),
            (wide_v[0] * wide_v).sum(1) + 4 * 255 * 255,
        ],
        axis=1,
    )
    np.testing.assert_array_equal(out.numpy(), ((expected + start) % 2**32).astype(np.uint32))


def test_words_of_other_dtypes_are_refused(gpucore_context: gc.Context) -> None:
    @gc.kernel
    def narrow(x: gc.Array1[gc.u8], out: gc.Array1[gc.i32]) -> None:
        i = gc.global_id(0)
        out[i] = gc.dot4(x[i], x[i], 0)

    ctx = gpucore_context
    with pytest.raises(gc.KernelTypeError, match=r"words of i32 or u32.*not u8"):
        narrow.over(4)(ctx.zeros(4, gc.u8), ctx.zeros(4, gc.i32))
