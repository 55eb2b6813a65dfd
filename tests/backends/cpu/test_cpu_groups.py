"""Groups of CPU devices, whose kernels read one another's memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpucore as gc
from gpucore.launch import peer_kernels
from gpucore.runtime import peer

FUNCTIONS = {"sum": np.add, "min": np.minimum, "max": np.maximum}


@gc.kernel
def scale(x: gc.Array[gc.f32], y: gc.Array[gc.f32], a: gc.f32) -> None:
    i = gc.global_id(0)
    y[i] = a * x[i]


@gc.kernel
def approach_two(x: gc.Array[gc.f32], steps: gc.i32) -> None:
    i = gc.global_id(0)
    value = x[i]
    for _ in range(steps):
        value = value * 0.5 + 1.0
    x[i] = value


@pytest.fixture(autouse=True)
def away_from_configuration_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(peer, "PATTERN_BYTES", 1 << 16)


@pytest.fixture
def group(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[gc.Group]:
    monkeypatch.setenv("GPUCORE_CPU_DEVICES", "6")
    with gc.Group([f"cpu:{n}" for n in range(request.param)]) as opened:
        yield opened


def count(number: int) -> Any:
    return pytest.mark.parametrize("group", [number], indirect=True)


def folded(parts: list[Any], op: str) -> Any:
    result = parts[0]
    for part in parts[1:]:
        result = FUNCTIONS[op](result, part)
    return result


def parts_of(number: int, size: int, dtype: Any) -> list[Any]:
    rng = np.random.default_rng(size + number)
    return [(rng.standard_normal(size) * 100).astype(dtype) for _ in range(number)]


@pytest.mark.parametrize("group", [1, 2, 3, 4, 6], indirect=True)
@pytest.mark.parametrize("op", ["sum", "min", "max"])
def test_all_reduce_combines_in_the_order_of_the_devices(group: gc.Group, op: Any) -> None:
    parts = parts_of(len(group), 1003, np.float32)
    result = group.all_reduce(group.scatter(np.concatenate(parts)), op)
    for shard in result.shards:
        np.testing.assert_array_equal(shard.numpy(), folded(parts, op))


@count(4)
@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.uint16, np.int64])
def test_any_dtype_is_combined_as_it_is(group: gc.Group, dtype: Any) -> None:
    parts = parts_of(4, 257, dtype)
    result = group.all_reduce(group.scatter(np.concatenate(parts)))
    for shard in result.shards:
        np.testing.assert_array_equal(shard.numpy(), folded(parts, "sum"))


@count(3)
def test_bools_have_a_least_and_a_greatest(group: gc.Group) -> None:
    x = group.scatter(np.array([True, False, True, False, False, False]))
    assert group.gather(group.all_reduce(x, "max")).tolist() == [True, False]
    assert group.gather(group.all_reduce(x, "min")).tolist() == [False, False]


@pytest.mark.parametrize("group", [3, 4, 6], indirect=True)
def test_large_arrays_are_combined_in_segments(group: gc.Group, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpucore.launch.all_reduce._SEGMENT_BYTES", 1 << 12)
    parts = parts_of(len(group), 5001, np.float32)
    result = group.all_reduce(group.scatter(np.concatenate(parts)))
    for shard in result.shards:
        np.testing.assert_array_equal(shard.numpy(), folded(parts, "sum"))


@count(4)
def test_a_training_loop_finds_its_sums_whatever_runs_ahead(group: gc.Group) -> None:
    """What writes the arrays comes before the exchange and after it, launch by launch, with nothing waited for in between."""
    size = 1 << 16
    x = group.scatter(np.ones(4 * size, np.float32))
    y = group.scatter(np.zeros(4 * size, np.float32))
    for _ in range(6):
        group.launch(scale, x, y, 0.5)
        total = group.all_reduce(y)
        group.launch(scale, total, x, 1.0)
    assert (group.gather(x) == 2.0**6).all()


@count(2)
def test_views_and_results_are_combined_as_arrays_are(group: gc.Group) -> None:
    x = group.replicate(np.arange(12, dtype=np.int32).reshape(3, 4))
    again = group.all_reduce(group.all_reduce(x))
    assert (group.gather(again) == 4 * np.arange(12).reshape(3, 4)).all()
    rows = gc.Sharded([shard[1:] for shard in x.shards], None)
    assert (group.gather(group.all_reduce(rows)) == 2 * np.arange(4, 12).reshape(2, 4)).all()


@count(2)
def test_arrays_are_freed_while_the_other_device_reads_them(group: gc.Group) -> None:
    size = 1 << 20
    for turn in range(8):
        x = group.replicate(np.full(size, turn, np.float32))
        total = group.all_reduce(x)
        for shard in x.shards:
            shard.free()
        del x
        trash = [context.full(size, -1.0, gc.f32) for context in group.contexts]
        for shard in total.shards:
            assert (shard.numpy() == 2 * turn).all()
        del trash


def test_closing_one_context_waits_for_the_devices_that_read_its_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GPUCORE_CPU_DEVICES", "2")
    group = gc.Group(["cpu:0", "cpu:1"])
    x = group.replicate(np.ones(1 << 22, np.float32))
    total = group.all_reduce(x)
    group.contexts[0].close()
    assert (total.shards[1].numpy() == 2).all()
    group.close()


@count(2)
def test_a_pair_is_tried_once_by_a_kernel_that_reads_the_other_devices_memory(
    group: gc.Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``enable_peer_access`` is called once each way, and where what is read is wrong the exchange goes by copies."""
    asked: list[tuple[Any, Any]] = []
    for wrong in (False, True):
        monkeypatch.setattr(peer_kernels, "_reach", peer_kernels._Reach())
        asked.clear()
        for context in group.contexts:
            hooks = context._state.hooks

            def enable(device: Any, other: Any) -> None:
                asked.append((device, other))

            monkeypatch.setattr(hooks, "enable_peer_access", enable)
        if wrong:
            monkeypatch.setattr(peer_kernels, "_copy", scale_is_no_copy)
        a, b = group.contexts
        assert [peer_kernels.reaches(a, b), peer_kernels.reaches(b, a)] == [not wrong] * 2
        assert peer_kernels.reaches(a, b) is not wrong
        here, there = (context.device._handle for context in group.contexts)
        assert asked == [(here, there), (there, here)]
    parts = parts_of(2, 100, np.float32)
    result = group.all_reduce(group.scatter(np.concatenate(parts)))
    np.testing.assert_array_equal(group.gather(result), parts[0] + parts[1])


@gc.kernel
def scale_is_no_copy(out: gc.Array[gc.u32], a: gc.Array[gc.u32]) -> None:
    i = gc.global_id(0)
    out[i] = a[i] * gc.u32(2)


@count(2)
def test_a_graph_of_one_device_records_no_exchange(group: gc.Group) -> None:
    x = group.replicate(np.ones(4, np.float32))
    with pytest.raises(gc.LaunchError, match="records a graph"):
        with group.contexts[0].graph():
            group.all_reduce(x)


@count(3)
def test_results_of_repeated_exchanges_are_arrays_of_their_own(group: gc.Group) -> None:
    x = group.scatter(np.ones(3 * 1000, np.float32))
    held = []
    for turn in range(1, 6):
        held.append(group.all_reduce(x))
        group.launch(scale, x, x, 2.0)
        assert [group.gather(total)[0] for total in held] == [3.0 * 2**n for n in range(turn)]
    kept = held[1].shards[0][10:20]
    del held
    for _ in range(5):
        assert (group.gather(group.all_reduce(x)) == 3.0 * 2**5).all()
    assert (kept.numpy() == 6).all(), "a view keeps the memory of a result"


def prepared(group: gc.Group) -> gc.Sharded:
    x = group.replicate(np.zeros(100, np.float32))
    approach_two.over(100)(x.shards[0], 1_000_000)  # what took long the last time does not run in this thread
    for _ in range(2):
        group.all_reduce(x)
    for shard in x.shards:
        shard.fill(0)
    group.synchronize()
    return x


def by_launch(result: Any) -> Any:
    copy = result.context.zeros(result.size, gc.f32)
    scale.over(result.size)(result, copy, 1.0)
    return copy.numpy()


def by_stream(result: Any) -> Any:
    copy = result.context.zeros(result.size, gc.f32)
    with result.context.stream() as stream:
        scale.over(result.size, stream=stream)(result, copy, 1.0)
    return copy.numpy()


def by_copy(result: Any) -> Any:
    copy = result.context.zeros(result.size, gc.f32)
    copy.copy_from(result)
    return copy.numpy()


def after_context(result: Any) -> Any:
    view = np.from_dlpack(result)
    result.context.synchronize()
    return np.array(view)


@count(2)
@pytest.mark.parametrize("read", [gc.Array.numpy, by_launch, by_stream, after_context, by_copy])
def test_each_result_of_a_repeated_exchange_comes_after_all_devices_work(group: gc.Group, read: Any) -> None:
    x = prepared(group)
    for device in (1, 0):  # memory of the first result is used again
        for context, shard in zip(group.contexts, x.shards, strict=True):
            shard.copy_from(context.zeros(100, gc.f32))
        approach_two.over(100)(x.shards[0], 1_000_000)  # still runs when the result is asked for
        approach_two.over(100)(x.shards[1], 100)
        assert (read(group.all_reduce(x).shards[device]) == 4).all()


@count(2)
def test_a_result_outlives_the_group_in_the_middle_of_an_exchange(group: gc.Group) -> None:
    x = prepared(group)
    approach_two.over(100)(x.shards[0], 1_000_000)
    approach_two.over(100)(x.shards[1], 100)
    result = group.all_reduce(x).shards[1]
    contexts = group.contexts
    group._forget()
    del x
    trash = [context.full(100, -1.0, gc.f32) for context in contexts for _ in range(8)]
    assert (result.numpy() == 4).all()
    del trash


@count(2)
def test_memory_of_repeated_exchanges_is_bounded_and_goes_with_their_arrays(group: gc.Group) -> None:
    context = group.contexts[0]
    before = context.pool.stats()["allocations"]
    x = group.replicate(np.ones(1000, np.float32))
    for _ in range(20):
        group.all_reduce(x)
    assert context.pool.stats()["allocations"] <= before + 3
    held = [group.all_reduce(x) for _ in range(9)]
    del held
    assert context.pool.stats()["allocations"] <= before + 1 + 3
    freed = group.all_reduce(x)
    freed.shards[0].free()
    with pytest.raises(gc.LaunchError, match="is gone"):
        group.launch(scale, freed, x, 1.0)
    del x, freed
    assert context.pool.stats()["allocations"] == before


@count(2)
def test_a_repeated_exchange_of_what_was_freed_or_closed_is_refused(group: gc.Group) -> None:
    x = group.replicate(np.ones(10, np.float32))
    for _ in range(3):
        group.all_reduce(x)
    group.all_reduce(x, "max")
    x.shards[1].free()
    with pytest.raises(gc.LaunchError, match="is gone"):
        group.all_reduce(x, "max")
    y = group.replicate(np.ones(10, np.float32))
    group.all_reduce(y)
    group.close()
    with pytest.raises(gc.LaunchError, match="closed"):
        group.all_reduce(y)


@gc.kernel
def store_ones(x: gc.Array[gc.f32], where: gc.Array[gc.i32]) -> None:
    i = gc.global_id(0)
    x[where[i]] = 1.0


def with_an_error_on_the_second(group: gc.Group) -> gc.Sharded:
    x = group.replicate([0.0] * 8, dtype=gc.f32)
    where = group.replicate(np.arange(8, dtype=np.int32))
    where.shards[1].copy_from(np.full(8, 99, np.int32))
    group.launch(store_ones, x, where)
    return x


@pytest.mark.filterwarnings("ignore::gpucore.errors.RaceWarning")
@pytest.mark.parametrize("selectors", [["cpu:0", "cpu:1", "cpu:2"], ["cpu:0", "cpu:0"]])
def test_what_a_kernel_found_whose_array_went_in_is_reported_with_the_combined_array(
    monkeypatch: pytest.MonkeyPatch, selectors: list[str]
) -> None:
    """Not by the exchange, though it may be the first and try the devices, and once."""
    monkeypatch.setenv("GPUCORE_CPU_DEVICES", "3")
    monkeypatch.setattr(peer_kernels, "_reach", peer_kernels._Reach())
    with gc.Group(selectors) as group:
        for read in (group.gather, lambda _: group.synchronize()):
            result = group.all_reduce(with_an_error_on_the_second(group))
            with pytest.raises(gc.KernelBoundsError, match=rf"^on {selectors[1]} .*store_ones"):
                read(result)
            assert group.gather(result).tolist() == [len(selectors) - 1.0] * 8


def test_a_pair_is_tried_once_in_a_process_and_its_memory_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUCORE_CPU_DEVICES", "2")
    monkeypatch.setattr(peer_kernels, "_reach", peer_kernels._Reach())
    tried: list[object] = []
    try_pair = peer_kernels._try

    def count_and_try(here: gc.Context, there: gc.Context) -> bool:
        tried.append((here.device.ordinal, there.device.ordinal))
        return try_pair(here, there)

    monkeypatch.setattr(peer_kernels, "_try", count_and_try)
    for _ in range(2):
        with gc.Group(["cpu:0", "cpu:1"]) as group:
            assert group.gather(group.all_reduce(group.replicate(np.ones(8)))).tolist() == [2.0] * 8
            for context in group.contexts:
                stats = context.pool.stats()
                assert stats["peak"] < peer.PATTERN_BYTES
    assert sorted(tried) == [(0, 1), (1, 0)]


@pytest.mark.parametrize("selectors", [["cpu:0", "cpu:0"], ["cpu:0", "cpu:1"]])
def test_copies_between_contexts_come_after_the_work_of_both_and_before_what_follows(
    monkeypatch: pytest.MonkeyPatch, selectors: list[str]
) -> None:
    monkeypatch.setenv("GPUCORE_CPU_DEVICES", "2")
    with gc.Group(selectors) as group:
        here, there = group.contexts
        x, y = here.zeros(1 << 16, gc.f32), there.zeros(1 << 16, gc.f32)
        approach_two.over(x.size)(x, 1)
        for copy in (lambda: x.to(there), lambda: y.copy_from(x)):
            x.fill(0)
            group.synchronize()
            approach_two.over(x.size)(x, 3000)
            assert (copy().numpy() == 2).all(), "the copy came before the kernel that made what is copied"
            group.synchronize()
            approach_two.over(y.size)(y, 3000)
            copied = copy()
            scale.over(x.size)(x, x, 0.0)
            assert (copied.numpy() == 2).all(), "the copy came after the next kernel"


@count(3)
def test_strided_shards_are_combined_as_they_are_at_the_call(group: gc.Group) -> None:
    x = group.replicate(np.arange(12, dtype=np.float32).reshape(3, 4))
    columns = gc.Sharded([shard[:, ::2] for shard in x.shards], None)
    for turn in range(1, 4):
        total = group.all_reduce(columns)
        group.launch(scale_rows, x)
        assert (group.gather(total) == 3 * 2.0 ** (turn - 1) * np.arange(12).reshape(3, 4)[:, ::2]).all()


@gc.kernel
def scale_rows(x: gc.Array2[gc.f32]) -> None:
    r, c = gc.global_ids(2)
    x[r, c] = 2.0 * x[r, c]


def test_several_processes_have_a_device_each(tmp_path: Path) -> None:
    program = tmp_path / "work.py"
    program.write_text(
        "import sys, numpy as np, gpucore as gc\n"
        "with gc.Context(sys.argv[1]) as ctx:\n"
        "    x = ctx.array(np.arange(100_000, dtype=np.float32))\n"
        "    for _ in range(20):\n"
        "        y = ctx.empty(x.shape, gc.f32).copy_from(x)\n"
        "    print(ctx.device.ordinal, int(y.numpy()[-1]))\n"
    )
    env = os.environ | {"GPUCORE_CPU_DEVICES": "2"}
    running = [
        subprocess.Popen([sys.executable, program, f"cpu:{n}"], stdout=subprocess.PIPE, text=True, env=env)
        for n in range(2)
    ]
    assert [process.communicate(timeout=60)[0] for process in running] == ["0 99999\n", "1 99999\n"]


@pytest.mark.filterwarnings("ignore::gpucore.errors.RaceWarning")
@count(2)
def test_a_shard_reports_what_its_own_devices_kernels_found_and_the_group_all(group: gc.Group) -> None:
    x = with_an_error_on_the_second(group)
    assert x.shards[0].numpy().tolist() == [1.0] * 8
    with pytest.raises(gc.KernelBoundsError, match="store_ones"):
        x.shards[1].numpy()
    x = with_an_error_on_the_second(group)
    with pytest.raises(gc.KernelBoundsError, match=r"^on cpu:1 .*store_ones"):
        group.synchronize()
    assert x.shards[1].numpy().tolist() == [0.0] * 8
