"""Warp's side: the kernels, as its users would write them."""

# mypy: ignore-errors

import functools

import warp as wp

FLOATS = wp.array(dtype=wp.float32)
GRID = wp.array2d(dtype=wp.float32)
COUNTS = wp.array2d(dtype=wp.int32)


def one(a: FLOATS):
    a[wp.tid()] = 1.0


def sixteen(
    a: FLOATS, b: FLOATS, c: FLOATS, d: FLOATS, e: FLOATS, f: FLOATS, g: FLOATS, h: FLOATS,
    i: wp.float32, j: wp.float32, k: wp.float32, l: wp.float32, m: wp.int32, n: wp.int32, o: wp.int32, p: wp.int32,
):  # fmt: skip
    t = wp.tid()
    a[t] = b[t] + c[t] + d[t] + e[t] + f[t] + g[t] + h[t] + i + j + k + l + wp.float32(m + n + o + p)


def copy(x: FLOATS, y: FLOATS):
    i = wp.tid()
    y[i] = x[i]


def saxpy(x: FLOATS, y: FLOATS, a: wp.float32):
    i = wp.tid()
    y[i] = a * x[i] + y[i]


def triad(b: FLOATS, c: FLOATS, a: FLOATS, s: wp.float32):
    i = wp.tid()
    a[i] = b[i] + s * c[i]


def nbody(p: GRID, acceleration: GRID):
    i = wp.tid()
    x = p[0, i]
    y = p[1, i]
    z = p[2, i]
    ax = wp.float32(0.0)
    ay = wp.float32(0.0)
    az = wp.float32(0.0)
    for j in range(p.shape[1]):
        dx = p[0, j] - x
        dy = p[1, j] - y
        dz = p[2, j] - z
        d2 = dx * dx + dy * dy + dz * dz + 0.01
        inverse = 1.0 / wp.sqrt(d2)
        w = p[3, j] * inverse * inverse * inverse
        ax += w * dx
        ay += w * dy
        az += w * dz
    acceleration[0, i] = ax
    acceleration[1, i] = ay
    acceleration[2, i] = az


def mandelbrot(out: COUNTS, limit: wp.int32):
    y, x = wp.tid()
    cr = wp.float32(x) * (3.0 / wp.float32(out.shape[1])) - 2.2
    ci = wp.float32(y) * (2.4 / wp.float32(out.shape[0])) - 1.2
    zr = wp.float32(0.0)
    zi = wp.float32(0.0)
    n = wp.int32(0)
    while n < limit and zr * zr + zi * zi <= 4.0:
        t = zr * zr - zi * zi + cr
        zi = 2.0 * zr * zi + ci
        zr = t
        n += 1
    out[y, x] = n


def stencil(x: GRID, y: GRID):
    r, c = wp.tid()
    if r > 0 and r < x.shape[0] - 1 and c > 0 and c < x.shape[1] - 1:
        y[r, c] = 0.2 * (x[r, c] + x[r - 1, c] + x[r + 1, c] + x[r, c - 1] + x[r, c + 1])


@wp.func
def normal_cdf(d: wp.float32):
    k = 1.0 / (1.0 + 0.2316419 * wp.abs(d))
    poly = k * (0.31938153 + k * (-0.356563782 + k * (1.781477937 + k * (-1.821255978 + k * 1.330274429))))
    tail = 0.39894228040143267 * wp.exp(-0.5 * d * d) * poly
    return wp.where(d > 0.0, 1.0 - tail, tail)


def black_scholes(
    price: FLOATS, strike: FLOATS, years: FLOATS, call: FLOATS, rate: wp.float32, sigma: wp.float32
):
    i = wp.tid()
    root = wp.sqrt(years[i])
    d1 = (wp.log(price[i] / strike[i]) + (rate + 0.5 * sigma * sigma) * years[i]) / (sigma * root)
    d2 = d1 - sigma * root
    call[i] = price[i] * normal_cdf(d1) - strike[i] * wp.exp(-rate * years[i]) * normal_cdf(d2)


def math_exp(x: FLOATS, y: FLOATS):
    i = wp.tid()
    y[i] = wp.exp(x[i])


def math_log(x: FLOATS, y: FLOATS):
    i = wp.tid()
    y[i] = wp.log(x[i])


def math_sin(x: FLOATS, y: FLOATS):
    i = wp.tid()
    y[i] = wp.sin(x[i])


def math_cos(x: FLOATS, y: FLOATS):
    i = wp.tid()
    y[i] = wp.cos(x[i])


def math_tanh(x: FLOATS, y: FLOATS):
    i = wp.tid()
    y[i] = wp.tanh(x[i])


@functools.cache
def compiled(name: str, fast: bool):
    """The kernel in a module of its own, with Warp's fast mathematics or without; no gradients are asked for."""
    return wp.kernel(
        globals()[name], module="unique", module_options={"fast_math": fast}, enable_backward=False
    )
