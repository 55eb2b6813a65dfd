"""gpucore's side of the benchmarks: the kernels."""

import gpucore as gc

G = 0.01


@gc.kernel
def copy(x: gc.Array[gc.f32], y: gc.Array[gc.f32]):
    i = gc.global_id(0)
    y[i] = x[i]


@gc.kernel
def saxpy(x: gc.Array[gc.f32], y: gc.Array[gc.f32], a: gc.f32):
    i = gc.global_id(0)
    y[i] = a * x[i] + y[i]


@gc.kernel
def triad(b: gc.Array[gc.f32], c: gc.Array[gc.f32], a: gc.Array[gc.f32], s: gc.f32):
    i = gc.global_id(0)
    a[i] = b[i] + s * c[i]


@gc.kernel
def reduce_blocks(x: gc.Array[gc.f32], partial: gc.Array[gc.f32], each: gc.i32):
    """The sum of each block's elements, in an order that depends on the grid alone: a row of 16 threads reads ``each`` tiles of
    128 elements in sequence, a thread with eight sums under way; then 16 threads add the rows, and one of them the columns.
    """
    rows = gc.shared((16, 16), gc.f32)
    row = gc.thread_id(0)
    lane = gc.thread_id(1)
    first = (gc.block_id(1) * 16 + row) * each
    whole = min(each, max(x.shape[0] // 128 - first, 0))
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = gc.f32(0)
    for tile in range(first, first + whole):
        i = tile * 128 + lane
        s0 += x[i]
        s1 += x[i + 16]
        s2 += x[i + 32]
        s3 += x[i + 48]
        s4 += x[i + 64]
        s5 += x[i + 80]
        s6 += x[i + 96]
        s7 += x[i + 112]
    if whole < each:
        for k in range(8):
            i = ((first + whole) * 8 + k) * 16 + lane
            if i < x.shape[0]:
                s0 += x[i]
    total = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
    rows[row, lane] = total
    gc.barrier()
    if row == 0:
        for k in range(1, 16):
            total += rows[k, lane]
        rows[0, lane] = total
    gc.barrier()
    if row == 0 and lane == 0:
        for k in range(1, 16):
            total += rows[0, k]
        partial[gc.block_id(1)] = total


@gc.kernel
def histogram(x: gc.Array[gc.u8], bins: gc.Array[gc.u32], each: gc.i32):
    """Each block counts in shared memory, its lanes in 16 copies so that few meet in a bin or a bank, and adds what it found to
    ``bins``.  A row of 32 threads reads ``each`` tiles of 256 bytes in sequence, eight loads ahead of their atomics.
    """
    counts = gc.shared(4096, gc.u32)
    row = gc.thread_id(0)
    lane = gc.thread_id(1)
    mine = row * 32 + lane
    copy = lane % 16
    for k in range(16):
        counts[k * 256 + mine] = 0
    gc.barrier()
    first = (gc.block_id(1) * 8 + row) * each
    whole = min(each, max(x.shape[0] // 256 - first, 0))
    for tile in range(first, first + whole):
        i = tile * 256 + lane
        b0 = gc.i32(x[i])
        b1 = gc.i32(x[i + 32])
        b2 = gc.i32(x[i + 64])
        b3 = gc.i32(x[i + 96])
        b4 = gc.i32(x[i + 128])
        b5 = gc.i32(x[i + 160])
        b6 = gc.i32(x[i + 192])
        b7 = gc.i32(x[i + 224])
        gc.atomic_add(counts, b0 * 16 + copy, 1)
        gc.atomic_add(counts, b1 * 16 + copy, 1)
        gc.atomic_add(counts, b2 * 16 + copy, 1)
        gc.atomic_add(counts, b3 * 16 + copy, 1)
        gc.atomic_add(counts, b4 * 16 + copy, 1)
        gc.atomic_add(counts, b5 * 16 + copy, 1)
        gc.atomic_add(counts, b6 * 16 + copy, 1)
        gc.atomic_add(counts, b7 * 16 + copy, 1)
    if whole < each:
        for k in range(8):
            i = ((first + whole) * 8 + k) * 32 + lane
            if i < x.shape[0]:
                gc.atomic_add(counts, gc.i32(x[i]) * 16 + copy, 1)
    gc.barrier()
    total = gc.u32(0)
    for k in range(16):
        total += counts[mine * 16 + (k + lane) % 16]
    if total > 0:
        gc.atomic_add(bins, mine, total)


@gc.kernel
def transpose(x: gc.Array[gc.f32, 2], y: gc.Array[gc.f32, 2]):
    """Tiles whose rows are a cache line, in blocks of 16 x 16 threads."""
    tile = gc.shared((16, 17), gc.f32)
    r, c = gc.global_ids(2)
    ty = gc.thread_id(0)
    tx = gc.thread_id(1)
    if r < x.shape[0] and c < x.shape[1]:
        tile[ty, tx] = x[r, c]
    gc.barrier()
    row = gc.block_id(1) * 16 + ty
    column = gc.block_id(0) * 16 + tx
    if row < y.shape[0] and column < y.shape[1]:
        y[row, column] = tile[tx, ty]


@gc.kernel
def transpose_wide(x: gc.Array[gc.f32, 2], y: gc.Array[gc.f32, 2]):
    """Tiles of 32 x 32 in blocks of 8 x 32 threads, so that 32 threads read and write 128 bytes at once, four times each."""
    tile = gc.shared((32, 33), gc.f32)
    ty = gc.thread_id(0)
    tx = gc.thread_id(1)
    r = gc.block_id(0) * 32 + ty
    c = gc.block_id(1) * 32 + tx
    for k in gc.static_range(0, 32, 8):
        if r + k < x.shape[0] and c < x.shape[1]:
            tile[ty + k, tx] = x[r + k, c]
    gc.barrier()
    row = gc.block_id(1) * 32 + ty
    column = gc.block_id(0) * 32 + tx
    for k in gc.static_range(0, 32, 8):
        if row + k < y.shape[0] and column < y.shape[1]:
            y[row + k, column] = tile[tx, ty + k]


@gc.kernel
def nbody(p: gc.Array[gc.f32, 2], acceleration: gc.Array[gc.f32, 2]):
    """Softened gravity of all on each; rows of ``p`` are x, y, z, mass."""
    i = gc.global_id(0)
    x = p[0, i]
    y = p[1, i]
    z = p[2, i]
    ax = gc.f32(0)
    ay = gc.f32(0)
    az = gc.f32(0)
    for j in range(p.shape[1]):
        dx = p[0, j] - x
        dy = p[1, j] - y
        dz = p[2, j] - z
        d2 = dx * dx + dy * dy + dz * dz + G
        inverse = 1.0 / gc.sqrt(d2)
        w = p[3, j] * inverse * inverse * inverse
        ax += w * dx
        ay += w * dy
        az += w * dz
    acceleration[0, i] = ax
    acceleration[1, i] = ay
    acceleration[2, i] = az


@gc.kernel
def mandelbrot(out: gc.Array[gc.i32, 2], limit: gc.i32):
    y, x = gc.global_ids(2)
    cr = gc.f32(x) * (3.0 / gc.f32(out.shape[1])) - 2.2
    ci = gc.f32(y) * (2.4 / gc.f32(out.shape[0])) - 1.2
    zr = gc.f32(0)
    zi = gc.f32(0)
    n = gc.i32(0)
    while n < limit and zr * zr + zi * zi <= 4.0:
        t = zr * zr - zi * zi + cr
        zi = 2.0 * zr * zi + ci
        zr = t
        n += 1
    out[y, x] = n


@gc.kernel
def matmul(a: gc.Array[gc.f32, 2], b: gc.Array[gc.f32, 2], c: gc.Array[gc.f32, 2]):
    """64 x 64 of the product a block of 16 x 16 threads, 4 x 4 a thread; sizes are multiples of 64."""
    left = gc.shared((16, 64), gc.f32)
    right = gc.shared((16, 64), gc.f32)
    ty = gc.thread_id(0)
    tx = gc.thread_id(1)
    t = ty * 16 + tx
    row = gc.block_id(0) * 64
    column = gc.block_id(1) * 64
    total = gc.local((4, 4), gc.f32)
    for start in range(0, a.shape[1], 16):
        for k in gc.static_range(4):
            e = t + k * 256
            left[e % 16, e // 16] = a[row + e // 16, start + e % 16]
            right[e // 64, e % 64] = b[start + e // 64, column + e % 64]
        gc.barrier()
        for k in gc.static_range(16):
            for i in gc.static_range(4):
                for j in gc.static_range(4):
                    total[i, j] = gc.fma(left[k, ty * 4 + i], right[k, tx + 16 * j], total[i, j])
        gc.barrier()
    for i in gc.static_range(4):
        for j in gc.static_range(4):
            c[row + ty * 4 + i, column + tx + 16 * j] = total[i, j]


@gc.kernel
def matmul_wide(a: gc.Array[gc.f32, 2], b: gc.Array[gc.f32, 2], c: gc.Array[gc.f32, 2]):
    """128 x 128 of the product a block of 16 x 16 threads, 8 x 8 a thread in registers; the next tiles are loaded from global
    memory while this one's are multiplied.  A row of ``left`` is four longer, so that its columns are written to different banks.
    Sizes are multiples of 128.
    """
    left = gc.shared((8, 132), gc.f32)
    right = gc.shared((8, 128), gc.f32)
    ty = gc.thread_id(0)
    tx = gc.thread_id(1)
    t = ty * 16 + tx
    row = gc.block_id(0) * 128
    column = gc.block_id(1) * 128
    total = gc.local((8, 8), gc.f32)
    next_left = gc.local(4, gc.f32)
    next_right = gc.local(4, gc.f32)
    for k in gc.static_range(4):
        next_left[k] = a[row + t // 8 + k * 32, t % 8]
        next_right[k] = b[t // 128 + k * 2, column + t % 128]
    for start in range(0, a.shape[1], 8):
        for k in gc.static_range(4):
            left[t % 8, t // 8 + k * 32] = next_left[k]
            right[t // 128 + k * 2, t % 128] = next_right[k]
        gc.barrier()
        if start + 8 < a.shape[1]:
            for k in gc.static_range(4):
                next_left[k] = a[row + t // 8 + k * 32, start + 8 + t % 8]
                next_right[k] = b[start + 8 + t // 128 + k * 2, column + t % 128]
        for k in gc.static_range(8):
            for i in gc.static_range(8):
                for j in gc.static_range(8):
                    y = ty * 4 + i % 4 + i // 4 * 64
                    x = tx * 4 + j % 4 + j // 4 * 64
                    total[i, j] = gc.fma(left[k, y], right[k, x], total[i, j])
        gc.barrier()
    for i in gc.static_range(8):
        for j in gc.static_range(8):
            c[row + ty * 4 + i % 4 + i // 4 * 64, column + tx * 4 + j % 4 + j // 4 * 64] = total[i, j]


@gc.kernel
def stencil(x: gc.Array[gc.f32, 2], y: gc.Array[gc.f32, 2]):
    r, c = gc.global_ids(2)
    if r > 0 and r < x.shape[0] - 1 and c > 0 and c < x.shape[1] - 1:
        y[r, c] = 0.2 * (x[r, c] + x[r - 1, c] + x[r + 1, c] + x[r, c - 1] + x[r, c + 1])


@gc.func
def normal_cdf(d: gc.f32):
    """Abramowitz and Stegun 26.2.17."""
    k = 1.0 / (1.0 + 0.2316419 * abs(d))
    poly = k * (0.31938153 + k * (-0.356563782 + k * (1.781477937 + k * (-1.821255978 + k * 1.330274429))))
    tail = 0.39894228040143267 * gc.exp(-0.5 * d * d) * poly
    return 1.0 - tail if d > 0.0 else tail


@gc.kernel
def black_scholes(
    price: gc.Array[gc.f32],
    strike: gc.Array[gc.f32],
    years: gc.Array[gc.f32],
    call: gc.Array[gc.f32],
    rate: gc.f32,
    sigma: gc.f32,
):
    i = gc.global_id(0)
    root = gc.sqrt(years[i])
    d1 = (gc.log(price[i] / strike[i]) + (rate + 0.5 * sigma * sigma) * years[i]) / (sigma * root)
    d2 = d1 - sigma * root
    call[i] = price[i] * normal_cdf(d1) - strike[i] * gc.exp(-rate * years[i]) * normal_cdf(d2)


@gc.kernel
def fma_peak(out: gc.Array[gc.f32], rounds: gc.i32):
    """Eight independent chains of fused multiply-adds a thread; 16 * 8 * 2 operations a round."""
    i = gc.global_id(0)
    x = gc.f32(i) * 1e-9
    a0 = x
    a1 = x + 1.0
    a2 = x + 2.0
    a3 = x + 3.0
    a4 = x + 4.0
    a5 = x + 5.0
    a6 = x + 6.0
    a7 = x + 7.0
    for _ in range(rounds):
        for _k in gc.static_range(16):
            a0 = gc.fma(a0, 0.999, 0.001)
            a1 = gc.fma(a1, 0.999, 0.001)
            a2 = gc.fma(a2, 0.999, 0.001)
            a3 = gc.fma(a3, 0.999, 0.001)
            a4 = gc.fma(a4, 0.999, 0.001)
            a5 = gc.fma(a5, 0.999, 0.001)
            a6 = gc.fma(a6, 0.999, 0.001)
            a7 = gc.fma(a7, 0.999, 0.001)
    out[i] = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7


@gc.kernel
def math_exp(x: gc.Array[gc.f32], y: gc.Array[gc.f32]):
    i = gc.global_id(0)
    y[i] = gc.exp(x[i])


@gc.kernel
def math_log(x: gc.Array[gc.f32], y: gc.Array[gc.f32]):
    i = gc.global_id(0)
    y[i] = gc.log(x[i])


@gc.kernel
def math_sin(x: gc.Array[gc.f32], y: gc.Array[gc.f32]):
    i = gc.global_id(0)
    y[i] = gc.sin(x[i])


@gc.kernel
def math_cos(x: gc.Array[gc.f32], y: gc.Array[gc.f32]):
    i = gc.global_id(0)
    y[i] = gc.cos(x[i])


@gc.kernel
def math_tanh(x: gc.Array[gc.f32], y: gc.Array[gc.f32]):
    i = gc.global_id(0)
    y[i] = gc.tanh(x[i])


@gc.kernel
def one_argument(a: gc.Array[gc.f32]):
    a[gc.global_id(0)] = 1.0


@gc.kernel
def sixteen_arguments(
    a: gc.Array[gc.f32], b: gc.Array[gc.f32], c: gc.Array[gc.f32], d: gc.Array[gc.f32],
    e: gc.Array[gc.f32], f: gc.Array[gc.f32], g: gc.Array[gc.f32], h: gc.Array[gc.f32],
    i: gc.f32, j: gc.f32, k: gc.f32, l: gc.f32, m: gc.i32, n: gc.i32, o: gc.i32, p: gc.i32,
):  # fmt: skip
    t = gc.global_id(0)
    a[t] = b[t] + c[t] + d[t] + e[t] + f[t] + g[t] + h[t] + i + j + k + l + gc.f32(m + n + o + p)
