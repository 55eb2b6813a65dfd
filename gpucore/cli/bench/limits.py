"""What the device can do at best, measured by gpucore itself: copy bandwidth and peak multiply-add."""

from __future__ import annotations

from typing import Any

import gpucore as gc
from gpucore.cli.bench import kernels
from gpucore.cli.bench.ours import is_host


def _best(ctx: gc.Context, once: Any, repeats: int) -> float:
    """Shortest seconds of ``repeats`` runs, by events."""
    start, end = ctx.event(timing=True), ctx.event(timing=True)
    once()
    ctx.synchronize()
    times = []
    for _ in range(repeats):
        ctx.default_stream.record(start)
        once()
        ctx.default_stream.record(end)
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e-3)
    return max(min(times), 1e-9)


def measure(ctx: gc.Context, quick: bool) -> dict[str, float]:
    """Bytes a second of the best of a kernel's copy and the driver's; multiply-add operations a second."""
    host = is_host(ctx)
    free = ctx.device.memory_info().free
    n = min(1 << ((23 if quick else 25) if host else (27 if quick else 29)), free // 32)
    x, y = ctx.ones(n, gc.f32), ctx.zeros(n, gc.f32)
    repeats = 3 if quick else 10
    fast = ctx.options(math="fast")
    seconds = min(
        _best(ctx, lambda: kernels.copy.over(n)(x, y), repeats), _best(ctx, lambda: y.copy_from(x), repeats)
    )
    x.free()
    y.free()
    threads = 1 << (14 if host else 20)
    rounds = 64 if host else 512
    out = fast.zeros(threads, gc.f32)
    peak = _best(fast, lambda: kernels.fma_peak.over(threads)(out, rounds), repeats)
    out.free()
    return {"bytes_per_second": 8 * n / seconds, "flops_per_second": threads * rounds * 16 * 8 * 2 / peak}
