"""
Normalising a data set
======================

Every column of a table to mean 0 and deviation 1, as scikit-learn's ``StandardScaler``
does: a block for each column sums it up and then scales it, in one launch.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

import gpucore as gc

THREADS = 128


# %%
# A sum over a block is a tree: each thread adds up its part, then half of the threads
# add what the other half has, and so on. The tree has the same shape on every device,
# and so the sum has the same bits.
@gc.func
def block_total(parts: gc.Array[gc.f64], t: gc.index, value: gc.f64) -> gc.f64:
    parts[t] = value
    gc.barrier()
    for step in gc.static_range(7):
        half = THREADS >> (step + 1)
        if t < half:
            parts[t] += parts[t + half]
        gc.barrier()
    total = parts[0]
    gc.barrier()
    return total


@gc.kernel
def standardise(table: gc.Array2[gc.f64], out: gc.Array2[gc.f64]) -> None:
    parts = gc.shared(THREADS, gc.f64)
    column = gc.block_id(0)
    t = gc.thread_id(0)
    rows = table.shape[0]

    value = 0.0
    for row in range(t, rows, THREADS):
        value += table[row, column]
    mean = block_total(parts, t, value) / gc.f64(rows)

    value = 0.0
    for row in range(t, rows, THREADS):
        value += (table[row, column] - mean) ** 2
    deviation = gc.sqrt(block_total(parts, t, value) / gc.f64(rows))

    for row in range(t, rows, THREADS):
        out[row, column] = (table[row, column] - mean) / deviation


# %%
# The wines: 178 rows of 13 measurements, from 0.1 to 1,680.
measured, _ = load_wine(return_X_y=True)
table = np.asarray(measured, np.float64)
NAMES = (
    "alcohol, malic acid, ash, alcalinity of ash, magnesium, total phenols, "
    "flavanoids, nonflavanoid phenols, proanthocyanins, color intensity, "
    "hue, od280/od315, proline"
).split(", ")
assert standardise.portable
with gc.Context() as ctx:
    out = ctx.empty(table.shape, gc.f64)
    standardise[table.shape[1], THREADS](ctx.array(table), out)
    scaled = out.numpy()

# %%
# scikit-learn adds up in another order, so its numbers differ in the last digits.
expected = StandardScaler().fit_transform(table)
assert np.allclose(scaled, expected, rtol=0, atol=1e-12)
print(f"largest difference: {np.abs(scaled - expected).max():.1e}")

figure, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained", sharey=True)
style = {"orientation": "horizontal", "widths": 0.7, "flierprops": {"markersize": 3}}
axes[0].boxplot(table, **style, tick_labels=NAMES)
axes[0].set(xscale="log", title="As measured", xlabel="value")
axes[1].boxplot(scaled, **style, manage_ticks=False)
axes[1].set(title="Normalised", xlabel="deviations from the mean")
for axis in axes:
    axis.spines[["top", "right"]].set_visible(False)
axes[0].invert_yaxis()
plt.show()
