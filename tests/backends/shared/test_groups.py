"""Groups on every backend, over as many devices as there are: one that is alone is listed as often as needed."""

from __future__ import annotations

import numpy as np
import pytest

import gpucore as gc

FUNCTIONS = {"sum": np.add, "min": np.minimum, "max": np.maximum}
SIZE = 50_021


@gc.kernel
def scale(x: gc.Array[gc.f32], y: gc.Array[gc.f32], a: gc.f32):
    i = gc.global_id(0)
    y[i] = a * x[i]


@gc.kernel
def churn(x: gc.Array[gc.u32], rounds: gc.i32):
    i = gc.global_id(0)
    v = x[i]
    for _ in range(rounds):
        v = v * 1664525 + 1013904223
    x[i] = v


@gc.kernel
def wait_for(flag: gc.Array[gc.i32], seen: gc.Array[gc.i32], least: gc.i64, patience: gc.i64):
    i = gc.global_id(0)
    value = gc.i32(0)
    turns = gc.i64(0)
    while turns < least or (value == 0 and turns < patience):
        value = gc.atomic_load(flag, i)
        turns += 1
    seen[i] = value


class Waiting:
    """A kernel on a context's default stream that ends when the host lets it, or gives up after some seconds."""

    def __init__(self, context):
        self.side = context.stream()
        self.flag = context.array(np.zeros(1, np.int32), stream=self.side)
        self.seen = context.zeros(1, gc.i32)
        # on the CPU what took less than 2 ms the last time would run in this thread
        least, patience = (5_000_000, 1_000_000_000) if context.backend == "cpu" else (0, 20_000_000)
        wait_for.over(1)(self.flag, self.seen, least, patience)

    def let_go(self):
        """Whether the kernel still waited."""
        self.flag.fill(1, stream=self.side)
        return self.seen.numpy().item() == 1


@pytest.fixture
def concurrent(gpucore_backend):
    if gpucore_backend == "vulkan":
        pytest.skip("Vulkan promises no progress of one queue while a kernel in another waits for it")


@pytest.fixture(params=[1, 2, 4])
def group(request, gpucore_context, gpucore_backend, monkeypatch):
    if gpucore_backend == "cpu":
        monkeypatch.setenv("GPUCORE_CPU_DEVICES", str(request.param))
    ordinals = [device.ordinal for device in gc.devices() if device.backend == gpucore_backend]
    selectors = [f"{gpucore_backend}:{ordinals[n % len(ordinals)]}" for n in range(request.param)]
    with gc.Group(selectors) as opened:
        yield opened


def folded(parts, op):
    result = parts[0]
    for part in parts[1:]:
        result = FUNCTIONS[op](result, part)
    return result


def test_all_reduce_combines_in_the_order_of_the_devices(group):
    for dtype, op in ((np.float32, "sum"), (np.float16, "sum"), (np.int32, "min"), (np.float32, "max")):
        parts = [
            (np.random.default_rng(n).standard_normal(SIZE) * 50).astype(dtype) for n in range(len(group))
        ]
        x = group.scatter(np.concatenate(parts))
        for _ in range(2):
            for shard in group.all_reduce(x, op).shards:
                np.testing.assert_array_equal(shard.numpy(), folded(parts, op))


def test_what_writes_an_array_comes_before_the_exchange_and_after_it(group):
    """Launches that take long on each device, and nothing that is waited for in between."""
    x = group.scatter(np.arange(len(group) * SIZE, dtype=np.uint32))
    parts = [shard.numpy() for shard in x.shards]
    totals = []
    for _ in range(3):
        group.launch(churn, x, 500)
        totals.append(group.all_reduce(x))
        group.launch(churn, totals[-1], 1)
    for total in totals:
        with np.errstate(over="ignore"):
            for _ in range(500):
                parts = [part * np.uint32(1664525) + np.uint32(1013904223) for part in parts]
            wanted = folded(parts, "sum") * np.uint32(1664525) + np.uint32(1013904223)
        for shard in total.shards:
            np.testing.assert_array_equal(shard.numpy(), wanted)


def test_memory_that_other_devices_read_may_be_freed_and_used_again(group):
    size = 1 << 20
    for turn in range(6):
        x = group.replicate(np.full(size, turn, np.float32))
        total = group.all_reduce(x)
        del x
        trash = [context.full(size, -1.0, gc.f32) for context in group.contexts]
        for shard in total.shards:
            assert (shard.numpy() == len(group) * turn).all()
        del trash


def test_memory_of_a_result_is_used_again_after_all_that_was_done_with_it(group):
    """Results are dropped while launches, copies and fills of them wait, and the next exchange takes their memory."""
    x = group.replicate(np.ones(SIZE, np.uint32))
    sides = [context.stream() for context in group.contexts]
    kept = []
    for turn in range(8):
        total = group.all_reduce(x)
        kept.append([context.empty(SIZE, gc.u32) for context in group.contexts])
        for shard, copy, side in zip(total.shards, kept[-1], sides, strict=True):
            churn.over(SIZE, stream=side)(shard, 2000)
            copy.copy_from(shard, stream=side)
            if turn % 2:
                shard.fill(7)
        del shard
    wanted = np.full(SIZE, len(group), np.uint32)
    for _ in range(2000):
        wanted = wanted * np.uint32(1664525) + np.uint32(1013904223)
    for side in sides:
        side.synchronize()
    for copies in kept:
        for copy in copies:
            np.testing.assert_array_equal(copy.numpy(), wanted)


several = pytest.mark.parametrize("group", [2, 4], indirect=True)


@several
@pytest.mark.parametrize("size", [SIZE, 1 << 20])
def test_later_compute_runs_while_the_exchange_waits(group, concurrent, size):
    """The last device is kept busy, so that the exchange cannot begin; the first computes meanwhile, and nobody gave up."""
    x = group.replicate(np.full(size, 3, np.uint32))
    y = group.contexts[0].array(np.arange(SIZE, dtype=np.uint32))
    group.all_reduce(x)
    for _ in range(2):
        busy = Waiting(group.contexts[-1])
        total = group.all_reduce(x)
        churn.over(SIZE)(y, 1)
        y.numpy()
        assert busy.let_go(), "what was launched after the exchange waited for it"
        for shard in total.shards:
            np.testing.assert_array_equal(shard.numpy(), np.full(size, 3 * len(group), np.uint32))


@several
@pytest.mark.parametrize("size", [SIZE, 1 << 20])
def test_an_exchange_ends_while_later_compute_runs(group, concurrent, size):
    """Kernels that were launched after the exchange wait until its results were seen on every device, and nobody gave up."""
    x = group.replicate(np.full(size, 3, np.uint32))
    for _ in range(3):
        total = group.all_reduce(x)
        later = [Waiting(context) for context in (group.contexts[0], group.contexts[-1])]
        for shard in total.shards:
            np.testing.assert_array_equal(shard.numpy(), np.full(size, 3 * len(group), np.uint32))
        assert all([kernel.let_go() for kernel in later]), (
            "the exchange waited for what was launched after it"
        )


def test_arrays_go_from_each_device_to_the_next(group):
    data = np.random.default_rng(7).integers(0, 256, (3 << 20) + 5, np.uint8)
    x = group.contexts[0].array(data)
    for context in (*group.contexts[1:], group.contexts[0]):
        x = context.zeros(data.shape, gc.u8).copy_from(x.to(context))
    np.testing.assert_array_equal(x.numpy(), data)


def test_every_context_works_in_a_thread_of_its_own(group):
    import threading

    x, y = (
        group.scatter(np.ones(len(group) * SIZE, np.float32)),
        group.scatter(np.zeros(len(group) * SIZE, np.float32)),
    )
    wrong = []

    def work(number):
        mine, other = x.shards[number], y.shards[number]
        for _ in range(20):
            scale.over(SIZE)(mine, other, 2.0)
            scale.over(SIZE)(other, mine, 0.5)
        if not (other.numpy() == 2).all():
            wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(group))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_selector_by_uuid_finds_the_same_card_in_every_backend(gpucore_context):
    device = gpucore_context.device
    shown = [d for d in gc.devices() if d.uuid and d.uuid == device.uuid]
    assert any(d.backend == device.backend and d.ordinal == device.ordinal for d in shown) or not device.uuid
    for other in shown:
        with gc.Context(f"{other.backend}:{other.uuid}") as context:
            assert context.device.uuid == device.uuid
            x = context.array(np.arange(10, dtype=np.float32))
            scale.over(10)(x, x, 3.0)
            assert x.numpy().tolist() == [3.0 * n for n in range(10)]


@gc.kernel
def take(x: gc.Array[gc.f32], index: gc.Array[gc.i32], y: gc.Array[gc.f32]):
    i = gc.global_id(0)
    y[i] = x[index[i]]


@pytest.mark.parametrize("wrong", [0, -1])
def test_what_any_device_found_is_raised_when_a_result_is_gathered(group, wrong):
    index = np.zeros((len(group), 2), np.int32)
    index[wrong, 0] = 9
    x, y = group.replicate(np.ones(4, np.float32)), group.replicate(np.zeros(2, np.float32))
    group.launch(take.over(2), x, group.scatter(index.ravel()), y)
    with pytest.raises(gc.errors.KernelBoundsError, match="index 9"):
        group.gather(group.all_reduce(y))


def test_a_wait_for_all_devices_tells_what_each_of_them_found(group):
    x, y = group.replicate(np.ones(4, np.float32)), group.replicate(np.zeros(2, np.float32))
    index = group.scatter(
        np.arange(2 * len(group), dtype=np.int32) % 2 * (np.arange(2 * len(group)) // 2 + 10).astype(np.int32)
    )
    group.launch(take.over(2), x, index, y)
    with pytest.raises(gc.errors.KernelBoundsError, match="index 10") as raised:
        group.synchronize()
    notes = getattr(raised.value, "__notes__", [])
    if len({context.device.ordinal for context in group.contexts}) == len(group):
        assert len([note for note in notes if "out of bounds" in note]) == len(group) - 1
    group.synchronize()


def test_a_launch_that_a_later_device_refuses_says_where_it_ran(group):
    x, y = (
        group.scatter(np.ones(2 * len(group) - 1, np.float32)),
        group.scatter(np.zeros(2 * len(group) - 1, np.float32)),
    )
    with pytest.raises(gc.errors.KernelBoundsError) as raised:
        group.launch(scale.over(2), x, y, a=2.0)
    assert any("it ran on" in note for note in getattr(raised.value, "__notes__", [])) == (len(group) > 1)
    assert [shard.numpy().tolist() for shard in y.shards[:-1]] == [[2.0, 2.0]] * (len(group) - 1)
