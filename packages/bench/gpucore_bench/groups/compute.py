"""Work bound by arithmetic: n-body, Mandelbrot, matrix product, stencil, Black-Scholes, the math functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import gpucore as gc
from gpucore_bench import kernels
from gpucore_bench.model import Arrays, Work
from gpucore_bench.ours import both, is_host, ready
from gpucore_bench.peers import jax, quadrants, sources, warp
from gpucore_bench.peers.device import cupy_peer, cupy_raw_both, torch_both, torch_peer
from gpucore_bench.peers.host import numba_both, numpy_peer

TORCH_ROWS = 512
"""Bodies at a time in PyTorch's n-body, whose differences would fill the memory otherwise."""


def _nbody(n: int) -> Work:
    def inputs() -> Arrays:
        return {"p": np.random.default_rng(n).random((4, n), dtype=np.float32)}

    def expected(i: Arrays) -> Any:
        p = i["p"].astype(np.float64)
        out = np.zeros((3, n))
        for start in range(0, n, 256):
            d = p[:3, None, :] - p[:3, start : start + 256, None]
            w = p[3] / ((d * d).sum(0) + 0.01) ** 1.5
            out[:, start : start + 256] = (w * d).sum(2)
        return out

    def torch_step(torch: Any, a: dict[str, Any], work: Work) -> Callable[[], Any]:
        p = a["p"]
        out = a["a"] = torch.empty((3, n), device=p.device)

        def once() -> None:
            for start in range(0, n, TORCH_ROWS):
                piece = slice(start, start + TORCH_ROWS)
                d = p[:3, None, :] - p[:3, piece, None]
                inverse = torch.rsqrt((d * d).sum(0) + 0.01)
                w = p[3] * inverse * inverse * inverse
                torch.sum(w * d, 2, out=out[:, piece])

        return once

    def raw(a: dict[str, Any], work: Work, cupy: Any) -> tuple[Any, Any, Any]:
        a["a"] = cupy.empty((3, n), "f4")
        return (gc.cdiv(n, 256),), (256,), (a["p"], a["a"], np.int32(n))

    return Work(
        "n-body", "compute", n, inputs, expected,
        {
            **both(lambda ctx, a: ready(kernels.nbody.over(n), a["p"], a["a"]), "a", lambda w: {"a": ((3, n), gc.f32)}),
            **numba_both("nbody", ("p", "a"), "a", {"a": ((3, n), "f4")}),
            **cupy_raw_both(sources.NBODY, "nbody", raw, "a"),
            "torch": torch_peer(torch_step, "a"),
            **quadrants.both(
                "nbody", outputs={"a": ([3, n], "f32")}, arguments=["p", "a"], result="a"
            ),
            **warp.both("nbody", lambda a, empty: (n, (a["p"], empty("a", (3, n), "float32"))), "a"),
        },
        tolerance=1e-4, flops=20 * n * n,
    )  # fmt: skip


def _mandelbrot(height: int, limit: int) -> Work:
    width = height * 5 // 4

    def expected(i: Arrays) -> Any:
        """The same f32 recurrence, step by step."""
        f = np.float32
        x, y = np.arange(width, dtype=f), np.arange(height, dtype=f)
        cr = (x * (f(3) / f(width)) - f(2.2))[None, :] + np.zeros((height, 1), f)
        ci = (y * (f(2.4) / f(height)) - f(1.2))[:, None] + np.zeros((1, width), f)
        zr, zi, n = np.zeros_like(cr), np.zeros_like(cr), np.zeros(cr.shape, np.int32)
        for _ in range(limit):
            inside = zr * zr + zi * zi <= f(4)
            if not inside.any():
                break
            t = np.where(inside, zr * zr - zi * zi + cr, zr)
            zi = np.where(inside, f(2) * zr * zi + ci, zi)
            zr = t
            n += inside
        return n

    def raw(a: dict[str, Any], work: Work, cupy: Any) -> tuple[Any, Any, Any]:
        a["out"] = cupy.empty((height, width), "i4")
        return (
            (gc.cdiv(width, 32), gc.cdiv(height, 8)),
            (32, 8),
            (a["out"], np.int32(height), np.int32(width), np.int32(limit)),
        )

    shape = (height, width)
    return Work(
        "mandelbrot", "compute", height * width, dict, expected,
        {
            **both(
                lambda ctx, a: ready(kernels.mandelbrot.over(shape), a["out"], limit),
                "out",
                lambda w: {"out": (shape, gc.i32)},
            ),
            **numba_both("mandelbrot", ("out", np.int32(limit)), "out", {"out": (shape, "i4")}),
            **cupy_raw_both(sources.MANDELBROT, "mandelbrot", raw, "out"),
            **quadrants.both(
                "mandelbrot", outputs={"out": (list(shape), "i32")}, arguments=["out", limit], result="out"
            ),
            **warp.both("mandelbrot", lambda a, empty: (shape, (empty("out", shape, "int32"), limit)), "out"),
        },
        # a pixel on the border may leave one step earlier under contraction; over the whole picture few do
        tolerance=1.0, bytes_moved=4 * width * height, bytes_written=4 * width * height,
        # of a step of a pixel, the comparison left out
        count_flops=lambda steps: 8 * int(steps.sum(dtype=np.int64)),
    )  # fmt: skip


def _matmul(n: int) -> Work:
    def inputs() -> Arrays:
        rng = np.random.default_rng(n)
        return {k: rng.random((n, n), dtype=np.float32) - np.float32(0.5) for k in ("a", "b")}

    def launch(ctx: gc.Context, a: Mapping[str, Any]) -> Callable[[], object]:
        # a GPU holds 8 x 8 sums a thread in registers; a CPU's vectors of threads do not
        kernel, tile = (kernels.matmul, 64) if is_host(ctx) else (kernels.matmul_wide, 128)
        return ready(kernel[(n // tile, n // tile), (16, 16)], a["a"], a["b"], a["c"])

    def numpy_step(a: dict[str, Any]) -> None:
        if "c" not in a:
            a["c"] = np.empty((n, n), np.float32)
        np.matmul(a["a"], a["b"], out=a["c"])

    def torch_step(torch: Any, a: dict[str, Any], work: Work) -> Callable[[], Any]:
        torch.backends.cuda.matmul.allow_tf32 = False
        a["c"] = torch.empty((n, n), device=a["a"].device)
        return lambda: torch.matmul(a["a"], a["b"], out=a["c"])

    def cupy_step(cupy: Any, a: dict[str, Any], work: Work) -> Callable[[], Any]:
        a["c"] = cupy.empty((n, n), "f4")
        return lambda: cupy.matmul(a["a"], a["b"], out=a["c"])

    return Work(
        "matmul", "compute", n, inputs, lambda i: i["a"].astype(np.float64) @ i["b"],
        {
            **both(launch, "c", lambda w: {"c": ((n, n), gc.f32)}),
            "numpy (BLAS)": numpy_peer(numpy_step, "c"),
            "cupy (cuBLAS)": cupy_peer(cupy_step, "c"),
            **torch_both(torch_step, "c", "torch (cuBLAS)"),
            **jax.peer(jax.matmul, ("a", "b"), "c", (n, n)),
        },
        tolerance=1e-4, bytes_moved=12 * n * n, bytes_written=4 * n * n, flops=2 * n**3,
    )  # fmt: skip


def _stencil(n: int) -> Work:
    def inputs() -> Arrays:
        x = np.random.default_rng(n).random((n, n), dtype=np.float32)
        return {"x": x, "y": np.zeros_like(x)}

    def expected(i: Arrays) -> Any:
        x = i["x"].astype(np.float64)
        y = np.zeros_like(x)
        y[1:-1, 1:-1] = 0.2 * (x[1:-1, 1:-1] + x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:])
        return y

    def numpy_step(a: dict[str, Any]) -> None:
        x, y = a["x"], a["y"][1:-1, 1:-1]
        np.add(x[1:-1, 1:-1], x[:-2, 1:-1], out=y)
        for part in (x[2:, 1:-1], x[1:-1, :-2], x[1:-1, 2:]):
            np.add(y, part, out=y)
        np.multiply(y, np.float32(0.2), out=y)

    def torch_step(torch: Any, a: dict[str, Any], work: Work) -> Callable[[], Any]:
        x, y = a["x"], a["y"][1:-1, 1:-1]
        parts = (x[2:, 1:-1], x[1:-1, :-2], x[1:-1, 2:])

        def once() -> None:
            torch.add(x[1:-1, 1:-1], x[:-2, 1:-1], out=y)
            for part in parts:
                y.add_(part)
            y.mul_(0.2)

        return once

    def raw(a: dict[str, Any], work: Work, cupy: Any) -> tuple[Any, Any, Any]:
        return (gc.cdiv(n, 32), gc.cdiv(n, 8)), (32, 8), (a["x"], a["y"], np.int32(n), np.int32(n))

    return Work(
        "stencil 2-D", "compute", n * n, inputs, expected,
        {
            **both(lambda ctx, a: ready(kernels.stencil.over((n, n)), a["x"], a["y"]), "y", lambda w: {}),
            "numpy": numpy_peer(numpy_step, "y"),
            **cupy_raw_both(sources.STENCIL, "stencil", raw, "y"),
            **torch_both(torch_step, "y"),
            **numba_both("stencil", ("x", "y"), "y"),
            **warp.both("stencil", lambda a, empty: ((n, n), (a["x"], a["y"])), "y"),
            **jax.peer(jax.stencil, ("x", "y"), "y"),
        },
        bytes_moved=8 * n * n, flops=5 * n * n,
    )  # fmt: skip


def _black_scholes(n: int) -> Work:
    rate, sigma = np.float32(0.02), np.float32(0.3)

    def inputs() -> Arrays:
        rng = np.random.default_rng(n)
        return {
            "price": rng.uniform(5, 30, n).astype(np.float32),
            "strike": rng.uniform(1, 100, n).astype(np.float32),
            "years": rng.uniform(0.25, 10, n).astype(np.float32),
        }

    def cdf(d: Any) -> Any:
        k = 1 / (1 + 0.2316419 * np.abs(d))
        poly = k * (
            0.31938153 + k * (-0.356563782 + k * (1.781477937 + k * (-1.821255978 + k * 1.330274429)))
        )
        tail = 0.39894228040143267 * np.exp(-0.5 * d * d) * poly
        return np.where(d > 0, 1 - tail, tail)

    def price(s: Any, x: Any, t: Any, r: float, v: float) -> Any:
        root = np.sqrt(t)
        d1 = (np.log(s / x) + (r + 0.5 * v * v) * t) / (v * root)
        return s * cdf(d1) - x * np.exp(-r * t) * cdf(d1 - v * root)

    def expected(i: Arrays) -> Any:
        s, x, t = (i[k].astype(np.float64) for k in ("price", "strike", "years"))
        return price(s, x, t, float(rate), float(sigma))

    def numpy_step(a: dict[str, Any]) -> None:
        a["call"] = price(a["price"], a["strike"], a["years"], rate, sigma)  # type: ignore[arg-type]

    def launch(ctx: gc.Context, a: Mapping[str, Any]) -> Callable[[], object]:
        return ready(kernels.black_scholes.over(n), a["price"], a["strike"], a["years"], a["call"], 0.02, 0.3)

    def torch_step(torch: Any, a: dict[str, Any], work: Work) -> Callable[[], Any]:
        def torch_cdf(d: Any) -> Any:
            k = 1 / (1 + 0.2316419 * d.abs())
            poly = k * (
                0.31938153 + k * (-0.356563782 + k * (1.781477937 + k * (-1.821255978 + k * 1.330274429)))
            )
            tail = 0.39894228040143267 * torch.exp(-0.5 * d * d) * poly
            return torch.where(d > 0, 1 - tail, tail)

        def once() -> None:
            s, x, t = a["price"], a["strike"], a["years"]
            root = t.sqrt()
            d1 = (torch.log(s / x) + (0.02 + 0.5 * 0.3 * 0.3) * t) / (0.3 * root)
            a["call"] = s * torch_cdf(d1) - x * torch.exp(-0.02 * t) * torch_cdf(d1 - 0.3 * root)

        return once

    def raw(a: dict[str, Any], work: Work, cupy: Any) -> tuple[Any, Any, Any]:
        a["call"] = cupy.empty(n, "f4")
        arguments = (a["price"], a["strike"], a["years"], a["call"], rate, sigma, np.int32(n))
        return (gc.cdiv(n, 256),), (256,), arguments

    def warp_call(a: dict[str, Any], empty: warp.Empty) -> tuple[Any, tuple[Any, ...]]:
        return n, (a["price"], a["strike"], a["years"], empty("call", n, "float32"), 0.02, 0.3)

    return Work(
        "black-scholes", "compute", n, inputs, expected,
        {
            **both(launch, "call", lambda w: {"call": (n, gc.f32)}),
            "numpy": numpy_peer(numpy_step, "call"),
            **cupy_raw_both(sources.BLACK_SCHOLES, "black_scholes", raw, "call"),
            **torch_both(torch_step, "call"),
            **numba_both("black_scholes", ("price", "strike", "years", "call", rate, sigma), "call", {"call": ((n,), "f4")}),
            **warp.both("black_scholes", warp_call, "call"),
            **jax.peer(jax.black_scholes, ("price", "strike", "years"), "call", (n,)),
        },
        tolerance=1e-4, bytes_moved=16 * n, bytes_written=4 * n,
    )  # fmt: skip


def _math(name: str, n: int) -> Work:
    kernel = getattr(kernels, f"math_{name}")
    function = getattr(np, name)

    def inputs() -> Arrays:
        rng = np.random.default_rng(n)
        low, high = (1e-3, 1e3) if name == "log" else (-10.0, 10.0)
        return {"x": rng.uniform(low, high, n).astype(np.float32), "y": np.zeros(n, np.float32)}

    def numpy_step(a: dict[str, Any]) -> None:
        function(a["x"], out=a["y"])

    def torch_step(torch: Any, a: dict[str, Any], work: Work) -> Callable[[], Any]:
        operation = getattr(torch, name)
        return lambda: operation(a["x"], out=a["y"])

    def cupy_step(cupy: Any, a: dict[str, Any], work: Work) -> Callable[[], Any]:
        operation = getattr(cupy, name)
        return lambda: operation(a["x"], out=a["y"])

    return Work(
        name, "compute", n, inputs, lambda i: function(i["x"].astype(np.float64)),
        {
            **both(lambda ctx, a: ready(kernel.over(n), a["x"], a["y"]), "y", lambda w: {}),
            "numpy": numpy_peer(numpy_step, "y"),
            **numba_both(f"math_{name}", ("x", "y"), "y"),
            "cupy": cupy_peer(cupy_step, "y"),
            **torch_both(torch_step, "y"),
            **warp.both(f"math_{name}", lambda a, empty: (n, (a["x"], a["y"])), "y"),
            **jax.peer(lambda jnp, x: getattr(jnp, name)(x), ("x",), "y"),
        },
        tolerance=1e-5, bytes_moved=8 * n,
    )  # fmt: skip


def works(context: Any, quick: bool) -> list[Work]:
    """Every work, smaller on a host and when quick."""
    host = is_host(context)
    functions = ("exp", "log", "sin", "cos", "tanh")
    n = 1 << (22 if quick else 24)
    return [
        _nbody(2048 if quick else 8192 if host else 32768),
        _mandelbrot(256 if quick else 800 if host else 2048, 200),
        _matmul((512 if quick else 1024) if host else (1024 if quick else 4096)),
        _stencil(1024 if quick else 4096 if host else 8192),
        _black_scholes(1 << 20 if quick and host else n),
        *(_math(name, n) for name in functions),
    ]
