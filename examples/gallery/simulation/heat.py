"""
Heat in a plate
===============

The heat equation by finite differences in f64: a stencil of five points, a thousand
steps, and an exact solution to be compared with.
"""

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

import gpucore as gc


# %%
# The edge of the plate stays cold. ``0.25`` has the type of the arrays: in a kernel on
# f64 arrays literals are f64.
@gc.kernel
def step(now: gc.Array2[gc.f64], later: gc.Array2[gc.f64], ratio: gc.f64) -> None:
    y, x = gc.global_ids(2)
    if 0 < y < now.shape[0] - 1 and 0 < x < now.shape[1] - 1:
        around = now[y - 1, x] + now[y + 1, x] + now[y, x - 1] + now[y, x + 1]
        later[y, x] = now[y, x] + ratio * (around - 4.0 * now[y, x])


# %%
# A plate with two warm waves across it. Each wave keeps its shape and fades at a rate
# of its own, both for the heat equation and for the stencil: that is the exact
# solution.
n, steps, ratio = 161, 1000, 0.24
i = np.arange(n)


def wave(a: int, b: int) -> npt.NDArray[np.float64]:
    y, x = np.sin(np.pi * a * i / (n - 1)), np.sin(np.pi * b * i / (n - 1))
    return np.outer(y, x)


def fading(a: int, b: int) -> float:
    """What is left of a wave after one step."""
    half = np.pi / (2 * (n - 1))
    return float(1 - 4 * ratio * (np.sin(a * half) ** 2 + np.sin(b * half) ** 2))


start = 1.2 * wave(1, 1) + wave(3, 5) + 0.8 * wave(6, 4)
with gc.Context() as ctx:
    now, later = ctx.array(start), ctx.zeros(start.shape, gc.f64)
    for _ in range(steps):
        step.over(start.shape)(now, later, ratio)
        now, later = later, now
    end = now.numpy()

# %%
# A thousand steps of rounding leave thirteen digits right, and NumPy, which adds up in
# the same order, has the same bits.
exact = (
    1.2 * fading(1, 1) ** steps * wave(1, 1)
    + fading(3, 5) ** steps * wave(3, 5)
    + 0.8 * fading(6, 4) ** steps * wave(6, 4)
)
assert np.allclose(end, exact, rtol=0, atol=1e-12)
plate = start.copy()
plate[[0, -1]] = plate[:, [0, -1]] = 0
for _ in range(steps):
    around = plate[:-2, 1:-1] + plate[2:, 1:-1] + plate[1:-1, :-2] + plate[1:-1, 2:]
    inner = plate[1:-1, 1:-1] + ratio * (around - 4 * plate[1:-1, 1:-1])
    plate[1:-1, 1:-1] = inner
assert np.allclose(end, plate, rtol=0, atol=1e-14)
print(f"largest error: {np.abs(end - exact).max():.1e}")

figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
for axis, plate, title in zip(
    axes, (start, end), ("start", f"{steps:,} steps"), strict=True
):
    axis.imshow(plate, cmap="inferno", vmin=-1.5, vmax=2.5, extent=(0, 1, 0, 1))
    axis.contour(plate, levels=8, colors="white", linewidths=0.4, extent=(0, 1, 1, 0))
    axis.set(xlabel="x", ylabel="y", title=title)
figure.colorbar(axes[1].images[0], ax=axes, label="temperature")
plt.show()
