"""
Matrix product (GEMM)
=====================

A tiled matrix product takes a photograph to its cosine frequencies and back, two
products each way: ``C @ image @ D.T``.
"""

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.colors import LogNorm
from sklearn.datasets import load_sample_image

import gpucore as gc

TILE = 16


# %%
# Each block computes a tile of ``c``. Its threads bring a tile of ``a`` and one of
# ``b`` into shared memory, wait for one another, and then read each element sixteen
# times from there instead of from the array. Threads past the edge bring zeros: nobody
# may leave before a barrier that others wait at.
@gc.kernel
def matmul(a: gc.Array2[gc.f32], b: gc.Array2[gc.f32], c: gc.Array2[gc.f32]) -> None:
    left = gc.shared((TILE, TILE), gc.f32)
    right = gc.shared((TILE, TILE), gc.f32)
    y, x = gc.global_ids(2)
    ty = gc.thread_id(0)
    tx = gc.thread_id(1)
    total = gc.f32(0)
    for start in range(0, a.shape[1], TILE):
        left[ty, tx] = 0.0
        right[ty, tx] = 0.0
        if y < a.shape[0] and start + tx < a.shape[1]:
            left[ty, tx] = a[y, start + tx]
        if x < b.shape[1] and start + ty < b.shape[0]:
            right[ty, tx] = b[start + ty, x]
        gc.barrier()
        for k in gc.static_range(TILE):
            total = gc.fma(left[ty, k], right[k, tx], total)
        gc.barrier()
    if y < c.shape[0] and x < c.shape[1]:
        c[y, x] = total


# %%
# The image comes with scikit-learn. The rows of a cosine basis are orthonormal, so the
# transpose takes frequencies back to pixels.
image = load_sample_image("china.jpg").mean(axis=2).astype(np.float32)
height, width = image.shape


def cosine_basis(n: int) -> npt.NDArray[np.float32]:
    k, i = np.mgrid[0:n, 0:n]
    basis = np.sqrt(2 / n) * np.cos(np.pi * k * (2 * i + 1) / (2 * n))
    basis[0] = np.sqrt(1 / n)
    return np.asarray(basis, np.float32)


rows, columns = cosine_basis(height), cosine_basis(width)

# %%
# ``gc.Context()`` has the memory; results of one product go into the next without
# leaving the device.
with gc.Context() as ctx:

    def product(a: gc.Array2[gc.f32], b: gc.Array2[gc.f32]) -> gc.Array2[gc.f32]:
        c = ctx.empty((a.shape[0], b.shape[1]), gc.f32)
        grid = (gc.cdiv(c.shape[0], TILE), gc.cdiv(c.shape[1], TILE))
        matmul[grid, (TILE, TILE)](a, b, c)
        return c

    to_columns = ctx.array(columns.T.copy())
    frequencies = product(
        product(ctx.array(rows), ctx.array(image)), to_columns
    ).numpy()

    kept = {}
    for share in (0.05, 0.01):
        threshold = np.quantile(np.abs(frequencies), 1 - share)
        largest = np.where(np.abs(frequencies) >= threshold, frequencies, 0).astype(
            np.float32
        )
        kept[share] = product(
            product(ctx.array(rows.T.copy()), ctx.array(largest)), ctx.array(columns)
        ).numpy()

# %%
# NumPy says the same, in double precision: f32 sums of 640 terms are off by a few parts
# in a million of the largest.
exact = rows.astype(np.float64) @ image @ columns.T.astype(np.float64)
error = np.abs(frequencies - exact).max() / np.abs(exact).max()
assert error < 2e-6, error
print(
    f"products of up to {width} x {width} on {ctx.backend}: relative error {error:.1e}"
)

figure, axes = plt.subplots(2, 2, figsize=(8, 5.6), layout="constrained")
axes[0, 0].imshow(image, cmap="gray")
axes[0, 0].set_title("The photograph")
axes[0, 1].imshow(np.abs(frequencies) + 1, cmap="magma", norm=LogNorm())
axes[0, 1].set_title("Size of its frequencies")
for axis, (share, picture) in zip(axes[1], kept.items(), strict=True):
    axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
    axis.set_title(f"From the largest {share:.0%}")
for axis in axes.flat:
    axis.set_axis_off()
plt.show()
