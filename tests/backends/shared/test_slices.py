"""Slices with bounds in kernels, held against NumPy's."""

import numpy as np
import pytest

import gpucore as gc

BOUNDS = ((0, 8), (1, 5), (3, 3), (5, 2), (7, 20), (11, 12), (8, 0))


@gc.func
def total(row: gc.Array[gc.f32]) -> gc.f32:
    found = gc.f32(0)
    for k in range(row.shape[0]):
        found += row[k] * gc.f32(k + 1)
    return found


@gc.kernel
def totals(x: gc.Strided[gc.f32, 2], y: gc.Array[gc.f32, 2], a: gc.i32, b: gc.i32):
    i = gc.global_id(0)
    row = x[i, a:b]
    y[i, 0] = total(row)
    y[i, 1] = total(x[i, a:b:2])
    y[i, 2] = total(x[i, a:b:-1])
    y[i, 3] = total(x[i, a:]) + total(x[i, :b])
    y[i, 4] = total(x[i, ::-3])
    y[i, 5] = total(row[1:3])
    y[i, 6] = total(row[::-1][1:])
    y[i, 7] = gc.f32(row.shape[0] * 100 + len(row[::2]) * 10 + x[i:, a:b].size)
    y[i, 8] = total(x[1:, 2:6].T[a:b, 1])


def expected(x, a, b):
    def weighted(row):
        return np.float32(sum(v * (k + 1) for k, v in enumerate(row)))

    y = np.zeros((len(x), 9), np.float32)
    for i in range(len(x)):
        row = x[i, a:b]
        y[i] = [
            weighted(row), weighted(x[i, a:b:2]), weighted(x[i, a:b:-1]), weighted(x[i, a:]) + weighted(x[i, :b]),
            weighted(x[i, ::-3]), weighted(row[1:3]), weighted(row[::-1][1:]),
            len(row) * 100 + len(row[::2]) * 10 + x[i:, a:b].size, weighted(x[1:, 2:6].T[a:b, 1]),
        ]  # fmt: skip
    return y


@pytest.mark.parametrize("check", (False, "auto", True))
def test_slices_are_numpys(gpucore_context, check):
    data = np.arange(24, dtype=np.float32).reshape(3, 8)
    with gpucore_context.options(check=check) as ctx:
        x, y = ctx.array(data), ctx.zeros((3, 9), gc.f32)
        for a, b in BOUNDS:
            totals.over(3)(x, y, a, b)
            np.testing.assert_array_equal(y.numpy(), expected(data, a, b), err_msg=str((a, b)))
        totals.over(3)(x[::-1, ::-1], y, 1, 5)
        np.testing.assert_array_equal(y.numpy(), expected(data[::-1, ::-1], 1, 5))


def test_the_interpreter_slices_as_numpy():
    data = np.arange(24, dtype=np.float32).reshape(3, 8)
    for a, b in BOUNDS:
        y = np.zeros((3, 9), np.float32)
        totals.over(3).interpret(data, y, a, b)
        np.testing.assert_array_equal(y, expected(data, a, b))


def test_slices_of_local_and_shared_arrays_and_stores(gpucore_context):
    @gc.kernel
    def blur(x: gc.Array[gc.f32], y: gc.Array[gc.f32]):
        t = gc.thread_id(0)
        tile = gc.shared(18, gc.f32)
        own = gc.local((4, 6), gc.f32)
        inner = tile[1:17]
        inner[t] = x[gc.global_id(0)]
        if t < 2:
            tile[::17][t] = 0.0
        gc.barrier()
        part = own[1:3, ::-1]
        for j in range(part.shape[1]):
            part[0, j] = gc.f32(j)
            part[1, j] += 2.0
        y[gc.global_id(0)] = tile[t] + inner[t] + total(own[1]) + total(own[2, 1:4])

    data = np.arange(32, dtype=np.float32)
    y = gpucore_context.zeros(32, gc.f32)
    blur[2, 16](gpucore_context.array(data), y)
    before = np.where(np.arange(32) % 16 == 0, 0, data - 1)
    constant = sum((5 - k) * (k + 1) for k in range(6)) + 2 * (1 + 2 + 3)
    np.testing.assert_array_equal(y.numpy(), before + data + constant)


@gc.struct
class Body:
    mass: gc.f32
    at: gc.vec2[gc.f32]


def test_rows_and_slices_of_structs_and_complex_numbers(gpucore_context):
    @gc.func
    def heaviest(row: gc.Array[Body]) -> gc.f32:
        found = row[0].mass
        for k in range(1, len(row)):
            found = max(found, row[k].mass)
        return found

    @gc.kernel
    def work(x: gc.Array[Body, 2], z: gc.Array[gc.complex64, 2], y: gc.Array[gc.f32, 2]):
        i = gc.global_id(0)
        y[i, 0] = heaviest(x[i])
        y[i, 1] = heaviest(x[i, 1:4])
        y[i, 2] = heaviest(x.T[i])
        x[i, 2:][1].at.y += 1.0
        z[i, ::-1][0] *= 2j
        row = z[i]
        y[i, 3] = (row[0] * row[1]).real

    bodies = np.zeros((4, 6), Body.numpy)
    bodies["mass"] = np.random.default_rng(1).permutation(24).reshape(4, 6)
    numbers = (np.arange(24) + 1j * np.arange(24)[::-1]).astype(np.complex64).reshape(4, 6)
    x, z = gpucore_context.array(bodies, Body), gpucore_context.array(numbers)
    y = gpucore_context.zeros((4, 4), gc.f32)
    work.over(4)(x, z, y)
    mass = bodies["mass"]
    wanted = np.stack(
        [mass.max(1), mass[:, 1:4].max(1), mass.T[:4].max(1), (numbers[:, 0] * numbers[:, 1]).real], 1
    )
    np.testing.assert_array_equal(y.numpy(), wanted)
    bodies["at"][:, 3, 1] += 1
    numbers[:, 5] *= 2j
    assert x.numpy().tobytes() == bodies.tobytes()
    np.testing.assert_array_equal(z.numpy(), numbers)


@gc.kernel
def past(x: gc.Array[gc.f32, 2], y: gc.Array[gc.f32], k: gc.i32):
    i = gc.global_id(0)
    y[i] = x[i, 2:5][k]


@pytest.mark.parametrize("check", ("auto", True))
def test_past_the_end_of_a_slice_is_an_error_though_the_array_goes_on(gpucore_context, check):
    data = np.arange(24, dtype=np.float32).reshape(3, 8)
    with gpucore_context.options(check=check) as ctx:
        y = ctx.zeros(3, gc.f32)
        past.over(3)(ctx.array(data), y, 2)
        np.testing.assert_array_equal(y.numpy(), data[:, 4])
        past.over(3)(ctx.array(data), y, 3)
        with pytest.raises(gc.KernelBoundsError, match="a slice of array 'x' of shape \\(3, 3\\)") as info:
            ctx.synchronize()
        assert info.value.index[1] == 3
        assert info.value.shape == (3, 3)
        np.testing.assert_array_equal(y.numpy(), np.zeros(3))
    with pytest.raises(gc.KernelBoundsError, match="a slice of x of shape \\(3, 3\\)"):
        past.over(3).interpret(data, np.zeros(3, np.float32), 3)


def test_loops_over_slices_need_no_check_on_the_device(gpucore_context):
    with gpucore_context.options(check="auto") as ctx:
        found = totals.over(3).checks(ctx.zeros((3, 8), gc.f32), ctx.zeros((3, 9), gc.f32), 1, 5)
    assert {check.where for check in found} <= {"launch", "proven"}


def test_slices_of_tuples_are_pythons(gpucore_context):
    @gc.kernel
    def pick(y: gc.Array[gc.i32]):
        t = (1, 2, 3, 4, 5)
        head = t[1:-1]
        y[0] = head[0] * 100 + head[-1] * 10 + len(t[::-2])

    y = gpucore_context.zeros(1, gc.i32)
    pick.over(1)(y)
    assert y.numpy()[0] == 243


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("y[0] = x[0, 1:-1][0]", r"the bound -1 is negative(.|\n)*Write x\.shape\[1\] - 1"),
        ("y[0] = x[0, 0:4:n][0]", "the step of a slice is a constant"),
        ("y[0] = x[0, 0.5:4][0]", "the bound of a slice is an integer"),
        ("y[0] = gc.local(8, gc.f32)[1:3][2]", "past the end of a slice of local with 2 elements"),
        ("x[0, 1:3] = 2.0", "a slice is not assigned at once"),
        ("y[0] = (1.0, 2.0)[n:][0]", "a slice of a tuple has constant bounds"),
        ("y[0] = x[0, 1:3] + 1.0", r"x\[0, 1:3\] is a whole array"),
    ],
)
def test_what_is_wrong_with_a_slice_is_said_at_its_line(line, message):
    source = f"def wrong(x: gc.Array[gc.f32, 2], y: gc.Array[gc.f32], n: gc.i32):\n    {line}\n"
    scope = {"gc": gc}
    exec(source, scope)
    with pytest.raises((gc.KernelSyntaxError, gc.KernelTypeError), match=message) as info:
        gc.kernel(source=source)(scope["wrong"]).over(1).interpret(
            np.zeros((2, 8), np.float32), np.zeros(2, np.float32), 1
        )
    assert info.value.lineno == 2
