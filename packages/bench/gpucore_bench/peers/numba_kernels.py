"""The same work in Numba, as its users would write it: ``prange`` over the outer axis, preallocated outputs."""

# mypy: ignore-errors

from __future__ import annotations

import functools
import math

import numba
import numpy as np
from numba import prange

f32 = np.float32


def copy(x, y):
    for i in prange(x.size):
        y[i] = x[i]


def saxpy(x, y, a):
    for i in prange(x.size):
        y[i] = a * x[i] + y[i]


def triad(b, c, a, s):
    for i in prange(a.size):
        a[i] = b[i] + s * c[i]


def reduce(x, out):
    total = f32(0)
    for i in prange(x.size):
        total += x[i]
    out[0] = total


def histogram(x, bins):
    chunks = numba.get_num_threads()
    parts = np.zeros((chunks, 256), np.uint32)
    size = (x.size + chunks - 1) // chunks
    for c in prange(chunks):
        for i in range(c * size, min((c + 1) * size, x.size)):
            parts[c, x[i]] += np.uint32(1)
    # by plain loops: a sum over a slice would be a parallel region for each bin
    for b in range(256):
        total = np.uint32(0)
        for c in range(chunks):
            total += parts[c, b]
        bins[b] = total


def transpose(x, y):
    rows, columns = x.shape
    for block in prange((columns + 31) // 32):
        for r0 in range(0, rows, 32):
            for c in range(block * 32, min(block * 32 + 32, columns)):
                for r in range(r0, min(r0 + 32, rows)):
                    y[c, r] = x[r, c]


def nbody(p, acceleration):
    n = p.shape[1]
    for i in prange(n):
        ax = f32(0)
        ay = f32(0)
        az = f32(0)
        x = p[0, i]
        y = p[1, i]
        z = p[2, i]
        for j in range(n):
            dx = p[0, j] - x
            dy = p[1, j] - y
            dz = p[2, j] - z
            d2 = dx * dx + dy * dy + dz * dz + f32(0.01)
            inverse = f32(1) / math.sqrt(d2)
            w = p[3, j] * inverse * inverse * inverse
            ax += w * dx
            ay += w * dy
            az += w * dz
        acceleration[0, i] = ax
        acceleration[1, i] = ay
        acceleration[2, i] = az


def mandelbrot(out, limit):
    height, width = out.shape
    for y in prange(height):
        for x in range(width):
            cr = f32(x) * (f32(3) / f32(width)) - f32(2.2)
            ci = f32(y) * (f32(2.4) / f32(height)) - f32(1.2)
            zr = f32(0)
            zi = f32(0)
            n = np.int32(0)
            while n < limit and zr * zr + zi * zi <= f32(4):
                t = zr * zr - zi * zi + cr
                zi = f32(2) * zr * zi + ci
                zr = t
                n += 1
            out[y, x] = n


def stencil(x, y):
    rows, columns = x.shape
    for r in prange(1, rows - 1):
        for c in range(1, columns - 1):
            y[r, c] = f32(0.2) * (x[r, c] + x[r - 1, c] + x[r + 1, c] + x[r, c - 1] + x[r, c + 1])


def black_scholes(price, strike, years, call, rate, sigma):
    for i in prange(price.size):
        root = math.sqrt(years[i])
        d1 = (math.log(price[i] / strike[i]) + (rate + f32(0.5) * sigma * sigma) * years[i]) / (sigma * root)
        d2 = d1 - sigma * root
        n1 = _cdf(d1)
        n2 = _cdf(d2)
        call[i] = price[i] * n1 - strike[i] * math.exp(-rate * years[i]) * n2


@numba.njit(inline="always")
def _cdf(d):
    k = f32(1) / (f32(1) + f32(0.2316419) * abs(d))
    poly = k * (
        f32(0.31938153)
        + k * (f32(-0.356563782) + k * (f32(1.781477937) + k * (f32(-1.821255978) + k * f32(1.330274429))))
    )
    tail = f32(0.3989422804) * math.exp(f32(-0.5) * d * d) * poly
    return f32(1) - tail if d > f32(0) else tail


def math_exp(x, y):
    for i in prange(x.size):
        y[i] = math.exp(x[i])


def math_log(x, y):
    for i in prange(x.size):
        y[i] = math.log(x[i])


def math_sin(x, y):
    for i in prange(x.size):
        y[i] = math.sin(x[i])


def math_cos(x, y):
    for i in prange(x.size):
        y[i] = math.cos(x[i])


def math_tanh(x, y):
    for i in prange(x.size):
        y[i] = math.tanh(x[i])


def empty(a):
    for i in prange(a.size):
        a[i] = f32(1)


def sixteen(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p):
    for t in prange(a.size):
        a[t] = b[t] + c[t] + d[t] + e[t] + f[t] + g[t] + h[t] + i + j + k + l + f32(m + n + o + p)


@functools.cache
def compiled(name: str, fastmath: bool):
    """The function compiled in parallel."""
    return numba.njit(parallel=True, fastmath=fastmath, error_model="numpy")(globals()[name])
