"""Twelve kernels after NPBench, each at most 1.3 times as long as in Numba.

They take arrays of one context and give, or change, such arrays, and show complex numbers, slices and views, structs, block
functions and arrays of four axes. ``tests/examples/test_npbench.py`` holds them against NumPy, and their lines against Numba's.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import gpucore as gc

Ints = gc.Array1[gc.i32]
Floats = gc.Array1[gc.f64]
Waves = gc.Array1[gc.complex128]


# --- elementwise: the distance of points on a sphere -------------------------------------------------
@gc.kernel
def arc_distance(theta: gc.Array2[gc.f64], phi: gc.Array2[gc.f64], out: Floats) -> None:
    i = gc.global_id(0)
    between = gc.sin((theta[1, i] - theta[0, i]) / 2) ** 2
    between += gc.cos(theta[0, i]) * gc.cos(theta[1, i]) * gc.sin((phi[1, i] - phi[0, i]) / 2) ** 2
    out[i] = 2 * gc.atan2(gc.sqrt(between), gc.sqrt(1 - between))


# --- complex numbers: the Mandelbrot set ---------------------------------------------------------------
@gc.kernel
def mandelbrot(counts: gc.Array2[gc.i32], corner: gc.complex128, step: gc.f64, limit: gc.i32) -> None:
    y, x = gc.global_ids(2)
    c = corner + gc.complex128(x * step, y * step)
    z, n = c, 0
    while n < limit and z.real * z.real + z.imag * z.imag <= 4:
        z = z * z + c
        n += 1
    counts[y, x] = n


# --- views and slices: two stencils --------------------------------------------------------------------
@gc.kernel
def relax_2d(a: gc.Array2[gc.f64], inner: gc.Strided2[gc.f64]) -> None:
    i, j = gc.global_ids(2)
    w = a[i : i + 3, j : j + 3]
    inner[i, j] = 0.2 * (w[1, 1] + w[1, 0] + w[1, 2] + w[2, 1] + w[0, 1])


def jacobi_2d(a: gc.Array[Any], b: gc.Array[Any], steps: int) -> None:
    over = relax_2d.over((a.shape[0] - 2, a.shape[1] - 2))
    for _ in range(steps):
        over(a, b[1:-1, 1:-1])
        over(b, a[1:-1, 1:-1])


@gc.func
def bend(line: gc.Strided1[gc.f64]) -> gc.f64:
    return 0.125 * (line[2] - 2 * line[1] + line[0])


@gc.kernel
def relax_3d(a: gc.Array3[gc.f64], inner: gc.Strided3[gc.f64]) -> None:
    i, j, k = gc.global_ids(3)
    w = a[i : i + 3, j : j + 3, k : k + 3]
    inner[i, j, k] = bend(w[:, 1, 1]) + bend(w[1, :, 1]) + bend(w[1, 1, :]) + w[1, 1, 1]


def heat_3d(a: gc.Array[Any], b: gc.Array[Any], steps: int) -> None:
    over = relax_3d.over(tuple(n - 2 for n in a.shape))
    for _ in range(steps):
        over(a, b[1:-1, 1:-1, 1:-1])
        over(b, a[1:-1, 1:-1, 1:-1])


# --- rows and columns: two products of a matrix and a vector --------------------------------------------
@gc.func
def dot(row: gc.Strided1[gc.f64], y: gc.Strided1[gc.f64]) -> gc.f64:
    total = 0.0
    for k in range(len(y)):
        total += row[k] * y[k]
    return total


@gc.kernel
def mvt(a: gc.Array2[gc.f64], x: gc.Array2[gc.f64], y: gc.Array2[gc.f64]) -> None:
    i = gc.global_id(0)
    x[0, i] += dot(a[i, :], y[0, :])
    x[1, i] += dot(a[:, i], y[1, :])


# --- a launch for each step: shortest paths between all pairs -------------------------------------------
@gc.kernel
def shorten(path: gc.Array2[gc.i32], k: gc.i32) -> None:
    i, j = gc.global_ids(2)
    path[i, j] = min(path[i, j], path[i, k] + path[k, j])


def floyd_warshall(path: gc.Array[Any]) -> None:
    for k in range(path.shape[0]):
        shorten.over(path.shape)(path, k)


# --- four axes: softmax along the last one ---------------------------------------------------------------
@gc.kernel
def softmax(x: gc.Array4[gc.f32], out: gc.Array4[gc.f32]) -> None:
    a, b, c = gc.global_ids(3)
    row, result = x[a, b, c, :], out[a, b, c, :]
    most = row[0]
    for k in range(1, len(row)):
        most = max(most, row[k])
    total = gc.f32(0)
    for k in range(len(row)):
        result[k] = gc.exp(row[k] - most)
        total += result[k]
    for k in range(len(row)):
        result[k] /= total


# --- structs: gravity ------------------------------------------------------------------------------------
@gc.struct
class Body:
    place: gc.vec3[gc.f64]
    speed: gc.vec3[gc.f64]
    mass: gc.f64


@gc.kernel
def pull(bodies: gc.Array1[Body], dt: gc.f64, softening: gc.f64) -> None:
    i = gc.global_id(0)
    force = gc.vec3[gc.f64](0.0)
    for j in range(len(bodies)):
        d = bodies[j].place - bodies[i].place
        force += d * (bodies[j].mass * (gc.dot(d, d) + softening * softening) ** -1.5)
    bodies[i].speed += force * dt


@gc.kernel
def move(bodies: gc.Array1[Body], dt: gc.f64) -> None:
    i = gc.global_id(0)
    bodies[i].place += bodies[i].speed * dt


def nbody(bodies: gc.Array[Any], dt: float, softening: float, steps: int) -> None:
    for _ in range(steps):
        pull.over(len(bodies))(bodies, dt, softening)
        move.over(len(bodies))(bodies, dt)


# --- indirect: a sparse matrix times a vector --------------------------------------------------------------
@gc.kernel
def spmv(starts: Ints, columns: Ints, values: Floats, x: Floats, y: Floats) -> None:
    i = gc.global_id(0)
    total = 0.0
    for k in range(starts[i], starts[i + 1]):
        total += values[k] * x[columns[k]]
    y[i] = total


# --- complex numbers: the Fourier transform of Stockham ------------------------------------------------------
@gc.kernel
def butterfly(x: Waves, y: Waves, m: gc.i32) -> None:
    i = gc.global_id(0)
    half = len(x) // 2
    j, k = divmod(i, m)
    turn = gc.exp(gc.complex128(0.0, -math.pi * (j * m) / half))
    a, b = x[i], x[i + half]
    y[k + 2 * j * m] = a + b
    y[k + 2 * j * m + m] = turn * (a - b)


def fft(x: gc.Array[Any]) -> gc.Array[Any]:
    y, m = x.context.empty_like(x), 1
    while m < len(x):
        butterfly.over(len(x) // 2)(x, y, m)
        x, y, m = y, x, 2 * m
    return x


# --- four axes and slices: a convolution of images ------------------------------------------------------------
@gc.kernel
def conv2d(
    images: gc.Array4[gc.f32], weights: gc.Array4[gc.f32], bias: gc.Array1[gc.f32], out: gc.Array4[gc.f32]
) -> None:
    n, y, x, c = gc.global_ids(4)
    size = weights.shape[0]
    window = images[n, y : y + size, x : x + size]
    total = bias[c]
    for i in range(size):
        for j in range(size):
            for k in range(window.shape[2]):
                total += window[i, j, k] * weights[i, j, k, c]
    out[n, y, x, c] = total


# --- blocks: means over rings -----------------------------------------------------------------------------------
@gc.kernel
def azimint(data: Floats, radius: Floats, width: gc.f64, out: Floats) -> None:
    ring = gc.block_id(0)
    total, count = 0.0, 0
    for i in range(gc.thread_id(0), len(data), gc.block_dim(0)):
        if ring * width <= radius[i] and radius[i] < (ring + 1) * width:
            total += data[i]
            count += 1
    mean = gc.block_sum(total) / gc.f64(gc.block_sum(count))
    if gc.thread_id(0) == 0:
        out[ring] = mean


def main() -> None:
    """Draw the Mandelbrot set with characters, and say how far a transform is from NumPy's."""
    with gc.Context() as ctx:
        counts = ctx.zeros((24, 72), gc.i32)
        mandelbrot.over(counts.shape)(counts, -2.2 - 1.2j, 0.1, 60)
        for row in counts.numpy():
            print("".join(" .:-=+*#%@"[min(n // 6, 9)] for n in row[::2]))
        waves = np.exp(2j * np.pi * np.arange(256) / 16)
        difference = float(np.abs(fft(ctx.array(waves)).numpy() - np.fft.fft(waves)).max())
        print(f"fft of 256 numbers: greatest difference to NumPy {difference:.1e}")


if __name__ == "__main__":
    main()
