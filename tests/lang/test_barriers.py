"""A barrier that a thread id decides about is refused; one that all threads provably or possibly reach is not."""

import pytest
from lang_helpers import compiled

import gpucore as gc
from gpucore.errors import KernelSyntaxError
from gpucore.ir.dtypes import f32, i32
from gpucore.lang import ScalarType


def uniform_loop(x, n):
    for i in range(n):
        gc.barrier()


def halving(x, n):
    t = gc.thread_id(0)
    s = gc.block_dim(0) // 2
    while s > 0:
        if t < s:
            x[t] += x[t + s]
        gc.barrier()
        s //= 2


def name_used_again(x, n):
    i = gc.thread_id(0)
    x[i] = 1.0
    i = 0
    while i < 3:
        gc.barrier()
        i += 1


def after_a_divergent_loop(x, n):
    for k in range(gc.thread_id(0), 64, 8):
        x[k] = 0.0
    gc.barrier()


def after_a_loop_that_threads_leave(x, n):
    for k in range(n):
        if x[gc.thread_id(0)] > 1.0:
            break
    gc.barrier()


def before_a_continue(x, n):
    for k in range(n):
        gc.barrier()
        if x[gc.thread_id(0)] > 1.0:
            continue
        x[gc.thread_id(0)] = 0.0


def return_of_all(x, n):
    if n > 3:
        return
    gc.barrier()


def decided_by_memory(x, n):
    if x[0] > 1.0:
        gc.barrier()


def decided_by_the_block(x, n):
    if gc.block_id(0) == 0:
        gc.barrier()


def unrolled_with_continue(x, n):
    t = gc.thread_id(0)
    for k in gc.static_range(3):
        gc.barrier()
        if t > k:
            continue
        x[t] = 1.0


GOOD = [uniform_loop, halving, name_used_again, after_a_divergent_loop, after_a_loop_that_threads_leave,
        before_a_continue, return_of_all, decided_by_memory, decided_by_the_block, unrolled_with_continue]  # fmt: skip


@pytest.mark.parametrize("kernel", GOOD, ids=lambda k: k.__name__)
def test_accepted(kernel):
    compiled(kernel, f32, ScalarType(i32))


def through_a_variable(x, n):
    flag = False
    if gc.thread_id(0) > 2:
        flag = True
    if flag:
        gc.barrier()


def after_a_continue(x, n):
    for k in range(n):
        if gc.thread_id(0) > k:
            continue
        gc.barrier()


def in_the_next_iteration(x, n):
    for k in range(n):
        gc.barrier()
        if gc.thread_id(0) == k:
            return


def bounds_of_the_thread(x, n):
    while gc.thread_id(0) < n:
        gc.barrier()
        n -= 1


def trip_count_of_the_thread(x, n):
    m = 0
    for k in range(gc.global_id(0)):
        m += 1
    for k in range(m):
        gc.barrier()


def element_of_the_thread(x, n):
    if x[gc.global_id(0)] > 1.0:
        gc.barrier()


def local_memory_of_the_thread(x, n):
    own = gc.local(1, gc.i32)
    own[0] = gc.i32(gc.thread_id(0))
    if own[0] > 1:
        gc.barrier()


def lane(x, n):
    if gc.subgroup_lane() == 0:
        gc.barrier()


@gc.func
def leaves():
    if gc.thread_id(0) > 3:
        return 1
    gc.barrier()
    return 2


def in_a_device_function(x, n):
    x[0] = leaves()


def unrolled_with_break(x, n):
    for k in gc.static_range(3):
        if gc.thread_id(0) > k:
            break
        gc.barrier()


BAD = [through_a_variable, after_a_continue, in_the_next_iteration, bounds_of_the_thread, trip_count_of_the_thread,
       element_of_the_thread, local_memory_of_the_thread, lane, in_a_device_function, unrolled_with_break]  # fmt: skip


@pytest.mark.parametrize("kernel", BAD, ids=lambda k: k.__name__)
def test_refused_at_the_barrier_s_line(kernel):
    with pytest.raises(
        KernelSyntaxError, match="not every thread of the block reaches this barrier"
    ) as found:
        compiled(kernel, f32, ScalarType(i32))
    assert "gc.barrier()" in found.value.text
