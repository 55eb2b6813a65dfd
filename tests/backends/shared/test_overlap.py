"""Pipelines and prefetching on real devices: the results are right while uploads, kernels and downloads run side by side."""

import numpy as np
import pytest

import gpucore as gc


@gc.kernel
def advance(x: gc.Array1[gc.u32], y: gc.Array1[gc.u32], rounds: gc.i32) -> None:
    i = gc.global_id(0)
    if i < x.shape[0]:
        value = x[i]
        for _ in range(rounds):
            value = value * 1664525 + 1013904223
        y[i] = y[i] + value


SIZES = (1000, 100_000)
ROUNDS = 20


def advanced(x):
    for _ in range(ROUNDS):
        x = x * np.uint32(1664525) + np.uint32(1013904223)
    return x


def items(count, size):
    for number in range(count):
        yield np.arange(number, number + size, dtype=np.uint32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("depth", [1, 3])
def test_each_result_is_that_of_its_item(gpucore_context, size, depth):
    context = gpucore_context

    def step(stream, x):
        y = context.zeros(x.shape, x.dtype)
        advance.over(x.shape, stream=stream)(x, y, ROUNDS)
        return y

    kept = []
    for number, result in enumerate(context.pipeline(step, items(12, size), depth=depth)):
        np.testing.assert_array_equal(result[:50], advanced(np.arange(number, number + 50, dtype=np.uint32)))
        if number % 4 == 0:
            kept.append((number, result))
    for number, result in kept:
        np.testing.assert_array_equal(result, advanced(np.arange(number, number + size, dtype=np.uint32)))


@pytest.mark.parametrize("size", SIZES)
def test_a_sum_over_the_items_and_work_in_place_are_ordered(gpucore_context, size):
    context = gpucore_context
    total = context.zeros(size, gc.u32)

    def step(stream, x):
        advance.over(x.shape, stream=stream)(x, total, ROUNDS)
        advance.over(x.shape, stream=stream)(total, x, 0)
        return total, x

    expected = np.zeros(size, np.uint32)
    for number, (summed, own) in enumerate(context.pipeline(step, items(8, size))):
        sent = np.arange(number, number + size, dtype=np.uint32)
        expected = expected + advanced(sent)
        np.testing.assert_array_equal(summed, expected)
        np.testing.assert_array_equal(own, sent + expected)


@pytest.mark.parametrize("size", SIZES)
def test_prefetched_arrays_are_ready_where_they_are_used(gpucore_context, size):
    context = gpucore_context
    for stream in (None, context.stream()):
        total = context.zeros(size, gc.u32)
        context.synchronize()
        for x in context.prefetch(items(10, size), stream=stream):
            advance.over(size, stream=stream)(x, total, ROUNDS)
        context.synchronize()
        expected = sum(advanced(np.arange(n, n + size, dtype=np.uint32)) for n in range(10)).astype(np.uint32)
        np.testing.assert_array_equal(total.numpy(), expected)


@gc.kernel
def put(x: gc.Array1[gc.u32], at: gc.Array1[gc.i32]) -> None:
    x[at[gc.global_id(0)]] = 7


@pytest.mark.parametrize("download", [True, False])
@pytest.mark.parametrize("wrong", [0, 2, 5])
@pytest.mark.filterwarnings("ignore::gpucore.errors.RaceWarning")
def test_what_a_kernel_finds_is_raised_at_its_item(gpucore_context, download, wrong):
    def step(stream, x, at):
        put.over(1, stream=stream)(x, at)
        return x

    places = (np.array([9 if number >= wrong else 1], np.int32) for number in range(8))
    results = gpucore_context.pipeline(step, zip(items(8, 4), places, strict=True), download=download)
    for _ in range(wrong):
        next(results)
    with pytest.raises(gc.KernelBoundsError, match="index 9") as caught:
        next(results)
    assert f"stage 'step' of item {wrong} " in caught.value.__notes__[-1]
    gpucore_context.synchronize()


def test_a_bound_launch_in_a_step_reports_at_its_item(gpucore_context):
    x, at = gpucore_context.zeros(4, gc.u32), gpucore_context.zeros(1, gc.i32)
    again = put.over(1).bind(x, at)

    def step(stream, place):
        at.copy_from(place, stream=stream)
        again(stream)
        return x

    results = gpucore_context.pipeline(step, [np.array([number], np.int32) for number in range(8)])
    for _ in range(4):
        next(results)
    with pytest.raises(gc.KernelBoundsError, match="index 4") as caught:
        next(results)
    assert "item 4 " in caught.value.__notes__[-1]


def test_many_items_leave_memory_flat(gpucore_context):
    context = gpucore_context

    def step(stream, x):
        y = context.zeros(x.shape, x.dtype)
        advance.over(x.shape, stream=stream)(x, y, 1)
        return y

    with context.pipeline(step, items(400, 1000)) as results:
        used = []
        for result in results:
            used.append(context.pool.stats()["used"])
        del result
        # an item and its result take 4 KiB each: what waits in the three slots and their stages, not what 400 items took
        assert max(used) <= 20 * 4096
        assert results.stats()["buffers"] <= 10
