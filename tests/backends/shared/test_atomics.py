"""Atomics: every operation on every type that the device offers, on global and on shared memory."""

import numpy as np
import pytest

import gpucore as gc

INTEGERS = (gc.i32, gc.u32, gc.i64, gc.u64)
N = 1000
BINS = 5


def make(operation, dtype):
    @gc.kernel
    def on_global(x: gc.Array, bins: gc.Array):
        i = gc.global_id(0)
        if i < x.shape[0]:
            operation(bins, i % 5, x[i])

    @gc.kernel
    def on_shared(x: gc.Array, start: gc.Array, bins: gc.Array):
        tile = gc.shared(5, dtype)
        t = gc.thread_id(0)
        if t < 5:
            tile[t] = start[t]
        gc.barrier()
        for i in range(t, x.shape[0], gc.block_dim(0)):
            operation(tile, i % 5, x[i])
        gc.barrier()
        if t < 5:
            bins[t] = tile[t]

    return on_global, on_shared


OPERATIONS = {
    "add": (gc.atomic_add, np.add), "sub": (gc.atomic_sub, np.subtract), "min": (gc.atomic_min, np.minimum),
    "max": (gc.atomic_max, np.maximum), "and": (gc.atomic_and, np.bitwise_and),
    "or": (gc.atomic_or, np.bitwise_or), "xor": (gc.atomic_xor, np.bitwise_xor),
}  # fmt: skip


def check(context, name, dtype, x, start):
    operation, reference = OPERATIONS[name]
    wanted = start.copy()
    with np.errstate(over="ignore"):
        for i, v in enumerate(x):
            wanted[i % BINS] = reference(wanted[i % BINS], v)
    on_global, on_shared = make(operation, dtype)
    device, bins, tile = context.array(x), context.array(start), context.zeros(BINS, dtype)
    on_global[8, 128](device, bins)
    np.testing.assert_array_equal(bins.numpy(), wanted)
    on_shared[1, 64](device, context.array(start), tile)
    np.testing.assert_array_equal(tile.numpy(), wanted)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_integers(gpucore_context, name, dtype):
    rng = np.random.default_rng(11)
    info = np.iinfo(dtype.numpy)
    x = rng.integers(info.min, info.max, N, dtype.numpy, endpoint=True)
    start = rng.integers(info.min, info.max, BINS, dtype.numpy, endpoint=True)
    if gpucore_context.device.capabilities.supports(dtype, "atomic"):
        check(gpucore_context, name, dtype, x, start)
    else:
        assert dtype not in (gc.i32, gc.u32)
        with pytest.raises(gc.NotSupportedError):
            check(gpucore_context, name, dtype, x, start)


@pytest.mark.parametrize("form", ("shifted", "masked", "chosen"))
@pytest.mark.parametrize("dtype", (gc.i32, gc.u32), ids=str)
def test_the_least_number_is_subtracted(gpucore_context, dtype, form):
    """What is subtracted can only be 0 or -2^31, whose negative is itself."""
    least = dtype(-(2**31) if dtype is gc.i32 else 2**31)

    @gc.func
    def shifted(v: dtype) -> dtype:
        return v << dtype(31)

    @gc.func
    def masked(v: dtype) -> dtype:
        return v & least

    @gc.func
    def chosen(v: dtype) -> dtype:
        return gc.select(v > dtype(1), least, dtype(0))

    value = {"shifted": shifted, "masked": masked, "chosen": chosen}[form]

    @gc.kernel
    def subtract(x: gc.Array[dtype], out: gc.Array[dtype]) -> None:
        i = gc.global_id(0)
        gc.atomic_sub(out, i, value(x[i]))

    x = np.array([0, 1, 2, 3, -1, 2**31 - 1, -(2**31), 5], np.int64).astype(dtype.numpy)
    out = gpucore_context.full(x.size, 7, dtype)
    subtract.over(x.size)(gpucore_context.array(x), out)
    top = {
        "shifted": x % 2 != 0,
        "masked": x.astype(np.uint32) >= 2**31,
        "chosen": x > 1,
    }[form]
    wanted = np.where(top, np.uint32(2**31 + 7), np.uint32(7)).view(dtype.numpy)
    np.testing.assert_array_equal(out.numpy(), wanted)


@pytest.mark.parametrize("dtype", (gc.f32, gc.f64), ids=str)
@pytest.mark.parametrize("name", ("add", "sub", "min", "max"))
def test_floats(gpucore_context, name, dtype):
    x = np.random.default_rng(12).integers(-1000, 1000, N).astype(dtype.numpy)  # sums are exact in any order
    start = np.zeros(BINS, dtype.numpy)
    if gpucore_context.device.capabilities.supports(dtype, "atomic"):
        check(gpucore_context, name, dtype, x, start)
    else:
        with pytest.raises(gc.NotSupportedError):
            check(gpucore_context, name, dtype, x, start)


@pytest.mark.parametrize("dtype", (*INTEGERS, gc.f32, gc.f64), ids=str)
def test_exchange_and_compare_give_the_old_element(gpucore_context, dtype):
    @gc.kernel
    def exchange(slot: gc.Array, seen: gc.Array):
        i = gc.global_id(0)
        if i < seen.shape[0]:
            seen[i] = gc.atomic_exchange(slot, 0, gc.cast(i + 1, dtype))

    @gc.kernel
    def increment(slot: gc.Array):
        if gc.global_id(0) < 500:
            old = slot[0]
            while True:
                seen = gc.atomic_cas(slot, 0, old, old + 1)
                if seen == old:
                    break
                old = seen

    context = gpucore_context
    if not context.device.capabilities.supports(dtype, "atomic"):
        pytest.skip("the device has no atomics of the type")
    slot, seen = context.zeros(1, dtype), context.zeros(300, dtype)
    exchange[3, 128](slot, seen)
    every = np.sort(np.append(seen.numpy(), slot.numpy()))
    np.testing.assert_array_equal(every, np.arange(301))
    if dtype.is_integer:
        slot.fill(0)
        increment[4, 128](slot)
        assert slot.numpy()[0] == 500


def test_an_atomic_counter_hands_out_each_number_once(gpucore_context):
    @gc.kernel
    def tickets(counter: gc.Array[gc.u32], out: gc.Array[gc.u32]):
        i = gc.global_id(0)
        if i < out.shape[0]:
            out[i] = gc.atomic_add(counter, 0, 1)

    n = 20_000
    counter, out = gpucore_context.zeros(1, gc.u32), gpucore_context.zeros(n, gc.u32)
    tickets[gc.cdiv(n, 96), 96](counter, out)
    np.testing.assert_array_equal(np.sort(out.numpy()), np.arange(n))
    assert counter.numpy()[0] == n


def test_atomics_on_two_axes(gpucore_context):
    @gc.kernel
    def tally(x: gc.Array[gc.i32, 2], out: gc.Array[gc.i32, 2]):
        a, b = gc.global_ids(2)
        gc.atomic_max(out, (a % 3, b % 4), x[a, b])

    x = np.random.default_rng(13).integers(-99, 99, (30, 40)).astype(np.int32)
    out = gpucore_context.full((3, 4), -100, gc.i32)
    tally.over(x.shape)(gpucore_context.array(x), out)
    np.testing.assert_array_equal(out.numpy(), x.reshape(10, 3, 10, 4).max((0, 2)))
