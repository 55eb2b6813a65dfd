"""What checks of accesses cost: kernels under ``check="auto"`` over the same under ``check=False``, in one run.

    python benchmarks/bounds.py cpu            # or cuda, vulkan
    python benchmarks/bounds.py cpu --json bounds.json
    python benchmarks/bounds.py cpu --processor-time --rounds 15    # on a machine that does other things, too

Each kernel is run by both contexts in turn, on the same memory (where an array lies may double what atomics on it take).  Printed
are the median of the ratios of neighbouring runs, and the ratio of the least times, which other work on the machine disturbs
less.  The last lines are the launch of a kernel with nothing left to check, of
one with checks on the device, a wait, the first launch without the cache, and the first launch of a kernel that is in the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import gpucore as gc


@gc.kernel
def saxpy(x: gc.Array1[gc.f32], y: gc.Array1[gc.f32], a: gc.f32) -> None:
    i = gc.global_id(0)
    y[i] = a * x[i] + y[i]


@gc.kernel
def stencil(x: gc.Array2[gc.f32], y: gc.Array2[gc.f32]) -> None:
    r, c = gc.global_ids(2)
    if r > 0 and r < x.shape[0] - 1 and c > 0 and c < x.shape[1] - 1:
        y[r, c] = 0.2 * (x[r, c] + x[r - 1, c] + x[r + 1, c] + x[r, c - 1] + x[r, c + 1])


@gc.kernel
def clamped_stencil(x: gc.Array2[gc.f32], y: gc.Array2[gc.f32]) -> None:
    r, c = gc.global_ids(2)
    up = max(r - 1, 0)
    down = min(r + 1, x.shape[0] - 1)
    left = max(c - 1, 0)
    right = min(c + 1, x.shape[1] - 1)
    y[r, c] = 0.25 * (x[up, c] + x[down, c] + x[r, left] + x[r, right])


@gc.kernel
def periodic_stencil(x: gc.Array1[gc.f32], y: gc.Array1[gc.f32]) -> None:
    i = gc.global_id(0)
    n = x.shape[0]
    y[i] = x[(i + 1) % n] - 2.0 * x[i % n] + x[(i + n - 1) % n]


@gc.kernel
def heat_3d(x: gc.Array[gc.f32, 3], y: gc.Array[gc.f32, 3]) -> None:
    i, j, k = gc.global_ids(3)
    if i >= 1 and j >= 1 and k >= 1 and i < x.shape[0] - 1 and j < x.shape[1] - 1 and k < x.shape[2] - 1:
        s = (
            x[i - 1, j, k]
            + x[i + 1, j, k]
            + x[i, j - 1, k]
            + x[i, j + 1, k]
            + x[i, j, k - 1]
            + x[i, j, k + 1]
        )
        y[i, j, k] = x[i, j, k] + 0.1 * (s - 6.0 * x[i, j, k])


@gc.kernel
def gather(x: gc.Array1[gc.f32], index: gc.Array1[gc.i32], y: gc.Array1[gc.f32]) -> None:
    i = gc.global_id(0)
    y[i] = x[index[i]]


@gc.kernel
def scatter(x: gc.Array1[gc.f32], index: gc.Array1[gc.i32], y: gc.Array1[gc.f32]) -> None:
    i = gc.global_id(0)
    gc.atomic_add(y, index[i], x[i])


@gc.kernel
def sparse_product(
    first: gc.Array1[gc.i32],
    column: gc.Array1[gc.i32],
    value: gc.Array1[gc.f32],
    x: gc.Array1[gc.f32],
    y: gc.Array1[gc.f32],
) -> None:
    i = gc.global_id(0)
    s = gc.f32(0)
    for k in range(first[i], first[i + 1]):
        s += value[k] * x[column[k]]
    y[i] = s


@gc.kernel
def bisection(x: gc.Array1[gc.f32], v: gc.Array1[gc.f32], y: gc.Array1[gc.i32]) -> None:
    i = gc.global_id(0)
    lo = gc.i32(0)
    hi = gc.i32(x.shape[0])
    while lo < hi:
        mid = (lo + hi) // 2
        if x[mid] < v[i]:
            lo = mid + 1
        else:
            hi = mid
    y[i] = lo


@gc.kernel
def histogram(x: gc.Array1[gc.u8], bins: gc.Array1[gc.u32]) -> None:
    i = gc.global_id(0)
    gc.atomic_add(bins, x[i], gc.u32(1))


@gc.kernel
def matmul(a: gc.Array2[gc.f32], b: gc.Array2[gc.f32], c: gc.Array2[gc.f32]) -> None:
    i, j = gc.global_ids(2)
    s = gc.f32(0)
    for k in range(a.shape[1]):
        s += a[i, k] * b[k, j]
    c[i, j] = s


@gc.kernel
def matmul_tiled(a: gc.Array2[gc.f32], b: gc.Array2[gc.f32], c: gc.Array2[gc.f32]) -> None:
    left = gc.shared((16, 16), gc.f32)
    right = gc.shared((16, 16), gc.f32)
    ty = gc.thread_id(0)
    tx = gc.thread_id(1)
    row = gc.block_id(0) * 16 + ty
    column = gc.block_id(1) * 16 + tx
    s = gc.f32(0)
    for t in range((a.shape[1] + 15) // 16):
        left[ty, tx] = a[row, t * 16 + tx] if row < a.shape[0] and t * 16 + tx < a.shape[1] else 0.0
        right[ty, tx] = b[t * 16 + ty, column] if t * 16 + ty < b.shape[0] and column < b.shape[1] else 0.0
        gc.barrier()
        for k in range(16):
            s += left[ty, k] * right[k, tx]
        gc.barrier()
    if row < c.shape[0] and column < c.shape[1]:
        c[row, column] = s


@gc.kernel
def triangular_solve(a: gc.Array2[gc.f32], b: gc.Array2[gc.f32]) -> None:
    j = gc.global_id(0)
    for i in range(a.shape[0]):
        s = b[i, j]
        for k in range(i):
            s -= a[i, k] * b[k, j]
        b[i, j] = s / a[i, i]


@gc.kernel
def nbody(p: gc.Array2[gc.f32], out: gc.Array2[gc.f32]) -> None:
    i = gc.global_id(0)
    x = p[0, i]
    y = p[1, i]
    ax = gc.f32(0)
    ay = gc.f32(0)
    for j in range(p.shape[1]):
        dx = p[0, j] - x
        dy = p[1, j] - y
        d = dx * dx + dy * dy + 0.01
        w = p[2, j] / (d * gc.sqrt(d))
        ax += w * dx
        ay += w * dy
    out[0, i] = ax
    out[1, i] = ay


@gc.kernel
def block_scan(x: gc.Array1[gc.f32], y: gc.Array1[gc.f32]) -> None:
    part = gc.shared(256, gc.f32)
    t = gc.thread_id(0)
    i = gc.global_id(0)
    part[t] = x[i] if i < x.shape[0] else 0.0
    gc.barrier()
    step = gc.i32(1)
    while step < 256:
        other = part[t - step] if t >= step else 0.0
        gc.barrier()
        part[t] += other
        gc.barrier()
        step *= 2
    if i < y.shape[0]:
        y[i] = part[t]


@gc.kernel
def row_scan(x: gc.Array2[gc.f32], y: gc.Array2[gc.f32]) -> None:
    i = gc.global_id(0)
    s = gc.f32(0)
    for j in range(x.shape[1]):
        s += x[i, j]
        y[i, j] = s


@gc.kernel
def transpose(x: gc.Array2[gc.f32], y: gc.Array2[gc.f32]) -> None:
    r, c = gc.global_ids(2)
    y[c, r] = x[r, c]


@gc.kernel
def flat_image(x: gc.Array1[gc.f32], y: gc.Array1[gc.f32], width: gc.i32, height: gc.i32) -> None:
    r, c = gc.global_ids(2)
    if r < height - 1 and c < width - 1:
        y[r * width + c] = x[r * width + c] + x[(r + 1) * width + c] + x[r * width + c + 1]


@gc.kernel
def follow(next_: gc.Array1[gc.i32], y: gc.Array1[gc.i32], steps: gc.i32) -> None:
    i = gc.global_id(0)
    at = gc.i32(i)
    for _ in range(steps):
        at = next_[at]
    y[i] = at


@gc.kernel
def convolution(x: gc.Array1[gc.f32], w: gc.Array1[gc.f32], y: gc.Array1[gc.f32]) -> None:
    i = gc.global_id(0)
    if i + w.shape[0] <= x.shape[0]:
        s = gc.f32(0)
        for k in range(w.shape[0]):
            s += w[k] * x[i + k]
        y[i] = s


Work = tuple[Any, tuple[Any, ...]]


def works(ctx: gc.Context, small: bool) -> dict[str, Work]:
    """Each kernel configured, and its arguments."""
    rng = np.random.default_rng(7)
    n = 1 << (16 if small else 22)
    side = 128 if small else 1024
    rows = 256 if small else 16384

    def floats(*shape: int) -> Any:
        return ctx.array(rng.random(shape, dtype=np.float32))

    def ints(high: int, *shape: int) -> Any:
        return ctx.array(rng.integers(0, high, shape, dtype=np.int32))

    first = ctx.array(np.arange(rows + 1, dtype=np.int32) * 16)
    cube = 32 if small else 160
    dense = 128 if small else 512
    return {
        "saxpy": (saxpy.over(n), (floats(n), floats(n), 2.0)),
        "stencil": (stencil.over((side, side)), (floats(side, side), floats(side, side))),
        "clamped stencil": (clamped_stencil.over((side, side)), (floats(side, side), floats(side, side))),
        "periodic stencil": (periodic_stencil.over(n), (floats(n), floats(n))),
        "heat in 3 axes": (heat_3d.over((cube,) * 3), (floats(cube, cube, cube), floats(cube, cube, cube))),
        "gather": (gather.over(n), (floats(n), ints(n, n), floats(n))),
        "scatter": (scatter.over(n), (floats(n), ints(n, n), floats(n))),
        "sparse product": (
            sparse_product.over(rows), (first, ints(rows, rows * 16), floats(rows * 16), floats(rows), floats(rows)),
        ),
        "bisection": (
            bisection.over(n // 16), (ctx.array(np.sort(rng.random(n, dtype=np.float32))), floats(n // 16), ints(1, n // 16)),
        ),
        "histogram": (histogram.over(n // 4), (ctx.array(rng.integers(0, 256, n // 4, dtype=np.uint8)), ctx.zeros(256, gc.u32))),
        "matmul": (matmul.over((dense, dense)), (floats(dense, dense), floats(dense, dense), floats(dense, dense))),
        "matmul, tiled": (
            matmul_tiled[(dense // 16, dense // 16), (16, 16)],
            (floats(dense, dense), floats(dense, dense), floats(dense, dense)),
        ),
        "triangular solve": (triangular_solve.over(dense), (ctx.array(np.eye(dense, dtype=np.float32)), floats(dense, dense))),
        "n-body": (nbody.over(rows // 4), (floats(3, rows // 4), floats(2, rows // 4))),
        "block scan": (block_scan[n // 1024, 256], (floats(n // 4), floats(n // 4))),
        "row scan": (row_scan.over(side), (floats(side, side), floats(side, side))),
        "transpose": (transpose.over((side, side)), (floats(side, side), floats(side, side))),
        "flat image": (flat_image.over((side, side)), (floats(side * side), floats(side * side), side, side)),
        "linked list": (follow.over(n // 16), (ints(n // 16, n // 16), ints(1, n // 16), 16)),
        "convolution": (convolution.over(n // 4), (floats(n // 4), floats(9), floats(n // 4))),
    }  # fmt: skip


def same_memory(ctx: gc.Context, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments for a launch as ``ctx`` checks it, over the memory of these."""
    return tuple(
        gc.Array._make(ctx, arg._owner, arg.dtype, arg.shape, None, arg._offset)
        if isinstance(arg, gc.Array)
        else arg
        for arg in args
    )


class Clock:
    """What is measured: wall time, or the processor's time of this process.

    Attributes
    ----------
    now : Callable[[], float]
        In seconds.
    """

    def __init__(self) -> None:
        self.now: Callable[[], float] = time.perf_counter

    def batch(self, run: Callable[[], None], wait: Callable[[], None], count: int) -> float:
        """Seconds of so many launches."""
        start = self.now()
        for _ in range(count):
            run()
        wait()
        return self.now() - start

    def count(self, run: Callable[[], None], wait: Callable[[], None], atleast: float) -> int:
        """How many launches take some time."""
        count = 1
        while (spent := self.batch(run, wait, count)) < atleast:
            count = max(count * 2, int(count * 1.2 * atleast / max(spent, 1e-6)))
        return count


CLOCK = Clock()


class Pair(NamedTuple):
    """Seconds of two works that were measured in turn.

    Attributes
    ----------
    first, second : float
        Medians.
    ratio : float
        The median of the ratios of neighbours.
    least : float
        The ratio of the least times.
    more : float
        By how much the first takes longer: the difference of the least times.
    """

    first: float
    second: float
    ratio: float
    least: float
    more: float


def measured_in_turn(
    a: Callable[[], None], b: Callable[[], None], wait: Callable[[], None], rounds: int, atleast: float
) -> Pair:
    """Run both in turn."""
    for run in (a, b):
        run()
    wait()
    first, second = [], []
    count = CLOCK.count(b, wait, atleast)
    for turn in range(rounds):
        for run, found in ((a, first), (b, second))[:: 1 if turn % 2 else -1]:
            found.append(CLOCK.batch(run, wait, count) / count)
    return Pair(
        statistics.median(first),
        statistics.median(second),
        statistics.median(x / y for x, y in zip(first, second, strict=True)),
        min(first) / min(second),
        min(first) - min(second),
    )


def machine(ctx: gc.Context, began: float, note: str) -> dict[str, Any]:
    """Where and when it was measured, and how busy the machine was before."""
    return {
        "backend": ctx.backend,
        "device": ctx.device.name,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "gpucore": gc.__version__,
        "numpy": np.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "load": began,
        "note": note,
    }


def compile_seconds(kernel: Any, args: tuple[Any, ...], shape: Any) -> float:
    """Of the first launch of a kernel: a copy of it, which this process has not seen."""
    fresh = gc.kernel(kernel.__wrapped__)
    start = CLOCK.now()
    fresh.over(shape)(*args)
    return CLOCK.now() - start


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("backend", nargs="?", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="small arrays, for a software device")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--note", default="", help="what the report says of the circumstances")
    parser.add_argument(
        "--processor-time", action="store_true", help="not wall time; for work that the CPU does itself"
    )
    options = parser.parse_args()
    if options.processor_time:
        CLOCK.now = time.process_time
    began = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    rows: dict[str, Any] = {}
    with gc.Context(options.backend, check="auto") as auto:
        off = auto.options(check=False)
        print(f"{auto.backend}: {auto.device.name}, check='auto' over check=False")
        checked = works(auto, options.small)
        for name, (launch, args) in checked.items():
            if options.only not in name:
                continue
            other, other_args = launch, same_memory(off, args)
            where = [check.where for check in launch.checks(*args)]
            kinds = " ".join(
                f"{where.count(kind)} {kind}" for kind in ("proven", "launch", "device") if kind in where
            )
            x, y, ratio, least, _ = measured_in_turn(
                lambda: launch(*args), lambda: other(*other_args), auto.synchronize, options.rounds, 0.02
            )  # fmt: skip
            rows[name] = {"auto": x, "off": y, "ratio": ratio, "least": least, "accesses": kinds}
            print(
                f"{name:20} {1e6 * x:10.1f} us {1e6 * y:10.1f} us  {ratio:5.2f} {least:5.2f}  {kinds}",
                flush=True,
            )
        summary = {}
        for what in ("ratio", "least"):
            found = [row[what] for row in rows.values()]
            summary[what] = {"mean": statistics.geometric_mean(found), "worst": max(found)}
            print(
                f"{'geometric mean, ' + what:28} {summary[what]['mean']:21.3f}  worst {summary[what]['worst']:.2f}"
            )
        document = {"machine": machine(auto, began, options.note), "kernels": dict(rows), "mean": summary}
        host: dict[str, Any] = {}
        measure_launches(auto, off, host)
    if options.json:
        options.json.write_text(json.dumps({**document, "host": host}, indent=1) + "\n", "utf-8")


def measure_launches(auto: gc.Context, off: gc.Context, rows: dict[str, Any]) -> None:
    """The cost on the host: launches of kernels that do next to nothing, waits, and compilation."""

    def arrays(ctx: gc.Context) -> tuple[Any, Any, Any]:
        return ctx.zeros(8, gc.f32), ctx.zeros(8, gc.i32), ctx.zeros(8, gc.f32)

    for name, kernel, pick in (
        ("launch, nothing left", saxpy, (0, 2)),
        ("launch, on the device", gather, (0, 1, 2)),
    ):
        extra = (2.0,) if kernel is saxpy else ()
        runs = []
        for ctx in (auto, off):
            args = (*(arrays(ctx)[n] for n in pick), *extra)
            launch = kernel.over(8)
            runs.append(lambda launch=launch, args=args: launch(*args))
        found = measured_in_turn(runs[0], runs[1], auto.synchronize, 15, 0.02)
        x, y = found.first, found.second
        rows[name] = {"auto": x, "off": y, "more": found.more}
        print(
            f"{name:22} {1e6 * x:8.2f} us {1e6 * y:8.2f} us  {1e6 * (x - y):+6.2f} us {1e6 * found.more:+6.2f} us"
        )
    waits = []
    for ctx in (auto, off):
        launch, args = gather.over(8), arrays(ctx)

        def wait(launch: Any = launch, args: Any = args) -> None:
            launch(*args)
            auto.synchronize()

        waits.append(wait)
    x, y, ratio, least, _ = measured_in_turn(waits[0], waits[1], auto.synchronize, 15, 0.02)
    rows["launch and wait"] = {"auto": x, "off": y, "ratio": ratio, "least": least}
    print(f"{'launch and wait':22} {1e6 * x:8.2f} us {1e6 * y:8.2f} us  {ratio:6.2f} {least:6.2f}")
    with tempfile.TemporaryDirectory() as folder:
        for what, cache in (("compile", "off"), ("from the cache,", folder)):
            os.environ["GPUCORE_CACHE_DIR"] = cache
            measure_first_launches(what, auto.backend, rows, cold=cache == "off")


def measure_first_launches(what: str, backend: str, rows: dict[str, Any], *, cold: bool) -> None:
    """The first launch of a kernel without checks, and of one that is checked on the device."""
    with gc.Context(backend, check="auto") as auto:
        off = auto.options(check=False)
        for kernel, shape, dtypes in (
            (stencil, (8, 8), (gc.f32, gc.f32)),
            (gather, (8,), (gc.f32, gc.i32, gc.f32)),
        ):
            times: dict[bool, list[float]] = {True: [], False: []}
            for turn in range(9 if cold else 25):
                for ctx in (auto, off)[:: 1 if turn % 2 else -1]:
                    if cold:
                        gc.cache.clear()
                    spent = compile_seconds(kernel, tuple(ctx.zeros(shape, dtype) for dtype in dtypes), shape)
                    if turn:
                        times[ctx is auto].append(spent)
            x, y = statistics.median(times[True]), statistics.median(times[False])
            name = f"{what} a {kernel.__name__}"
            least = min(times[True]) / min(times[False])
            rows[name] = {"auto": x, "off": y, "ratio": x / y, "least": least}
            print(f"{name:24} {1e3 * x:6.1f} ms {1e3 * y:8.1f} ms  {x / y:6.2f} {least:6.2f}")


if __name__ == "__main__":
    main()
