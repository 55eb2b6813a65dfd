"""
How large should a batch be?
============================

The same images through a pipeline in batches of different sizes, and copies of
different sizes on their own.
"""

import time
from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

import gpucore as gc


# %%
# The work: brighten images. All images of a batch are one launch.
@gc.kernel
def brighten(images: gc.Array3[gc.f32], out: gc.Array3[gc.f32], factor: gc.f32) -> None:
    n, y, x = gc.global_ids(3)
    out[n, y, x] = gc.min(images[n, y, x] * factor, 1.0)


height, width, total = 64, 96, 256
pictures = np.random.default_rng(0).random((total, height, width), np.float32)


def step(stream: gc.Stream, images: gc.Array3[gc.f32]) -> gc.Array3[gc.f32]:
    out = ctx.empty(images.shape, images.dtype)
    brighten.over(images.shape, stream=stream)(images, out, 1.5)
    return out


def batches(size: int) -> Iterator[npt.NDArray[np.float32]]:
    for first in range(0, total, size):
        yield pictures[first : first + size]


# %%
# Each item of a pipeline costs the host some time, whatever its size: with one image an
# item that is most of it. With all images in one item nothing overlaps.
rates: dict[int, float] = {}
copies: dict[str, dict[int, float]] = {}
with gc.Context() as ctx:
    for size in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        best, done, result = float("inf"), 0, pictures[:0]
        for _ in range(3):
            start = time.perf_counter()
            done = 0
            for result in ctx.pipeline(step, batches(size)):
                done += len(result)
            best = min(best, time.perf_counter() - start)
        assert done == total
        assert np.array_equal(result, np.minimum(pictures[-size:] * np.float32(1.5), 1))
        rates[size] = total / best
    fastest = max(rates, key=rates.__getitem__)
    print(f"batches of {fastest} are the fastest: {rates[fastest]:.0f} images a second")

# %%
# The same for copies alone: small ones take as long as the call does, large ones reach
# the rate of the bus, and pinned memory is faster where there is a bus.
with gc.Context() as ctx:
    for kind in ("pageable", "pinned"):
        copies[kind] = {}
        for power in range(10, 25, 2):
            nbytes = 1 << power
            make = ctx.pinned if kind == "pinned" else np.zeros
            host = make(nbytes // 4, "float32")
            array = ctx.zeros(nbytes // 4, gc.f32)
            best = float("inf")
            for _ in range(5):
                start = time.perf_counter()
                array.copy_from(host)
                ctx.synchronize()
                best = min(best, time.perf_counter() - start)
            copies[kind][nbytes] = nbytes / best / 1e9

# %%
# Choose the smallest batch on the flat part of the curve: larger ones only take more
# memory and come later.
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
left.plot(list(rates), list(rates.values()), marker="o", color="#3b6fb6")
left.set_xscale("log", base=2)
left.set_xlabel("images a batch")
left.set_ylabel("images a second")
for (kind, found), color in zip(copies.items(), ("#e08a2e", "#5aa05a")):
    right.plot(list(found), list(found.values()), marker="o", label=kind, color=color)
right.set_xscale("log", base=2)
right.set_yscale("log")
right.set_xlabel("bytes a copy to the device")
right.set_ylabel("GB/s")
right.legend()
plt.show()
