"""Local arrays at indices that change after an element was found: sorts, sums of neighbours, indices that branches choose."""

import numpy as np
import pytest

import gpucore as gc

SIZE = 8
ROWS = 33
TABLE = (5, 9, 200, 31, 4, 77, 18, 3, 6)
KINDS = [gc.u8, gc.i16, gc.i32, gc.u32, gc.i64, gc.f32]


@gc.struct
class Pair:
    key: gc.i32
    mark: gc.i32


def numbers(kind=gc.i32):
    return np.random.default_rng(3).integers(0, 100, (ROWS, SIZE)).astype(kind.numpy)


def swapping(kind):
    @gc.kernel
    def bubble(x: gc.Array2[kind], y: gc.Array2[kind]):
        i = gc.global_id(0)
        t = gc.local(SIZE, kind)
        for j in range(SIZE):
            t[j] = x[i, j]
        for p in range(SIZE):
            for j in range(SIZE - 1 - p):
                if t[j] > t[j + 1]:
                    t[j], t[j + 1] = t[j + 1], t[j]
        for j in range(SIZE):
            y[i, j] = t[j]

    return bubble


def bounding(kind):
    @gc.kernel
    def bubble(x: gc.Array2[kind], y: gc.Array2[kind]):
        i = gc.global_id(0)
        t = gc.local(SIZE, kind)
        for j in range(SIZE):
            t[j] = x[i, j]
        for _p in range(SIZE):
            for j in range(SIZE - 1, 0, -1):
                low, high = min(t[j], t[j - 1]), max(t[j], t[j - 1])
                t[j] = high
                t[j - 1] = low
        for j in range(SIZE):
            y[i, j] = t[j]

    return bubble


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("sort", [swapping, bounding])
def test_a_bubble_sort_sorts(same, sort, kind):
    x = numbers(kind)
    _, y = same(sort(kind), ROWS, 1, x, np.zeros_like(x))
    np.testing.assert_array_equal(y, np.sort(x, 1))


@gc.kernel
def sums(x: gc.Array2[gc.i32], y: gc.Array2[gc.i32], last: gc.i32):
    i = gc.global_id(0)
    t = gc.local(SIZE, gc.i32)
    for j in range(SIZE):
        t[j] = x[i, j]
    for j in range(last):
        t[j] += t[j + 1]
    for j in range(SIZE):
        y[i, j] = t[j]


@gc.kernel
def sums_of_many(x: gc.Array2[gc.i32], y: gc.Array2[gc.i32], last: gc.i32):
    i = gc.global_id(0)
    t = gc.local(400, gc.i32)
    for j in range(SIZE):
        t[j] = x[i, j]
    j = gc.i32(0)
    while j < last:
        here = t[j]
        k = j
        j += 1
        t[k] = here + t[j]
    for j in range(SIZE):
        y[i, j] = t[j]


@gc.func
def of_neighbours(x: gc.Array2[gc.i32], i: gc.i32, at: gc.i32, last: gc.i32):
    t = gc.local(SIZE, gc.i32)
    for j in range(SIZE):
        t[j] = x[i, j]
    for j in range(last):
        t[j] = t[j] + t[j + 1]
    return t[at]


@gc.kernel
def sums_in_a_function(x: gc.Array2[gc.i32], y: gc.Array2[gc.i32], last: gc.i32):
    i = gc.global_id(0)
    for j in range(SIZE):
        y[i, j] = of_neighbours(x, gc.i32(i), gc.i32(j), last)


@pytest.mark.parametrize("kernel", [sums, sums_of_many, sums_in_a_function], ids=["few", "many", "function"])
def test_neighbours_are_added_in_place(same, kernel):
    x = numbers()
    _, y = same(kernel, ROWS, 1, x, np.zeros_like(x), SIZE - 1)
    np.testing.assert_array_equal(y[:, :-1], x[:, :-1] + x[:, 1:])
    np.testing.assert_array_equal(y[:, -1], x[:, -1])


@gc.kernel
def pairs(x: gc.Array2[gc.i32], y: gc.Array2[gc.i32]):
    i = gc.global_id(0)
    t = gc.local(SIZE, Pair)
    for j in range(SIZE):
        t[j] = Pair(x[i, j], gc.i32(j))
    for _p in range(SIZE):
        for j in range(SIZE - 1):
            if t[j].key > t[j + 1].key:
                t[j], t[j + 1] = t[j + 1], t[j]
    for j in range(SIZE):
        y[i, j] = t[j].key * 10 + t[j].mark


def test_structs_are_sorted_with_all_their_fields(same):
    x = numbers()
    _, y = same(pairs, ROWS, 1, x, np.zeros_like(x))
    order = np.argsort(x, 1, kind="stable")
    np.testing.assert_array_equal(y, np.take_along_axis(x, order, 1) * 10 + order)


@gc.kernel
def complexes(x: gc.Array2[gc.i32], y: gc.Array2[gc.complex64]):
    i = gc.global_id(0)
    t = gc.local(SIZE, gc.complex64)
    for j in range(SIZE):
        t[j] = gc.complex64(gc.f32(x[i, j]), gc.f32(j))
    for j in range(SIZE - 1):
        t[j] = t[j] + t[j + 1]
    for j in range(SIZE):
        y[i, j] = t[j]


def test_complex_neighbours_are_added_in_place(same):
    x = numbers()
    _, y = same(complexes, ROWS, 1, x, np.zeros(x.shape, np.complex64))
    given = x + 1j * np.arange(SIZE)
    np.testing.assert_array_equal(y[:, :-1], given[:, :-1] + given[:, 1:])


@gc.kernel
def chosen(x: gc.Array2[gc.i32], y: gc.Array2[gc.i32]):
    i = gc.global_id(0)
    t = gc.local(SIZE, gc.i32)
    for j in range(SIZE):
        t[j] = x[i, j]
    at = x[i, 0] & 3
    here = t[at]
    k = at
    if x[i, 1] > 40:
        k = at + 1
        t[5] = t[k]
    t[at] = here + t[k] * 3
    for j in range(SIZE):
        y[i, j] = t[j]


@gc.kernel
def walked(x: gc.Array2[gc.i32], y: gc.Array2[gc.i32]):
    i = gc.global_id(0)
    t = gc.local(SIZE, gc.i32)
    for j in range(SIZE):
        t[j] = x[i, j]
    j = gc.i32(0)
    while j < SIZE - 1:
        here = t[j]
        after = j + 1
        there = t[after]
        further = after
        if there > 50:
            further = after + 1
        t[after] = here + there
        t[j] = there
        j = further
    for j in range(SIZE):
        y[i, j] = t[j]


@gc.kernel
def from_a_table(x: gc.Array2[gc.i32], y: gc.Array2[gc.i32]):
    i = gc.global_id(0)
    t = gc.local(SIZE, gc.i32)
    for j in range(SIZE):
        a = TABLE[j]
        b = TABLE[j + 1]
        t[b & 7] = x[i, j]
        t[j] = TABLE[j] + a * 3 + b
    for j in range(SIZE):
        y[i, j] = t[j]


@pytest.mark.parametrize("kernel", [chosen, walked, from_a_table], ids=["branch", "walk", "table"])
def test_indices_that_branches_and_loops_change_find_their_elements(same, kernel):
    x = numbers()
    same(kernel, ROWS, 1, x, np.zeros_like(x))
