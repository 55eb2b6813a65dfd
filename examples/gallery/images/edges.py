"""
Edges of a photograph
=====================

The Sobel filter: each pixel reads its eight neighbours, so the threads of a block bring
the pixels that they share into shared memory once.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

import gpucore as gc

TILE = 16


# %%
# A block of 16 x 16 threads needs 18 x 18 pixels, the border of its neighbours
# included. The threads walk over these together, from their own place in steps of the
# block. Places outside of the picture take the nearest pixel inside.
@gc.kernel
def sobel(image: gc.Array2[gc.f32], out: gc.Array2[gc.f32]) -> None:
    tile = gc.shared((TILE + 2, TILE + 2), gc.f32)
    y, x = gc.global_ids(2)
    ty = gc.thread_id(0)
    tx = gc.thread_id(1)
    for row in range(ty, TILE + 2, TILE):
        for column in range(tx, TILE + 2, TILE):
            image_y = gc.clamp(y - ty + row - 1, 0, image.shape[0] - 1)
            image_x = gc.clamp(x - tx + column - 1, 0, image.shape[1] - 1)
            tile[row, column] = image[image_y, image_x]
    gc.barrier()
    if y < out.shape[0] and x < out.shape[1]:
        across = gc.f32(0)
        down = gc.f32(0)
        for i, weight in enumerate((1.0, 2.0, 1.0)):
            across += weight * (tile[ty + i, tx + 2] - tile[ty + i, tx])
            down += weight * (tile[ty + 2, tx + i] - tile[ty, tx + i])
        out[y, x] = gc.sqrt(across * across + down * down)


# %%
# The photograph is one of the two that scikit-learn ships, as shades of grey.
image = load_sample_image("flower.jpg").mean(axis=2).astype(np.float32)
with gc.Context() as ctx:
    out = ctx.empty(image.shape, gc.f32)
    grid = (gc.cdiv(image.shape[0], TILE), gc.cdiv(image.shape[1], TILE))
    sobel[grid, (TILE, TILE)](ctx.array(image), out)
    edges = out.numpy()

# %%
# In NumPy a neighbour is a shifted view of the padded picture. The sums below have the
# order of those above, so nothing differs, not even in the last bit.
p = np.pad(image, 1, mode="edge")
height, width = image.shape
across = np.zeros_like(image)
down = np.zeros_like(image)
for i, weight in enumerate(np.array([1, 2, 1], np.float32)):
    rows, columns = slice(i, i + height), slice(i, i + width)
    across += weight * (p[rows, 2:] - p[rows, :-2])
    down += weight * (p[2:, columns] - p[:-2, columns])
assert np.array_equal(edges, np.sqrt(across * across + down * down))
print(f"{edges.size:,} pixels, the same bits as NumPy's")

figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
axes[0].imshow(image, cmap="gray")
axes[0].set_title("Photograph")
axes[1].imshow(edges, cmap="gray_r", vmax=np.quantile(edges, 0.995))
axes[1].set_title("Edges")
for axis in axes:
    axis.set_axis_off()
plt.show()
