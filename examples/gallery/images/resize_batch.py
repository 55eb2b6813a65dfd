"""
Resizing a batch of images
==========================

All 1,797 scans of digits that scikit-learn ships, from 8 x 8 pixels to 48 x 48, in one
launch.
"""

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

import gpucore as gc


# %%
# A batch is an axis more: a thread computes one pixel of one image. It finds where its
# centre lies in the small image and mixes the four pixels around that place. The
# function for one axis is a device function, which gives a pair.
@gc.func
def source(i: gc.index, size: gc.index, new_size: gc.index) -> tuple[gc.index, gc.f32]:
    place = (gc.f32(i) + 0.5) * gc.f32(size) / gc.f32(new_size) - 0.5
    place = min(max(place, 0.0), gc.f32(size - 1))
    low = min(gc.index(place), size - 2)
    return low, place - gc.f32(low)


@gc.kernel
def resize(small: gc.Array3[gc.f32], large: gc.Array3[gc.f32]) -> None:
    n, y, x = gc.global_ids(3)
    row, down = source(y, small.shape[1], large.shape[1])
    column, right = source(x, small.shape[2], large.shape[2])
    top = small[n, row, column] * (1.0 - right) + small[n, row, column + 1] * right
    bottom = (
        small[n, row + 1, column] * (1.0 - right)
        + small[n, row + 1, column + 1] * right
    )
    large[n, y, x] = top * (1.0 - down) + bottom * down


# %%
# One launch does the whole batch; the blocks are chosen for the device.
pixels, _ = load_digits(return_X_y=True)
images = np.asarray(pixels, np.float32).reshape(-1, 8, 8)
with gc.Context() as ctx:
    large = ctx.empty((len(images), 48, 48), gc.f32)
    resize.over(large.shape)(ctx.array(images), large)
    result = large.numpy()
print(f"{len(images):,} images, {result.nbytes / 1e6:.0f} MB, on {ctx.backend}")


# %%
# Bilinear resizing is a small matrix on either side of each image, which is one line of
# NumPy.
def weights(size: int, new_size: int) -> npt.NDArray[np.float64]:
    place = np.clip((np.arange(new_size) + 0.5) * size / new_size - 0.5, 0, size - 1)
    near = 1 - np.abs(place[:, None] - np.arange(size))
    return np.asarray(np.maximum(0, near), np.float64)


matrix = weights(8, 48)
expected = matrix @ images.astype(np.float64) @ matrix.T
error = np.abs(result - expected).max()
assert error < 1e-5, error

figure, axes = plt.subplots(2, 8, figsize=(8, 2.3), layout="constrained")
for column, (before, after) in enumerate(zip(axes[0], axes[1], strict=True)):
    before.imshow(images[column], cmap="gray_r")
    after.imshow(result[column], cmap="gray_r")
    before.set_axis_off()
    after.set_axis_off()
figure.suptitle("8 x 8 pixels, and 48 x 48 of them computed")
plt.show()
