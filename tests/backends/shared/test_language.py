"""Statements, functions, private and shared arrays: the device does what the interpreter does."""

import numpy as np

import gpucore as gc

TABLE = (3, -1, 4, -1, 5, -9, 2, 6)


@gc.func
def collatz(n: gc.i32, limit: gc.i32):
    steps = 0
    while n != 1:
        if steps >= limit:
            return -1
        if n % 2 == 0:
            n = n // 2
        else:
            n = 3 * n + 1
        steps += 1
    return steps


@gc.func
def both(a: gc.f32, b: gc.f32):
    return a + b, a - b


@gc.kernel
def control(x: gc.Array[gc.i32], out: gc.Array[gc.i32]):
    i = gc.global_id(0)
    if i >= x.shape[0]:
        return
    total = 0
    for k in range(20):
        if k == x[i] % 5:
            continue
        if k > x[i]:
            break
        for j in range(k, 0, -2):
            if j == 3:
                break
            total += j * k
    n = x[i]
    while n > 0 and total < 100_000:
        total += n if (n & 1) != 0 else -n
        n >>= 1
    out[i] = total


@gc.kernel
def functions(x: gc.Array[gc.i32], y: gc.Array[gc.f32], out: gc.Array[gc.i32], z: gc.Array[gc.f32]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        out[i] = collatz(x[i] + 1, 60)
        s, d = both(y[i], 0.25)
        z[i] = s * d


@gc.kernel
def conditions(x: gc.Array[gc.i32], out: gc.Array[bool]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        v = x[i]
        out[i] = (0 <= v < 10 and not (v == 5)) or (v > 20 and x[i - v % 2 * 0] % 3 == 0)


@gc.kernel
def local_arrays(x: gc.Array[gc.i32], out: gc.Array[gc.i32]):
    i = gc.global_id(0)
    line = gc.local(9, gc.i32)
    square = gc.local((3, 4), gc.f32)
    cube = gc.local((2, 3, 2), gc.i64)
    if i < x.shape[0]:
        for k in range(9):
            line[(k * 2) % 9] += x[i] + k
        for a in range(3):
            for b in gc.static_range(4):
                square[a, b] = gc.f32(line[a * 3]) * 0.5 + b
        for a in range(2):
            for b in range(3):
                cube[a, b, (a + b) % 2] = gc.i64(line[a + b]) * 3
        total = gc.i64(0)
        for a in range(2):
            for b in range(3):
                for c in range(2):
                    total = total * 7 + cube[a, b, c]
        out[i] = gc.cast(square[2, 3] + square[x[i] % 3, 1], gc.i32) + gc.cast(total, gc.i32)


@gc.func
def tallied(x: gc.i32):
    tally = gc.local(33, gc.i64)
    for k in range(5):
        tally[(x + k * 3) % 33] += k + 1
    return tally[x % 33] + tally[(x + 3) % 33] * 10 + tally[(x + 1) % 33] * 100


@gc.kernel
def long_local_arrays(x: gc.Array[gc.i32], out: gc.Array[gc.i64]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        total = gc.i64(0)
        for turn in range(3):
            # zero again in each turn
            line = gc.local(100, gc.f32)
            seen = gc.local(300, gc.bool_)
            line[(x[i] + turn) % 100] += 1.5
            seen[(x[i] * 3 + turn) % 300] = True
            count = gc.i32(0)
            for k in range(300):
                if seen[k]:
                    count += 1
            total = total * 16 + gc.i64(line[x[i] % 100] * 2.0) + count + tallied(x[i] + turn)
        out[i] = total


@gc.kernel
def shared_arrays(x: gc.Array[gc.f32, 2], out: gc.Array[gc.f32, 2]):
    plane = gc.shared((8, 9), gc.f32)
    box = gc.shared((2, 4, 8), gc.i32)
    a, b = gc.thread_id(0), gc.thread_id(1)
    y, k = gc.global_ids(2)
    plane[a, b] = x[y, k]
    box[a // 4, a % 4, b] = gc.i32(a * 8 + b)
    gc.barrier()
    other = box[b // 4, b % 4, a]
    out[y, k] = plane[b, a] + gc.f32(other)


@gc.kernel
def prefix(x: gc.Array[gc.i32], out: gc.Array[gc.i32]):
    tile = gc.shared(128, gc.i32)
    t = gc.thread_id(0)
    i = gc.global_id(0)
    tile[t] = x[i]
    gc.barrier()
    step = 1
    while step < gc.block_dim(0):
        v = tile[t]
        if t >= step:
            v += tile[t - step]
        gc.barrier()
        tile[t] = v
        gc.barrier()
        step *= 2
    out[i] = tile[t]


@gc.kernel
def table(x: gc.Array[gc.i32], out: gc.Array[gc.i32]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        total = 0
        for k in gc.static_range(8):
            total += TABLE[k] * (x[i] + k)
        out[i] = total


@gc.kernel
def indices(out: gc.Array[gc.i64], wide: gc.Array[gc.i64], factor: gc.i64):
    i = gc.global_id(0)
    if i < out.shape[0]:
        big = i * 3_000_000_019 - factor
        out[i] = big // 7 + big % 11
        wide[(i * 5 + 3) % wide.shape[0]] = i - out.shape[0]


@gc.kernel
def scaled(x: gc.Array[gc.f32], out: gc.Array[gc.f32], times: gc.constexpr):
    i = gc.global_id(0)
    if i < x.shape[0]:
        v = x[i]
        for k in gc.static_range(times):
            v = v * 1.5 + k
        out[i] = v


def test_loops_break_and_continue(same):
    x = np.arange(-10, 90, dtype=np.int32)
    same(control, 4, 32, x, np.zeros_like(x))


def test_functions_return_early_and_several_values(same):
    x = np.arange(100, dtype=np.int32)
    y = np.linspace(-2, 2, 100, dtype=np.float32)
    out, z = np.zeros_like(x), np.zeros_like(y)
    same(functions, 3, 40, x, y, out, z)


def test_conditions_are_chained_and_short(same):
    x = np.arange(-30, 60, dtype=np.int32)
    same(conditions, 3, 32, x, np.zeros(x.size, bool))


def test_local_arrays_of_one_to_three_axes(same):
    x = np.arange(70, dtype=np.int32)
    same(local_arrays, 2, 48, x, np.zeros_like(x))


def test_long_local_arrays_are_zero_each_time_they_are_made(same):
    x = np.arange(80, dtype=np.int32) * 7 % 90
    same(long_local_arrays, 2, 48, x, np.zeros(80, np.int64))


def test_shared_arrays_of_two_and_three_axes(same):
    x = np.random.default_rng(3).standard_normal((16, 24)).astype(np.float32)
    same(shared_arrays, (2, 3), (8, 8), x, np.zeros_like(x))


def test_barriers_in_a_loop(same):
    for block in (1, 7, 33, 100, 128):
        x = np.random.default_rng(block).integers(-9, 9, block * 3).astype(np.int32)
        *_, out = same(prefix, 3, block, x, np.zeros_like(x))
        np.testing.assert_array_equal(out.reshape(3, block), np.cumsum(x.reshape(3, block), 1))


@gc.kernel
def rolling(x: gc.Array[gc.f32], y: gc.Array[gc.f32], n: gc.i32):
    tile = gc.shared(16, gc.f32)
    counts = gc.shared(2, gc.i32)
    t = gc.thread_id(0)
    s = gc.f32(0)
    for k in range(n):
        tile[t] = x[k * 16 + t]
        counts[0] = 0
        gc.barrier()
        # the same elements for all threads, other ones in each turn
        s += tile[0] + 2.0 * tile[k % 16]
        gc.atomic_add(counts, 0, k)
        gc.barrier()
        s += gc.f32(counts[0])
        if counts[0] > 32:
            s += tile[3]
        gc.barrier()
    y[t] = s


@gc.kernel
def relayed(x: gc.Array[gc.i32], y: gc.Array[gc.i32]):
    word = gc.shared(1, gc.i32)
    t = gc.thread_id(0)
    s = 0
    k = 0
    while k < gc.block_dim(0):
        if t == k:
            word[0] = x[t]
        gc.barrier()
        s = s * 3 + word[0]
        gc.barrier()
        k += 1
    y[t] = s


def test_what_others_wrote_to_shared_memory_is_read_anew_after_each_barrier(same):
    x = np.arange(16 * 8, dtype=np.float32) * 0.25
    _, found = same(rolling, 1, 16, x, np.zeros(16, np.float32), 8)
    tiles = x.reshape(8, 16)
    wanted = sum(tiles[k, 0] + 2 * tiles[k, k] + 16 * k + (tiles[k, 3] if k > 2 else 0) for k in range(8))
    np.testing.assert_array_equal(found, np.full(16, wanted, np.float32))
    for block in (1, 5, 16, 40):
        x = np.arange(block, dtype=np.int32) + 1
        _, found = same(relayed, 1, block, x, np.zeros_like(x))
        s = 0
        for value in x:
            s = (s * 3 + int(value) + 2**31) % 2**32 - 2**31
        np.testing.assert_array_equal(found, np.full(block, s))


def test_constant_tables(same):
    x = np.arange(50, dtype=np.int32)
    same(table, 1, 64, x, np.zeros_like(x))


def test_index_arithmetic_is_of_64_bits(same):
    n = 200
    out, _ = same(indices, 7, 32, np.zeros(n, np.int64), np.zeros(n + 1, np.int64), 12345678901)
    big = np.arange(n, dtype=np.int64) * 3_000_000_019 - 12345678901
    np.testing.assert_array_equal(out, big // 7 + big % 11)


def test_constexpr_unrolls(same):
    x = np.linspace(-1, 1, 40, dtype=np.float32)
    for times in (0, 1, 5):
        same(scaled, 2, 32, x, np.zeros_like(x), times)


def test_a_captured_constant_that_changes_respecialises(gpucore_context):
    factor = 2

    @gc.kernel
    def times(x: gc.Array[gc.i32]):
        i = gc.global_id(0)
        if i < x.shape[0]:
            x[i] = x[i] * factor

    x = gpucore_context.ones(5, gc.i32)
    times[1, 8](x)
    bound = times[1, 8].bind(x)
    factor = 5
    times[1, 8](x)
    assert list(x.numpy()) == [10] * 5
    bound()  # froze the constant of its time
    assert list(x.numpy()) == [20] * 5


@gc.kernel
def hashed(x: gc.Array[gc.i32, 2], big: gc.i32):
    i = gc.global_id(0)
    # wraps, to 0 .. 15 again
    row = big * 2 + i + 2
    for k in range(2):
        column = (row + big) + (k - big)
        if column >= 0 and column < x.shape[1]:
            x[row, column] = row * 100 + column


def test_an_index_that_wrapped_on_its_way_is_the_number_that_it_wrapped_to(gpucore_context):
    wanted = np.zeros((16, 20), np.int32)
    for i in range(16):
        wanted[i, i], wanted[i, i + 1] = 101 * i, 101 * i + 1
    x = gpucore_context.zeros((16, 20), gc.i32)
    hashed[1, 16](x, 2**31 - 1)
    np.testing.assert_array_equal(x.numpy(), wanted)


@gc.kernel
def handed_on(x: gc.Array[gc.i32], y: gc.Array[gc.i32]):
    t = gc.thread_id(0)
    n = gc.block_dim(0)
    x[t] = t
    gc.barrier()
    x[(t + 1) % n] = 100 + t
    gc.barrier()
    y[t] = x[t]
    gc.barrier()
    if t == 0:
        x[n - 1] = -7
    gc.barrier()
    y[t] = y[t] * 1000 + x[n - 1]


def test_what_others_wrote_to_an_array_is_read_after_a_barrier(same):
    for block in (2, 32, 70, 256):
        _, y = same(handed_on, 1, block, np.zeros(block, np.int32), np.zeros(block, np.int32))
        t = np.arange(block)
        np.testing.assert_array_equal(y, (100 + (t - 1) % block) * 1000 - 7)
