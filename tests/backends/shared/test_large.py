"""Arrays past 4 GiB and past 2**31 elements; only with GPUCORE_TEST_LARGE=1, on devices with the memory."""

import os

import numpy as np
import pytest

import gpucore as gc

pytestmark = pytest.mark.skipif(
    os.environ.get("GPUCORE_TEST_LARGE") != "1",
    reason="GPUCORE_TEST_LARGE=1 asks for the tests of large arrays",
)
LARGE = (
    (gc.u8, 2**31 + 4099), (gc.u8, 2**32 + 4099), (gc.f32, 2**30 + 4099), (gc.f32, 2**31 + 4099),
    (gc.f64, 2**29 + 4099),
)  # fmt: skip


@gc.kernel
def mark(x: gc.Array):
    i = gc.global_id(0)
    if i < x.shape[0]:
        x[i] = gc.cast((i * 7 + (i >> 16) * 3) % 251, gc.u8)


@gc.kernel
def gather(x: gc.Array, where: gc.Array[gc.i64], out: gc.Array):
    i = gc.global_id(0)
    if i < where.shape[0]:
        out[i] = x[where[i]]


@gc.kernel
def scatter(x: gc.Array, where: gc.Array[gc.i64]):
    i = gc.global_id(0)
    if i < where.shape[0]:
        x[where[i]] = gc.cast(200 - i % 150, gc.u8)


@gc.kernel
def plane(x: gc.Array[gc.u8, 2]):
    a, b = gc.global_ids(2)
    x[a, b] = gc.cast((a * 7 + b) % 251, gc.u8)


def places(dtype, n):
    """Elements at both ends, in the middle, and around 2**31 and 2**32, of elements and of bytes."""
    marks = [0, n // 2, n, 2**31, 2**32, 2**31 // dtype.itemsize, 2**32 // dtype.itemsize]
    around = np.concatenate([np.arange(m - 40, m + 40) for m in marks])
    return np.unique(around[(around >= 0) & (around < n)])


def pattern(where):
    return (where * 7 + (where >> 16) * 3) % 251


@pytest.fixture
def memory_for(gpucore_context):
    """Whether so many bytes fit; skips the test where they do not."""

    def check(nbytes):
        gpucore_context.pool.trim()
        free = gpucore_context.device.memory_info().free
        if free < nbytes * 1.2:
            pytest.skip(f"{nbytes} bytes wanted, {free} are free")

    yield check
    gpucore_context.synchronize()
    gpucore_context.pool.trim()


def allocate(context, shape, dtype):
    try:
        return context.empty(shape, dtype)
    except gc.NotSupportedError as error:  # a device may limit one array
        pytest.skip(str(error))


@pytest.mark.parametrize(("dtype", "n"), LARGE, ids=lambda v: str(v))
def test_every_element_is_reached(gpucore_context, memory_for, dtype, n):
    memory_for(n * dtype.itemsize)
    x = allocate(gpucore_context, n, dtype)
    x.fill(0)
    where = places(dtype, n)
    device = gpucore_context.array(where)
    out = gpucore_context.zeros(where.size, dtype)

    def gathered():
        gather[gc.cdiv(where.size, 128), 128](x, device, out)
        return out.numpy()

    assert not gathered().any()
    mark[gc.cdiv(n, 256), 256](x)
    np.testing.assert_array_equal(gathered(), pattern(where).astype(dtype.numpy))
    x.fill(1)
    mark.over(n)(x)
    np.testing.assert_array_equal(gathered(), pattern(where).astype(dtype.numpy))
    scatter[gc.cdiv(where.size, 128), 128](x, device)
    wanted = (200 - np.arange(where.size) % 150).astype(dtype.numpy)
    np.testing.assert_array_equal(gathered(), wanted)
    # copies at offsets: the same elements through views
    for first in (0, n // 2, 2**32 // dtype.itemsize - 40, n - 40):
        if not 0 <= first <= n - 40:
            continue
        part = x[first : first + 40]
        inside = (where >= first) & (where < first + 40)
        np.testing.assert_array_equal(part.numpy()[where[inside] - first], wanted[inside])
        part.copy_from(np.full(40, 9).astype(dtype.numpy))
        wanted[inside] = 9
        np.testing.assert_array_equal(gathered(), wanted)
        part.fill(5)
        wanted[inside] = 5
        np.testing.assert_array_equal(gathered(), wanted)


def test_a_plane_of_more_than_four_gibibytes(gpucore_context, memory_for):
    shape = (66_000, 65_600)
    memory_for(shape[0] * shape[1])
    x = allocate(gpucore_context, shape, gc.u8)
    plane.over(shape)(x)
    for row in (0, 1, 32_735, 32_736, 65_471, 65_472, 65_535, 65_536, 65_999):
        wanted = ((row * 7 + np.arange(shape[1])) % 251).astype(np.uint8)
        np.testing.assert_array_equal(x[row].numpy(), wanted)


def test_a_checked_kernel_names_an_index_past_32_bits(gpucore_context, memory_for):
    n = 2**32 + 10
    memory_for(n)
    checked = gpucore_context.options(check=True)
    x = allocate(checked, n, gc.u8)
    where = checked.array(np.array([n - 1, n, 2**33]))
    gather[1, 2](x, where, checked.zeros(3, gc.u8))
    with pytest.raises(gc.KernelBoundsError) as caught:
        checked.synchronize()
    assert caught.value.index == (n,)
    assert caught.value.shape == (n,)
