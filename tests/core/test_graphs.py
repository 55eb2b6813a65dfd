"""Graphs on the null backend: what is recorded, how it is ordered, what is refused, and what is given back."""

import gc as garbage
import itertools
import os
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

import gpucore as gc
from gpucore.testing import null

N = 64
X = np.arange(N, dtype=np.float32)


@pytest.fixture
def arrays(ctx):
    return ctx.array(X), ctx.zeros(N, gc.f32)


def order(graph):
    return [(node.kind, node.after) for node in graph.nodes]


# --- recording
def test_nothing_runs_before_launch_and_everything_at_each(ctx, saxpy, arrays):
    x, y = arrays
    pinned = ctx.pinned(N, gc.f32)
    pinned[:] = -1
    with ctx.graph() as g:
        y.fill(1)
        saxpy.over(N)(x, y, 2.0)
        saxpy.over(N)(x, y, 1.0)
        y.copy_to(pinned)
    assert np.all(y.numpy() == 0)
    assert np.all(pinned == -1)
    assert not g.native
    assert [node.name for node in g.nodes] == ["fill 256 bytes", "saxpy", "saxpy", "copy 256 bytes"]
    assert order(g) == [("fill", ()), ("kernel", (0,)), ("kernel", (1,)), ("copy", (2,))]
    for _ in range(3):
        g.launch()
        ctx.synchronize()
        np.testing.assert_array_equal(pinned, 1 + 3 * X)
    g.close()


def test_every_way_to_launch_is_recorded(ctx, saxpy, arrays):
    x, y = arrays
    bound = saxpy.over(N).bind(x, y, 1.0)
    stream = ctx.stream()
    with ctx.graph() as g:
        saxpy.over(N)(x, y, a=1.0)
        bound()
        saxpy[2, 32](x, y, 1.0)  # compiled while recording
        stream.wait(g.stream)
        saxpy.over(N, stream=stream)(x, y, 1.0)
        bound(stream)
        g.stream.wait(stream)
    assert len(g.nodes) == 5
    g.launch()
    np.testing.assert_array_equal(y.numpy(), 5 * X)
    saxpy.over(N)(x, y, 1.0)
    bound()
    np.testing.assert_array_equal(y.numpy(), 7 * X)


def test_streams_fork_and_join_over_events(ctx, saxpy):
    x, y, z = (ctx.zeros(N, gc.f32) for _ in range(3))
    left, right = ctx.stream(), ctx.stream()
    with ctx.graph() as g:
        x.fill(1)  # 0
        begun = g.stream.record()
        left.wait(begun)
        right.wait(begun)
        y.fill(2, stream=left)  # 1
        z.fill(3, stream=right)  # 2
        saxpy.over(N, stream=right)(x, z, 1.0)  # 3
        g.stream.wait(left.record())
        g.stream.wait(right)
        saxpy.over(N)(z, y, 1.0)  # 4
    assert order(g) == [("fill", ()), ("fill", (0,)), ("fill", (0,)), ("kernel", (2,)), ("kernel", (1, 3))]
    g.launch()
    assert np.all(y.numpy() == 6)
    mermaid, graphviz = g.mermaid(), g.graphviz()
    assert "n0 --> n1" in mermaid and "n3 --> n4" in mermaid and mermaid.startswith("flowchart")
    assert "n1 -> n4" in graphviz and graphviz.startswith("digraph {") and graphviz.endswith("}")


def test_memory_orders_its_first_use_on_another_stream_and_what_comes_after_all_of_them(ctx, saxpy):
    x, y = ctx.zeros(N, gc.f32), ctx.zeros(N, gc.f32)
    stream = ctx.stream()
    with ctx.graph() as g:
        x.fill(1)
        saxpy.over(N, stream=stream)(x, y, 1.0)
        y.fill(5)  # after the work of the other stream on it
    assert order(g) == [("fill", ()), ("kernel", (0,)), ("fill", (1,))]
    g.launch()
    assert np.all(y.numpy() == 5)


def test_recording_leaves_no_trace_in_what_comes_after(recorded, saxpy):
    """A use of memory that was only recorded is no use: the next real one waits for the stream that made the array."""
    context, recorder = recorded
    x, y = context.array(X), context.zeros(N, gc.f32)
    stream = context.stream()
    with context.graph() as g:
        saxpy.over(N, stream=stream)(x, y, 1.0)
        g.stream.wait(stream)
    recorder.calls.clear()
    saxpy.over(N, stream=stream)(x, y, 1.0)
    assert [call[0] for call in recorder.calls].count("wait_event") == 2
    g.close()


def test_other_threads_launch_while_one_records(ctx, saxpy, arrays):
    x, y = arrays
    done = []

    def launch():
        saxpy.over(N)(x, y, 1.0)
        y.numpy()
        done.append(True)

    with ctx.graph() as g:
        saxpy.over(N)(x, y, 10.0)
        thread = threading.Thread(target=launch)
        thread.start()
        thread.join()
    assert done
    assert len(g.nodes) == 1
    np.testing.assert_array_equal(y.numpy(), X)


def test_two_threads_record_at_once(ctx, saxpy, arrays):
    x, y = arrays
    saxpy.over(N)(x, y, 0.0)
    both = threading.Barrier(2)
    graphs = {}

    def record(factor):
        with ctx.graph() as g:
            both.wait(20)
            for _ in range(5):
                saxpy.over(N)(x, y, factor)
            both.wait(20)
        graphs[factor] = g

    threads = [threading.Thread(target=record, args=(factor,)) for factor in (1.0, 10.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(g.nodes) for g in graphs.values()] == [5, 5]
    graphs[10.0].launch()
    np.testing.assert_array_equal(y.numpy(), 50 * X)


def test_an_empty_graph_does_nothing(ctx):
    with ctx.graph() as g:
        ctx.empty(0, gc.f32).fill(1)
    g.launch()
    assert g.nodes == ()


# --- names
def test_scalars_and_inputs_change_without_recording_anew(ctx, saxpy, arrays):
    x, y = arrays
    pinned = ctx.pinned(N, gc.f32)
    with ctx.graph() as g:
        a, source = g.scalar("a", 2.0), g.input("source", x)
        y.copy_from(source)
        saxpy.over(N // 2)(source[: N // 2], y[: N // 2], a)
        y.copy_to(pinned)
    g.launch()
    ctx.synchronize()
    np.testing.assert_array_equal(pinned, np.where(X < N // 2, 3 * X, X))
    g.update(a=0.5)
    g.launch()
    ctx.synchronize()
    np.testing.assert_array_equal(pinned, np.where(X < N // 2, 1.5 * X, X))
    other = ctx.array(np.concatenate([X[:4], 10 * X]))[4:]  # at another offset
    g.update(source=other, a=np.float32(1))
    g.launch()
    ctx.synchronize()
    np.testing.assert_array_equal(pinned, np.where(X < N // 2, 20 * X, 10 * X))
    assert np.array_equal(x.numpy(), X)


def test_an_input_may_be_filled_and_copied_to(ctx, arrays):
    x, y = arrays
    with ctx.graph() as g:
        target = g.input("target", y)
        target.fill(3)
        target[:4].copy_from(x[:4])
    g.update(target=x)
    g.launch()
    assert np.all(y.numpy() == 0)
    np.testing.assert_array_equal(x.numpy()[4:], 3)


def test_what_an_input_stood_for_may_be_freed_once_it_stands_for_something_else(ctx, saxpy, arrays):
    x, y = arrays
    first = ctx.ones(N, gc.f32)
    with ctx.graph() as g:
        saxpy.over(N // 2)(g.input("source", first)[: N // 2], y[: N // 2], 2.0)
        with pytest.raises(gc.LaunchError, match="freeing an array that the graph uses"):
            first.free()
    g.launch()
    first.free()
    with pytest.raises(gc.LaunchError, match="gone: it was freed"):
        g.launch()
    y.fill(0)
    g.update(source=x)
    g.launch()
    np.testing.assert_array_equal(y.numpy()[: N // 2], 2 * X[: N // 2])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"b": 1.0}, "no name 'b'.*its names: source, a"),
        ({"sourc": 1.0}, "did you mean 'source'"),
        ({"a": "2"}, "'a' of the graph is a number, not str"),
        ({"a": True}, "'a' of the graph is a number, not bool"),
        ({"a": 1e39}, "saxpy: the argument 'a' is an f32.*does not fit"),
        ({"source": X}, "'source' of the graph is an Array, not ndarray.*ctx.array"),
        (
            {"source": "shape"},
            r"an array of f32 \(64,\), and the new one of f32 \(65,\); record another graph",
        ),
        ({"source": "dtype"}, r"an array of f32 \(64,\), and the new one of i32 \(64,\)"),
        ({"source": "strided"}, "strided view; pass .contiguous"),
        ({"source": "gone"}, "gone: it was freed"),
    ],
)
def test_a_wrong_update_is_refused_and_leaves_the_graph_as_it_was(ctx, saxpy, arrays, values, message):
    x, y = arrays
    made = {
        "shape": lambda: ctx.zeros(N + 1, gc.f32), "dtype": lambda: ctx.zeros(N, gc.i32),
        "strided": lambda: ctx.zeros(2 * N, gc.f32)[::2], "gone": lambda: ctx.zeros(N, gc.f32),
    }  # fmt: skip
    values = {
        name: made[value]() if name == "source" and isinstance(value, str) else value
        for name, value in values.items()
    }
    with ctx.graph() as g:
        saxpy.over(N)(g.input("source", x), y, g.scalar("a", 2.0))
    if "gone" in message:
        values["source"].free()
    with pytest.raises(gc.LaunchError, match=message):
        g.update(**values)
    g.launch()
    np.testing.assert_array_equal(y.numpy(), 2 * X)


def test_names_of_another_graph_are_refused(ctx, saxpy, arrays):
    """They would not change with either, or with the wrong one, and the array would not be kept."""
    x, y = arrays
    with ctx.graph() as first:
        source, a = first.input("source", x), first.scalar("a", 2.0)
        saxpy.over(N)(source, y, a)
    uses = [
        lambda: saxpy.over(N)(source, y, 1.0),
        lambda: saxpy.over(N)(x, y, a),
        lambda: y.copy_from(source),
        lambda: source[1:].fill(1),
    ]
    for use in uses:
        with ctx.graph() as second:
            second.scalar("a", 3.0)
            second.input("source", y)
            with pytest.raises(gc.LaunchError, match="'(a|source)' of another graph cannot be recorded"):
                use()
    with ctx.graph() as second:
        saxpy.over(N)(second.input("source", source), y, second.scalar("a", float(a)))
    second.launch()
    saxpy.over(N)(source, y, a)
    np.testing.assert_array_equal(y.numpy(), 4 * X)


def test_a_name_may_be_that_of_updates_own_parameter(ctx, saxpy, arrays):
    x, y = arrays
    with ctx.graph() as g:
        saxpy.over(N)(x, y, g.scalar("self", 1.0))
    g.update(self=2.0)
    g.launch()
    np.testing.assert_array_equal(y.numpy(), 2 * X)


def test_a_copy_between_names_of_one_array_is_a_copy_once_they_differ(ctx):
    x, y = ctx.array(X), ctx.zeros(N, gc.f32)
    with ctx.graph() as g:
        g.input("to", x).copy_from(g.input("source", x))
    g.launch()
    np.testing.assert_array_equal(x.numpy(), X)
    g.update(to=y)
    g.launch()
    np.testing.assert_array_equal(y.numpy(), X)


def test_an_update_that_lets_a_copy_overlap_is_refused(ctx):
    x, y = ctx.array(np.append(X, X)), ctx.zeros(N, gc.f32)
    with ctx.graph() as g:
        g.input("to", y).copy_from(x[:N])
    with pytest.raises(gc.LaunchError, match="overlap now; record another graph"):
        g.update(to=x[1 : N + 1])
    g.update(to=x[N:])
    g.launch()
    np.testing.assert_array_equal(x.numpy(), np.append(X, X))
    assert np.all(y.numpy() == 0)


def test_an_update_that_fits_no_type_of_the_kernel_changes_nothing(ctx, arrays):
    x, y = arrays

    @gc.kernel
    def add(out: gc.Array1[gc.f32], n: gc.i32) -> None:
        out[gc.global_id(0)] = n

    with ctx.graph() as g:
        n, m = g.scalar("n", 1), g.scalar("m", 2)
        add.over(N)(x, n)
        add.over(N)(y, m)
    with pytest.raises(gc.LaunchError, match="write int"):
        g.update(n=7, m=1.5)
    g.launch()
    assert np.all(x.numpy() == 1) and np.all(y.numpy() == 2)


def test_a_bool_is_updated_to_a_bool(ctx, arrays):
    x, y = arrays

    @gc.kernel
    def choose(out: gc.Array1[gc.f32], x: gc.Array1[gc.f32], twice: gc.bool_, either) -> None:
        i = gc.global_id(0)
        if twice or either:
            out[i] = 2.0 * x[i]
        else:
            out[i] = x[i]

    with ctx.graph() as g:
        twice = g.scalar("twice", True)
        choose.over(N)(y, x, twice, g.scalar("either", np.bool_(False)))
    for values, factor in (
        ({}, 2), ({"twice": False}, 1), ({"either": True}, 2), ({"twice": np.bool_(True), "either": False}, 2),
        ({"twice": False, "either": False}, 1),
    ):  # fmt: skip
        g.update(**values)
        y.fill(-1)
        g.launch()
        np.testing.assert_array_equal(y.numpy(), factor * X)
    for wrong in (1, 0.0, "True", None):
        with pytest.raises(gc.LaunchError, match="'twice' of the graph is a bool, not"):
            g.update(twice=wrong)
    g.launch()
    np.testing.assert_array_equal(y.numpy(), X)


def test_names_are_given_once_while_recording(ctx, arrays):
    x, _ = arrays
    with gc.Context("null") as other, ctx.graph() as g:
        g.scalar("a", 1)
        for wrong, error, message in (
            (lambda: g.scalar("a", 2), gc.LaunchError, "has the name 'a' already"),
            (lambda: g.scalar("not a name", 2), TypeError, "identifier"),
            (lambda: g.scalar("b", "True"), TypeError, "a number or a bool, not str"),
            (lambda: g.input("c", X), TypeError, "is an Array, not ndarray"),
            (lambda: g.input("c", x[::2]), gc.LaunchError, "contiguous"),
            (lambda: g.input("c", ctx.empty(0, gc.f32)), gc.LaunchError, "at least one element"),
            (lambda: g.input("c", other.ones(3, gc.f32)), gc.LaunchError, "another context"),
        ):
            with pytest.raises(error, match=message):
                wrong()
    with pytest.raises(gc.LaunchError, match="while the graph is recorded"):
        g.scalar("later", 1)


def test_a_name_cannot_stand_where_the_value_is_compiled_in_or_packed(ctx, saxpy, arrays):
    x, y = arrays

    @gc.kernel
    def scaled(out: gc.Array1[gc.f32], k: gc.constexpr) -> None:
        out[gc.global_id(0)] = k

    with ctx.graph() as g:
        with pytest.raises(gc.LaunchError, match="compile-time value.*'k' of the graph"):
            scaled.over(N)(x, g.scalar("k", 3))
        with pytest.raises(gc.LaunchError, match="bound launch has packed.*'s' of the graph"):
            saxpy.over(N).bind(g.input("s", x), y, 1.0)()
        with pytest.raises(gc.LaunchError, match="bound launch packs.*'t' of the graph"):
            saxpy.over(N).bind(x, y, g.scalar("t", 1.0))


def test_a_number_of_the_graph_is_no_part_of_a_vector_nor_what_an_array_is_filled_with(ctx, arrays):
    x, _ = arrays

    @gc.kernel
    def moved(out: gc.Array1[gc.f32], by: gc.vec2[gc.f32]) -> None:
        out[gc.global_id(0)] += by.x + by.y

    with ctx.graph() as g:
        a = g.scalar("a", 1.0)
        with pytest.raises(
            gc.LaunchError, match="'by', its field 'y', would not change with 'a' of the graph"
        ):
            moved.over(N)(x, (2.0, a))
        with pytest.raises(gc.LaunchError, match="a fill with 'a' of the graph cannot be recorded"):
            x.fill(a)
        vectors = ctx.zeros(N, gc.vec2[gc.f32])
        with pytest.raises(
            gc.LaunchError, match="a fill with \\(1.0, 2.0\\) cannot be .*let a kernel store it"
        ):
            vectors.fill((a, 2.0))
        with pytest.raises(gc.LaunchError, match="a fill with 'zero' of the graph cannot be recorded"):
            vectors.fill(g.scalar("zero", 0))


# --- what is refused
REFUSED = {
    "numpy": (lambda ctx, x, s: x.numpy(), "numpy\\(\\).*copy_to\\(pinned\\)"),
    "synchronize": (lambda ctx, x, s: ctx.synchronize(), "synchronize\\(\\).*after graph.launch"),
    "stream": (lambda ctx, x, s: s.synchronize(), "synchronize\\(\\).*after graph.launch"),
    "event": (lambda ctx, x, s: s.record().synchronize(), "synchronize\\(\\).*after graph.launch"),
    "query": (lambda ctx, x, s: s.record().query(), "query\\(\\).*after graph.launch"),
    "query of a stream": (lambda ctx, x, s: s.query(), "stream.query\\(\\).*after graph.launch"),
    "upload": (lambda ctx, x, s: x.copy_from(X), "pageable host memory.*ctx.pinned"),
    "download": (lambda ctx, x, s: x.copy_to(np.empty_like(X)), "pageable host memory.*ctx.pinned"),
    "array": (lambda ctx, x, s: ctx.array(X), "pageable host memory.*ctx.pinned"),
    "strided": (lambda ctx, x, s: x[::2].fill(1), "strided view"),
    "graph": (lambda ctx, x, s: ctx.graph().__enter__(), "graph within a graph"),
    "free": (lambda ctx, x, s: x.free(), "free it after graph.close"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_recorded_says_what_to_do_and_harms_nothing(ctx, saxpy, arrays, what):
    x, y = arrays
    action, message = REFUSED[what]
    stream = ctx.stream()
    with ctx.graph() as g:
        saxpy.over(N)(x, y, 1.0)
        with pytest.raises(gc.LaunchError, match=message):
            action(ctx, x, stream)
    g.launch()
    np.testing.assert_array_equal(y.numpy(), X)
    with pytest.raises(gc.LaunchError, match="used; make another|within a graph"), ctx.graph() as g:
        g2 = ctx.graph()
        with g2:
            pass


def test_a_graph_is_neither_launched_nor_updated_while_it_is_recorded(ctx, saxpy, arrays):
    x, y = arrays
    with ctx.graph() as first:
        saxpy.over(N)(x, y, 1.0)
    with ctx.graph() as g:
        with pytest.raises(gc.LaunchError, match="still being recorded"):
            g.launch()
        with pytest.raises(gc.LaunchError, match="still being recorded"):
            g.update()
        with pytest.raises(gc.LaunchError, match="launching a graph.*record its work into this one"):
            first.launch()
    assert repr(x).endswith(">") is False


def test_repr_while_recording_says_why_there_are_no_values(ctx, arrays):
    with ctx.graph():
        text = repr(arrays[0])
    assert "values not shown" in text and "graph" in text


def test_streams_that_never_join_and_events_from_outside_are_refused(ctx, saxpy, arrays):
    x, y = arrays
    stream = ctx.stream()
    outside = stream.record()
    with pytest.raises(
        gc.LaunchError, match="never joins the graph, its last work is 'saxpy'.*g.stream.wait"
    ):
        with ctx.graph() as g:
            saxpy.over(N, stream=stream)(x, y, 1.0)
    with pytest.raises(gc.LaunchError, match="its recording failed"):
        g.launch()
    with ctx.graph() as g:
        with pytest.raises(gc.LaunchError, match="outside of the graph.*graph.launch"):
            g.stream.wait(outside)
        g.stream.wait(ctx.event())  # never recorded: no obstacle
    saxpy.over(N)(x, y, 1.0)
    np.testing.assert_array_equal(y.numpy(), X)


def test_a_context_opened_while_recording_is_refused_as_others_and_closes_at_once(ctx, saxpy, arrays):
    x, y = arrays
    with ctx.graph() as g:
        saxpy.over(N)(x, y, 1.0)
        with gc.Context("null") as closed:
            closed.empty(N, gc.f32)
        with pytest.raises(gc.LaunchError, match="another context while this thread records"):
            gc.Context("null").zeros(N, gc.f32)
        other = gc.Context("null")
        z = other.empty(N, gc.f32)
        with pytest.raises(gc.LaunchError, match="another context while this thread records"):
            saxpy.over(N)(z, z, 1.0)
    z.fill(3)
    np.testing.assert_array_equal(z.numpy(), np.full(N, 3, np.float32))
    other.close()
    g.launch()
    np.testing.assert_array_equal(y.numpy(), X)


def test_a_context_opened_by_another_thread_is_refused_on_the_recording_thread_alone(ctx, saxpy, arrays):
    x, y = arrays
    opened, seen = [], []

    def elsewhere():
        other = gc.Context("null")
        z = other.full(N, 2, gc.f32)
        saxpy.over(N)(z, z, 1.0)
        seen.append(z.numpy()[0])
        opened.append((other, z))

    with ctx.graph() as g:
        saxpy.over(N)(x, y, 1.0)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        other, z = opened[0]
        for action in (lambda: z.fill(9), lambda: saxpy.over(N)(z, z, 1.0), z.numpy, other.synchronize):
            with pytest.raises(
                gc.LaunchError, match="another context while this thread records|while this thread"
            ):
                action()
    assert seen == [4] and len(g.nodes) == 1
    saxpy.over(N)(z, z, 1.0)
    np.testing.assert_array_equal(z.numpy(), np.full(N, 8, np.float32))
    assert other._state.recorders == {}
    other.close()
    g.launch()
    np.testing.assert_array_equal(y.numpy(), X)


def test_contexts_opened_while_recordings_begin_and_end_refuse_nothing_afterwards(ctx, arrays):
    x, _ = arrays
    ended, failures, opened = threading.Event(), [], []

    def opens():
        try:
            while not ended.is_set():
                with gc.Context("null") as other:
                    other.full(3, 1, gc.f32).fill(2)
                opened.append(1)
        except Exception as failure:  # noqa: BLE001 - shown by the test's own thread
            failures.append(failure)

    kept = []
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=opens) for _ in range(2)]
        for thread in threads:
            thread.start()
        while len(opened) < 40 and not failures:
            with ctx.graph():
                x.fill(1)
            kept.append(dict(ctx._state.recorders))
    finally:
        ended.set()
        sys.setswitchinterval(before)
        for thread in threads:
            thread.join()
    assert failures == [] and not any(kept)


def test_other_contexts_and_devices_are_refused_on_the_recording_thread_alone(several, saxpy):
    one, two = several(2)
    with gc.Context(one) as here, gc.Context(two) as there:
        x, y = here.array(X), there.array(X)
        seen = []

        def elsewhere():
            y.fill(3)
            seen.append(y.numpy()[0])

        with here.graph() as g:
            x.fill(1)
            for action in (
                lambda: y.fill(2),
                lambda: saxpy.over(N)(y, y, 1.0),
                lambda: y.copy_from(x),
                y.numpy,
            ):
                with pytest.raises(gc.LaunchError, match="graph is of one|records a graph on many:0"):
                    action()
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
        assert seen == [3]
        with pytest.raises(gc.LaunchError, match="stream belongs to another device"):
            g.launch(there.stream())
        y.fill(4)
        assert len(g.nodes) == 1 and np.all(y.numpy() == 4)


def test_an_exception_inside_ends_the_recording(ctx, saxpy, arrays):
    x, y = arrays
    plain = type(saxpy.over(N))
    with pytest.raises(ZeroDivisionError), ctx.graph() as g:
        saxpy.over(N)(x, y, 1.0)
        1 / 0
    with pytest.raises(gc.LaunchError, match="left by an exception"):
        g.launch()
    saxpy.over(N)(x, y, 1.0)
    np.testing.assert_array_equal(y.numpy(), X)
    assert ctx._state.recorders == {} and plain is not None


# --- memory and life
def test_memory_that_was_allocated_while_recording_is_the_graphs(ctx, saxpy, arrays):
    x, y = arrays
    before = ctx.pool.stats()["used"]
    with ctx.graph() as g:
        between = ctx.zeros(N, gc.f32)
        saxpy.over(N)(x, between, 2.0)
        saxpy.over(N)(between, y, 1.0)
        between.free()  # goes with the graph all the same
        del between
        second = ctx.zeros(N, gc.f32)
        saxpy.over(N)(second, y, 1.0)
        del second
    assert g.nbytes == 512
    assert ctx.pool.stats()["used"] == before + 512
    others = [ctx.full(N, 99, gc.f32) for _ in range(4)]
    for _ in range(3):
        g.launch()
    np.testing.assert_array_equal(y.numpy(), 6 * X)
    assert all(np.all(other.numpy() == 99) for other in others)
    g.close()
    assert ctx.pool.stats()["used"] == before + 4 * 256


def test_arrays_live_as_long_as_their_graph(ctx, saxpy):
    x, y = ctx.array(X), ctx.zeros(N, gc.f32)
    used = ctx.pool.stats()["used"]
    with ctx.graph() as g:
        saxpy.over(N)(x, y, 1.0)
    view = y[:]
    del x, y
    garbage.collect()
    assert ctx.pool.stats()["used"] == used
    g.launch()
    np.testing.assert_array_equal(view.numpy(), X)
    g.close()
    garbage.collect()
    assert ctx.pool.stats()["used"] == used // 2


def test_a_graph_after_close_or_with_a_freed_array_says_so(ctx, saxpy, arrays):
    x, y = arrays
    with ctx.graph() as g:
        saxpy.over(N)(x, y, 1.0)
    x.free()
    with pytest.raises(gc.LaunchError, match="an array that the graph uses is gone: it was freed; record"):
        g.launch()
    g.close()
    g.close()
    for action in (g.launch, lambda: g.update()):
        with pytest.raises(gc.LaunchError, match="it was closed"):
            action()
    assert "closed" in repr(g) and len(g.nodes) == 1


def test_a_context_that_another_thread_closes_while_a_graph_is_recorded(backend, saxpy):
    backend("null")
    ctx = gc.Context("null")
    x, y = ctx.array(X), ctx.zeros(N, gc.f32)

    def record():
        with ctx.graph():
            saxpy[1, N](x, y, 2.0)
            closer = threading.Thread(target=ctx.close)
            closer.start()
            closer.join()

    with pytest.raises(gc.LaunchError, match="the context is closed"):
        record()


def test_a_closed_context_ends_its_graphs(backend, saxpy):
    backend("null")
    with gc.Context("null") as context:
        x = context.ones(N, gc.f32)
        with context.graph() as g:
            saxpy.over(N)(x, x, 1.0)
    with pytest.raises(gc.LaunchError, match="closed"):
        g.launch()
    g.close()


def test_a_graph_runs_on_any_stream_and_from_several_threads_in_turn(ctx, saxpy, arrays):
    x, y = arrays
    with ctx.graph() as g:
        saxpy.over(N)(x, y, 1.0)
    streams = [ctx.stream() for _ in range(3)]

    def launch(stream):
        for _ in range(10):
            g.launch(stream)

    threads = [threading.Thread(target=launch, args=(stream,)) for stream in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(y.numpy(), 30 * X)


def test_launches_on_several_streams_are_ordered_and_memory_knows_of_them(recorded, saxpy):
    context, recorder = recorded
    x, y = context.array(X), context.zeros(N, gc.f32)
    with context.graph() as g:
        saxpy.over(N)(x, y, 1.0)
    stream = context.stream()
    g.launch()
    recorder.calls.clear()
    g.launch(stream)
    assert "wait_event" in [call[0] for call in recorder.calls]  # after the launch on the other stream
    recorder.calls.clear()
    y.fill(0)
    assert [call[0] for call in recorder.calls] == ["record_event", "wait_event", "fill"]
    g.close()


def test_checked_kernels_report_on_the_stream_of_the_launch(backend, copy_kernel):
    backend("null")
    with gc.Context("null", check=True) as context:
        x, y = context.ones(8, gc.f32), context.zeros(4, gc.f32)
        with context.graph() as g:
            copy_kernel[1, 8](x, y)
        assert not g.native
        stream = context.stream()
        for target in (None, stream, None):
            g.launch(target)
            with pytest.raises(gc.KernelBoundsError, match="copy_kernel"):
                (target or context.default_stream).synchronize()


def test_a_profile_shows_the_pieces_of_a_replayed_graph(ctx, saxpy, arrays):
    x, y = arrays
    with ctx.graph() as g:
        y.fill(1)
        saxpy.over(N)(x, y, 1.0)
    with gc.profile(ctx) as prof:
        g.launch()
        with ctx.graph():
            saxpy.over(N)(x, y, 1.0)
    assert [event.kind for event in prof.events if event.kind != "wait"] == ["fill", "kernel"]


def test_graphs_are_not_pickled(ctx):
    import pickle

    with ctx.graph() as g:
        pass
    with pytest.raises(TypeError, match="Graph belongs to a device of this process"):
        pickle.dumps(g)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_graph_of_the_parent_is_refused_in_a_forked_child():
    code = """
import os, warnings
import gpucore as gc
from gpucore.backends import discovery
from gpucore.testing import null
warnings.simplefilter("ignore")
with discovery.register("null", null):
    context = gc.Context("null")
    x = context.ones(8, gc.f32)
    with context.graph() as g:
        x.fill(2)
    child = os.fork()
    if not child:
        try:
            g.launch()
        except gc.DeviceError as error:
            os._exit(0 if "forked" in str(error) else 2)
        os._exit(3)
    _, status = os.waitpid(child, 0)
    g.launch()
    print(os.waitstatus_to_exitcode(status), x.numpy()[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "0 2.0\n", done.stderr


# --- what the backend builds
class Built:
    """Hooks for graphs over the null backend, which write down what they were given."""

    def __init__(self) -> None:
        self.calls = []
        self.alive = 0
        self.refuses = False

    def hooks(self):
        def capabilities(device):
            found = null.capabilities(device)
            return replace(found, names=found.names | {"graphs"})

        def build_graph(device, nodes):
            if self.refuses:
                raise gc.NotSupportedError("no such graphs here", capability="graphs")
            self.calls.append(("build", list(nodes)))
            self.alive += 1
            return list(nodes)

        def update_graph(device, graph, changes):
            self.calls.append(("update", dict(changes)))
            for number, node in changes.items():
                graph[number] = node

        def launch_graph(device, graph, stream):
            self.calls.append(("launch", len(graph)))
            for node in graph:
                if hasattr(node, "slots"):
                    node.call(stream, *node.slots)
                elif hasattr(node, "src"):
                    null.copy(
                        device, node.dst, node.dst_offset, node.src, node.src_offset, node.nbytes, stream
                    )
                else:
                    null.fill(device, node.dst, node.offset, node.nbytes, node.pattern, stream)

        def destroy_graph(device, graph):
            self.alive -= 1

        return {
            "capabilities": capabilities, "build_graph": build_graph, "update_graph": update_graph,
            "launch_graph": launch_graph, "destroy_graph": destroy_graph,
        }  # fmt: skip


@pytest.fixture
def built(backend):
    found = Built()
    backend("builder", **found.hooks())
    with gc.Context("builder") as context:
        yield context, found
    assert found.alive == 0


def test_a_backend_builds_launches_and_updates_the_graph(built, saxpy):
    context, found = built
    x, y = context.array(X), context.zeros(N, gc.f32)
    with context.graph() as g:
        y.fill(1)
        saxpy.over(N)(g.input("x", x), y, g.scalar("a", 2.0))
        saxpy.over(N)(x, y, 1.0)
    assert g.native
    ((_, nodes),) = found.calls
    assert [node.after for node in nodes] == [(), (0,), (1,)]
    g.launch()
    np.testing.assert_array_equal(y.numpy(), 1 + 3 * X)
    g.update(a=5.0)
    assert list(found.calls[-1][1]) == [1]
    g.update(x=context.ones(N, gc.f32))
    g.launch()
    np.testing.assert_array_equal(y.numpy(), 1 + 5 + X)
    assert [call[0] for call in found.calls].count("build") == 1


def test_a_number_that_changes_costs_four_python_calls_before_the_backends(built, saxpy, count):
    context, _ = built
    x, numbers = context.array(X), itertools.count(1.0)
    with context.graph() as g:
        saxpy.over(N)(x, x, g.scalar("a", 2.0))
    for _ in range(3):
        g.update(a=next(numbers))
    cost = count.calls(lambda: g.update(a=next(numbers)))
    assert cost.python[:5] == ["update", "changes", "__init__", "_update_native", "update_graph"]


@pytest.mark.parametrize("number", [1e39, -3.4028235677973366e38])
def test_a_number_that_does_not_fit_is_refused_where_earlier_ones_were_seen_to_fit(built, saxpy, number):
    context, _ = built
    x, y = context.array(X), context.zeros(N, gc.f32)
    with context.graph() as g:
        saxpy.over(N)(x, y, g.scalar("a", 1.0))
    g.update(a=2.0)
    g.update(a=3.0)
    with pytest.raises(gc.LaunchError, match="does not fit"):
        g.update(a=number)
    g.launch()
    np.testing.assert_array_equal(y.numpy(), 3 * X)
    g.update(a=float("-inf"))
    g.launch()
    assert y.numpy()[1] == float("-inf")


def test_what_a_backend_cannot_build_is_replayed(built, saxpy):
    context, found = built
    found.refuses = True
    x = context.ones(N, gc.f32)
    with context.graph() as g:
        saxpy.over(N)(x, x, 1.0)
    assert not g.native
    g.launch()
    assert np.all(x.numpy() == 2)


def test_another_program_builds_the_graph_anew(built, saxpy):
    """Arrays that overlap run a program of their own."""
    context, found = built
    x, y = context.array(X), context.zeros(N, gc.f32)
    with context.graph() as g:
        saxpy.over(N)(g.input("x", x), y, 1.0)
    g.update(x=y)
    y.fill(3)
    g.launch()
    assert np.all(y.numpy() == 6)
    assert [call[0] for call in found.calls if call[0] != "launch"] == ["build", "build"]
    assert found.alive == 1


def test_a_graph_that_nobody_holds_is_destroyed(built, saxpy):
    context, found = built
    x = context.ones(N, gc.f32)
    for _ in range(3):
        with context.graph() as g:
            saxpy.over(N)(x, x, 1.0)
        g.launch()
        del g
        garbage.collect()
        context.synchronize()
    assert found.alive == 0


@pytest.mark.parametrize("hook", ["launch_graph", "update_graph", "copy"])
def test_a_device_that_is_lost_in_a_graph_fails_fast(backend, saxpy, hook):
    """Where the backend built it, and where it is replayed and the loss comes with one of its pieces."""

    def falls():
        raise gc.DeviceLostError("it fell off the bus", code=-4, name="LOST")

    falling = {
        "launch_graph": lambda device, graph, stream: falls(),
        "update_graph": lambda device, graph, changes: falls(),
        "copy": lambda device, dst, dst_offset, src, src_offset, nbytes, stream: falls(),
    }
    backend("falling", **({} if hook == "copy" else Built().hooks()) | {hook: falling[hook]})
    context = gc.Context("falling")
    x = context.ones(N, gc.f32)
    y = context.empty(N, gc.f32)
    with context.graph() as g:
        saxpy.over(N)(x, x, g.scalar("a", 1.0))
        y.copy_from(x)
    assert g.native is (hook != "copy")
    if hook == "update_graph":
        g.launch()
        with pytest.raises(gc.DeviceLostError, match="Last launches: .*graph"):
            g.update(a=2.0)
    for _ in range(2):
        with pytest.raises(gc.DeviceLostError, match="Last launches: .*graph"):
            g.launch()
    g.close()
    context.close()


def test_a_profile_shows_a_built_graph_as_one(built, saxpy):
    context, _ = built
    x = context.ones(N, gc.f32)
    with context.graph() as g:
        saxpy.over(N)(x, x, 1.0)
        x.fill(1)
    with gc.profile(context) as prof:
        g.launch()
    assert [event.name for event in prof.events if event.kind == "kernel"] == ["graph of 2 nodes"]


@pytest.mark.parametrize("event", ["call", "return"])
@pytest.mark.parametrize(
    "where", ["__enter__", "__exit__", "begin_recording", "end_recording", "_switch", "_leave"]
)
def test_an_interrupt_of_beginning_or_ending_a_recording_leaves_the_thread_as_it_was(ctx, where, event):
    x = ctx.zeros(8, gc.i32)

    def interrupt(frame, what, _):
        if (
            what == event
            and frame.f_code.co_name == where
            and "/gpucore/runtime/" in frame.f_code.co_filename
        ):
            sys.setprofile(None)
            raise KeyboardInterrupt

    def record():
        sys.setprofile(interrupt)
        with ctx.graph():
            x.fill(1)

    with pytest.raises(KeyboardInterrupt):
        try:
            record()
        finally:
            sys.setprofile(None)
    x.fill(2)
    assert x.numpy().tolist() == [2] * 8
    with ctx.graph() as graph:
        x.fill(3)
    assert x.numpy()[0] == 2
    graph.launch()
    assert x.numpy()[0] == 3
