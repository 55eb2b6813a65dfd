"""
Mandelbrot set
==============

A loop that each thread leaves at its own time, and a picture of how long each stayed.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm

import gpucore as gc


# %%
# A thread computes one pixel. Axes are in array order, so ``y`` comes before ``x``. The
# loop is a real loop: threads whose point escapes early are done early.
@gc.kernel
def mandelbrot(
    out: gc.Array2[gc.i32], left: gc.f32, top: gc.f32, step: gc.f32, limit: gc.i32
) -> None:
    y, x = gc.global_ids(2)
    real = left + step * x
    imaginary = top - step * y
    a = gc.f32(0)
    b = gc.f32(0)
    n = gc.i32(0)
    while n < limit and a * a + b * b <= 4.0:
        a, b = a * a - b * b + real, 2.0 * a * b + imaginary
        n += 1
    out[y, x] = n


# %%
# ``over(shape)`` starts a thread for each element of ``out`` and chooses the blocks.
height, width, limit = 640, 960, 400
left, top, step = -2.2, 1.12, 2.24 / height
with gc.Context() as ctx:
    out = ctx.empty((height, width), gc.i32)
    mandelbrot.over(out.shape)(out, left, top, step, limit)
    counts = out.numpy()

# %%
# The same loop in NumPy, over every tenth row. Each operation rounds once and in the
# order that is written, here and there, so the counts are not close but equal.
rows = np.arange(0, height, 10, dtype=np.float32)[:, None]
c_real = (
    np.float32(left) + np.float32(step) * np.arange(width, dtype=np.float32) + 0 * rows
)
c_imaginary = np.float32(top) - np.float32(step) * rows + np.zeros(width, np.float32)
a, b = np.zeros_like(c_real), np.zeros_like(c_real)
expected = np.zeros(a.shape, np.int32)
for _ in range(limit):
    inside = a * a + b * b <= 4
    expected[inside] += 1
    a, b = (
        np.where(inside, a * a - b * b + c_real, a),
        np.where(inside, 2 * a * b + c_imaginary, b),
    )
assert np.array_equal(counts[::10], expected)
print(f"{expected.size:,} points, every tenth row, as many iterations as in NumPy")

figure, axes = plt.subplots(figsize=(7.5, 5), layout="constrained")
extent = (left, left + step * width, top - step * height, top)
inside = np.ma.masked_equal(counts, limit)
axes.imshow(
    inside,
    cmap=plt.get_cmap("magma").with_extremes(bad="black"),
    norm=LogNorm(1, limit),
    extent=extent,
)
axes.set(
    xlabel="real part",
    ylabel="imaginary part",
    title="Iterations before a point escapes",
)
figure.colorbar(axes.images[0], ax=axes, label="iterations", shrink=0.9)
plt.show()
