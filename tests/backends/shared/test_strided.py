"""Views of any strides as arguments of kernels, held against NumPy's views of the same data."""

import numpy as np
import pytest

import gpucore as gc

VIEWS = (
    np.s_[:, :], np.s_[::-1, ::2], np.s_[::2, ::-1], np.s_[1:4, 2:5], np.s_[::-1, ::-1], np.s_[4:1:-2, 6:2:-3], np.s_[:1, ::3],
    np.s_[3, None, ::-1], np.s_[2:2, ::2],
)  # fmt: skip
DEEP = (2, 1, 3, 2, 1, 2, 3, 4)


@gc.kernel
def scaled(x: gc.Strided[gc.f32, 2], y: gc.Strided2[gc.f32]):
    i, j = gc.global_ids(2)
    y[i, j] = x[i, j] * 2.0 + gc.f32(10 * i + j)


def expected_of(x):
    i, j = np.indices(x.shape)
    return (x * 2 + (10 * i + j)).astype(np.float32)


@pytest.mark.parametrize("target", VIEWS, ids=str)
def test_views_are_read_and_written_in_place(gpucore_context, target):
    data = np.arange(48, dtype=np.float32).reshape(6, 8)
    x = gpucore_context.array(data)
    shape = data[target].shape
    for source in VIEWS:
        if data[source].shape != shape:
            continue
        y = gpucore_context.full(data.shape, -1.0, gc.f32)
        scaled.over(shape)(x[source], y[target])
        wanted = np.full_like(data, -1)
        wanted[target] = expected_of(data[source])
        np.testing.assert_array_equal(y.numpy(), wanted)
        again = np.full_like(data, -1)
        scaled.over(shape).interpret(data[source], again[target])
        np.testing.assert_array_equal(again, wanted)


def test_bound_launches_graphs_and_recorded_views(gpucore_context):
    data = np.arange(48, dtype=np.float32).reshape(6, 8)
    x, y = gpucore_context.array(data), gpucore_context.zeros((6, 8), gc.f32)
    bound = scaled.over((3, 4)).bind(x[::-2, ::2], y[::2, ::-2])
    bound()
    wanted = np.zeros_like(data)
    wanted[::2, ::-2] = expected_of(data[::-2, ::2])
    np.testing.assert_array_equal(y.numpy(), wanted)
    y.fill(0)
    with gpucore_context.graph() as graph:
        scaled.over((3, 4))(x[::-2, ::2], y[::2, ::-2])
    graph.launch()
    np.testing.assert_array_equal(y.numpy(), wanted)


@pytest.mark.parametrize("name", ("f16", "bf16", "bool", "u8", "i64"))
def test_every_width_has_views(gpucore_context, name):
    @gc.kernel
    def reverse(x: gc.Strided, y: gc.Strided):
        i, j = gc.global_ids(2)
        y[i, j] = x[i, j]

    dtype = gc.bool_ if name == "bool" else getattr(gc, name)
    data = (np.arange(40) % 3 == 0 if name == "bool" else np.arange(40)).reshape(5, 8)
    x, y = gpucore_context.array(data, dtype), gpucore_context.zeros((5, 8), dtype)
    reverse.over((5, 4))(x[::-1, 1::2], y[:, ::-2])
    wanted = np.zeros_like(data)
    wanted[:, ::-2] = data[::-1, 1::2]
    np.testing.assert_array_equal(y.numpy().astype(data.dtype), wanted)


@gc.struct
class Body:
    place: gc.vec3[gc.f32]
    kind: gc.i32
    mass: gc.f64


def test_views_of_structs_and_vectors(gpucore_context):
    @gc.kernel
    def heavier(x: gc.Strided[Body], y: gc.Strided2[gc.vec2[gc.f32]]):
        i = gc.global_id(0)
        x[i].mass += 2.0
        x[i].kind = i
        y[i, 1] = gc.vec2[gc.f32](x[i].place.z, x[i].place.x)

    bodies = np.zeros(7, Body.numpy)
    bodies["place"] = np.arange(21).reshape(7, 3)
    bodies["mass"] = np.arange(7)
    pairs = np.zeros((4, 3, 2), np.float32)
    wanted, pairs_wanted = bodies.copy(), pairs.copy()
    for i in range(4):
        wanted[6 - 2 * i]["mass"] += 2
        wanted[6 - 2 * i]["kind"] = i
        pairs_wanted[3 - i, 1] = wanted[6 - 2 * i]["place"][[2, 0]]
    on_host, pairs_on_host = bodies.copy(), pairs.copy()
    heavier.over(4).interpret(on_host[::-2], pairs_on_host[::-1])
    x, y = gpucore_context.array(bodies, Body), gpucore_context.array(pairs, gc.vec2[gc.f32])
    heavier.over(4)(x[::-2], y[::-1])
    for found, pairs_found in ((x.numpy(), y.numpy()), (on_host, pairs_on_host)):
        assert found.tobytes() == wanted.tobytes()
        np.testing.assert_array_equal(pairs_found, pairs_wanted)


def test_kernels_take_transposed_arrays(gpucore_context):
    @gc.kernel
    def copy(x: gc.Strided[gc.f32, 3], y: gc.Strided[gc.f32, 3]):
        i, j, k = gc.global_ids(3)
        y[i, j, k] = x[i, j, k]

    data = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    x, y = gpucore_context.array(data), gpucore_context.zeros((3, 4, 5), gc.f32)
    copy.over((5, 4, 2))(x[1:].T, y[:, :, ::-1].T[:, :, :2])
    np.testing.assert_array_equal(y.numpy()[:2], data[1:, :, ::-1])
    np.testing.assert_array_equal(y.numpy()[2], 0)
    y.T.copy_from(data.T)
    np.testing.assert_array_equal(y.T[::2].numpy(), data.T[::2])


def test_atomics_and_rows_of_views(gpucore_context):
    @gc.func
    def total(row: gc.Strided[gc.i32]) -> gc.i32:
        found = 0
        for k in range(row.shape[0]):
            found += row[k]
        return found

    @gc.kernel
    def count(x: gc.Strided2[gc.i32], rows: gc.Strided[gc.i32], columns: gc.Array[gc.i32]):
        i = gc.global_id(0)
        gc.atomic_add(rows, i // 2, total(x[i]))
        if i < x.shape[1]:
            columns[i] = total(x.T[i])

    data = np.arange(48, dtype=np.int32).reshape(6, 8)
    x, rows = gpucore_context.array(data), gpucore_context.zeros(6, gc.i32)
    columns = gpucore_context.zeros(4, gc.i32)
    count.over(6)(x[::-1, ::2], rows[::-2], columns)
    view = data[::-1, ::2]
    np.testing.assert_array_equal(columns.numpy(), view.sum(0))
    np.testing.assert_array_equal(rows.numpy()[::-2], view.sum(1).reshape(3, 2).sum(1))


@pytest.mark.parametrize("check", ("auto", True))
def test_an_index_outside_of_a_view_is_an_error_though_memory_is_there(gpucore_context, check):
    @gc.kernel
    def gather(x: gc.Strided2[gc.f32], at: gc.Array[gc.i32], y: gc.Array[gc.f32]):
        i = gc.global_id(0)
        y[i] = x[at[i], 1]

    with gpucore_context.options(check=check) as ctx:
        x = ctx.array(np.arange(48, dtype=np.float32).reshape(6, 8))
        y = ctx.zeros(3, gc.f32)
        gather.over(3)(x[4:1:-1, ::2], ctx.array(np.array([0, 3, 2], np.int32)), y)
        with pytest.raises(gc.KernelBoundsError, match="array 'x' of shape \\(3, 4\\)") as info:
            ctx.synchronize()
        assert info.value.index == (3, 1)
        assert info.value.shape == (3, 4)
        assert info.value.thread == (1,)
        np.testing.assert_array_equal(y.numpy(), np.float32([34, 0, 18]))


def test_what_lies_around_a_view_keeps_conditions_of_the_launch(gpucore_context):
    with gpucore_context.options(check="auto") as ctx:
        x, y = ctx.zeros((6, 8), gc.f32), ctx.zeros((6, 8), gc.f32)
        assert {c.where for c in scaled.over((6, 4)).checks(x[:, ::2], y[:, ::2])} == {"launch"}
        with pytest.raises(gc.KernelBoundsError, match=r"shape \(6, 4\)"):
            scaled.over((6, 8))(x[:, ::2], y)


def test_views_that_overlap_are_not_taken_for_strangers(gpucore_context):
    @gc.kernel
    def shift(x: gc.Strided[gc.f32], y: gc.Strided[gc.f32]):
        i = gc.global_id(0)
        for k in range(8):
            y[8 * i + k] = x[8 * i + k] + 1.0

    data = gpucore_context.array(np.arange(256, dtype=np.float32))
    shift.over(8)(data[:192:3], data[64:256:3])  # 64 is no multiple of 3: they interleave
    wanted = np.arange(256, dtype=np.float32)
    wanted[64:256:3] = wanted[:192:3].copy() + 1
    np.testing.assert_array_equal(data.numpy(), wanted)
    same = gpucore_context.zeros(128, gc.f32)
    shift.over(8)(same[::2], same[::2])
    np.testing.assert_array_equal(same.numpy(), np.tile(np.float32([1, 0]), 64))


@gc.kernel
def eight(x: gc.Strided[gc.f32, 8], y: gc.Array[gc.f32, 8]):
    a, b, c, d, e, f, g, h = gc.global_ids(8)
    y[a, b, c, d, e, f, g, h] = x[a, b, c, d, e, f, g, h] * 2.0 + gc.f32(h + 10 * g + c)


@pytest.mark.parametrize("check", (False, "auto", True))
def test_eight_axes_of_arrays_and_ranges(gpucore_context, check):
    data = np.arange(np.prod(DEEP), dtype=np.float32).reshape(DEEP)
    places = np.indices(DEEP)
    added = places[7] + 10 * places[6] + places[2]
    with gpucore_context.options(check=check) as ctx:
        x, y = ctx.array(data), ctx.zeros(DEEP, gc.f32)
        eight.over(DEEP)(x, y)
        np.testing.assert_array_equal(y.numpy(), data * 2 + added)
        view = np.s_[::-1, :, ::-1, :, :, ::-1, :, ::-1]
        eight.over(DEEP)(x[view], y)
        np.testing.assert_array_equal(y.numpy(), data[view] * 2 + added)
    on_host = np.zeros_like(data)
    eight.over(DEEP).interpret(data[view], on_host)
    np.testing.assert_array_equal(on_host, data[view] * 2 + added)


def test_an_error_names_all_eight_axes(gpucore_context):
    @gc.kernel
    def wrong(x: gc.Array[gc.f32, 8], at: gc.Array[gc.i32], y: gc.Array[gc.f32]):
        a, b, c, d, e, f, g, h = gc.global_ids(8)
        gc.atomic_add(y, 0, x[a, b, c, d, e, f, at[g], h])

    with gpucore_context.options(check="auto") as ctx:
        at, y = ctx.array(np.array([0, 1, 3], np.int32)), ctx.zeros(1, gc.f32)
        wrong.over(DEEP)(ctx.zeros(DEEP, gc.f32), at, y)
        with pytest.raises(gc.KernelBoundsError) as info:
            ctx.synchronize()
    assert info.value.shape == DEEP
    assert info.value.index[6] == 3
    assert info.value.thread[6] == 2
    assert len(info.value.index) == len(info.value.thread) == 8


def test_an_array_of_one_kind_takes_no_view(gpucore_context):
    @gc.kernel
    def plain(x: gc.Array[gc.f32]):
        x[gc.global_id(0)] = 1.0

    with pytest.raises(gc.LaunchError, match=r"gc\.Strided\[gc\.f32, 1\]"):
        plain.over(4)(gpucore_context.zeros(8, gc.f32)[::2])
    with pytest.raises(gc.LaunchError, match="1 to 8 axes"):
        eight.over((1,) * 9)


@gc.kernel
def picked(x: gc.Strided[gc.f32, 2], at: gc.Array1[gc.i32], out: gc.Array1[gc.f32]) -> None:
    """Loads of some threads of a gang, at indices that data choose, from a view whose extents are read."""
    i = gc.global_id(0)
    if i % 3 != 1:
        total = gc.f32(0)
        for k in range(4):
            row = at[i] + k
            if row < x.shape[0]:
                total += x[row, (row + k) % x.shape[1]]
        out[i] = total


@pytest.mark.parametrize("check", [False, "auto"])
@pytest.mark.parametrize(
    "view",
    [np.s_[:], np.s_[::-1], np.s_[::-1, ::-1], np.s_[::-2], np.s_[:, ::3], np.s_[::2, ::-3]],
    ids=str,
)
def test_some_threads_load_from_a_view_of_any_strides(gpucore_context, check, view):
    ctx = gpucore_context.options(check=check)
    host = np.arange(60, dtype=np.float32).reshape(6, 10)
    x = host[view]
    at = np.arange(40, dtype=np.int32) % 7
    out = ctx.zeros(40, gc.f32)
    picked.over(40)(ctx.array(host)[view], ctx.array(at), out)
    expected = [
        sum(float(x[r, (r + r - a) % x.shape[1]]) for r in range(a, min(a + 4, len(x)))) if i % 3 != 1 else 0
        for i, a in enumerate(at)
    ]
    np.testing.assert_array_equal(out.numpy(), expected)
