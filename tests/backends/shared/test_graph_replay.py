"""Graphs on real devices: the same results as launches one by one."""

import threading

import numpy as np
import pytest

import gpucore as gc


@gc.kernel
def saxpy(x: gc.Array1[gc.f32], y: gc.Array1[gc.f32], a: gc.f32) -> None:
    i = gc.global_id(0)
    if i < x.shape[0]:
        y[i] = a * x[i] + y[i]


@gc.kernel
def mix(x: gc.Array1[gc.u32], rounds: gc.i32) -> None:
    i = gc.global_id(0)
    value = x[i]
    for _ in range(rounds):
        value = value * 1664525 + 1013904223
    x[i] = value


@gc.kernel
def blend(
    x: gc.Array1[gc.f32], y: gc.Array1[gc.f32], a: gc.f32, b: gc.f32, n: gc.i32, half: gc.f16, last: gc.f32
) -> None:
    i = gc.global_id(0)
    if i < x.shape[0]:
        y[i] = a * x[i] + b * 10 + n * 100 + gc.f32(half) * 1000 + last * 5000


N = 3000
X = np.arange(N, dtype=np.float32)


@pytest.fixture
def arrays(gpucore_context):
    x, y = gpucore_context.array(X), gpucore_context.zeros(N, gc.f32)
    saxpy.over(N)(x, y, 0.0)
    gpucore_context.synchronize()
    return x, y


def test_many_small_kernels_run_in_order(gpucore_context, arrays):
    x, y = arrays
    with gpucore_context.graph() as g:
        for number in range(100):
            saxpy.over(N)(x, y, float(number % 3))
            saxpy[gc.cdiv(N, 64), 64](x, y, 1.0)
    assert np.all(y.numpy() == 0)
    for turn in range(1, 4):
        g.launch()
        np.testing.assert_array_equal(y.numpy(), X * (100 + 99) * turn)
    g.close()


def test_bound_launches_are_nodes_like_others(gpucore_context, arrays):
    x, y = arrays
    bound = saxpy.over(N).bind(x, y, 2.0)
    with gpucore_context.graph() as plain:
        saxpy.over(N)(x, y, 2.0)
    with gpucore_context.graph() as g:
        bound()
        saxpy.over(N)(x, y, 1.0)
        bound()
    assert g.native == plain.native
    for turn in range(1, 3):
        g.launch()
        np.testing.assert_array_equal(y.numpy(), X * 5 * turn)
    bound()
    np.testing.assert_array_equal(y.numpy(), X * 12)


def test_copies_fills_and_kernels_fork_and_join(gpucore_context, arrays):
    context, (x, y) = gpucore_context, arrays
    source, target = context.pinned(N, gc.f32), context.pinned(N, gc.f32)
    left, right = context.stream(), context.stream()
    z = context.zeros(N, gc.f32)
    with context.graph() as g:
        x.copy_from(source)
        left.wait(g.stream)
        right.wait(g.stream)
        y.fill(1, stream=left)
        saxpy.over(N, stream=left)(x, y, 2.0)
        z.copy_from(x, stream=right)
        saxpy.over(N, stream=right)(x, z, 1.0)
        g.stream.wait(left)
        g.stream.wait(right)
        saxpy.over(N)(z, y, 1.0)
        y.copy_to(target)
    for turn in range(3):
        source[:] = X + turn
        g.launch()
        context.synchronize()
        np.testing.assert_array_equal(target, 1 + 4 * (X + turn))


def test_updates_reach_the_launches_after_them_alone(gpucore_context, arrays):
    context, (x, y) = gpucore_context, arrays
    seen = [context.zeros(N, gc.f32) for _ in range(6)]
    with context.graph() as g:
        out = g.input("out", seen[0])
        y.fill(0)
        saxpy.over(N)(x, y, g.scalar("a", 0.0))
        out.copy_from(y)
    for number, array in enumerate(seen):
        g.update(a=float(number), out=array)
        g.launch()  # nothing waits in between
    for number, array in enumerate(seen):
        np.testing.assert_array_equal(array.numpy(), number * X)


def test_a_graph_comes_after_what_its_stream_has_and_before_what_follows(gpucore_context):
    context = gpucore_context
    x = context.zeros(N, gc.u32)
    mix.over(N)(x, 1)
    x.fill(0)
    with context.graph() as g:
        mix.over(N)(x, 2000)
    mix.over(N)(x, 2000)
    g.launch()
    mix.over(N)(x, 1)
    expected = np.zeros(N, np.uint32)
    for _ in range(4001):
        expected = expected * np.uint32(1664525) + np.uint32(1013904223)
    np.testing.assert_array_equal(x.numpy(), expected)


def test_launches_of_one_graph_on_several_streams_and_threads_do_not_overlap(gpucore_context):
    context = gpucore_context
    x = context.zeros(N, gc.u32)
    mix.over(N)(x, 0)
    with context.graph() as g:
        mix.over(N)(x, 50)
        mix.over(N)(x, 50)
    context.synchronize()
    streams = [context.stream() for _ in range(3)]

    def launch(stream):
        for _ in range(5):
            g.launch(stream)

    threads = [threading.Thread(target=launch, args=(stream,)) for stream in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = np.zeros(N, np.uint32)
    for _ in range(15 * 100):
        expected = expected * np.uint32(1664525) + np.uint32(1013904223)
    np.testing.assert_array_equal(x.numpy(), expected)


def test_memory_of_the_graph_is_not_handed_out_again(gpucore_context, arrays):
    context, (x, y) = gpucore_context, arrays
    with context.graph() as g:
        between = context.empty(N, gc.f32)
        between.fill(1)
        saxpy.over(N)(x, between, 1.0)
        saxpy.over(N)(between, y, 1.0)
    del between
    others = [context.full(N, 7, gc.f32) for _ in range(8)]
    for _ in range(3):
        g.launch()
    np.testing.assert_array_equal(y.numpy(), 3 * (X + 1))
    assert all(np.all(other.numpy() == 7) for other in others)


def test_many_graphs_leave_no_memory_behind(gpucore_context, arrays):
    context, (x, _) = gpucore_context, arrays
    context.synchronize()
    before = context.pool.stats()["used"]
    for _ in range(50):
        with context.graph() as g:
            between = context.zeros(N, gc.f32)
            saxpy.over(N)(x, between, 1.0)
        g.launch()
        g.close()
    del between
    context.synchronize()
    assert context.pool.stats()["used"] == before


def test_numbers_change_again_and_again_whatever_they_were_before(gpucore_context, arrays):
    """Floats in the place of floats take a shorter way than all else, once they were seen."""
    x, y = arrays
    z = gpucore_context.empty(N, gc.f32)
    now = {"a": 1.0, "b": 1.0, "n": 1, "half": 1.0, "u": 1.0}
    with gpucore_context.graph() as g:
        a, b, n, half, u = (g.scalar(name, value) for name, value in now.items())
        source = g.input("x", x)
        blend.over(N)(source, y, a, b, n, half, 1.0)
        blend.over(N)(source, z, u, a, 1, 1.0, a)
    other = gpucore_context.array(X + 1)
    updates = [
        {"a": 1.0}, {"a": 2.0}, {"a": 0.5}, {"b": 1.0}, {"b": 3.0}, {"a": 3.0}, {"a": 1, "b": 2}, {"a": 4.0}, {"n": 7},
        {"a": 1.0}, {"half": 2.0}, {"half": 0.25}, {"half": 1.0}, {"a": np.float32(3)}, {"b": 0.25}, {"x": other}, {"a": 0.25},
        {"b": 8.0},
        {"a": 1.0, "b": 1.0}, {"u": 5.0}, {"u": 6.0}, {"a": 2.0, "b": 4.0, "u": 0.5}, {"a": 1.0, "n": -3},
        {"x": x, "a": 9.0}, {"a": 7.0},
    ]  # fmt: skip
    host = X
    for update in updates:
        g.update(**update)
        now |= {name: float(value) for name, value in update.items() if name != "x"}
        host = X + 1 if update.get("x") is other else X if "x" in update else host
        g.launch()
        f = np.float32
        want_y = f(now["a"]) * host + f(now["b"]) * 10 + now["n"] * 100 + f(now["half"]) * 1000 + 5000
        want_z = f(now["u"]) * host + f(now["a"]) * 10 + 100 + 1000 + f(now["a"]) * 5000
        np.testing.assert_array_equal(y.numpy(), want_y.astype(f), err_msg=str(update))
        np.testing.assert_array_equal(z.numpy(), want_z.astype(f), err_msg=str(update))


@gc.kernel
def chosen(out: gc.Array[gc.f32], x: gc.Array[gc.f32], twice: gc.bool_, negated, factor: gc.f32):
    i = gc.global_id(0)
    if i < out.shape[0]:
        value = x[i] * factor
        if twice:
            value = value * 2.0
        out[i] = -value if negated else value


@pytest.mark.parametrize("checked", [False, True], ids=["native", "launch by launch"])
def test_bools_of_a_graph_are_updated(gpucore_context, checked):
    ctx = gpucore_context.options(check=checked)
    n = 1000
    x = np.arange(n, dtype=np.float32)
    source, out = ctx.array(x), ctx.zeros(n, gc.f32)
    with ctx.graph() as g:
        twice, negated = g.scalar("twice", True), g.scalar("negated", np.bool_(False))
        chosen.over(n)(out, source, twice, negated, g.scalar("factor", 1.0))
    now = {"twice": True, "negated": False, "factor": 1.0}
    steps = [{}, {"twice": False}, {"negated": True}, {"factor": 3.0}, {"factor": 5.0}, {"twice": np.True_, "factor": 0.5},
             {"negated": False, "twice": False}, {"factor": 4.0}, {"twice": True}]  # fmt: skip
    for values in steps:
        g.update(**values)
        now.update(values)
        out.fill(7)
        g.launch()
        wanted = x * np.float32(now["factor"]) * (2 if now["twice"] else 1) * (-1 if now["negated"] else 1)
        np.testing.assert_array_equal(out.numpy(), wanted)
    with pytest.raises(gc.LaunchError, match="'twice' of the graph is a bool, not int"):
        g.update(twice=1)
    g.launch()
    np.testing.assert_array_equal(out.numpy(), wanted)
    g.close()
