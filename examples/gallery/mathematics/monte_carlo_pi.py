"""
Pi by throwing darts
====================

A quarter of a circle in a square holds pi / 4 of the darts. The darts come from
``gc.random``, whose numbers have no state: each thread draws by its own index.
"""

import math

import matplotlib.pyplot as plt
import numpy as np

import gpucore as gc

SEED = 20260101
DARTS = 4096


# %%
# ``uniform(seed, index)`` is a function of two integers, so the darts do not depend on
# how many threads there are or when they run. Counting is exact: every device finds the
# same darts inside, and the same value of pi.
@gc.kernel
def throw(inside: gc.Array[gc.i32]) -> None:
    i = gc.global_id(0)
    count = gc.i32(0)
    for k in range(DARTS):
        dart = 2 * (i * DARTS + k)
        x = gc.random.uniform(SEED, dart)
        y = gc.random.uniform(SEED, dart + 1)
        if x * x + y * y < 1.0:
            count += 1
    inside[i] = count


@gc.kernel
def draw(points: gc.Array2[gc.f32]) -> None:
    i, axis = gc.global_ids(2)
    points[i, axis] = gc.random.uniform(SEED, 2 * i + axis)


# %%
# Four million darts for the estimate, and the first three thousand again for the
# picture.
threads = 1024
with gc.Context() as ctx:
    inside = ctx.empty(threads, gc.i32)
    throw.over(threads)(inside)
    counts = inside.numpy()
    points = ctx.empty((3000, 2), gc.f32)
    draw.over(points.shape)(points)
    x, y = points.numpy().T

darts = DARTS * np.arange(1, threads + 1)
estimates = 4 * np.cumsum(counts, dtype=np.int64) / darts
print(f"pi is about {estimates[-1]:.5f} after {darts[-1]:,} darts")

# %%
# The standard error is known, and four of them hold all but one estimate in 16,000. The
# first thread's darts are counted once more by NumPy, from the numbers themselves.
errors = 4 * np.sqrt(np.pi / 4 * (1 - np.pi / 4) / darts)
assert abs(estimates[-1] - math.pi) < 4 * errors[-1]
with gc.Context() as ctx:
    points = ctx.empty((DARTS, 2), gc.f32)
    draw.over(points.shape)(points)
    first = points.numpy()
assert np.count_nonzero((first * first).sum(axis=1) < 1) == counts[0]

figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.8), layout="constrained")
hit = x * x + y * y < 1
axes[0].scatter(x[hit], y[hit], s=2, color="tab:blue", linewidths=0)
axes[0].scatter(x[~hit], y[~hit], s=2, color="tab:orange", linewidths=0)
axes[0].set(aspect="equal", xlim=(0, 1), ylim=(0, 1), title="The first 3,000 darts")
axes[1].axhline(math.pi, color="black", linewidth=0.8)
axes[1].fill_between(
    darts,
    math.pi - 2 * errors,
    math.pi + 2 * errors,
    alpha=0.2,
    linewidth=0,
    label="two standard errors",
)
axes[1].plot(darts, estimates, label="estimate")
axes[1].set(xlabel="darts", xscale="log", ylim=(3.1, 3.18), title="Coming closer")
axes[1].legend(frameon=False)
axes[1].spines[["top", "right"]].set_visible(False)
plt.show()
