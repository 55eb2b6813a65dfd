"""Checks made before a loop, at both ends of its range: the same results and errors as checks of each access."""

import numpy as np
import pytest

import gpucore as gc

SIZE = 40
THREADS = 1500
WRAP = 1 << 64
STARTS = (0, 0, 1, -3, 2**31 - 3, 2**31, 2**32 - 2, 2**62, 2**63 - 40, 4 - 2**63)
FAR = (2**32, 2**63, -(2**31))


@gc.kernel
def shifted(
    lo: gc.Array1[gc.i64],
    hi: gc.Array1[gc.i64],
    by: gc.Array1[gc.i64],
    w: gc.i32,
    x: gc.Array1[gc.i32],
    out: gc.Array1[gc.i64],
) -> None:
    i = gc.global_id(0)
    r = by[i]
    for k in range(lo[i], hi[i]):
        out[i] += x[k + r]


@gc.kernel
def scaled_down(
    lo: gc.Array1[gc.i64],
    hi: gc.Array1[gc.i64],
    by: gc.Array1[gc.i64],
    w: gc.i32,
    x: gc.Array1[gc.i32],
    out: gc.Array1[gc.i64],
) -> None:
    i = gc.global_id(0)
    r = by[i]
    for k in range(hi[i], lo[i], -2):
        out[i] += x[3 * k - (r - 1)]


@gc.kernel
def by_argument(
    lo: gc.Array1[gc.i64],
    hi: gc.Array1[gc.i64],
    by: gc.Array1[gc.i64],
    w: gc.i32,
    x: gc.Array1[gc.i32],
    out: gc.Array1[gc.i64],
) -> None:
    i = gc.global_id(0)
    r = by[i]
    for k in range(lo[i], hi[i], 3):
        if k % 2 == 0:
            out[i] += x[k * gc.i64(w) + r]
        else:
            out[i] += x[(k + 1) % SIZE] + 1000


@gc.kernel
def eights(
    lo: gc.Array1[gc.i64],
    hi: gc.Array1[gc.i64],
    by: gc.Array1[gc.i64],
    w: gc.i32,
    x: gc.Array1[gc.i32],
    out: gc.Array1[gc.i64],
) -> None:
    i = gc.global_id(0)
    r = by[i]
    for k in range(lo[i], hi[i]):
        out[i] += x[8 * k + r]


@gc.kernel
def counted_up(
    lo: gc.Array1[gc.i64],
    hi: gc.Array1[gc.i64],
    by: gc.Array1[gc.i64],
    w: gc.i32,
    x: gc.Array1[gc.i32],
    out: gc.Array1[gc.i64],
) -> None:
    i = gc.global_id(0)
    r = by[i]
    end = hi[i]
    k = lo[i]
    while k < end:
        out[i] += x[k + r]
        k += 1


def wrapped(number):
    number %= WRAP
    return number - WRAP if number >= WRAP // 2 else number


def remainder(number):
    return number % SIZE


CASES = {
    "shifted": (shifted, lambda lo, hi: (lo, hi, 1), lambda k, r, w: (wrapped(k + r), 0)),
    "counted_up": (counted_up, lambda lo, hi: (lo, hi, 1), lambda k, r, w: (wrapped(k + r), 0)),
    "scaled_down": (scaled_down, lambda lo, hi: (hi, lo, -2), lambda k, r, w: (wrapped(3 * k - wrapped(r - 1)), 0)),
    "by_argument": (
        by_argument,
        lambda lo, hi: (lo, hi, 3),
        lambda k, r, w: (wrapped(wrapped(k * w) + r), 0) if k % 2 == 0 else (remainder(wrapped(k + 1)), 1000),
    ),
}  # fmt: skip


def expected(name, lo, hi, r, w, x):
    """The sum of a thread, and the first index that leaves the array."""
    _, bounds, index_of = CASES[name]
    total = 0
    for k in range(*bounds(lo, hi)):
        index, more = index_of(k, r, w)
        if not 0 <= index < SIZE:
            return total + more, index
        total += int(x[index]) + more
    return total, None


def random_cases(rng, name, w):
    """Ranges that stay inside, that leave at either end, and that wrap."""
    lo, hi, by = [], [], []
    for _ in range(THREADS):
        start = STARTS[rng.integers(len(STARTS))] + int(rng.integers(0, 12))
        lo.append(start)
        hi.append(min(start + int(rng.integers(-2, 14)), 2**63 - 4))
        slope = {"shifted": 1, "counted_up": 1, "scaled_down": 3, "by_argument": w}[name]
        sign = -1 if name == "scaled_down" else 1
        r = wrapped(sign * (int(rng.integers(-4, SIZE + 4)) - slope * start))
        by.append(r if rng.random() < 0.8 else wrapped(r + FAR[rng.integers(len(FAR))]))
    return [np.array(v, np.int64) for v in (lo, hi, by)]


@pytest.mark.parametrize(
    "name, w",
    [
        ("shifted", 1),
        ("counted_up", 1),
        ("scaled_down", 1),
        *(("by_argument", w) for w in (1, -1, 7, 2**31 - 1, -(2**31))),
    ],
)
def test_checks_at_both_ends_find_what_checks_of_each_access_find(gpucore_context, name, w):
    ctx = gpucore_context.options(check="auto")
    rng = np.random.default_rng(abs(w) + len(name))
    lo, hi, by = random_cases(rng, name, w)
    around = ctx.array(
        rng.integers(1, 1000, SIZE + 256).astype(np.int32)
    )  # what lies beside the array is not 0
    x = around[128 : 128 + SIZE].numpy()
    out = ctx.zeros(THREADS, gc.i64)
    kernel = CASES[name][0]
    args = (ctx.array(lo), ctx.array(hi), ctx.array(by), w, around[128 : 128 + SIZE], out)
    assert "device" in [c.where for c in kernel.over(THREADS).checks(*args) if c.array == "x"]
    kernel.over(THREADS)(*args)
    found = [expected(name, int(a), int(b), int(r), w, x) for a, b, r in zip(lo, hi, by, strict=True)]
    wrong = {thread: index for thread, (_, index) in enumerate(found) if index is not None}
    assert THREADS // 8 < len(wrong) < THREADS - THREADS // 8
    with pytest.raises(gc.KernelBoundsError) as caught:
        ctx.synchronize()
    (thread,) = caught.value.thread
    assert caught.value.index == (wrong[thread],)
    np.testing.assert_array_equal(out.numpy(), [total for total, _ in found])
    assert caught.value.array == "x"


def test_a_range_so_long_that_the_index_comes_round_is_not_taken_for_its_ends(gpucore_context):
    ctx = gpucore_context.options(check="auto")
    x = ctx.array(np.arange(1, SIZE + 1, dtype=np.int32))
    out = ctx.zeros(1, gc.i64)
    lo, hi, by = (ctx.array(np.array([n], np.int64)) for n in (0, 2**61 + 1, 3))  # 8 * 2**61 + 3 is 3 again
    eights.over(1)(lo, hi, by, 1, x, out)
    with pytest.raises(gc.KernelBoundsError, match=f"index {SIZE + 3} "):
        ctx.synchronize()
    assert out.numpy()[0] == 4 + 12 + 20 + 28 + 36


@pytest.mark.parametrize("kernel", [shifted, counted_up])
def test_a_loop_that_stays_inside_has_no_test_of_each_access(kernel):
    """Half of the kernel is the loop as it was written."""
    from gpucore.ir.nodes import For, If, walk
    from gpucore.ir.passes.checks import checks

    module = kernel.ir(*[np.zeros(4, np.int64)] * 3, 1, np.zeros(4, np.int32), np.zeros(4, np.int64))
    body = checks(module, check="all")[0].kernel.body
    loops = [s for s in walk(body) if isinstance(s, For)]
    assert [any(isinstance(s, If) for s in walk(loop.body)) for loop in loops] == [False, True]


@gc.kernel
def where_it_ends(
    first: gc.Array1[gc.i32], x: gc.Array1[gc.i32], out: gc.Array2[gc.i32], leaves: gc.constexpr
) -> None:
    i = gc.global_id(0)
    k = first[i]
    end = first[i + 1]
    total = gc.i32(0)
    while k < end:
        value = x[k]
        if leaves and value == 5:
            break
        if k > 3:
            total += x[k] + value
        k += 1
    out[i, 0] = total
    out[i, 1] = k


@pytest.mark.parametrize("leaves", [False, True])
@pytest.mark.parametrize("wrong", [False, True])
def test_a_loop_that_counts_leaves_the_number_where_it_ended(gpucore_context, wrong, leaves):
    ctx = gpucore_context.options(check="auto")
    first = np.array([0, 3, 3, 9, 4, 11, 2, 40], np.int32)
    if wrong:
        first[3], first[6] = 44, -2
    first[-1] = SIZE + 2 if wrong else SIZE
    x = np.arange(SIZE, dtype=np.int32) % 7
    out = ctx.full((len(first) - 1, 2), 77, gc.i32)
    where_it_ends.over(len(first) - 1)(ctx.array(first), ctx.array(x), out, leaves)
    expected, found = [], {}
    for i in range(len(first) - 1):
        k, end, total = int(first[i]), int(first[i + 1]), 0
        while k < end and i not in found:
            if not 0 <= k < SIZE:
                found[i] = k
            value = int(x[k]) if i not in found else 0
            if leaves and value == 5:
                break
            total += 2 * value if k > 3 else 0
            k += 1
        expected.append([total, k])
    assert bool(found) == wrong
    if wrong:
        with pytest.raises(gc.KernelBoundsError) as caught:
            ctx.synchronize()
        assert caught.value.index == (found[caught.value.thread[0]],)
    assert out.numpy().tolist() == expected


@gc.kernel
def chosen_sums(
    first: gc.Array1[gc.i32],
    column: gc.Array1[gc.i64],
    x: gc.Array1[gc.i32],
    weights: gc.Array2[gc.f32],
    out: gc.Array2[gc.f64],
    leaves: gc.constexpr,
) -> None:
    """A loop that changes variables alone: some set before it on one way, on two ways, or in each iteration only."""
    i = gc.global_id(0)
    if i % 2 == 0:
        total = gc.i64(1000)
    else:
        total = gc.i64(0)
    at = gc.i64(-1)
    product = gc.f32(0)
    for k in range(first[i], first[i + 1]):
        value = x[column[k]]
        at = k
        if value == 99:
            if leaves:
                break
            continue
        total += value
        product += weights[k % 2, column[k]]
    out[i, 0] = total
    out[i, 1] = at
    out[i, 2] = product


def chosen_sums_expected(first, column, x, weights, i, leaves):
    total, at, product = (1000 if i % 2 == 0 else 0), -1, np.float32(0)
    for k in range(first[i], first[i + 1]):
        c = column[k]
        inside = 0 <= c < SIZE
        at = k
        if inside and x[c] == 99:
            if leaves:
                break
            continue
        if not inside:
            return (total, at, product), int(c)
        total += int(x[c])
        product = np.float32(product + weights[k % 2, c])
    return (total, at, product), None


@pytest.mark.parametrize("leaves", [False, True])
@pytest.mark.parametrize("wrong", [(), (3,), (0, 17, 39), tuple(range(40))])
def test_loops_that_only_sum_up_find_the_same_when_an_index_is_wrong(gpucore_context, wrong, leaves):
    ctx = gpucore_context.options(check="auto")
    rng = np.random.default_rng(len(wrong))
    first = np.concatenate([[0], np.cumsum(rng.integers(0, 9, 40))]).astype(np.int32)
    column = rng.integers(0, SIZE, first[-1])
    for i in wrong:
        if first[i] < first[i + 1]:
            column[rng.integers(first[i], first[i + 1])] = (SIZE, -1, 2**31, 2**32 + 1, -(2**63))[i % 5]
    x = rng.integers(-50, 50, SIZE).astype(np.int32)
    x[5] = 99
    weights = rng.random((2, SIZE), dtype=np.float32)
    arrays = [ctx.array(a) for a in (first, column, x, weights)]
    found = [chosen_sums_expected(first, column, x, weights, i, leaves) for i in range(40)]
    out = ctx.zeros((40, 3), gc.f64)
    chosen_sums.over(40)(*arrays, out, leaves)
    leaving = {index for _, index in found if index is not None}
    if leaving:
        with pytest.raises(gc.KernelBoundsError) as error:
            ctx.synchronize()
        assert error.value.array == "x"
        assert error.value.index[0] in leaving
        assert found[error.value.thread[0]][1] == error.value.index[0]
    else:
        assert not wrong
    np.testing.assert_array_equal(out.numpy(), [list(sums) for sums, _ in found])


def test_loops_that_sum_up_elements_of_an_array_without_any(gpucore_context):
    ctx = gpucore_context.options(check="auto")
    weights, out = ctx.zeros((2, 0), gc.f32), ctx.zeros((1, 3), gc.f64)
    column = ctx.array(np.array([0, 0]))
    for end in (0, 2):
        chosen_sums.over(1)(
            ctx.array(np.array([0, end], np.int32)), column, ctx.zeros(0, gc.i32), weights, out, False
        )
        if end:
            with pytest.raises(gc.KernelBoundsError, match=r"index 0 .* shape \(0,\)"):
                ctx.synchronize()
        np.testing.assert_array_equal(out.numpy(), [[1000, -1 if not end else 0, 0]])


@gc.kernel
def chain(
    following: gc.Array1[gc.i32], weights: gc.Array1[gc.i32], which: gc.Array1[gc.i32], out: gc.Array1[gc.i32]
) -> None:
    """A walk that only what it loads can end, beside an access whose index stays."""
    i = gc.global_id(0)
    at = i
    w = which[i]
    total = gc.i32(0)
    for _ in range(2**31 - 1):
        if at < 0:
            break
        total += weights[w]
        at = following[at]
    out[i] = total


def test_a_walk_that_leaves_its_array_ends_at_once(gpucore_context):
    ctx = gpucore_context.options(check="auto")
    following = ctx.array(np.array([1, 2, 3, 99], np.int32))
    which, out = ctx.array(np.ones(4, np.int32)), ctx.zeros(4, gc.i32)
    chain.over(4)(following, ctx.array(np.array([5, 7], np.int32)), which, out)
    with pytest.raises(gc.KernelBoundsError, match=r"index 99 .* 'following'|'following'.* index 99"):
        ctx.synchronize()
    np.testing.assert_array_equal(out.numpy(), [35, 28, 21, 14])


@gc.kernel
def one_sum(
    ends: gc.Array1[gc.i32], column: gc.Array1[gc.i32], x: gc.Array1[gc.i32], out: gc.Array1[gc.i32]
) -> None:
    i = gc.global_id(0)
    total = gc.i32(0)
    for k in range(ends[i], ends[i + 1]):
        total += x[column[k]]
    out[i] = total


def test_a_wrong_index_at_the_end_of_a_long_loop_is_found_where_a_driver_ends_loops(gpucore_context):
    """llvmpipe ends a thread's loops after 65,535 iterations, so it has no second run."""
    ctx = gpucore_context.options(check="auto")
    column = np.zeros(40000, np.int32)
    column[-1] = 9
    out = ctx.zeros(1, gc.i32)
    one_sum.over(1)(
        ctx.array(np.array([0, 40000], np.int32)), ctx.array(column), ctx.array(np.array([3], np.int32)), out
    )
    with pytest.raises(gc.KernelBoundsError, match="index 9 "):
        ctx.synchronize()
    assert out.numpy()[0] == 3 * 39999


@gc.kernel
def links(
    following: gc.Array1[gc.i64], first: gc.Array1[gc.i64], steps: gc.i32, out: gc.Array1[gc.i64]
) -> None:
    """A walk of which nothing but the number of steps says how long it is."""
    i = gc.global_id(0)
    at = first[i]
    done = gc.i64(0)
    for _ in range(steps):
        at = following[at]
        done += 1
    out[2 * i] = at
    out[2 * i + 1] = done


@pytest.mark.parametrize("steps", [1, 16, 2**16, 2**16 + 1])
def test_walks_of_any_length_end_where_they_leave_their_array(gpucore_context, steps):
    ctx = gpucore_context.options(check="auto")
    limit = ctx.device.capabilities.loop_limit
    if limit is not None and steps >= limit:
        pytest.skip(f"the driver ends loops after {limit} iterations")
    far = (SIZE, -1, 2**32, -(2**63))
    following = np.arange(1, SIZE + 1)
    following[SIZE // 2 - 1] = 0  # the first half goes round
    following[-1] = -7
    first = np.concatenate([far, np.arange(SIZE)])
    out = ctx.zeros(2 * len(first), gc.i64)
    links.over(len(first))(ctx.array(following), ctx.array(first), steps, out)
    with pytest.raises(gc.KernelBoundsError) as error:
        ctx.synchronize()
    expected = []
    for start in first:
        if not 0 <= start < SIZE:
            expected += [0, 1]
        elif start < SIZE // 2:
            expected += [(start + steps) % (SIZE // 2), steps]
        elif start + steps < SIZE:
            expected += [start + steps, steps]
        else:
            left = SIZE - start  # steps up to -7; the next one leaves the array
            expected += [-7, left] if steps == left else [0, left + 1]
    (thread,) = error.value.thread
    assert error.value.index == ((-7,) if thread >= len(far) else (far[thread],))
    np.testing.assert_array_equal(out.numpy(), expected)
