"""Arrays: contents, views, copies, and what is refused."""

import pickle
from fractions import Fraction

import numpy as np
import pytest

import gpucore as gc

DTYPES = [
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
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_makes_the_round_trip(ctx, dtype):
    data = np.arange(6).reshape(2, 3).astype(dtype.numpy)
    array = ctx.array(data)
    assert (array.dtype, array.shape, array.ndim, array.size) == (dtype, (2, 3), 2, 6)
    assert array.nbytes == data.nbytes and array.strides == data.strides
    result = array.numpy()
    assert result.dtype == data.dtype
    np.testing.assert_array_equal(result, data)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_zeros_ones_full(ctx, dtype):
    assert ctx.zeros(3, dtype).numpy().astype(float).tolist() == [0, 0, 0]
    assert ctx.ones((1, 2), dtype).numpy().astype(float).tolist() == [[1, 1]]
    assert ctx.full(2, 1, dtype).numpy().astype(float).tolist() == [1, 1]


def test_lists_scalars_and_other_byte_orders_are_taken(ctx):
    assert ctx.array([1.5, 2.5]).dtype is gc.f64
    assert ctx.array([1, 2], gc.f32).numpy().tolist() == [1, 2]
    assert ctx.array(np.array([1, 2], ">i4")).numpy().tolist() == [1, 2]
    assert ctx.array([True, False], bool).dtype is gc.bool_


def test_what_has_no_element_type_is_a_type_error(ctx):
    assert ctx.array([1j]).dtype is gc.complex128
    with pytest.raises(TypeError, match="timedelta64"):
        ctx.array(np.zeros(2, "m8[s]"))
    with pytest.raises(TypeError, match="object"):
        ctx.array([object()])
    with pytest.raises(TypeError, match="index is the type of ids"):
        ctx.zeros(3, gc.index)


@pytest.mark.parametrize("shape", [-1, (2, -3), 1.5, "3", (2, "x")])
def test_a_bad_shape_is_refused(ctx, shape):
    with pytest.raises((TypeError, ValueError)):
        ctx.zeros(shape, gc.f32)


KEYS = [
    np.s_[1],
    np.s_[-1],
    np.s_[1:3],
    np.s_[::-1],
    np.s_[::2, ::-2],
    np.s_[..., 0],
    np.s_[None, 1:, None],
    np.s_[:, 2],
    np.s_[1, 2],
    np.s_[3:1],
    np.s_[-2:, -3:-1],
    np.s_[()],
    np.s_[...],
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_basic_slicing_is_a_view_as_in_numpy(ctx, key):
    data = np.arange(20, dtype=np.int32).reshape(4, 5)
    array = ctx.array(data)
    view = array[key]
    np.testing.assert_array_equal(view.numpy(), data[key])
    assert view.shape == data[key].shape
    view.fill(99)
    data[key] = 99
    np.testing.assert_array_equal(array.numpy(), data)
    np.testing.assert_array_equal(view.contiguous().numpy(), data[key])


def test_views_of_views(ctx):
    data = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    view, expected = ctx.array(data)[::-1, 1:][:, ::-1, 2], data[::-1, 1:][:, ::-1, 2]
    np.testing.assert_array_equal(view.numpy(), expected)


@pytest.mark.parametrize("key", [np.s_[9], np.s_[-9], np.s_[0, 0, 0]])
def test_an_index_out_of_range_is_an_index_error(ctx, key):
    with pytest.raises(IndexError):
        ctx.zeros((2, 2), gc.f32)[key]


@pytest.mark.parametrize("key", [[0, 1], np.array([0]), True, 1.0, "x"])
def test_other_indices_name_numpy(ctx, key):
    with pytest.raises(TypeError, match=r"\.numpy\(\)"):
        ctx.zeros(2, gc.f32)[key]


def test_reshape(ctx):
    data = np.arange(12, dtype=np.int32)
    array = ctx.array(data)
    np.testing.assert_array_equal(array.reshape(3, -1).numpy(), data.reshape(3, 4))
    np.testing.assert_array_equal(array.reshape((2, 6)).numpy(), data.reshape(2, 6))
    np.testing.assert_array_equal(array[::2].reshape(2, 3).numpy(), data[::2].reshape(2, 3))
    with pytest.raises(ValueError, match="12 elements"):
        array.reshape(5, 2)
    with pytest.raises(ValueError, match="only one extent"):
        array.reshape(-1, -1)
    with pytest.raises(ValueError, match=r"\.contiguous\(\)"):
        array.reshape(3, 4)[:, :3].reshape(-1)


def test_nothing_is_copied_to_the_host_by_accident(ctx):
    array = ctx.zeros(3, gc.f32)
    for accident in (np.asarray, np.sum, list, bool, lambda a: a + np.ones(3), lambda a: np.ones(3) + a):
        with pytest.raises(TypeError) as caught:
            accident(array)
        if accident in (np.asarray, bool):
            assert ".numpy()" in str(caught.value)


def test_numpy_into_a_given_ndarray(ctx):
    array = ctx.array(np.arange(4, dtype=np.float32))
    out = np.empty(4, np.float32)
    assert array.numpy(out) is out
    strided = np.zeros((4, 2), np.float32)
    array.numpy(strided[:, 1])
    assert strided[:, 1].tolist() == [0, 1, 2, 3]


def test_targets_that_do_not_fit(ctx):
    array = ctx.zeros(4, gc.f32)
    with pytest.raises(TypeError, match="float64"):
        array.copy_to(np.zeros(4))
    with pytest.raises(ValueError, match=r"\(5,\)"):
        array.copy_to(np.zeros(5, np.float32))
    frozen = np.zeros(4, np.float32)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        array.copy_to(frozen)
    with pytest.raises(TypeError):
        array.copy_from([1, 2, 3, 4])


def test_read_only_and_strided_sources_are_fine(ctx):
    source = np.arange(8, dtype=np.float32)
    source.flags.writeable = False
    assert ctx.array(source).numpy().tolist() == list(range(8))
    assert ctx.zeros(4, gc.f32).copy_from(source[::-2]).numpy().tolist() == [7, 5, 3, 1]


@pytest.mark.parametrize(
    "a, b", [(np.s_[:], np.s_[:]), (np.s_[::2], np.s_[::-2]), (np.s_[1:5], np.s_[4:8])], ids=str
)
def test_device_to_device(ctx, a, b):
    x, y = np.arange(8, dtype=np.int32), np.arange(8, dtype=np.int32) * 10
    source, target = ctx.array(x), ctx.array(y)
    target[b].copy_from(source[a])
    y[b] = x[a]
    np.testing.assert_array_equal(target.numpy(), y)


def test_overlapping_copies_within_one_array(ctx):
    data = np.arange(10, dtype=np.int32)
    array = ctx.array(data)
    array[1:].copy_from(array[:-1])
    data[1:] = data[:-1].copy()
    np.testing.assert_array_equal(array.numpy(), data)
    array[:-2].copy_to(array[2:])
    data[2:] = data[:-2].copy()
    np.testing.assert_array_equal(array.numpy(), data)


def test_to_another_context_on_the_same_and_on_another_device(ctx, backend):
    from gpucore.testing import null

    backend("other", probe=null.probe)
    x = ctx.array([1, 2, 3])
    assert x.to(ctx) is x
    with gc.Context("null") as same, gc.Context("other") as other:
        assert same.device is ctx.device and other.device is not ctx.device
        for context in (same, other):
            y = x[::-1].to(context)
            assert y.context is context
            assert y.numpy().tolist() == [3, 2, 1]


@pytest.mark.parametrize(
    "value, dtype",
    [
        (300, gc.u8),
        (-1, gc.u32),
        (1.5, gc.i32),
        (float("nan"), gc.i8),
        (np.int64(300), gc.u8),
        (np.array(-1), gc.u64),
        (Fraction(1, 3), gc.i32),
        (2**64, gc.u64),
    ],
)
def test_a_fill_that_does_not_fit_is_an_error(ctx, value, dtype):
    with pytest.raises((OverflowError, TypeError, ValueError)):
        ctx.full(2, value, dtype)


def test_zero_sized_arrays(ctx):
    array = ctx.zeros((0, 3), gc.f32)
    assert array.numpy().shape == (0, 3)
    assert array[:, 1:].contiguous().numpy().shape == (0, 2)
    array.copy_from(np.zeros((0, 3), np.float32)).fill(1)
    array.free()
    assert len(array) == 0 and array.nbytes == 0


def test_a_freed_array_and_its_views_are_gone(ctx):
    array = ctx.zeros(4, gc.f32)
    view = array[1:]
    array.free()
    array.free()
    for use in (array.numpy, view.numpy, view.contiguous, lambda: array[0], lambda: array.fill(1)):
        with pytest.raises(gc.LaunchError, match="gone: it was freed"):
            use()
    assert "gone" in repr(array)


def test_a_closed_context_refuses_and_its_arrays_are_gone(backend):
    backend("null")
    ctx = gc.Context("null")
    array, stream, event = ctx.zeros(4, gc.f32), ctx.stream(), ctx.event()
    ctx.close()
    ctx.close()
    for use in (
        array.numpy,
        stream.synchronize,
        event.query,
        ctx.synchronize,
        ctx.stream,
        ctx.event,
        lambda: ctx.zeros(1, gc.f32),
        lambda: stream.record(),
        lambda: ctx.options(check=True),
    ):
        with pytest.raises(gc.GpucoreError, match="closed"):
            use()


def test_annotations_know_dtype_and_rank():
    import types

    alias = gc.Array[gc.f32, 2]
    assert isinstance(alias, types.GenericAlias)
    assert alias.__origin__.__gpucore_array__ is True
    assert alias.__args__ == (gc.f32, 2)


def test_errors_travel_between_processes():
    error = gc.OutOfMemoryError("no", requested=3, used=2, cached=1, limit=4)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.requested, copy.used, copy.cached, copy.limit) == (3, 2, 1, 4)
    assert isinstance(copy, MemoryError)


# --- pinned and unified memory
def test_pinned_memory_is_an_ndarray_and_copies_from_it_are_between_allocations(recorded):
    ctx, recorder = recorded
    pinned = ctx.pinned((2, 3), gc.f32)
    pinned[...] = np.arange(6).reshape(2, 3)
    array = ctx.zeros((2, 3), gc.f32).copy_from(pinned)
    call = recorder.named("copy")[-1]
    assert call[4].host == pinned.ctypes.data
    array.copy_to(pinned[::1])
    row = ctx.zeros(3, gc.f32)
    row.copy_from(pinned[1])
    assert recorder.named("copy")[-1][5] == 12
    assert row.numpy().tolist() == [3, 4, 5]


def test_pinned_memory_lives_as_long_as_its_ndarrays(ctx):
    before = ctx.pool.stats()["used"]
    view = ctx.pinned(100, gc.f64)[10:]
    assert ctx.pool.stats()["used"] > before
    view[:] = 1
    del view
    assert ctx.pool.stats()["used"] == before


def test_kinds_of_memory_that_are_missing_are_named(backend):
    from dataclasses import replace

    from gpucore.testing import null

    def capabilities(device):
        raw = null.capabilities(device)
        return replace(raw, names=raw.names - {"pinned_memory", "unified_memory", "process_memory"})

    backend("poor", capabilities=capabilities)
    with gc.Context("poor") as ctx:
        for call, name in [
            (lambda: ctx.pinned(3, gc.f32), "pinned_memory"),
            (lambda: ctx.unified(3, gc.f32), "unified_memory"),
            (ctx.device.process_memory, "process_memory"),
            (ctx.device.health, "device_health"),
            (ctx.device.reset, "device_reset"),
            (lambda: ctx.stream(handle=5), "import_stream"),
        ]:
            with pytest.raises(gc.NotSupportedError) as caught:
                call()
            assert caught.value.capability == name
            assert name not in ctx.device.capabilities


def test_unified_memory(ctx):
    assert ctx.unified(3, gc.i32).fill(4).numpy().tolist() == [4, 4, 4]


# --- DLPack
def test_numpy_shares_our_memory(ctx):
    array = ctx.array(np.arange(6, dtype=np.float32).reshape(2, 3))
    shared = np.from_dlpack(array)
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":  # before, NumPy's views were read-only
        shared[0, 0] = 42
        assert array.numpy()[0, 0] == 42
    array[0, 0].fill(43)
    assert shared[0, 0] == 43
    np.testing.assert_array_equal(np.from_dlpack(array[::-1, 1:]), array.numpy()[::-1, 1:])
    assert array.__dlpack_device__() == (1, 0)


def test_a_consumer_keeps_the_memory_alive(ctx):
    shared = np.from_dlpack(ctx.array([1, 2, 3]))
    assert ctx.pool.stats()["allocations"] == 1
    assert shared.tolist() == [1, 2, 3]
    del shared
    assert ctx.pool.stats()["allocations"] == 0


def test_a_capsule_that_nobody_takes_lets_go(ctx):
    capsule = ctx.array([1, 2, 3]).__dlpack__()
    assert ctx.pool.stats()["allocations"] == 1
    del capsule
    assert ctx.pool.stats()["allocations"] == 0


def test_we_share_the_memory_of_numpy(ctx):
    host = np.arange(12, dtype=np.float64).reshape(3, 4)
    array = gc.from_dlpack(host, context=ctx, copy=False)
    array.fill(7)
    assert (host == 7).all()
    strided = gc.from_dlpack(host[::-1, ::2], context=ctx)
    np.testing.assert_array_equal(strided.numpy(), host[::-1, ::2])
    strided[0].fill(1)
    assert host[2].tolist() == [1, 7, 1, 7]


def test_copy_true_copies_and_copy_false_never_does(ctx, backend):
    host = np.zeros(3)
    gc.from_dlpack(host, context=ctx, copy=True).fill(1)
    assert host.tolist() == [0, 0, 0]
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    with pytest.raises((gc.NotSupportedError, BufferError)):
        gc.from_dlpack(frozen, context=ctx, copy=False)
    with pytest.raises(BufferError):
        ctx.zeros(3, gc.f32).__dlpack__(dl_device=(77, 0))


def test_bf16_and_bool_have_dlpack_types(ctx):
    from gpucore.runtime.interchange import _data_type

    assert (_data_type(gc.bf16).code, _data_type(gc.bool_).code) == (4, 6)
    assert gc.from_dlpack(ctx.zeros(3, gc.bf16), context=ctx).dtype is gc.bf16


class Foreign:
    """Another library's array, known by an array interface."""

    def __init__(self, host, read_only=False):
        self.host = host
        self.__foreign_array_interface__ = host.__array_interface__ | {
            "data": (host.ctypes.data, read_only),
            "strides": host.strides,
        }


@pytest.fixture
def foreign(backend):
    from dataclasses import replace

    from gpucore.testing import null

    def capabilities(device):
        return replace(null.capabilities(device), array_interface="__foreign_array_interface__")

    backend("foreign", capabilities=capabilities)
    with gc.Context("foreign") as context:
        yield context


def test_an_array_interface_that_the_backend_names_is_offered(foreign):
    array = foreign.array(np.arange(6, dtype=np.float32).reshape(2, 3))
    offered = array[:, ::2].__foreign_array_interface__
    assert (offered["shape"], offered["typestr"], offered["strides"]) == ((2, 2), "<f4", (12, 8))
    assert array.__foreign_array_interface__["strides"] is None
    assert not hasattr(array, "__other_array_interface__")


def test_an_array_interface_that_the_backend_names_is_taken(foreign, ctx):
    host = np.arange(6, dtype=np.float32)
    gc.from_dlpack(Foreign(host[::2]), context=foreign).fill(9)
    assert host.tolist() == [9, 1, 9, 3, 9, 5]
    copied = foreign.array(Foreign(host))
    copied.fill(0)
    assert host[0] == 9
    with pytest.raises(gc.NotSupportedError, match="read-only"):
        gc.from_dlpack(Foreign(host, read_only=True), context=foreign)
    with pytest.raises(TypeError, match="no __dlpack__"):
        gc.from_dlpack(Foreign(host), context=ctx)


def test_a_strided_write_leaves_what_lies_between_alone(recorded):
    ctx, recorder = recorded
    array = ctx.zeros((100, 100), gc.f32)
    recorder.calls.clear()
    array[10:13, 20:30].copy_from(np.ones((3, 10), np.float32))
    assert [(call[3], call[6]) for call in recorder.named("copy")] == [
        ((r * 100 + 20) * 4, 40) for r in (10, 11, 12)
    ]
    recorder.calls.clear()
    assert array[10:13, 20:30].numpy().sum() == 30
    assert sum(call[6] for call in recorder.named("copy")) <= 3 * 400


def test_views_of_very_many_pieces(ctx):
    data = np.arange(9000, dtype=np.int32)
    array = ctx.array(data)
    array[::3].copy_from(np.zeros(3000, np.int32))
    data[::3] = 0
    np.testing.assert_array_equal(array.numpy(), data)
    np.testing.assert_array_equal(array[::7].numpy(), data[::7])
