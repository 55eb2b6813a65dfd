"""Work bound by memory: copy, saxpy, triad, reduction, histogram, transpose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import gpucore as gc
from gpucore_bench import kernels
from gpucore_bench.model import Arrays, Maker, Work
from gpucore_bench.ours import both, is_host, ready
from gpucore_bench.peers import jax, numba_vulkan, quadrants, triton, vkdispatch, warp
from gpucore_bench.peers.device import cupy_elementwise, cupy_peer, cupy_raw, torch_both
from gpucore_bench.peers.host import numba_every, numpy_peer

A = np.float32(1.5)


def sizes(context: Any, quick: bool) -> list[int]:
    """From 1 Ki to 256 Mi elements, as far as the memory goes; when quick one that is beyond most caches.

    Where gpucore and its peers share the memory of one host, all their arrays are there at once.  A driver that runs on the
    processor is too slow for the largest.
    """
    free = context.device.memory_info().free
    host = is_host(context)
    every = [1 << 10, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 28]
    if quick:
        every = [1 << 10, 1 << 20, 1 << (23 if host else 24)]
    elif context.device.kind == "software":
        every = every[:7]
    fitting = [n for n in every if n * (160 if host else 24) <= free]
    return fitting[-1:] if quick else fitting


def floats(n: int, *names: str) -> Callable[[], Arrays]:
    """Uniform numbers in -1 to 1 under each name."""

    def make() -> Arrays:
        rng = np.random.default_rng(n)
        return {name: rng.random(n, dtype=np.float32) * 2 - 1 for name in names}

    return make


def _one(name: str, size: int, inputs: Callable[[], Arrays], expected: Any, bytes_moved: int, flops: int,
         makers: Mapping[str, Maker], tolerance: float = 1e-6, written: int | None = None,
         working_set: int | None = None) -> Work:  # fmt: skip
    return Work(
        name, "stream", size, inputs, expected, makers, tolerance, bytes_moved, flops, bytes_written=written,
        working_set=working_set,
    )  # fmt: skip


def _copy(n: int) -> Work:
    def numpy_step(a: dict[str, Any]) -> None:
        np.copyto(a["y"], a["x"])

    def torch_step(torch: Any, a: dict[str, Any], work: Work) -> Callable[[], Any]:
        return lambda: a["y"].copy_(a["x"])

    return _one(
        "copy", n, floats(n, "x", "y"), lambda i: i["x"], 8 * n, 0,
        {
            **both(lambda ctx, a: ready(kernels.copy.over(n), a["x"], a["y"]), "y", lambda w: {}),
            "numpy": numpy_peer(numpy_step, "y"),
            **numba_every(n, "copy", ("x", "y"), "y"),
            "cupy": cupy_elementwise(("T x", "T y"), "y = x", ("x", "y"), "y"),
            **torch_both(torch_step, "y"),
            **triton.stream("copy", ("x", "y", None), "y"),
            **warp.both("copy", lambda a, empty: (n, (a["x"], a["y"])), "y"),
        },
    )  # fmt: skip


def _saxpy(n: int) -> Work:
    """y is overwritten at each run, so x is small enough that no run grows it past the tolerance's reach."""

    def inputs() -> Arrays:
        rng = np.random.default_rng(n)
        return {
            "x": (rng.random(n, dtype=np.float32) - np.float32(0.5)),
            "y": rng.random(n, dtype=np.float32),
        }

    def numpy_step(a: dict[str, Any]) -> None:
        if "t" not in a:
            a["t"] = np.empty_like(a["x"])
        np.multiply(a["x"], A, out=a["t"])
        np.add(a["y"], a["t"], out=a["y"])

    def torch_step(torch: Any, a: dict[str, Any], work: Work) -> Callable[[], Any]:
        return lambda: a["y"].add_(a["x"], alpha=float(A))

    def cupy_step(cupy: Any, a: dict[str, Any], work: Work) -> Callable[[], Any]:
        kernel = cupy.ElementwiseKernel("T x, T a", "T y", "y = a * x + y", "saxpy")
        return lambda: kernel(a["x"], A, a["y"])

    return _one(
        "saxpy", n, inputs, lambda i: A * i["x"] + i["y"], 12 * n, 2 * n,
        {
            **both(lambda ctx, a: ready(kernels.saxpy.over(n), a["x"], a["y"], 1.5), "y", lambda w: {}),
            "numpy": numpy_peer(numpy_step, "y"),
            **numba_every(n, "saxpy", ("x", "y", A), "y"),
            "cupy": cupy_peer(cupy_step, "y"),
            **torch_both(torch_step, "y"),
            **triton.stream("saxpy", ("x", "y", None, float(A)), "y"),
            **warp.both("saxpy", lambda a, empty: (n, (a["x"], a["y"], 1.5)), "y"),
            **jax.peer(lambda jnp, x, y: 1.5 * x + y, ("x", "y"), "y"),
            **quadrants.both("saxpy", arguments=["x", "y", 1.5], result="y"),
            **vkdispatch.peer("saxpy"),
            **numba_vulkan.peer("saxpy"),
        },
        written=4 * n,
        working_set=8 * n,
    )  # fmt: skip


def _triad(n: int) -> Work:
    def numpy_step(a: dict[str, Any]) -> None:
        np.multiply(a["c"], A, out=a["a"])
        np.add(a["a"], a["b"], out=a["a"])

    def torch_step(torch: Any, a: dict[str, Any], work: Work) -> Callable[[], Any]:
        return lambda: torch.add(a["b"], a["c"], alpha=float(A), out=a["a"])

    return _one(
        "triad", n, floats(n, "a", "b", "c"), lambda i: i["b"] + A * i["c"], 12 * n, 2 * n,
        {
            **both(lambda ctx, a: ready(kernels.triad.over(n), a["b"], a["c"], a["a"], 1.5), "a", lambda w: {}),
            "numpy": numpy_peer(numpy_step, "a"),
            **numba_every(n, "triad", ("b", "c", "a", A), "a"),
            "cupy": cupy_elementwise(("T b, T c", "T a"), "a = b + T(1.5) * c", ("b", "c", "a"), "a"),
            **torch_both(torch_step, "a"),
            **triton.stream("triad", ("b", "c", "a", None, float(A)), "a"),
            **warp.both("triad", lambda a, empty: (n, (a["b"], a["c"], a["a"], 1.5)), "a"),
            **jax.peer(lambda jnp, b, c: b + 1.5 * c, ("b", "c"), "a"),
        },
        written=4 * n,
    )  # fmt: skip


def _reduction(n: int) -> Work:
    # A partition by n alone, so that every device adds in one order: enough blocks for a large GPU, then longer ones.
    tiles = gc.cdiv(n, 2048)
    each = min(gc.cdiv(tiles, 512), 16)
    blocks = gc.cdiv(tiles, each)

    def launch(ctx: gc.Context, a: Mapping[str, Any]) -> Callable[[], object]:
        wide, last = kernels.reduce_blocks[(1, blocks), (16, 16)], kernels.reduce_blocks[(1, 1), (16, 16)]
        x, partial, out = a["x"], a["partial"], a["out"]
        rest = gc.cdiv(blocks, 2048)

        def once() -> None:
            wide(x, partial, each)
            last(partial, out, rest)

        return once

    def numpy_step(a: dict[str, Any]) -> None:
        a["out"] = np.array([a["x"].sum()])

    def torch_step(torch: Any, a: dict[str, Any], work: Work) -> Callable[[], Any]:
        a["out"] = torch.empty(1, device=a["x"].device)
        return lambda: torch.sum(a["x"], 0, keepdim=True, out=a["out"])

    def cupy_step(cupy: Any, a: dict[str, Any], work: Work) -> Callable[[], Any]:
        a["out"] = cupy.empty(1, "f4")
        return lambda: a["x"].sum(out=a["out"], keepdims=True)

    def positive() -> Arrays:
        return {"x": np.random.default_rng(n).random(n, dtype=np.float32)}

    outputs = {"partial": (blocks, gc.f32), "out": (1, gc.f32)}
    return _one(
        "reduction", n, positive, lambda i: np.array([i["x"].sum(dtype=np.float64)]), 4 * n, n,
        {
            **both(launch, "out", lambda w: outputs),
            "numpy": numpy_peer(numpy_step, "out"),
            **numba_every(n, "reduce", ("x", "out"), "out", {"out": ((1,), "f4")}),
            "cupy": cupy_peer(cupy_step, "out"),
            **torch_both(torch_step, "out"),
            **triton.reduction("out"),
            **jax.peer(lambda jnp, x: jnp.sum(x, keepdims=True), ("x",), "out", (1,)),
        },
        tolerance=1e-3,  # peers add in f32, each in its own order
        written=0,
    )  # fmt: skip


def _histogram(n: int) -> Work:
    # each block clears and adds up its copies of the bins, so blocks grow before they become many
    tiles = gc.cdiv(n, 2048)
    each = min(max(gc.cdiv(tiles, 512), 8), 64)
    blocks = gc.cdiv(tiles, each)

    def launch(ctx: gc.Context, a: Mapping[str, Any]) -> Callable[[], object]:
        count, x, bins = kernels.histogram[(1, blocks), (8, 32)], a["x"], a["bins"]

        def once() -> None:
            bins.fill(0)
            count(x, bins, each)

        return once

    def inputs() -> Arrays:
        return {"x": np.random.default_rng(n).integers(0, 256, n, dtype=np.uint8)}

    def numpy_step(a: dict[str, Any]) -> None:
        a["bins"] = np.bincount(a["x"], minlength=256)

    def torch_step(torch: Any, a: dict[str, Any], work: Work) -> Callable[[], Any]:
        def once() -> None:
            a["bins"] = torch.bincount(a["x"], minlength=256)

        return once

    def cupy_step(cupy: Any, a: dict[str, Any], work: Work) -> Callable[[], Any]:
        def once() -> None:
            a["bins"] = cupy.bincount(a["x"], minlength=256)

        return once

    return _one(
        "histogram", n, inputs, lambda i: np.bincount(i["x"], minlength=256), n, 0,
        {
            **both(launch, "bins", lambda w: {"bins": (256, gc.u32)}),
            "numpy": numpy_peer(numpy_step, "bins"),
            **numba_every(n, "histogram", ("x", "bins"), "bins", {"bins": ((256,), "u4")}),
            "cupy": cupy_peer(cupy_step, "bins"),
            **torch_both(torch_step, "bins"),
        },
        written=0,
    )  # fmt: skip


TRANSPOSE = r"""
extern "C" __global__ void transpose(const float* x, float* y, int rows, int columns) {
  __shared__ float tile[32][33];
  int c = blockIdx.x * 32 + threadIdx.x, r = blockIdx.y * 32 + threadIdx.y;
  for (int k = 0; k < 32; k += 8)
    if (r + k < rows && c < columns) tile[threadIdx.y + k][threadIdx.x] = x[(size_t)(r + k) * columns + c];
  __syncthreads();
  int row = blockIdx.x * 32 + threadIdx.y, column = blockIdx.y * 32 + threadIdx.x;
  for (int k = 0; k < 32; k += 8)
    if (row + k < columns && column < rows) y[(size_t)(row + k) * rows + column] = tile[threadIdx.x][threadIdx.y + k];
}
"""


def _transpose(n: int) -> Work:
    rows = 1 << (n.bit_length() // 2)
    columns = n // rows

    def inputs() -> Arrays:
        return {"x": np.random.default_rng(n).random((rows, columns), dtype=np.float32)}

    def launch(ctx: gc.Context, a: Mapping[str, Any]) -> Callable[[], object]:
        # a row of 16 is a processor's cache line; 32 of them from as many pages would be more than its TLB holds
        kernel, tile, block = (
            (kernels.transpose, 16, (16, 16)) if is_host(ctx) else (kernels.transpose_wide, 32, (8, 32))
        )
        return ready(kernel[(gc.cdiv(rows, tile), gc.cdiv(columns, tile)), block], a["x"], a["y"])

    def numpy_step(a: dict[str, Any]) -> None:
        if "y" not in a:
            a["y"] = np.empty((columns, rows), np.float32)
        np.copyto(a["y"], a["x"].T)

    def torch_step(torch: Any, a: dict[str, Any], work: Work) -> Callable[[], Any]:
        a["y"] = torch.empty((columns, rows), device=a["x"].device)
        return lambda: a["y"].copy_(a["x"].t())

    def raw(a: dict[str, Any], work: Work, cupy: Any) -> tuple[Any, Any, Any]:
        a["y"] = cupy.empty((columns, rows), "f4")
        arguments = (a["x"], a["y"], np.int32(rows), np.int32(columns))
        return (gc.cdiv(columns, 32), gc.cdiv(rows, 32)), (32, 8), arguments

    return _one(
        "transpose", n, inputs, lambda i: i["x"].T, 8 * n, 0,
        {
            **both(launch, "y", lambda w: {"y": ((columns, rows), gc.f32)}),
            "numpy": numpy_peer(numpy_step, "y"),
            **numba_every(n, "transpose", ("x", "y"), "y", {"y": ((columns, rows), "f4")}),
            "cupy RawKernel": cupy_raw(TRANSPOSE, "transpose", raw, "y"),
            **torch_both(torch_step, "y"),
            **jax.peer(lambda jnp, x: x.T, ("x",), "y", (columns, rows)),
        },
    )  # fmt: skip


def works(context: Any, quick: bool) -> list[Work]:
    """Every work at every size."""
    makers = (_copy, _saxpy, _triad, _reduction, _histogram, _transpose)
    return [make(n) for make in makers for n in sizes(context, quick)]
