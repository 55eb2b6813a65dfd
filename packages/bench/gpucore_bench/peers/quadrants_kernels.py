"""Quadrants' side: the kernels, as its users would write them."""

# mypy: ignore-errors

import quadrants as qd

FLOATS = qd.types.ndarray(dtype=qd.f32, ndim=1)
GRID = qd.types.ndarray(dtype=qd.f32, ndim=2)
COUNTS = qd.types.ndarray(dtype=qd.i32, ndim=2)


@qd.kernel
def one(a: FLOATS):
    for t in range(a.shape[0]):
        a[t] = 1.0


@qd.kernel
def sixteen(
    a: FLOATS, b: FLOATS, c: FLOATS, d: FLOATS, e: FLOATS, f: FLOATS, g: FLOATS, h: FLOATS,
    i: qd.f32, j: qd.f32, k: qd.f32, l: qd.f32, m: qd.i32, n: qd.i32, o: qd.i32, p: qd.i32,
):  # fmt: skip
    for t in range(a.shape[0]):
        a[t] = b[t] + c[t] + d[t] + e[t] + f[t] + g[t] + h[t] + i + j + k + l + qd.cast(m + n + o + p, qd.f32)


@qd.kernel
def saxpy(x: FLOATS, y: FLOATS, a: qd.f32):
    for i in range(x.shape[0]):
        y[i] = a * x[i] + y[i]


@qd.kernel
def nbody(p: GRID, acceleration: GRID):
    for i in range(p.shape[1]):
        x = p[0, i]
        y = p[1, i]
        z = p[2, i]
        ax = 0.0
        ay = 0.0
        az = 0.0
        for j in range(p.shape[1]):
            dx = p[0, j] - x
            dy = p[1, j] - y
            dz = p[2, j] - z
            d2 = dx * dx + dy * dy + dz * dz + 0.01
            inverse = 1.0 / qd.sqrt(d2)
            w = p[3, j] * inverse * inverse * inverse
            ax += w * dx
            ay += w * dy
            az += w * dz
        acceleration[0, i] = ax
        acceleration[1, i] = ay
        acceleration[2, i] = az


@qd.kernel
def mandelbrot(out: COUNTS, limit: qd.i32):
    for y, x in qd.ndrange(out.shape[0], out.shape[1]):
        cr = qd.cast(x, qd.f32) * (3.0 / qd.cast(out.shape[1], qd.f32)) - 2.2
        ci = qd.cast(y, qd.f32) * (2.4 / qd.cast(out.shape[0], qd.f32)) - 1.2
        zr = 0.0
        zi = 0.0
        n = 0
        while n < limit and zr * zr + zi * zi <= 4.0:
            t = zr * zr - zi * zi + cr
            zi = 2.0 * zr * zi + ci
            zr = t
            n += 1
        out[y, x] = n
