"""Several devices of one host: groups, sharded arrays, and what they exchange."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

import gpucore as gc


@gc.kernel
def scale(x: gc.Array[gc.f32], y: gc.Array[gc.f32], a: gc.f32):
    i = gc.global_id(0)
    y[i] = a * x[i]


@gc.kernel
def add_offset(x: gc.Array[gc.f32, 2], offset: gc.Array[gc.f32]):
    r, c = gc.global_ids(2)
    x[r, c] = x[r, c] + offset[c]


def folded(parts: list[np.ndarray], op: str) -> np.ndarray:
    """The combination in the order of the devices, one after the other."""
    function = {"sum": np.add, "min": np.minimum, "max": np.maximum}[op]
    result = parts[0]
    for part in parts[1:]:
        result = function(result, part)
    return result


# --- data
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_what_is_scattered_is_gathered(several, count, axis):
    data = np.arange(7 * 9, dtype=np.float32).reshape(7, 9)
    with gc.Group(several(count)) as group:
        sharded = group.scatter(data, axis)
        assert [s.context for s in sharded.shards] == list(group.contexts)
        for shard, piece in zip(sharded.shards, np.array_split(data, count, axis), strict=True):
            np.testing.assert_array_equal(shard.numpy(), piece)
        np.testing.assert_array_equal(group.gather(sharded), data)


def test_fewer_rows_than_devices_leave_some_with_none(several):
    with gc.Group(several(4)) as group:
        sharded = group.scatter(np.ones((2, 3), np.int32))
        assert [s.shape for s in sharded.shards] == [(1, 3), (1, 3), (0, 3), (0, 3)]
        assert group.gather(sharded).shape == (2, 3)


def test_a_replica_is_gathered_once(several):
    with gc.Group(several(3)) as group:
        replicas = group.replicate([1.0, 2.0])
        assert len(replicas.shards) == 3 and replicas.axis is None
        assert group.gather(replicas).tolist() == [1.0, 2.0]


# --- launches
@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_launch_runs_over_each_shard(several, count):
    data = np.arange(10, dtype=np.float32)
    with gc.Group(several(count)) as group:
        x, y = group.scatter(data), group.scatter(np.zeros_like(data))
        group.launch(scale, x, y, 3.0)
        np.testing.assert_array_equal(group.gather(y), 3 * data)


def test_replicas_and_numbers_go_to_each_device_as_they_are(several):
    data = np.zeros((5, 4), np.float32)
    with gc.Group(several(2)) as group:
        x, offset = group.scatter(data), group.replicate(np.arange(4, dtype=np.float32))
        group.launch(add_offset, x, offset)
        np.testing.assert_array_equal(group.gather(x), data + np.arange(4))


def test_a_launch_shape_is_the_same_on_every_device(several):
    """What goes over the weights, of which each device has a copy, reads the samples, of which each has some."""

    @gc.kernel
    def column_sums(x: gc.Array[gc.f32, 2], out: gc.Array[gc.f32]):
        c = gc.global_id(0)
        total = gc.f32(0.0)
        for r in range(x.shape[0]):
            total += x[r, c]
        out[c] = total

    data = np.arange(20, dtype=np.float32).reshape(5, 4)
    with gc.Group(several(2)) as group:
        x, sums = group.scatter(data), group.replicate(np.zeros(4, np.float32))
        for launch in (column_sums.over(4), column_sums[2, 2]):
            group.launch(launch, x, sums)
            assert [shard.numpy().tolist() for shard in sums.shards] == [
                data[:3].sum(0).tolist(), data[3:].sum(0).tolist()
            ]  # fmt: skip
            group.launch(scale, sums, sums, 0.0)
        with pytest.raises(gc.LaunchError, match="each device has streams of its own"):
            group.launch(column_sums.over(4, stream=group.contexts[0].default_stream), x, sums)


# --- all-reduce
@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("op", ["sum", "min", "max"])
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_all_reduce_combines_in_the_order_of_the_devices(several, count, op, dtype):
    rng = np.random.default_rng(count)
    parts = [(rng.standard_normal((3, 5)) * 1e3).astype(dtype) for _ in range(count)]
    with gc.Group(several(count)) as group:
        result = group.all_reduce(group.scatter(np.concatenate(parts)), op)
        for shard in result.shards:
            np.testing.assert_array_equal(shard.numpy(), folded(parts, op))
        np.testing.assert_array_equal(group.gather(result), folded(parts, op))


def test_the_order_matters_and_is_kept_where_addition_does_not_commute_into_the_same_bits(several):
    """With two devices any order gives the same bits; these four tell every other order apart."""
    parts = [np.array([v], np.float32) for v in (1e8, 1.0, -1e8, 1.0)]
    assert folded(parts, "sum")[0] == 1 and folded([parts[n] for n in (0, 2, 1, 3)], "sum")[0] == 2
    with gc.Group(several(4)) as group:
        result = group.all_reduce(group.scatter(np.concatenate(parts)))
        assert [shard.numpy()[0] for shard in result.shards] == [1.0] * 4


@pytest.mark.parametrize("count", [2, 3, 4])
def test_large_arrays_travel_in_pieces_and_segments(several, monkeypatch, count):
    from gpucore.launch import all_reduce

    monkeypatch.setattr(all_reduce, "_PIECE_BYTES", 64)
    monkeypatch.setattr(all_reduce, "_SEGMENT_BYTES", 128)
    monkeypatch.setattr(all_reduce, "_SMALL_BYTES", 32)
    rng = np.random.default_rng(count)
    parts = [rng.standard_normal(101).astype(np.float32) for _ in range(count)]
    with gc.Group(several(count)) as group:
        result = group.all_reduce(group.scatter(np.concatenate(parts)))
        for shard in result.shards:
            np.testing.assert_array_equal(shard.numpy(), folded(parts, "sum"))


def test_integers_wrap_to_the_same_bits_for_any_number_of_shards(several):
    rng = np.random.default_rng(5)
    rows = rng.integers(-(2**31), 2**31, (8, 20), np.int64).astype(np.int32)
    wanted = rows.astype(np.int64).sum(0).astype(np.int32)
    selectors = several(8)
    for count in (1, 2, 4, 8):
        with gc.Group(selectors[:count]) as group:
            sharded = group.scatter(rows)
            per_device = [shard.numpy().sum(0, dtype=np.int32) for shard in sharded.shards]
            result = group.all_reduce(group.scatter(np.stack(per_device)))
            np.testing.assert_array_equal(group.gather(result)[0], wanted)


def test_a_device_listed_twice_counts_as_two(several):
    first, second = several(2)
    parts = [np.full(4, v, np.float32) for v in (1, 10, 100)]
    with gc.Group([first, second, first]) as group:
        assert [c.device.ordinal for c in group.contexts] == [0, 1, 0]
        x, y = group.scatter(np.concatenate(parts)), group.scatter(np.zeros(12, np.float32))
        group.launch(scale, x, y, 2.0)
        assert group.gather(y).tolist() == [2.0] * 4 + [20.0] * 4 + [200.0] * 4
        assert group.gather(group.all_reduce(x)).tolist() == [111.0] * 4


def test_results_can_be_combined_and_written_again(several):
    with gc.Group(several(2)) as group:
        x = group.replicate(np.ones(6, np.float32))
        for turn in range(1, 5):
            x = group.all_reduce(x)
            group.launch(scale, x, x, 1.0)
            assert group.gather(x).tolist() == [2.0**turn] * 6


def test_bools_have_a_least_and_a_greatest(several):
    with gc.Group(several(3)) as group:
        x = group.scatter(np.array([True, False, True, False, False, False]))
        assert group.gather(group.all_reduce(x, "max")).tolist() == [True, False]
        assert group.gather(group.all_reduce(x, "min")).tolist() == [False, False]


# --- without direct copies
def test_devices_that_do_not_reach_each_other_exchange_through_the_host(several):
    parts = [np.full(7, v, np.int32) for v in (1, 2, 4)]
    selectors = several(3, can_access_peer=lambda device, other: False)
    assert gc.peer_access(*selectors[:2]) == "staged"
    with gc.Group(selectors) as group:
        assert group.gather(group.all_reduce(group.scatter(np.concatenate(parts)))).tolist() == [7] * 7


def test_a_group_may_span_backends(several, backend):
    backend("null")
    with gc.Group([several(1)[0], "null"]) as group:
        x = group.replicate(np.arange(3, dtype=np.float32))
        assert group.gather(group.all_reduce(x)).tolist() == [0, 2, 4]


# --- errors
def test_errors_name_the_device(several):
    with gc.Group(several(2)) as group:
        uneven = group.scatter(np.zeros(3, np.float32))
        with pytest.raises(
            gc.LaunchError, match=r"many:1 \(number 1\) has f32 \(1,\), many:0 .* has f32 \(2,\)"
        ):
            group.all_reduce(uneven)
        with pytest.raises(gc.LaunchError, match="many:0"):
            group.launch(scale, group.scatter(np.zeros(4, np.int32)), uneven, 1.0)


def test_a_checked_kernels_error_names_the_device(several, monkeypatch):
    monkeypatch.setenv("GPUCORE_CHECK", "1")

    @gc.kernel
    def beyond(x: gc.Array[gc.f32], n: gc.Array[gc.i32]):
        x[n[gc.global_id(0)]] = 1.0

    with gc.Group(several(2)) as group:
        x = group.replicate(np.zeros(2, np.float32))
        group.launch(beyond, x, group.scatter(np.array([1, 7], np.int32)))
        with pytest.raises(gc.KernelBoundsError, match="many:1"):
            group.synchronize()


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda g: g.all_reduce(g.replicate([1.0]), "mean"), "knows 'sum', 'min' and 'max'"),
        (lambda g: g.all_reduce(g.replicate([True])), "no sum of bools"),
        (lambda g: g.scatter(3.0), "no axis along which to cut"),
        (lambda g: g.scatter([1.0], 1), "axis is one of the array's 1"),
        (lambda g: g.gather(np.zeros(3)), "gather takes what scatter"),
        (lambda g: g.launch(scale, 1.0), "no argument is Sharded"),
        (lambda g: g.launch("scale"), "takes a kernel"),
        (lambda g: gc.Group("many:0"), "a list of selectors"),
        (lambda g: gc.Group([]), "a list of selectors"),
    ],
)
def test_mistakes_say_what_to_write(several, wrong, message):
    with gc.Group(several(2)) as group, pytest.raises(gc.LaunchError, match=message):
        wrong(group)


def test_shards_of_another_group_are_refused_with_both_devices(several):
    first, second = several(2)
    with gc.Group([first, second]) as one, gc.Group([second, first]) as other:
        with pytest.raises(gc.LaunchError, match="a shard is on many:0 .* where the group has many:1"):
            other.gather(one.scatter(np.zeros(4)))


def test_a_group_that_cannot_be_opened_closes_what_it_opened(several):
    selectors = several(2)
    with pytest.raises(gc.BackendUnavailableError, match="no device '9'"):
        gc.Group([*selectors, "many:9"])
    with gc.Context(selectors[0]) as ctx:
        assert ctx.device._users == 1


def test_one_device_lost_leaves_the_others_usable(several):
    from gpucore.testing import null

    lost = False

    def copy(device, dst, dst_offset, src, src_offset, nbytes, stream):
        if lost and device.ordinal == 1:
            raise gc.DeviceLostError("it fell off the bus")
        null.copy(device, dst, dst_offset, src, src_offset, nbytes, stream)

    group = gc.Group(several(3, copy=copy))
    x = group.scatter(np.arange(6, dtype=np.float32))
    lost = True
    with pytest.raises(gc.DeviceLostError, match=r"many:1 \(number 1\) is lost"):
        group.gather(x)
    assert x.shards[0].numpy().tolist() == [0, 1] and x.shards[2].numpy().tolist() == [4, 5]
    group.close()
    with gc.Group(["many:0", "many:2"]) as rest:
        assert rest.gather(rest.all_reduce(rest.replicate([1.0]))).tolist() == [2.0]


def test_a_device_lost_in_the_middle_of_an_exchange_leaves_the_others_their_arrays(several, monkeypatch):
    """What the lost device still had to read is waited for no more: the arrays of the others can be written and freed."""
    from gpucore.runtime import peer
    from gpucore.testing import null

    monkeypatch.setattr(peer, "PATTERN_BYTES", 1 << 10)
    lost = False

    def capabilities(device):
        found = null.capabilities(device)
        return replace(found, names=found.names | {"peer_copy", "peer_events", "peer_memory"})

    def hook(name):
        @functools.wraps(getattr(null, name))
        def call(device, *args):
            if lost and device.ordinal == 1:
                raise gc.DeviceLostError("it fell off the bus")
            return getattr(null, name)(device, *args)

        return call

    frequent = ("copy", "record_event", "wait_event", "query_stream", "synchronize_stream")
    group = gc.Group(
        several(
            3,
            capabilities=capabilities,
            enable_peer_access=lambda device, other: None,
            **{name: hook(name) for name in frequent},
        )
    )
    x = group.replicate(np.ones(6, np.float32))
    total = group.all_reduce(x)
    assert group.gather(total).tolist() == [3.0] * 6
    lost = True
    with pytest.raises(gc.DeviceLostError, match=r"many:1 \(number 1\) is lost"):
        group.synchronize()
    with pytest.raises(gc.DeviceLostError, match="many:1"):
        group.all_reduce(x)
    for number in (0, 2):
        assert total.shards[number].numpy().tolist() == [3.0] * 6
        scale.over(6)(x.shards[number], x.shards[number], 2.0)
        assert x.shards[number].fill(5).numpy().tolist() == [5.0] * 6
        x.shards[number].free()
        assert group.contexts[number].ones(6, gc.f32).numpy().tolist() == [1.0] * 6
    with pytest.raises(gc.DeviceLostError, match="many:1"):
        x.shards[1].numpy()
    group.close()


def test_closing_leaves_nothing(several):
    with gc.Group(several(2)) as group:
        handles = [context.device._handle for context in group.contexts]
        group.gather(group.all_reduce(group.replicate(np.zeros(10, np.float32))))
    assert all(set(handle.open.values()) == {0} for handle in handles)


@gc.struct
class Pair:
    a: gc.f32
    b: gc.i32


def test_data_are_converted_to_the_dtype_that_is_given(several):
    rows = [(1, 2), (3, 4), (5, 6)]
    with gc.Group(several(2)) as group:
        assert group.replicate([0.5] * 4, dtype=gc.f32).shards[1].dtype is gc.f32
        pairs = group.scatter(rows, dtype=Pair)
        assert [shard.shape for shard in pairs.shards] == [(2,), (1,)]
        assert group.gather(pairs).tolist() == rows
        vectors = group.scatter(np.arange(9).reshape(3, 3), -1, dtype=gc.vec3[gc.f32])
        assert [shard.shape for shard in vectors.shards] == [(2,), (1,)]
        np.testing.assert_array_equal(group.gather(vectors), np.arange(9).reshape(3, 3))
        with pytest.raises(TypeError, match=r"group\.scatter\(data, dtype=P\)"):
            group.scatter(np.zeros(3, Pair.numpy))


@pytest.mark.parametrize(
    ("data", "dtype", "op", "message"),
    [
        (np.ones(3, np.complex64), None, "max", "no max of complex numbers, which have no order"),
        ([(1, 2)], Pair, "sum", "no sum of structs, and these are Pair"),
        (np.ones((2, 3)), gc.vec3[gc.f32], "min", "no min of vectors"),
    ],
)
def test_all_reduce_says_which_operation_a_dtype_lacks(several, data, dtype, op, message):
    with gc.Group(several(2)) as group:
        with pytest.raises(gc.LaunchError, match=message):
            group.all_reduce(group.replicate(data, dtype=dtype), op)


def test_errors_of_all_reduce_name_the_device(several):
    group = gc.Group(several(3))
    x, y = group.replicate(np.ones(3)), group.replicate(np.ones(3))
    group.all_reduce(x)
    y.shards[2].free()
    with pytest.raises(gc.LaunchError, match=r"on many:2 \(.*\): the array is gone"):
        group.all_reduce(y)
    group.contexts[1].close()
    with pytest.raises(gc.LaunchError, match=r"on many:1 \(.*\): .*context is closed"):
        group.all_reduce(x)
    group.close()
    with pytest.raises(gc.LaunchError, match="the group is closed"), group:
        pass


def test_what_is_no_data_and_a_stream_are_refused_for_what_they_are(several):
    with gc.Group(several(2)) as group:
        x = group.replicate(np.ones(3, np.float32))
        with pytest.raises(gc.LaunchError, match="not None"):
            group.scatter(None)
        with pytest.raises(gc.LaunchError, match="on the devices already"):
            group.replicate(x)
        with pytest.raises(gc.LaunchError, match="leave stream= away"):
            group.launch(scale.over(3, stream=group.contexts[0].default_stream), x, x, 1.0)
