"""How long a kernel takes from source to executable, with the cache off."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np

import gpucore as gc
from gpucore_bench.model import Arrays, Maker, Runner, Simple, Work
from gpucore_bench.peers import need

SOURCE = """
def fresh(x: gc.Array[gc.f32], y: gc.Array[gc.f32], a: gc.f32):
    i = gc.global_id(0)
    total = gc.f32(SALT)
    for k in range(8):
        total += a * x[(i + k) % x.shape[0]]
    if i < y.shape[0]:
        y[i] = total * 0.0 + 1.0
"""


def _salted(salt: int) -> Any:
    """A kernel that no cache has seen."""
    source = SOURCE.replace("SALT", f"{salt}.0")
    namespace: dict[str, Any] = {"gc": gc}
    exec(compile(source, f"<fresh {salt}>", "exec"), namespace)
    return gc.kernel(source=source)(namespace["fresh"])


def _ours(work: Work, inputs: Arrays, ctx: gc.Context) -> Runner:
    x, y = ctx.ones(256, gc.f32), ctx.zeros(256, gc.f32)
    counter = iter(range(int(perf_counter() * 1000) % 1_000_000, 1 << 40))

    def once() -> None:
        _salted(next(counter) % 16_000_000)[1, 256](x, y, 2.0)

    return Simple(once=once, fetch=y.numpy, wait=ctx.synchronize)


def _numba(work: Work, inputs: Arrays, context: Any) -> Runner:
    numba = need("numba")
    x, y = np.ones(256, np.float32), np.zeros(256, np.float32)

    def once() -> None:
        def fresh(x: Any, y: Any, a: Any) -> None:
            for i in numba.prange(y.size):
                total = np.float32(0)
                for k in range(8):
                    total += a * x[(i + k) % x.size]
                y[i] = total * np.float32(0) + np.float32(1)

        numba.njit(parallel=True, error_model="numpy")(fresh)(x, y, np.float32(2))

    return Simple(once=once, fetch=lambda: y)


def works(context: Any, quick: bool) -> list[Work]:
    """One fresh kernel a run."""
    makers: dict[str, Maker] = {"gpucore": _ours, "numba parallel": _numba}
    return [Work("a fresh kernel", "compile", 1, dict, lambda i: np.ones(256), makers)]
