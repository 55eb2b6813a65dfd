"""The kernels of examples/npbench.py in Numba, for the processor: the length that the ports are held against."""

import math

import numba as nb
import numpy as np


@nb.njit(parallel=True)
def arc_distance(theta, phi, out):
    for i in nb.prange(out.shape[0]):
        between = np.sin((theta[1, i] - theta[0, i]) / 2) ** 2
        between += np.cos(theta[0, i]) * np.cos(theta[1, i]) * np.sin((phi[1, i] - phi[0, i]) / 2) ** 2
        out[i] = 2 * np.arctan2(np.sqrt(between), np.sqrt(1 - between))


@nb.njit(parallel=True)
def mandelbrot(counts, corner, step, limit):
    for y in nb.prange(counts.shape[0]):
        for x in range(counts.shape[1]):
            c = corner + complex(x * step, y * step)
            z, n = c, 0
            while n < limit and z.real * z.real + z.imag * z.imag <= 4:
                z = z * z + c
                n += 1
            counts[y, x] = n


@nb.njit(parallel=True)
def relax_2d(a, b):
    for i in nb.prange(1, a.shape[0] - 1):
        for j in range(1, a.shape[1] - 1):
            b[i, j] = 0.2 * (a[i, j] + a[i, j - 1] + a[i, j + 1] + a[i + 1, j] + a[i - 1, j])


@nb.njit
def jacobi_2d(a, b, steps):
    for _ in range(steps):
        relax_2d(a, b)
        relax_2d(b, a)


@nb.njit(parallel=True)
def relax_3d(a, b):
    for i in nb.prange(1, a.shape[0] - 1):
        for j in range(1, a.shape[1] - 1):
            for k in range(1, a.shape[2] - 1):
                b[i, j, k] = (
                    0.125 * (a[i + 1, j, k] - 2 * a[i, j, k] + a[i - 1, j, k])
                    + 0.125 * (a[i, j + 1, k] - 2 * a[i, j, k] + a[i, j - 1, k])
                    + 0.125 * (a[i, j, k + 1] - 2 * a[i, j, k] + a[i, j, k - 1])
                    + a[i, j, k]
                )


@nb.njit
def heat_3d(a, b, steps):
    for _ in range(steps):
        relax_3d(a, b)
        relax_3d(b, a)


@nb.njit(parallel=True)
def mvt(a, x, y):
    for i in nb.prange(a.shape[0]):
        total = 0.0
        for k in range(a.shape[1]):
            total += a[i, k] * y[0, k]
        x[0, i] += total
        total = 0.0
        for k in range(a.shape[0]):
            total += a[k, i] * y[1, k]
        x[1, i] += total


@nb.njit(parallel=True)
def floyd_warshall(path):
    for k in range(path.shape[0]):
        for i in nb.prange(path.shape[0]):
            for j in range(path.shape[1]):
                path[i, j] = min(path[i, j], path[i, k] + path[k, j])


@nb.njit(parallel=True)
def softmax(x, out):
    for a in nb.prange(x.shape[0]):
        for b in range(x.shape[1]):
            for c in range(x.shape[2]):
                row, result = x[a, b, c], out[a, b, c]
                most = row[0]
                for k in range(1, len(row)):
                    most = max(most, row[k])
                total = np.float32(0)
                for k in range(len(row)):
                    result[k] = np.exp(row[k] - most)
                    total += result[k]
                for k in range(len(row)):
                    result[k] /= total


@nb.njit(parallel=True)
def pull(place, speed, mass, dt, softening):
    for i in nb.prange(len(mass)):
        x, y, z = 0.0, 0.0, 0.0
        for j in range(len(mass)):
            dx = place[j, 0] - place[i, 0]
            dy = place[j, 1] - place[i, 1]
            dz = place[j, 2] - place[i, 2]
            weight = mass[j] * (dx * dx + dy * dy + dz * dz + softening * softening) ** -1.5
            x += dx * weight
            y += dy * weight
            z += dz * weight
        speed[i, 0] += x * dt
        speed[i, 1] += y * dt
        speed[i, 2] += z * dt


@nb.njit
def nbody(place, speed, mass, dt, softening, steps):
    for _ in range(steps):
        pull(place, speed, mass, dt, softening)
        place += speed * dt


@nb.njit(parallel=True)
def spmv(starts, columns, values, x, y):
    for i in nb.prange(y.shape[0]):
        total = 0.0
        for k in range(starts[i], starts[i + 1]):
            total += values[k] * x[columns[k]]
        y[i] = total


@nb.njit(parallel=True)
def butterfly(x, y, m):
    half = len(x) // 2
    for i in nb.prange(half):
        j, k = divmod(np.int64(i), m)
        angle = -math.pi * (j * m) / half
        turn = complex(math.cos(angle), math.sin(angle))
        a, b = x[i], x[i + half]
        y[k + 2 * j * m] = a + b
        y[k + 2 * j * m + m] = turn * (a - b)


@nb.njit
def fft(x):
    y, m = np.empty_like(x), 1
    while m < len(x):
        butterfly(x, y, m)
        x, y, m = y, x, 2 * m
    return x


@nb.njit(parallel=True)
def conv2d(images, weights, bias, out):
    size = weights.shape[0]
    for n in nb.prange(out.shape[0]):
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                for c in range(out.shape[3]):
                    total = bias[c]
                    for i in range(size):
                        for j in range(size):
                            for k in range(images.shape[3]):
                                total += images[n, y + i, x + j, k] * weights[i, j, k, c]
                    out[n, y, x, c] = total


@nb.njit(parallel=True)
def azimint(data, radius, width, out):
    for ring in nb.prange(out.shape[0]):
        total, count = 0.0, 0
        for i in range(len(data)):
            if ring * width <= radius[i] and radius[i] < (ring + 1) * width:
                total += data[i]
                count += 1
        out[ring] = total / count
