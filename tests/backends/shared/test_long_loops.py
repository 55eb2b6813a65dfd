"""Loops of 100,000 iterations are right; on a device that ends them early they are an error that says where."""

from pathlib import Path

import numpy as np
import pytest

import gpucore as gc

MANY = 100_000


@gc.kernel
def total(x: gc.Array[gc.i64], n: gc.i32):
    s = gc.i64(0)
    for k in range(n):  # line of total
        s += k
    x[gc.global_id(0)] = s


@gc.kernel
def constant(x: gc.Array[gc.i64], n: gc.i32):
    s = gc.i64(0)
    for k in range(100_000):  # line of constant
        s += (k ^ n) & 1
    x[gc.global_id(0)] = s


@gc.kernel
def backwards(x: gc.Array[gc.i64], n: gc.i32):
    s = gc.i64(0)
    for k in range(3 * n, 0, -3):  # line of backwards
        s += k
    x[gc.global_id(0)] = s


@gc.kernel
def until(x: gc.Array[gc.i64], n: gc.i32):
    state, steps = gc.u32(1), gc.i64(0)
    while steps < n:  # line of until
        state = state * gc.u32(1664525) + gc.u32(1013904223)
        steps += 1 + gc.i64(state) * 0
    x[gc.global_id(0)] = steps


@gc.kernel
def leaving(x: gc.Array[gc.i64], n: gc.i32):
    s = gc.i64(0)
    k = 0
    while True:  # line of leaving
        k += 1
        if k > n:
            break
        if k % 3 == 0:
            continue
        s += k
    x[gc.global_id(0)] = s


@gc.kernel
def nested(x: gc.Array[gc.i64], n: gc.i32):
    s = gc.i64(0)
    for i in range(n // 250):  # line of nested
        for j in range(250):  # line of nested
            s += i ^ j
    x[gc.global_id(0)] = s


@gc.kernel
def one_after_another(x: gc.Array[gc.i64], n: gc.i32):
    s = gc.i64(0)
    for k in range(n // 2):
        s += k
    for k in range(n // 2):  # line of one_after_another
        s += 3 * k
    x[gc.global_id(0)] = s


@gc.func
def summed(n: gc.i32) -> gc.i64:
    s = gc.i64(0)
    for k in range(n):  # line of in_function
        s += k
        if k == 1_000_000:
            return gc.i64(-1)
    return s


@gc.kernel
def in_function(x: gc.Array[gc.i64], n: gc.i32):
    x[gc.global_id(0)] = summed(n)


@gc.kernel
def at_barriers(x: gc.Array[gc.i64], n: gc.i32):
    tile = gc.shared(8, gc.i64)
    t = gc.thread_id(0)
    tile[t] = 0
    gc.barrier()
    for k in range(n):  # line of at_barriers
        tile[t] += k
        gc.barrier()
    x[gc.global_id(0)] = tile[t]


@gc.kernel
def returning(x: gc.Array[gc.i64], n: gc.i32):
    c = 0
    while True:  # line of returning
        c += 1
        if c > n:
            x[gc.global_id(0)] = gc.i64(n)
            return


@gc.func
def counted(n: gc.i32) -> gc.i64:
    c = gc.i64(0)
    while c >= 0:  # line of in_a_function_that_returns
        c += 1
        if c > n:
            return c - 1
    return gc.i64(-1)


@gc.kernel
def in_a_function_that_returns(x: gc.Array[gc.i64], n: gc.i32):
    x[gc.global_id(0)] = counted(n)


@gc.kernel
def always(x: gc.Array[gc.i64], n: gc.i32):
    c = gc.u32(0)
    i = gc.global_id(0)
    while c >= gc.u32(0):  # line of always
        x[i] = gc.i64(c)
        if c >= gc.u32(n):
            return
        for k in range(1):
            c += gc.u32(1 + k)


TRIANGLE = MANY * (MANY - 1) // 2
CASES = [
    (total, TRIANGLE),
    (constant, MANY // 2),
    (backwards, 3 * MANY * (MANY + 1) // 2),
    (until, MANY),
    (leaving, sum(k for k in range(1, MANY + 1) if k % 3)),
    (nested, int((np.arange(400)[:, None] ^ np.arange(250)).sum())),
    (one_after_another, 4 * (MANY // 2) * (MANY // 2 - 1) // 2),
    (in_function, TRIANGLE),
    (at_barriers, TRIANGLE),
    (returning, MANY),
    (in_a_function_that_returns, MANY),
    (always, MANY),
]


def lines_of(name):
    lines = Path(__file__).read_text("utf-8").splitlines()
    return [number for number, line in enumerate(lines, 1) if line.endswith(f"# line of {name}")]


@pytest.fixture
def right_or_told(gpucore_context):
    """What blocks gives the wanted array, or, where the device ends loops, the error that says so."""
    limit = gpucore_context.device.capabilities.loop_limit

    def check(blocking, wanted, kernel, iterations=MANY):
        if limit is None or iterations < limit // 2:
            np.testing.assert_array_equal(blocking(), wanted)
            return
        with pytest.raises(gc.KernelRuntimeError) as caught:
            blocking()
        error, name = caught.value, kernel.__name__
        assert error.kernel == name
        assert error.filename is not None
        assert Path(error.filename).name == Path(__file__).name
        assert error.lineno in lines_of(name)
        assert f"line {error.lineno}" in str(error)
        assert f"{limit:,} iterations per thread" in str(error)
        assert "more threads or launches" in str(error)

    return check


@pytest.mark.parametrize(("kernel", "wanted"), CASES, ids=[k.__name__ for k, _ in CASES])
def test_a_long_loop_is_right_or_an_error(gpucore_context, right_or_told, kernel, wanted):
    x = gpucore_context.zeros(8, gc.i64)
    kernel[1, 8](x, MANY)
    right_or_told(x.numpy, np.full(8, wanted), kernel)


@pytest.mark.parametrize("count", [0, 1, 2, 1000, 20_000])
@pytest.mark.parametrize("kernel", [k for k, _ in CASES if k is not constant], ids=lambda k: k.__name__)
def test_loops_that_are_not_too_long_raise_nothing(gpucore_context, kernel, count):
    wanted = np.zeros(8, np.int64)
    kernel.interpret(1, 8, wanted, count) if count < 100 else None
    x = gpucore_context.zeros(8, gc.i64)
    kernel[1, 8](x, count)
    found = x.numpy()
    if count < 100:
        np.testing.assert_array_equal(found, wanted)
    assert len(set(found)) == 1


@gc.kernel
def while_flagged(x: gc.Array[gc.i64], n: gc.i32):
    s, k = gc.i64(0), 0
    going = n > 0
    while going and s >= 0:  # line of while_flagged
        s += k
        k += 1
        going = k < n
    x[gc.global_id(0)] = s


@gc.kernel
def while_float(x: gc.Array[gc.i64], n: gc.i32):
    s, k = gc.i64(0), gc.f32(0)
    while k < gc.f32(n):  # line of while_float
        s += gc.i64(k)
        k += gc.f32(1)
    x[gc.global_id(0)] = s


@gc.kernel
def while_memory(x: gc.Array[gc.i64], n: gc.i32):
    i = gc.global_id(0)
    t = gc.local(2, gc.i32)
    x[i] = 0
    while t[1] < n and x[i] >= 0:  # line of while_memory
        x[i] += t[1]
        t[1] += 1


@pytest.mark.parametrize("math", ["strict", "fast"])
@pytest.mark.parametrize(
    "kernel", [total, backwards, until, in_function, while_flagged, while_float, while_memory]
)
def test_as_many_iterations_as_the_device_allows_are_right_and_one_more_is_an_error(
    gpucore_context, right_or_told, kernel, math
):
    limit = gpucore_context.device.capabilities.loop_limit
    if limit is None or limit > 200_000:
        pytest.skip("the device lets loops run to their end")

    def wanted(n):
        return {backwards: 3 * n * (n + 1) // 2, until: n}.get(kernel, n * (n - 1) // 2)

    x = gpucore_context.options(math=math).zeros(8, gc.i64)
    for n in (5, limit - 1, limit):
        kernel[1, 8](x, n)
        np.testing.assert_array_equal(x.numpy(), wanted(n))
    kernel[1, 8](x, limit + 1)
    right_or_told(x.numpy, wanted(limit + 1), kernel)


def test_the_context_works_on_after_a_loop_was_ended(gpucore_context, right_or_told):
    x = gpucore_context.zeros(1, gc.i64)
    for _ in range(2):
        total[1, 1](x, MANY)
        right_or_told(x.numpy, [TRIANGLE], total)
        total[1, 1](x, 100)
        assert x.numpy()[0] == 4950


@pytest.mark.parametrize("wait", ["stream", "context", "event"])
def test_whatever_waits_raises_it_once(gpucore_context, right_or_told, wait):
    x = gpucore_context.zeros(1, gc.i64)
    stream = gpucore_context.stream()
    total[1, 1, stream](x, MANY)
    event = stream.record()
    waiting = {
        "stream": stream.synchronize,
        "context": gpucore_context.synchronize,
        "event": event.synchronize,
    }[wait]

    def blocking():
        waiting()
        return x.numpy()

    right_or_told(blocking, [TRIANGLE], total)
    stream.synchronize()


def test_a_range_launch_and_a_bound_launch_raise_it_too(gpucore_context, right_or_told):
    x = gpucore_context.zeros(5, gc.i64)
    total.over(5)(x, MANY)
    right_or_told(x.numpy, [TRIANGLE] * 5, total)
    for bound in (total[5, 1].bind(x, MANY), total.over(5).bind(x, MANY)):
        for _ in range(2):
            bound()
            right_or_told(x.numpy, [TRIANGLE] * 5, total)


def test_a_checked_kernel_raises_it_too(gpucore_context, right_or_told):
    x = gpucore_context.options(check=True).zeros(1, gc.i64)
    total[1, 1](x, MANY)
    right_or_told(x.numpy, [TRIANGLE], total)


@gc.kernel
def in_turns(x: gc.Array[gc.i64], n: gc.i32):
    i = gc.global_id(0)
    s = gc.i64(0)
    for k in range(n if i % 2 == 0 else 1):
        s += k
    for k in range(n if i % 2 == 1 else 1):
        s += k
    x[i] = s


@gc.kernel
def early(x: gc.Array[gc.i64], n: gc.i32):
    i = gc.global_id(0)
    for k in range(n):
        if k == i:
            x[i] = k
            return
        for j in range(k):
            if j > i:
                return
    x[i] = -1


@gc.kernel
def greatest(x: gc.Array[gc.f32], n: gc.i32):
    i = gc.global_id(0)
    for k in range(n):
        gc.atomic_max(x, 0, gc.f32(k + i))
        gc.atomic_add(x, 1, gc.f32(1))


@gc.kernel
def with_memory(x: gc.Array[gc.i64], n: gc.i32):
    i = gc.global_id(0)
    s = gc.i64(0)
    for k in range(n):
        line = gc.local(100, gc.i32)
        s += line[k % 100]
        line[(k + i) % 100] = 1
    x[i] = s


@pytest.mark.parametrize("count", [100, 30_000, 40_000, 60_000, 65_000])
def test_threads_that_take_turns_are_right_or_an_error(gpucore_context, count):
    """Devices that run threads together may count the iterations of all of them."""
    x = gpucore_context.zeros(16, gc.i64)
    in_turns[1, 16](x, count)
    try:
        found = x.numpy()
    except gc.KernelRuntimeError:
        assert gpucore_context.device.capabilities.loop_limit is not None
        assert count > 100
    else:
        np.testing.assert_array_equal(found, count * (count - 1) // 2)


def test_leaving_loops_early_is_no_end_before_their_time(gpucore_context):
    x = gpucore_context.array(np.full(16, -5))
    early[1, 16](x, 5)
    np.testing.assert_array_equal(x.numpy(), [0, 1, 2, 3, 4] + [-1] * 11)


def test_loops_of_atomics_and_of_fresh_memory_raise_nothing(gpucore_context):
    x = gpucore_context.zeros(2, gc.f32)
    greatest[1, 8](x, 500)
    np.testing.assert_array_equal(x.numpy(), [506, 4000])
    y = gpucore_context.zeros(8, gc.i64)
    with_memory[1, 8](y, 2000)
    assert not y.numpy().any()
