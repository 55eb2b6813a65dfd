"""Copies and fills: both directions, pageable and pinned, views, every type and odd sizes."""

import numpy as np
import pytest

import gpucore as gc

DTYPES = (
    gc.bool_,
    gc.i8,
    gc.i16,
    gc.i32,
    gc.i64,
    gc.u8,
    gc.u16,
    gc.u32,
    gc.u64,
    gc.f16,
    gc.bf16,
    gc.f32,
    gc.f64,
)
SIZES = (1, 3, 17, 255, 4097, 100_003)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_arrays_travel_both_ways(gpucore_context, dtype):
    for size in SIZES:
        x = np.random.default_rng(size).integers(0, 2, size).astype(dtype.numpy)
        np.testing.assert_array_equal(gpucore_context.array(x).numpy(), x)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_fills(gpucore_context, dtype):
    for size in SIZES:
        for value in (0, 1, 3):
            found = gpucore_context.full(size, value, dtype).numpy()
            assert found.dtype == dtype.numpy
            np.testing.assert_array_equal(found, np.full(size, value).astype(dtype.numpy))


@pytest.mark.parametrize("dtype", (gc.u8, gc.i16, gc.f32, gc.f64), ids=str)
def test_fills_of_views_leave_the_rest(gpucore_context, dtype):
    for first, last in ((0, 1), (1, 2), (3, 8), (5, 1001), (1023, 1031)):
        x = gpucore_context.zeros(1031, dtype)
        x[first:last].fill(7)
        wanted = np.zeros(1031, dtype.numpy)
        wanted[first:last] = 7
        np.testing.assert_array_equal(x.numpy(), wanted)


def test_views_are_read_and_written(gpucore_context):
    host = np.arange(7 * 11 * 5, dtype=np.int16).reshape(7, 11, 5)
    x = gpucore_context.array(host)
    for key in (
        3,
        slice(2, 6),
        (slice(None), 4),
        (2, slice(1, 9), slice(None, None, 2)),
        (..., 1),
        (slice(None, None, -1),),
    ):
        np.testing.assert_array_equal(x[key].contiguous().numpy(), host[key])
    x[2:5].copy_from(np.zeros((3, 11, 5), np.int16))
    host[2:5] = 0
    np.testing.assert_array_equal(x.numpy(), host)
    x[1].copy_from(x[6])
    host[1] = host[6]
    np.testing.assert_array_equal(x.reshape(-1).numpy(), host.ravel())
    out = np.empty((11, 5), np.int16)
    x[6].copy_to(out)
    np.testing.assert_array_equal(out, host[6])


def test_pageable_sources_may_be_changed_after_the_copy(gpucore_context):
    host = np.arange(300_001, dtype=np.int32)
    with gpucore_context.stream() as stream:
        arrays = []
        for k in range(4):
            arrays.append(gpucore_context.array(host, stream=stream))
            host += 1
        for k, array in enumerate(arrays):
            np.testing.assert_array_equal(array.numpy(stream=stream), np.arange(300_001) + k)


def test_strided_host_arrays(gpucore_context):
    host = np.arange(60, dtype=np.float32).reshape(6, 10)
    x = gpucore_context.array(host[::2, ::-3])
    np.testing.assert_array_equal(x.numpy(), host[::2, ::-3])
    target = np.zeros((3, 8), np.float32)
    x.copy_to(target[:, ::2])
    np.testing.assert_array_equal(target[:, ::2], host[::2, ::-3])
    assert not target[:, 1::2].any()


@pytest.mark.parametrize("size", (1, 1001, 1_000_003))
def test_pinned_memory(gpucore_context, size):
    if "pinned_memory" not in gpucore_context.device.capabilities:
        with pytest.raises(gc.NotSupportedError):
            gpucore_context.pinned(size, gc.u8)
        return
    source, target = gpucore_context.pinned(size, gc.u8), gpucore_context.pinned(size, gc.u8)
    source[:] = np.arange(size) % 253
    target[:] = 0
    stream = gpucore_context.stream()
    x = gpucore_context.empty(size, gc.u8)
    gpucore_context.synchronize()
    x.copy_from(source, stream=stream)
    x.copy_to(target, stream=stream)
    stream.synchronize()
    np.testing.assert_array_equal(target, source)
    if size > 10:
        x[3 : size - 4].copy_to(target[: size - 7], stream=stream)
        stream.synchronize()
        np.testing.assert_array_equal(target[: size - 7], source[3 : size - 4])


def test_unified_memory(gpucore_context):
    if "unified_memory" not in gpucore_context.device.capabilities:
        with pytest.raises(gc.NotSupportedError):
            gpucore_context.unified(8, gc.f32)
        return
    x = gpucore_context.unified(100, gc.i32).fill(4)
    np.testing.assert_array_equal(x.numpy(), 4)
    host = x.host()
    np.testing.assert_array_equal(host, 4)
    host[:] = 7
    x.prefetch("device")
    np.testing.assert_array_equal(x.numpy(), 7)
    x.fill(9)
    np.testing.assert_array_equal(x[10:20].host(), 9)


def test_arrays_without_elements(gpucore_context):
    for shape in ((0,), (3, 0), (0, 2, 2)):
        x = gpucore_context.zeros(shape, gc.f32)
        assert x.numpy().shape == shape
        assert x.fill(3).contiguous().shape == shape
        assert gpucore_context.array(np.zeros(shape, np.float32)).nbytes == 0


def test_nothing_is_copied_behind_ones_back(gpucore_context):
    @gc.kernel
    def touch(x: gc.Array[gc.f32]):
        x[gc.global_id(0)] = 1.0

    x = gpucore_context.zeros(4, gc.f32)
    with pytest.raises(TypeError, match="numpy"):
        np.asarray(x)
    with pytest.raises(gc.LaunchError, match="touch"):
        touch[1, 4](np.zeros(4, np.float32))
    with pytest.raises(gc.LaunchError, match="contiguous"):
        touch[1, 2](x[::2])


def test_dlpack(gpucore_context):
    if gpucore_context.device.capabilities.dlpack is None:
        with pytest.raises((gc.NotSupportedError, BufferError)):
            gpucore_context.zeros(4, gc.f32).__dlpack__()
        return
    x = gpucore_context.array(np.arange(12, dtype=np.float32).reshape(3, 4))
    assert x.__dlpack_device__()[0] == gpucore_context.device.capabilities.dlpack[0]
    back = gc.from_dlpack(x, context=gpucore_context)
    back[1].fill(9)
    wanted = np.arange(12, dtype=np.float32).reshape(3, 4)
    wanted[1] = 9
    np.testing.assert_array_equal(x.numpy(), wanted)
    del x
    np.testing.assert_array_equal(back.numpy(), wanted)
    if back.__dlpack_device__()[0] == 1:
        np.testing.assert_array_equal(np.from_dlpack(back), wanted)
