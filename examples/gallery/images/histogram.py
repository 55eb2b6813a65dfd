"""
Histogram, and a picture with its contrast spread
=================================================

Each block counts in shared memory, where atomics are cheap, and adds its counts to the
whole at the end. The histogram then says how to spread the shades of a dark photograph.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

import gpucore as gc


# %%
# Threads take pixels in steps of the whole grid, so a fixed number of blocks serves a
# picture of any size. ``gc.shared`` holds whatever was there before: it is cleared
# first, and a barrier stands between clearing, counting and adding up.
@gc.kernel
def histogram(pixels: gc.Array[gc.u8], counts: gc.Array[gc.u32]) -> None:
    mine = gc.shared(256, gc.u32)
    t = gc.thread_id(0)
    mine[t] = 0
    gc.barrier()
    threads = gc.grid_dim(0) * gc.block_dim(0)
    for i in range(gc.global_id(0), pixels.shape[0], threads):
        gc.atomic_add(mine, gc.index(pixels[i]), 1)
    gc.barrier()
    gc.atomic_add(counts, t, mine[t])


@gc.kernel
def look_up(pixels: gc.Array[gc.u8], table: gc.Array[gc.u8]) -> None:
    i = gc.global_id(0)
    pixels[i] = table[gc.index(pixels[i])]


# %%
# Counting is exact and order does not matter to it: the kernel is portable although the
# threads meet in any order.
assert histogram.portable
photograph = load_sample_image("china.jpg").mean(axis=2).astype(np.uint8) // 3
with gc.Context() as ctx:
    pixels = ctx.array(photograph.ravel())
    counts = ctx.zeros(256, gc.u32)
    histogram[32, 256](pixels, counts)
    before = counts.numpy()

    shares = np.cumsum(before) / photograph.size
    look_up.over(pixels.size)(pixels, ctx.array((255 * shares).astype(np.uint8)))
    counts.fill(0)
    histogram[32, 256](pixels, counts)
    after, equalised = counts.numpy(), pixels.numpy().reshape(photograph.shape)

# %%
# NumPy's counts are the same before and after.
assert np.array_equal(before, np.bincount(photograph.ravel(), minlength=256))
assert np.array_equal(after, np.bincount(equalised.ravel(), minlength=256))
print("256 shades before and after, each counted as NumPy counts it")

figure, axes = plt.subplots(
    2, 2, figsize=(8, 4.8), layout="constrained", height_ratios=(2, 1)
)
for column, (picture, heights, title) in enumerate(
    ((photograph, before, "A dark photograph"), (equalised, after, "Equalised"))
):
    axes[0, column].imshow(picture, cmap="gray", vmin=0, vmax=255)
    axes[0, column].set_axis_off()
    axes[0, column].set_title(title)
    axes[1, column].bar(np.arange(256), heights / 1000, width=1, color="tab:gray")
    axes[1, column].set(xlabel="shade", xlim=(0, 255))
    axes[1, column].spines[["top", "right"]].set_visible(False)
axes[1, 0].set_ylabel("1,000 pixels")
plt.show()
