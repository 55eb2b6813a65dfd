"""What statements and expressions do, run on the interpreter, with device functions both called and inlined."""

import math

import numpy as np
import pytest
from lang_helpers import compiled, run, statements

import gpucore as gc
from gpucore.errors import KernelAssertionError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import f32, f64, i32

ints = lambda *v: np.array(v, np.int32)  # noqa: E731


def test_tuples_are_assigned_at_once():
    def kernel(y):
        a = 1
        b = 2
        for i in range(3):
            a, b = b, a + b
        y[0], y[1] = a, b
        (c, d), e = (y[1], y[0]), 7
        y[2] = c * 100 + d * 10 + e

    y = ints(0, 0, 0)
    run(kernel, y)
    assert list(y) == [5, 8, 857]


def test_elements_swap():
    def kernel(y):
        y[0], y[1] = y[1], y[0]

    y = ints(1, 2)
    run(kernel, y)
    assert list(y) == [2, 1]


def test_and_or_do_not_evaluate_what_does_not_decide():
    def kernel(x, y, i):
        y[0] = 1 if i >= 0 and x[i] > 0 else 2
        y[1] = 1 if i < 0 or x[i] > 0 else 2

    x, y = ints(5), ints(0, 0)
    run(kernel, x, y, -3)
    assert list(y) == [2, 1]


def test_a_chain_of_comparisons_stops_at_the_first_that_fails():
    def kernel(x, y, i):
        y[0] = 1 if 0 <= i < x[i] else 2

    y = ints(0)
    run(kernel, ints(5), y, -3)
    assert y[0] == 2


def test_a_choice_evaluates_one_side():
    def kernel(x, y, i):
        y[0] = x[i] if i >= 0 else -1

    y = ints(0)
    run(kernel, ints(5), y, -3)
    assert y[0] == -1


def test_a_guarded_division_is_not_moved_out_of_its_guard():
    def kernel(x, y):
        y[0] = x[0] // x[1] if x[1] != 0 else 0
        y[1] = 1 if x[1] != 0 and x[0] % x[1] == 0 else 0

    module = compiled(kernel, i32, i32)
    top = [s.op for s in module.kernel.body if isinstance(s, ir.Op)]
    assert "floordiv" not in top
    assert "mod" not in top


def test_while_break_continue():
    def kernel(y):
        n = 0
        total = 0
        while True:
            n += 1
            if n == 3:
                continue
            if n > 5:
                break
            total += n
        y[0] = total
        y[1] = n

    y = ints(0, 0)
    run(kernel, y)
    assert list(y) == [12, 6]


@pytest.mark.parametrize(
    ("bounds", "wanted"),
    [
        ((4,), [0, 1, 2, 3]),
        ((1, 4), [1, 2, 3]),
        ((0, 7, 3), [0, 3, 6]),
        ((3, -1, -1), [3, 2, 1, 0]),
        ((3, 3), []),
    ],
)
def test_ranges(bounds, wanted):
    def kernel(y):
        n = 0
        for i in range(*bounds):
            y[n] = i
            n += 1

    def spelled(y):
        n = 0
        for i in range(bounds[0], bounds[1], bounds[2]):
            y[n] = i
            n += 1

    y = ints(*[-1] * 8)
    if len(bounds) == 3:
        run(spelled, y)
        assert [v for v in y if v >= 0] == wanted


def test_the_loop_variable_may_be_changed_and_keeps_its_last_value():
    def kernel(y):
        i = 9
        for i in range(3):
            i = i * 2
            y[i] = 1
        y[5] = i

    y = ints(0, 0, 0, 0, 0, 0)
    run(kernel, y)
    assert list(y) == [1, 0, 1, 0, 1, 4]


def test_unrolled_loops_have_constant_variables_and_leave_early():
    weights = (1, 10, 100)

    def kernel(x, y):
        total = 0
        for k in gc.static_range(3):
            total += weights[k] * x[k]
        y[0] = total
        n = 0
        for k in gc.static_range(5):
            if x[k] == 1:
                continue
            if x[k] == 3:
                break
            n += 1
        y[1] = n

    y = ints(0, 0)
    run(kernel, ints(0, 1, 2, 3, 4), y)
    assert list(y) == [210, 2]


def test_unrolled_loops_nest_in_loops_and_branches_that_leave():
    def kernel(x, y):
        found = 0
        for i in range(4):
            for k in gc.static_range(3):
                if x[i] == k:
                    found += 1
                    break
                if x[i] > 7:
                    break
            else_value = found
            if x[i] == 9:
                break
            y[i] = else_value

    y = ints(-1, -1, -1, -1)
    run(kernel, ints(2, 5, 9, 0), y)
    assert list(y) == [1, 1, -1, -1]


def test_a_constant_condition_compiles_one_side():
    fast = False

    def kernel(x, y):
        if fast:
            y[0] = nonsense(x)  # noqa: F821
        else:
            y[0] = x[0]

    y = ints(0)
    run(kernel, ints(4), y)
    assert y[0] == 4


def test_shapes():
    def kernel(x, y):
        y[0] = x.shape[0] * 100 + x.shape[1] * 10 + x.ndim
        y[1] = x.size
        y[2] = len(x)
        h, w = x.shape
        y[3] = h - w

    y = ints(0, 0, 0, 0)
    run(kernel, np.zeros((3, 2), np.float32), y)
    assert list(y) == [322, 6, 3, 1]


def test_local_arrays_are_zero_each_time():
    def kernel(y):
        for i in range(2):
            t = gc.local((2, 2), gc.i32)
            t[1, 1] += 5
            y[i] = t[1, 1] + t[0, 0]

    y = ints(0, 0)
    run(kernel, y)
    assert list(y) == [5, 5]


def test_local_arrays_of_one_line():
    def kernel(y):
        for i in range(2):
            a, (b, c) = gc.local(2, gc.i32), (gc.local(2, gc.i32), gc.local(shape=3, dtype=gc.i32))
            same = also = gc.local(1, gc.i32)
            pair = d, e = gc.local(1, gc.i32), gc.local(1, gc.i32)
            a[0], b[0], c[2] = 1, 20, 300
            same[0] += 1000
            also[0] += 4000
            d[0] = 10_000
            pair[1][0] = 20_000
            y[i] += a[0] + b[0] + c[2] + a[1] + b[1] + same[0] + d[0] + e[0]

    y = ints(0, 0)
    run(kernel, y)
    assert list(y) == [35321, 35321]


def test_shared_arrays_of_one_line():
    def kernel(x, y):
        a, b = gc.shared(4, gc.i32), gc.shared(4, gc.i32)
        t = gc.thread_id(0)
        a[t], b[t] = x[t], 10 * x[t]
        gc.barrier()
        y[t] = a[3 - t] + b[t]

    y = np.zeros(4, np.int32)
    run(kernel, np.arange(4, dtype=np.int32), y, block=(4,))
    assert list(y) == [3, 12, 21, 30]


def test_a_name_for_an_array_keeps_the_array():
    def kernel(y):
        local = gc.local(2, gc.i32)
        local[0] = 1
        other = local
        other[0] += 1
        local[0] += 1
        y[0] = other[0]

    y = ints(0)
    run(kernel, y)
    assert list(y) == [3]


def test_shared_memory_and_barriers():
    def kernel(x, y):
        tile = gc.shared(4, gc.i32)
        t = gc.thread_id(0)
        tile[t] = x[gc.global_id(0)]
        gc.barrier()
        y[gc.global_id(0)] = tile[3 - t]

    y = np.zeros(8, np.int32)
    run(kernel, np.arange(8, dtype=np.int32), y, grid=(2,), block=(4,))
    assert list(y) == [3, 2, 1, 0, 7, 6, 5, 4]


def test_ids_are_in_array_order():
    def kernel(y):
        i, j = gc.global_ids(2)
        y[i, j] = gc.block_id(0) * 1000 + gc.thread_id(1) * 10 + gc.block_dim(1) + gc.grid_dim(0) * 100

    y = np.zeros((2, 3), np.int32)
    run(kernel, y, grid=(2, 1), block=(1, 3))
    assert y[1, 2] == 1000 + 20 + 3 + 200


def test_atomics_take_tuples_and_give_the_old_element():
    def kernel(x, y):
        y[0] = gc.atomic_add(x, (1, 0), 5)
        y[1] = gc.atomic_cas(x, (1, 0), 7, 9)
        y[2] = gc.atomic_exchange(array=x, index=(0, 0), value=3)

    x, y = np.array([[0], [2]], np.int32), ints(0, 0, 0)
    run(kernel, x, y)
    assert (x[1, 0], x[0, 0], list(y)) == (9, 3, [2, 7, 0])


def test_python_and_math_spell_the_builtins_too():
    def kernel(x, y):
        y[0] = min(x[0], 2.0, x[1]) + max(x[0], x[1])
        y[1] = abs(x[1]) + math.sqrt(x[0]) + math.pi
        y[2] = math.floor(x[2]) + round(x[2]) + math.fabs(-1.0)

    x, y = np.array([4.0, -3.0, 2.5], np.float32), np.zeros(3, np.float32)
    run(kernel, x, y)
    np.testing.assert_allclose(y, [1.0, 5.0 + math.pi, 5.0], rtol=1e-6)


def test_keyword_arguments_of_builtins_and_cdiv():
    def kernel(y, n):
        y[gc.global_id(axis=0)] = gc.cdiv(n, 4)
        y[1] = gc.clamp(n, low=0, high=5)
        y[2] = gc.select(condition=n > 3, a=1, b=2)

    y = ints(0, 0, 0)
    run(kernel, y, 9)
    assert list(y) == [3, 5, 1]


def test_annotated_assignments_convert():
    def kernel(y):
        t: gc.f64 = 0.1
        y[0] = t

    y = np.zeros(1, np.float64)
    run(kernel, y)
    assert y[0] == 0.1


def test_asserts_stay_with_their_message():
    def kernel(x):
        assert x[0] > 0, "positive wanted"

    with pytest.raises(KernelAssertionError, match="positive wanted"):
        run(kernel, ints(-1))


def test_a_square_is_one_multiplication():
    def kernel(x):
        x[0] = x[1] ** 2

    assert [s.op for s in statements(compiled(kernel, f32), ir.Op)] == ["mul"]


def test_docstrings_and_ellipses_are_nothing():
    def kernel(y):
        """What it does."""
        pass
        y[0] = 1

    y = ints(0)
    run(kernel, y)
    assert y[0] == 1


def test_bools():
    def kernel(x, y):
        flag = x[0] > 1
        other = not flag
        y[0] = flag and not other or False
        y[1] = flag ^ other
        y[2] = ~flag

    y = np.zeros(3, bool)
    run(kernel, ints(5), y)
    assert list(y) == [True, True, False]


def test_indices_of_four_axes():
    def kernel(x):
        place = (1, 0, 1)
        x[place[0], 0, place[1], place[2]] = 5.0

    x = np.zeros((2, 2, 2, 2), np.float32)
    run(kernel, x)
    assert x[1, 0, 0, 1] == 5.0


def test_f64_keeps_its_literals():
    def kernel(x):
        x[0] = x[1] * 0.1 + (1 / 3)

    x = np.array([0, 1], np.float64)
    run(kernel, x)
    assert x[0] == 0.1 + 1 / 3
    assert statements(compiled(kernel, f64), ir.Const)
