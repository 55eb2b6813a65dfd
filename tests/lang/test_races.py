"""Races that can be read off a kernel: it is not portable, the note has the line, and compiling it warns once."""

import warnings

import numpy as np
import pytest

import gpucore as gc
from gpucore.errors import RaceWarning


@gc.kernel
def histogram(x: gc.Array[gc.i32], counts: gc.Array[gc.i32]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        counts[x[i]] += 1  # race


@gc.kernel
def scattered(x: gc.Array[gc.f32], to: gc.Array[gc.i32], out: gc.Array[gc.f32]):
    i = gc.global_id(0)
    out[to[i]] = x[i]  # race


@gc.kernel
def total(x: gc.Array[gc.f32], out: gc.Array[gc.f32]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        out[0] += x[i]  # race


@gc.kernel
def all_threads_add(x: gc.Array[gc.f32]):
    x[0] += 1.0  # race


@gc.kernel
def row_of_an_image(image: gc.Array[gc.f32, 2], out: gc.Array[gc.f32]):
    y, x = gc.global_ids(2)
    out[y] = image[y, x]  # race


@gc.kernel
def into_shared_memory(x: gc.Array[gc.i32], out: gc.Array[gc.i32]):
    t = gc.thread_id(0)
    bins = gc.shared(16, gc.i32)
    bins[x[t]] = t  # race
    gc.barrier()
    out[gc.global_id(0)] = bins[t]


@gc.kernel
def through_a_variable(x: gc.Array[gc.i32], out: gc.Array[gc.i32]):
    i = gc.global_id(0)
    k = 0
    for n in range(3):
        k = x[i] + k
    out[k] = 1  # race


@gc.kernel
def one_hot(label: gc.Array[gc.i32], out: gc.Array[gc.f32, 2]):
    i = gc.global_id(0)
    out[i, label[i]] = 1.0


@gc.kernel
def ragged_rows(n: gc.Array[gc.i32], out: gc.Array[gc.f32, 2]):
    i = gc.global_id(0)
    for j in range(n[i]):
        out[i, j] = 1.0


@gc.kernel
def histogram_of_each_row(x: gc.Array[gc.i32, 2], out: gc.Array[gc.i32, 2]):
    i = gc.global_id(0)
    for j in range(x.shape[1]):
        out[i, x[i, j]] += 1


@gc.kernel
def place_in_a_row_of_its_own(label: gc.Array[gc.i32], out: gc.Array[gc.f32, 2]):
    i = gc.global_id(0)
    row = out[i, :]
    row[label[i]] = 1.0


@gc.kernel
def rows_that_columns_share(x: gc.Array[gc.i32, 2], out: gc.Array[gc.i32, 2]):
    y, i = gc.global_ids(2)
    out[y, x[y, i]] = 1  # race


@gc.kernel
def name_used_again(x: gc.Array[gc.i32], bins: gc.Array[gc.i32]):
    local = gc.shared(64, gc.i32)
    for b in range(gc.thread_id(0), 64, gc.block_dim(0)):
        local[b] = 0
    gc.barrier()
    for k in range(gc.global_id(0), x.shape[0], gc.grid_dim(0) * gc.block_dim(0)):
        b = x[k]  # another value under the name of the loop above
        gc.atomic_add(local, b, 1)
    gc.barrier()
    for b in range(gc.thread_id(0), 64, gc.block_dim(0)):
        gc.atomic_add(bins, b, local[b])


@gc.kernel
def left_with_data(x: gc.Array[gc.i32], out: gc.Array[gc.i32]):
    i = gc.global_id(0)
    k = i
    for n in range(3):
        k = x[i]
        if n == 1:
            break
        k = i
    out[k] = 1  # race


@gc.kernel
def data_on_one_way(x: gc.Array[gc.i32], out: gc.Array[gc.i32]):
    i = gc.global_id(0)
    if i % 2 == 0:
        k = x[i]
    else:
        k = i
    out[k] = 1  # race


@gc.kernel
def data_from_two_rounds_before(x: gc.Array[gc.i32], out: gc.Array[gc.i32]):
    i = gc.global_id(0)
    a = i
    b = i
    for n in range(4):
        out[a] = n  # race
        a = b
        b = x[i]


RACY = (histogram, scattered, total, all_threads_add, row_of_an_image, into_shared_memory, through_a_variable,
        left_with_data, data_on_one_way, data_from_two_rounds_before, rows_that_columns_share)  # fmt: skip


@gc.kernel
def counted_by_atomics(x: gc.Array[gc.i32], counts: gc.Array[gc.i32]):
    i = gc.global_id(0)
    gc.atomic_add(counts, x[i], 1)


@gc.kernel
def stencil(x: gc.Array[gc.f32], out: gc.Array[gc.f32]):
    i = gc.global_id(0)
    s = gc.f32(0.0)
    for k in range(3):
        s += x[i + k]
    out[i] = s


@gc.kernel
def transposed(x: gc.Array[gc.f32, 2], out: gc.Array[gc.f32, 2]):
    i, j = gc.global_ids(2)
    if i < x.shape[0] and j < x.shape[1]:
        out[j, i] = x[i, j]


@gc.kernel
def block_sum(x: gc.Array[gc.f32], out: gc.Array[gc.f32]):
    t = gc.thread_id(0)
    tile = gc.shared(64, gc.f32)
    tile[t] = x[gc.global_id(0)]
    gc.barrier()
    s = 32
    while s > 0:
        if t < s:
            tile[t] += tile[t + s]
        gc.barrier()
        s //= 2
    if t == 0:
        out[gc.block_id(0)] = tile[0]


@gc.kernel
def one_thread_stores(x: gc.Array[gc.f32], out: gc.Array[gc.f32]):
    i = gc.global_id(0)
    if i != 0:
        return
    out[0] = x[i]


@gc.kernel
def all_store_the_same(x: gc.Array[gc.f32], out: gc.Array[gc.f32]):
    out[0] = x[0]


@gc.kernel
def shifted_by_an_offset_that_all_share(x: gc.Array[gc.f32], at: gc.Array[gc.i32], out: gc.Array[gc.f32]):
    i = gc.global_id(0)
    out[i + at[0]] = x[i]


@gc.kernel
def sorted_in_memory_of_its_own(x: gc.Array[gc.i32], out: gc.Array[gc.i32]):
    i = gc.global_id(0)
    seen = gc.local(8, gc.i32)
    seen[x[i] & 7] = 1
    out[i] = seen[0]


WHOLE = (counted_by_atomics, stencil, transposed, block_sum, one_thread_stores, all_store_the_same,
         shifted_by_an_offset_that_all_share, sorted_in_memory_of_its_own, name_used_again,
         one_hot, ragged_rows, histogram_of_each_row, place_in_a_row_of_its_own)  # fmt: skip


def line_of_the_race(kernel):
    source = open(__file__).read().split("\n")
    start = next(n for n, text in enumerate(source, 1) if f"def {kernel.__name__}(" in text)
    return next(n for n, text in enumerate(source, 1) if n > start and text.endswith("# race"))


@pytest.mark.parametrize("kernel", RACY, ids=lambda k: k.__name__)
def test_a_race_makes_a_kernel_not_portable_and_has_its_line(kernel):
    assert not kernel.portable
    assert f"(line {line_of_the_race(kernel)})" in kernel.portability_note
    assert "several threads" in kernel.portability_note


@pytest.mark.parametrize("kernel", WHOLE, ids=lambda k: k.__name__)
def test_kernels_whose_threads_keep_apart_are_portable(kernel):
    assert kernel.portable, kernel.portability_note


def test_compiling_a_race_warns_once_at_its_line_and_names_the_atomic():
    again, array = gc.kernel(histogram.__wrapped__), gc.Array[gc.i32]
    with pytest.warns(RaceWarning, match=r"histogram.*gc\.atomic_add") as caught:
        again.ir(array, array)
    assert len(caught) == 1
    assert (caught[0].filename, caught[0].lineno) == (__file__, line_of_the_race(histogram))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again.ir(array, array, ndim=2)
        gc.kernel(stencil.__wrapped__).ir(gc.Array[gc.f32], gc.Array[gc.f32])


def test_a_kernel_that_looks_at_no_id_may_be_meant_for_one_thread_and_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.kernel(all_threads_add.__wrapped__).ir(gc.Array[gc.f32])


def test_a_racy_histogram_that_is_interpreted_is_found_by_the_interpreter_too():
    x, counts = np.zeros(4, np.int32), np.zeros(4, np.int32)
    with pytest.warns(RaceWarning), pytest.raises(gc.DataRaceError):
        gc.kernel(histogram.__wrapped__).interpret(1, 4, x, counts)
