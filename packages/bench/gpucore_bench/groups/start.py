"""From process start to the first result, in fresh processes: cold (empty cache) and warm."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from gpucore_bench.model import Arrays, Maker, Runner, Simple, Work
from gpucore_bench.peers import need

PROGRAMS = {
    "gpucore": """
import numpy as np
import gpucore as gc

@gc.kernel
def saxpy(x: gc.Array[gc.f32], y: gc.Array[gc.f32], a: gc.f32):
    i = gc.global_id(0)
    y[i] = a * x[i] + y[i]

with gc.Context() as ctx:
    x = ctx.array(np.ones(1000, np.float32))
    y = ctx.ones(1000, gc.f32)
    saxpy.over(1000)(x, y, 2.0)
    assert y.numpy()[5] == 3
""",
    "numpy": """
import numpy as np
x, y = np.ones(1000, np.float32), np.ones(1000, np.float32)
y += np.float32(2) * x
assert y[5] == 3
""",
    "numba parallel": """
import numba, numpy as np

@numba.njit(parallel=True, cache=True)
def saxpy(x, y, a):
    for i in numba.prange(x.size):
        y[i] = a * x[i] + y[i]

x, y = np.ones(1000, np.float32), np.ones(1000, np.float32)
saxpy(x, y, np.float32(2))
assert y[5] == 3
""",
    "cupy": """
import cupy
x, y = cupy.ones(1000, "f4"), cupy.ones(1000, "f4")
k = cupy.ElementwiseKernel("T x, T a", "T y", "y = a * x + y")
k(x, cupy.float32(2), y)
assert float(y[5]) == 3
""",
}


def _process(name: str, warm: bool) -> Maker:
    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        if name not in ("gpucore", "numpy"):
            need(name.split()[0])
        folder = tempfile.TemporaryDirectory(prefix="gpucore-bench-")
        script = Path(folder.name) / "program.py"
        script.write_text(PROGRAMS[name], "utf-8")
        runs = iter(range(1_000_000))

        def once() -> None:
            cache = Path(folder.name) / ("cache" if warm else f"cache{next(runs)}")
            env = os.environ | {
                "GPUCORE_BACKEND": context.backend,
                "GPUCORE_CACHE_DIR": str(cache / "gpucore"),
                "NUMBA_CACHE_DIR": str(cache / "numba"),
                "CUPY_CACHE_DIR": str(cache / "cupy"),
            }
            done = subprocess.run(
                [sys.executable, script], env=env, capture_output=True, text=True, timeout=120
            )
            if done.returncode:
                lines = done.stderr.strip().splitlines()
                raise RuntimeError(lines[-1] if lines else f"exit status {done.returncode}")

        def timed(repeats: int) -> float:
            start = perf_counter()
            for _ in range(repeats):
                once()
            return perf_counter() - start

        return Simple(once=once, timed=timed, release=folder.cleanup)

    return make


def works(context: Any, quick: bool) -> list[Work]:
    """Cold and warm, gpucore and what one would use instead."""
    names = ("gpucore", "numpy", "numba parallel", *(() if context.device.kind == "cpu" else ("cupy",)))
    return [
        Work(
            f"first result, {'warm' if warm else 'cold'}",
            "start",
            1,
            dict,
            None,
            {n: _process(n, warm) for n in names},
        )
        for warm in (False, True)
    ]
