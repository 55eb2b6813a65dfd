"""Graphs of the CPU backend: short kernels in a row are one native call, on idle and on busy streams."""

import numpy as np
import pytest

import gpucore as gc
from gpucore_cpu.runtime.gate import native


@gc.kernel
def add(x: gc.Array1[gc.i64], a: gc.i64) -> None:
    i = gc.global_id(0)
    if i < x.shape[0]:
        x[i] = x[i] * 3 + a


@gc.kernel
def turn(x: gc.Array1[gc.i64], rounds: gc.i32) -> None:
    i = gc.global_id(0)
    value = x[i]
    for _ in range(rounds):
        value = value * 5 + 1
    x[i] = value


N = 500
LONG = 1_000_000
"""Rounds that take the whole grid longer than a caller waits."""


@pytest.fixture
def x(gpucore_context):
    x = gpucore_context.zeros(N, gc.i64)
    add.over(N)(x, 0)
    turn.over(N)(x, 0)
    gpucore_context.synchronize()
    return x


def test_kernels_without_and_with_loops_copies_and_fills_mix(gpucore_context, x):
    y = gpucore_context.zeros(N, gc.i64)
    with gpucore_context.graph() as g:
        for number in range(4):
            add.over(N)(x, number)
        turn.over(N)(x, 10)
        y.copy_from(x)
        y[:10].fill(1)
        add.over(N)(y, 1)
        add.over(N)(y, 2)
    assert g.native
    expected = np.zeros(N, np.int64)
    with np.errstate(over="ignore"):
        for _ in range(3):
            g.launch()
            for number in range(4):
                expected = expected * 3 + number
            for _ in range(10):
                expected = expected * 5 + 1
            copied = expected.copy()
            copied[:10] = 1
            np.testing.assert_array_equal(x.numpy(), expected)
            np.testing.assert_array_equal(y.numpy(), (copied * 3 + 1) * 3 + 2)


def test_launches_wait_in_a_busy_stream_with_the_values_that_they_had(gpucore_context, x):
    long = gpucore_context.zeros(N, gc.i64)
    with gpucore_context.graph() as g:
        a = g.scalar("a", 0)
        add.over(N)(x, a)
        add.over(N)(x, 1)
    expected = np.zeros(N, np.int64)
    turn.over(N)(long, 20_000_000 // N)  # keeps the stream busy while what follows is enqueued
    for number in range(20):
        g.update(a=number)
        g.launch()
        expected = (expected * 3 + number) * 3 + 1
    np.testing.assert_array_equal(x.numpy(), expected)


@gc.kernel
def shift(x: gc.Array1[gc.i64], y: gc.Array1[gc.i64], a: gc.i64) -> None:
    """Through shared memory: each thread takes its neighbour's."""
    row = gc.shared((64,), gc.i64)
    thread, i = gc.thread_id(0), gc.global_id(0)
    row[thread] = x[i] if i < x.shape[0] else 0
    gc.barrier()
    if i < x.shape[0]:
        total = gc.i64(0)
        for k in range(3):
            total += row[(thread + 1) % 64] * (k + 1)
        y[i] = total + a


def shifted(x, a):
    rows = np.zeros(-(-N // 64) * 64, np.int64)
    rows[:N] = x
    return np.roll(rows.reshape(-1, 64), -1, axis=1).reshape(-1)[:N] * 6 + a


def test_kernels_with_loops_and_shared_memory_stay_right_once_their_work_is_known(gpucore_context, x):
    y = gpucore_context.zeros(N, gc.i64)
    with gpucore_context.graph() as g:
        a = g.scalar("a", 0)
        shift[gc.cdiv(N, 64), 64](x, y, a)
        turn.over(N)(y, 5)
        add.over(N)(y, a)
        shift[gc.cdiv(N, 64), 64](y, x, 1)
    expected = np.arange(N)
    x.copy_from(expected)
    other = gpucore_context.stream()
    with np.errstate(over="ignore"):
        for number in range(150):  # often enough to be measured anew in between
            if number % 3 == 0:
                g.update(a=number)
            if number % 40 == 39:
                gpucore_context.synchronize()
                with other:
                    g.launch()
                other.synchronize()
            else:
                g.launch()
            middle = shifted(expected, number // 3 * 3)
            for _ in range(5):
                middle = middle * 5 + 1
            expected = shifted(middle * 3 + number // 3 * 3, 1)
            if number % 10 == 0:
                np.testing.assert_array_equal(x.numpy(), expected)
    np.testing.assert_array_equal(x.numpy(), expected)


def test_a_long_kernel_leaves_those_around_it_their_few_native_calls(gpucore_context, x, monkeypatch):
    long = gpucore_context.zeros(N, gc.i64)
    for _ in range(3):  # which tells how long it takes
        turn.over(N)(long, LONG)
    long.fill(0)
    with gpucore_context.graph() as g:
        a, rounds = g.scalar("a", 1), g.scalar("rounds", LONG)
        for number in range(8):
            add.over(N)(x, number)
        add.over(N)(x, a)
        turn.over(N)(long, rounds)
        add.over(N)(x, a)
        shift[gc.cdiv(N, 64), 64](x, x, 2)
    functions = native()
    calls = []
    for name in ("try_launch", "try_task", "try_graph", "run_graph"):
        monkeypatch.setattr(
            functions, name, lambda *a, name=name, f=getattr(functions, name): (calls.append(name), f(*a))[-1]
        )
    start = np.arange(N)
    with np.errstate(over="ignore"):
        for number in range(140):  # often enough to be measured anew in between
            x.copy_from(start)
            if number % 7 == 6:
                g.update(a=number, rounds=LONG + number)
            calls.clear()
            g.launch()
            gpucore_context.synchronize()
            if 20 < number < 60:
                assert calls in (["try_graph", "try_graph"], ["try_graph", "run_graph"])
            expected = start
            for k in range(8):
                expected = expected * 3 + k
            last = 1 if number < 6 else (number + 1) // 7 * 7 - 1
            expected = (expected * 3 + last) * 3 + last
            np.testing.assert_array_equal(x.numpy(), shifted(expected, 2))
    # the long one had its arguments, too
    total = sum(LONG if n < 6 else LONG + (n + 1) // 7 * 7 - 1 for n in range(140))
    power, step = 1, 0
    for bit in bin(total)[2:]:
        power, step = power * power % 2**64, (power * step + step) % 2**64
        if bit == "1":
            power, step = power * 5 % 2**64, (step * 5 + 1) % 2**64
    assert int(long.numpy()[3]) % 2**64 == step
