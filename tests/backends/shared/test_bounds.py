"""check="auto": an access outside an array is an error that says where, never a crash, and what is proven costs nothing."""

import numpy as np
import pytest

import gpucore as gc

TABLE = (1.0, 2.0, 3.0, 5.0)


@gc.func
def ahead(x: gc.Array[gc.i32], i: gc.i64, by: gc.i64) -> gc.i32:
    return x[i + by]


@gc.kernel
def load(x: gc.Array[gc.i32], out: gc.Array[gc.i32], by: gc.i64) -> None:
    i = gc.global_id(0)
    if i < out.shape[0]:
        out[i] = x[i + by] + 1


@gc.kernel
def load_in_function(x: gc.Array[gc.i32], out: gc.Array[gc.i32], by: gc.i64) -> None:
    i = gc.global_id(0)
    if i < out.shape[0]:
        out[i] = ahead(x, i, by) + 1


@gc.kernel
def load_in_loop(x: gc.Array[gc.i32], out: gc.Array[gc.i32], by: gc.i64) -> None:
    i = gc.global_id(0)
    if i < out.shape[0]:
        for j in range(i, i + 1):
            out[i] = x[j + by] + 1


@gc.kernel
def load_in_while(x: gc.Array[gc.i32], out: gc.Array[gc.i32], by: gc.i64) -> None:
    i = gc.global_id(0)
    if i < out.shape[0]:
        j = gc.i64(i)
        while j < i + 1:
            out[i] = x[j + by] + 1
            j += 1


@gc.kernel
def load_of_two_axes(x: gc.Array[gc.i32, 2], out: gc.Array[gc.i32], by: gc.i64) -> None:
    i = gc.global_id(0)
    if i < out.shape[0]:
        out[i] = x[0, i + by] + x[i + by, 0] + 1


@gc.kernel
def store(x: gc.Array[gc.i32], out: gc.Array[gc.i32], by: gc.i64) -> None:
    i = gc.global_id(0)
    if i < out.shape[0]:
        x[i + by] = 1


@gc.kernel
def add_atomically(x: gc.Array[gc.i32], out: gc.Array[gc.i32], by: gc.i64) -> None:
    i = gc.global_id(0)
    if i < out.shape[0]:
        gc.atomic_add(x, i + by, 1)


@gc.kernel
def gather(x: gc.Array[gc.i32], index: gc.Array[gc.i64], out: gc.Array[gc.i32]) -> None:
    i = gc.global_id(0)
    if i < out.shape[0]:
        out[i] = x[index[i]] + 1


@gc.kernel
def gather_unsigned(x: gc.Array[gc.i32], index: gc.Array[gc.u64], out: gc.Array[gc.i32]) -> None:
    i = gc.global_id(0)
    if i < out.shape[0]:
        out[i] = x[index[i]] + 1


@gc.kernel
def scatter(x: gc.Array[gc.i32], index: gc.Array[gc.i64], out: gc.Array[gc.i32]) -> None:
    i = gc.global_id(0)
    if i < out.shape[0]:
        x[index[i]] = 1


@gc.kernel
def of_table(index: gc.Array[gc.i64], out: gc.Array[gc.f32]) -> None:
    i = gc.global_id(0)
    if i < out.shape[0]:
        out[i] = TABLE[index[i]]


@gc.kernel
def in_shared(index: gc.Array[gc.i64], out: gc.Array[gc.i32]) -> None:
    tile = gc.shared(8, gc.i32)
    t = gc.thread_id(0)
    tile[t % 8] = 1
    gc.barrier()
    if t < out.shape[0]:
        out[t] = tile[index[t]] + 1


@gc.kernel
def in_local(index: gc.Array[gc.i64], out: gc.Array[gc.i32]) -> None:
    line = gc.local(8, gc.i32)
    t = gc.thread_id(0)
    if t < out.shape[0]:
        line[index[t]] = 1
        out[t] = line[t % 8] + 1


@gc.kernel
def unguarded(x: gc.Array[gc.f32]) -> None:
    i = gc.global_id(0)
    x[i] = x[i] * 10


@gc.kernel
def every_other(x: gc.Array[gc.f32], n: gc.i32) -> None:
    i = gc.global_id(0)
    if i < n:
        x[2 * i] = 1


@gc.kernel
def wrapping(x: gc.Array[gc.i32], out: gc.Array[gc.i32], a: gc.i32, b: gc.i32) -> None:
    i = gc.global_id(0)
    if a >= 0 and b > 0:
        out[i] = x[min(a + b, 7)]


@gc.kernel
def follow(next: gc.Array[gc.i32], steps: gc.Array[gc.i32]) -> None:
    i = gc.global_id(0)
    if i < steps.shape[0]:
        at = gc.i32(i)
        n = gc.i32(0)
        while next[at] != at or n < 0:
            at = next[at]
            n += 1
        steps[i] = n


@gc.kernel
def row_sums(x: gc.Array[gc.i32, 2], out: gc.Array[gc.i32], columns: gc.i32) -> None:
    i = gc.global_id(0)
    if i < out.shape[0]:
        s = gc.i32(0)
        for j in range(columns):
            s += x[i, j]
        out[i] = s


@pytest.fixture
def auto(gpucore_context):
    return gpucore_context.options(check="auto")


def caught(context, launch):
    """The error of a launch, raised by it or by the next wait; the context works on."""
    with pytest.raises(gc.KernelBoundsError) as error:
        launch()
        context.synchronize()
    context.synchronize()
    return error.value


FAR = (1, 2, 7, 2**31 - 1, 2**31, 2**32, 2**40, 2**62, -1, -2, -9, -(2**31), -(2**32), -(2**40), -(2**62))


@pytest.mark.parametrize(
    "kernel", [load, load_in_function, load_in_loop, load_in_while, store, add_atomically], ids=str
)
def test_accesses_off_by_some(auto, kernel):
    for size in (1, 5, 33):
        whole = auto.zeros(size + 8, gc.i32)
        x, out = whole[4 : 4 + size], auto.zeros(size, gc.i32)
        for by in FAR:
            error = caught(auto, lambda: kernel.over(size)(x, out, by))  # noqa: B023
            assert error.array == "x"
            assert error.shape == (size,)
            assert not 0 <= error.index[0] < size
            assert error.index[0] - by == error.thread[0]
            assert error.filename == __file__
        kernel.over(size)(x, out, 0)
        auto.synchronize()
        edges = np.concatenate([whole.numpy()[:4], whole.numpy()[4 + size :]])
        np.testing.assert_array_equal(edges, 0)


def test_accesses_of_two_axes_off_by_some(auto):
    for size in (1, 5):
        x, out = auto.zeros((size, size), gc.i32), auto.zeros(size, gc.i32)
        for by in FAR:
            assert caught(auto, lambda: load_of_two_axes.over(size)(x, out, by)).array == "x"  # noqa: B023


@pytest.mark.parametrize("kernel", [gather, scatter], ids=lambda kernel: kernel.__name__)
@pytest.mark.filterwarnings("ignore::gpucore.errors.RaceWarning")
def test_indices_from_data(auto, kernel):
    for size in (1, 8, 40):
        whole = auto.zeros(size + 8, gc.i32)
        x, out = whole[4 : 4 + size], auto.zeros(size, gc.i32)
        for wrong in (size, size + 1, -1, -4, 2**31, 2**32, 2**32 + 1, -(2**32), 2**62, -(2**63), 2**63 - 1):
            for at in {0, size // 2, size - 1}:
                indices = np.arange(size)
                indices[at] = wrong
                error = caught(auto, lambda: kernel.over(size)(x, auto.array(indices), out))  # noqa: B023
                assert (error.array, error.index, error.shape, error.thread) == (
                    "x",
                    (wrong,),
                    (size,),
                    (at,),
                )
        np.testing.assert_array_equal(whole.numpy()[:4], 0)
        np.testing.assert_array_equal(whole.numpy()[4 + size :], 0)


def test_unsigned_indices_past_the_signed_ones(auto):
    x, out = auto.zeros(4, gc.i32), auto.zeros(1, gc.i32)
    for wrong in (4, 2**32, 2**63, 2**64 - 1):
        error = caught(
            auto, lambda: gather_unsigned.over(1)(x, auto.array(np.array([wrong], np.uint64)), out)
        )  # noqa: B023
        assert error.index == (wrong,)


@pytest.mark.parametrize(
    ("kernel", "array", "size"), [(of_table, "TABLE", 4), (in_shared, "tile", 8), (in_local, "line", 8)]
)
def test_memories_of_a_kernel(auto, kernel, array, size):
    out = auto.zeros(8, gc.f32 if kernel is of_table else gc.i32)
    for wrong in (size, -1, 2**32, -(2**40), 2**62):
        indices = np.zeros(8, np.int64)
        indices[5] = wrong
        error = caught(auto, lambda: kernel[1, 8](auto.array(indices), out))  # noqa: B023
        assert (error.index, error.shape, error.thread) == ((wrong,), (size,), (5,))
    kernel[1, 8](auto.zeros(8, gc.i64), out)
    auto.synchronize()


def test_a_launch_that_must_fail_says_so_before_it_runs(auto):
    x = auto.array(np.arange(8, dtype=np.float32))
    for launch in (unguarded.over(9), unguarded.over(100_000), unguarded[2, 8]):
        with pytest.raises(gc.KernelBoundsError, match="nothing was launched.* guard it") as caught_:
            launch(x)
        error = caught_.value
        assert (error.array, error.shape, error.filename) == ("x", (8,), __file__)
        assert error.index == error.thread
        auto.synchronize()
    np.testing.assert_array_equal(x.numpy(), np.arange(8))
    unguarded.over(8)(x)
    unguarded[2, 4](x)
    np.testing.assert_array_equal(x.numpy(), 100 * np.arange(8))


def test_conditions_follow_the_arguments(auto):
    x = auto.zeros(10, gc.f32)
    launch = every_other.over(8)
    launch(x, 5)
    auto.synchronize()
    assert caught(auto, lambda: launch(x, 6)).index == (10,)
    launch(x, 5)
    launch(auto.zeros(16, gc.f32), 8)
    auto.synchronize()
    assert caught(auto, lambda: launch(x, 8)).index[0] in (10, 12, 14)


def test_sums_that_wrap_are_not_taken_for_small(auto):
    x, out = auto.zeros(8, gc.i32), auto.zeros(1, gc.i32)
    wrapping.over(1)(x, out, 3, 4)
    auto.synchronize()
    assert caught(auto, lambda: wrapping.over(1)(x, out, 2**31 - 1, 2)).index == (1 - 2**31,)


def test_loops_end_after_a_wrong_access(auto):
    """Node 3 leads out of the list, where each load gives 0: without an end the thread would follow it for ever."""
    following, steps = auto.array(np.array([1, 2, 2, 4, 77], np.int32)), auto.zeros(5, gc.i32)
    error = caught(auto, lambda: follow.over(5)(following, steps))
    assert (error.array, error.index) == ("next", (77,))
    np.testing.assert_array_equal(steps.numpy()[:3], [2, 1, 0])


def test_a_loop_one_too_long(auto):
    x, out = auto.ones((4, 6), gc.i32), auto.zeros(4, gc.i32)
    row_sums.over(4)(x, out, 6)
    np.testing.assert_array_equal(out.numpy(), 6)
    error = caught(auto, lambda: row_sums.over(4)(x, out, 7))
    assert error.index[1] == 6
    np.testing.assert_array_equal(out.numpy(), 6)


def test_bound_launches_on_any_stream(auto):
    x, out = auto.zeros(4, gc.i32), auto.zeros(4, gc.i32)
    index = auto.array(np.array([0, 1, 9, 2]))
    bound = gather.over(4).bind(x, index, out)
    with auto.stream() as stream:
        for run, wait in ((bound, auto.synchronize), (lambda: bound(stream), stream.synchronize)):
            run()
            with pytest.raises(gc.KernelBoundsError) as error:
                wait()
            assert error.value.index == (9,)
        auto.synchronize()
        stream.synchronize()


def test_graphs_raise_at_each_replay_that_leaves_an_array(auto):
    """Also those that the backend replays itself; the launches before and after the wrong one are done."""
    x, out, ones = auto.ones(4, gc.i32), auto.zeros(4, gc.i32), auto.zeros(4, gc.i32)
    index, right, wrong = auto.zeros(4, gc.i64), auto.zeros(4, gc.i64), auto.array(np.array([0, 1, 9, 2]))
    with auto.graph() as graph:
        gather.over(4)(x, index, out)
        load.over(4)(x, ones, 0)
    with auto.stream() as stream:
        for source, target in (
            (wrong, None),
            (right, None),
            (wrong, stream),
            (wrong, stream),
            (right, stream),
        ):
            index.copy_from(source)
            auto.synchronize()
            ones.fill(0)
            graph.launch(target)
            wait = (target or auto).synchronize
            if source is right:
                wait()
            else:
                with pytest.raises(gc.KernelBoundsError) as error:
                    wait()
                assert (error.value.array, error.value.index, error.value.thread) == ("x", (9,), (2,))
            np.testing.assert_array_equal(out.numpy(), [2, 2, 2 if source is right else 1, 2])
            np.testing.assert_array_equal(ones.numpy(), 2)
    graph.close()


def test_the_strictest_mode_of_the_arrays_counts(gpucore_context, auto):
    off = gpucore_context.options(check=False)
    x, index = off.zeros(4, gc.i32), off.array(np.array([0, 1, 9, 2]))
    assert caught(auto, lambda: gather.over(4)(x, index, auto.zeros(4, gc.i32))).index == (9,)


def test_checks_tell_where_each_access_is_checked(auto):
    x, index, out = auto.zeros(4, gc.i32), auto.zeros(4, gc.i64), auto.zeros(4, gc.i32)
    assert {type(check) for check in gather.over(4).checks(x, index, out)} == {gc.AccessCheck}
    found = [(check.array, check.where) for check in gather.over(4).checks(x, index, out)]
    assert found == [("index", "launch"), ("x", "device"), ("out", "proven")]
    assert "out.shape[0] <= index.shape[0]" in gather.over(4).checks(x, index, out)[0].reason
    guarded = gather[1, 4].checks(x.numpy(), index.numpy(), out.numpy())
    assert [check.where for check in guarded] == ["launch", "device", "proven"]
    assert all(check.reason and check.line for check in guarded)
    assert "leaves it at index (4,)" in unguarded.over(5).checks(auto.zeros(4, gc.f32))[0].reason


def test_an_array_may_be_named_like_a_dtype(auto):
    """``gather`` has an array ``index``, which is also what sizes are called inside."""
    x, index, out = auto.ones(3, gc.i32), auto.zeros(3, gc.i64), auto.zeros(3, gc.i32)
    gather.over(3)(x, index, out)
    np.testing.assert_array_equal(out.numpy(), 2)
    assert caught(auto, lambda: gather.over(4)(x, index, auto.zeros(4, gc.i32))).array == "index"
