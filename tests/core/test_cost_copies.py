"""What a copy costs, counted: Python calls, hooks, memory.  Nothing here is timed."""

from __future__ import annotations

import numpy as np
import pytest

import gpucore as gc

SMALL, LARGE = 64, 1 << 20

# Python calls of each, the backend's hook among them, at most; each is a step that the copy needs: the method, the
# check of the ndarray, the stream in whose order it goes, the bytes of the ndarray, the call of the backend
LIMITS = {
    "from an ndarray": 5,
    "to an ndarray": 5,
    "numpy": 5,
    "from an array": 5,
    "fill": 5,
    "from pinned memory": 8,
    "to pinned memory": 8,
    "synchronize": 10,
}


def still(device, dst, dst_offset, src, src_offset, nbytes, stream):
    """The hook ``copy``, doing nothing."""


def still_fill(device, dst, offset, nbytes, pattern, stream):
    """The hook ``fill``, doing nothing."""


def still_wait(device, stream):
    """The hook ``synchronize_stream``, doing nothing."""


def actions(context, size):
    """What is counted, by name."""
    x, y = context.zeros(size, gc.f32), context.ones(size, gc.f32)
    host, pinned = np.ones(size, np.float32), context.pinned(size, gc.f32)
    return {
        "from an ndarray": lambda: x.copy_from(host),
        "to an ndarray": lambda: x.copy_to(host),
        "numpy": lambda: x.numpy(),
        "from an array": lambda: x.copy_from(y),
        "fill": lambda: x.fill(2.0),
        "from pinned memory": lambda: x.copy_from(pinned),
        "to pinned memory": lambda: x.copy_to(pinned),
        "synchronize": lambda: context.synchronize(),
    }


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("name", LIMITS)
def test_a_copy_takes_no_more_python_calls_than_it_needs(backend, count, name, size):
    backend("still", copy=still, fill=still_fill, synchronize_stream=still_wait)
    with gc.Context("still") as context:
        calls = count.calls(actions(context, size)[name]).python
    assert len(calls) <= LIMITS[name], calls


def test_an_array_takes_no_more_python_calls_than_it_needs(backend, count):
    backend("still", copy=still, fill=still_fill, synchronize_stream=still_wait)
    host = np.ones((4, 4), np.float32)
    with gc.Context("still") as context:
        for make, limit in ((lambda: context.empty((4, 4), gc.f32), 23), (lambda: context.array(host), 28)):
            calls = count.calls(make).python
            assert len(calls) <= limit, calls


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_copy_or_fill_is_one_hook_and_takes_no_memory_of_the_backend(recorded, hook_calls, size):
    context, recorder = recorded
    for name, action in actions(context, size).items():
        action()
        recorder.calls.clear()
        hook_calls.clear()
        before = context.pool.stats()
        action()
        hook = "fill" if name == "fill" else "synchronize_stream" if name == "synchronize" else "copy"
        assert [call[0] for call in recorder.calls] == [hook], name
        assert hook_calls == [], name
        assert context.pool.stats() == before, name


@pytest.mark.parametrize("shape", [SMALL, (8, 8), (2, 4, 8)])
@pytest.mark.parametrize("view", ["its own", "a reshape", "a slice"])
def test_the_backend_gets_the_bytes_where_they_lie(recorded, shape, view):
    context, recorder = recorded
    whole = np.arange(2 * SMALL, dtype=np.float32)
    host = {"its own": whole[:SMALL].reshape(shape).copy(), "a reshape": whole[:SMALL].reshape(shape)}.get(
        view, whole[SMALL:].reshape(shape)
    )
    x = context.zeros(shape, gc.f32)
    recorder.calls.clear()
    x.copy_from(host)
    ((_, _, _, _, source, offset, nbytes, _),) = recorder.calls
    assert isinstance(source, memoryview)
    assert (source.format, source.ndim, offset, nbytes) == ("B", 1, 0, host.nbytes)
    assert np.shares_memory(np.frombuffer(source, np.uint8), host)
    np.testing.assert_array_equal(x.numpy(), host)


def test_ten_thousand_small_copies_leave_no_memory_behind(ctx, count):
    before = {}

    def copies():
        for name in ("from an ndarray", "to an ndarray", "from an array", "fill", "from pinned memory"):
            before[name]()

    before.update(actions(ctx, SMALL))
    stats = ctx.pool.stats()
    assert count.blocks(copies, 2000) < 50
    assert ctx.pool.stats() == stats


def test_a_small_copy_holds_less_than_two_kilobytes(ctx, count):
    found = actions(ctx, SMALL)
    for name in ("from an ndarray", "to an ndarray", "from an array", "fill"):
        assert count.peak(found[name]) < 2048, name


def test_a_large_copy_holds_no_copy_of_the_ndarray(ctx, count):
    found = actions(ctx, LARGE)
    for name in ("from an ndarray", "to an ndarray", "from pinned memory", "to pinned memory"):
        assert count.peak(found[name]) < 4096, name


# --- what the short way may not change ------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1.5, "f32"), (-0.0, "f32"), (1e-45, "f32"), (3.4028235e38, "f32"), (1e300, "f32"), (float("inf"), "f32"),
        (float("nan"), "f32"), (0.1, "f32"), (0.1, "f64"), (7, "f32"), (16777217, "f32"), (2**63, "f64"),
        (0.1, "f16"), (7, "f16"), (7, "i8"), (-128, "i8"), (255, "u8"), (2**31 - 1, "i32"), (2**64 - 1, "u64"),
        (3.0, "i32"), (True, "i32"), (True, "f32"), (1, "bool"), (np.float32(0.1), "f64"), (np.int8(3), "i64"),
    ],
)  # fmt: skip
def test_fill_gives_the_bits_that_numpy_gives(ctx, value, dtype):
    element = getattr(gc, dtype) if dtype != "bool" else gc.bool_
    with np.errstate(over="ignore"):
        wanted = np.full(3, value).astype(element.numpy)
    found = ctx.empty(3, element).fill(value).numpy()
    np.testing.assert_array_equal(found.view(np.uint8), wanted.view(np.uint8))


@pytest.mark.parametrize(
    ("value", "dtype"), [(256, "u8"), (-1, "u32"), (2**31, "i32"), (2**64, "u64"), (-(2**63) - 1, "i64")]
)
def test_fill_refuses_integers_that_do_not_fit(ctx, value, dtype):
    with pytest.raises(OverflowError):
        ctx.empty(3, getattr(gc, dtype)).fill(value)


def test_a_read_only_source_and_a_dtype_without_a_buffer_format_are_copied(ctx):
    source = np.frombuffer(bytes(range(32)), np.float32)
    assert not source.flags.writeable
    np.testing.assert_array_equal(ctx.zeros(8, gc.f32).copy_from(source).numpy(), source)
    ml_dtypes = pytest.importorskip("ml_dtypes")
    half = np.arange(8).astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(ctx.zeros(8, gc.bf16).copy_from(half).numpy(), half)


def test_a_context_that_is_closed_copies_nothing(backend):
    backend("null")
    context = gc.Context("null")
    x, empty = context.ones(4, gc.f32), context.empty(0, gc.f32)
    context.close()
    for action in (
        lambda: x.copy_from(np.ones(4, np.float32)),
        lambda: x.copy_to(np.ones(4, np.float32)),
        lambda: x.numpy(),
        lambda: x.fill(1.0),
        lambda: x.copy_from(x),
        lambda: empty.fill(1.0),
    ):
        with pytest.raises(gc.LaunchError, match="closed"):
            action()
