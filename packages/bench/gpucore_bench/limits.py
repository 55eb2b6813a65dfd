"""What the device can do at best, measured by gpucore itself: copy bandwidth and peak multiply-add.

Machines are faster at one moment than at another, so the limits are measured before, between and after the benchmarks; the
best moment counts.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import gpucore as gc
from gpucore_bench import kernels
from gpucore_bench.model import BETTER, CACHED, FASTER, READS, Row, Work
from gpucore_bench.ours import is_host

EVERY_SECONDS = 2.0
"""How long benchmarks run before the limits are measured again."""
EXPLAINED = 1.005
"""From this fraction of a limit on, the table shows more than 100 % and says why."""
EVIDENT = 1.05
"""How many times the limit a copy reaches where its data are in a cache."""


def _best(ctx: gc.Context, once: Callable[[], object], repeats: int) -> float:
    """Seconds of the second shortest of ``repeats`` runs, by events: one that a clock made short is not the limit."""
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
    return max(sorted(times)[1], 1e-9)


class Limits:
    """The limits of a context's device.

    Attributes
    ----------
    moments : list of dict
        What :meth:`measure` found each time: bytes and operations a second.
    """

    def __init__(self, ctx: gc.Context, quick: bool) -> None:
        self._ctx, self._fast = ctx, ctx.options(math="fast")
        host = is_host(ctx)
        free = ctx.device.memory_info().free
        # several times the largest caches of either
        self._n = min(1 << (25 if host else 27 if quick else 29), free // 32)
        self._threads, self._rounds = (1 << 14, 64) if host else (1 << 20, 512)
        self._repeats = 4 if quick else 10
        self._last = float("-inf")
        self._cached_bytes = 0
        self._rates: dict[int, float] = {}
        self.moments: list[dict[str, float]] = []

    def _bytes_per_second(self, n: int, repeats: int) -> float:
        """The best of a kernel's copy of so many elements and the driver's."""
        ctx = self._ctx
        x, y = ctx.ones(n, gc.f32), ctx.zeros(n, gc.f32)
        seconds = min(
            _best(ctx, lambda: kernels.copy.over(n)(x, y), repeats),
            _best(ctx, lambda: y.copy_from(x), repeats),
        )
        x.free()
        y.free()
        return 8 * n / seconds

    def _flops_per_second(self) -> float:
        threads, rounds = self._threads, self._rounds
        out = self._fast.zeros(threads, gc.f32)
        seconds = _best(self._fast, lambda: kernels.fma_peak.over(threads)(out, rounds), self._repeats)
        out.free()
        return threads * rounds * 16 * 8 * 2 / seconds

    def measure(self) -> None:
        """One more moment."""
        self.moments.append(
            {
                "bytes_per_second": self._bytes_per_second(self._n, self._repeats),
                "flops_per_second": self._flops_per_second(),
            }
        )
        self._last = perf_counter()

    def measure_if_due(self) -> None:
        """One more moment where the last one is some time ago."""
        if perf_counter() - self._last > EVERY_SECONDS:
            self.measure()

    def best(self) -> dict[str, float]:
        """Bytes and multiply-add operations a second of the best moments; empty where there was none."""
        if not self.moments:
            return {}
        return {key: max(moment[key] for moment in self.moments) for key in self.moments[0]}

    def cached(self, nbytes: int) -> bool:
        """Whether so many bytes stay in a cache: whether a copy among as many, or more, beats the limit."""
        size = nbytes
        while size > self._cached_bytes:
            # twice this is the working set that the limit is measured with
            if size > 4 * self._n:
                return False
            if size not in self._rates:
                self._rates[size] = self._bytes_per_second(max(size // 8, 1), 3 * self._repeats)
            if self._rates[size] > EVIDENT * self.best()["bytes_per_second"]:
                self._cached_bytes = size
            else:
                size *= 2
        return True

    def judge(self, row: Row, work: Work) -> None:
        """Give a row its fraction of what bounds it, the larger of the two, and say why one is above 1."""
        best = self.best()
        if not row.median or not best:
            return
        fractions = {
            "bandwidth": row.bytes_moved / row.median / best["bytes_per_second"],
            "arithmetic": row.flops / row.median / best["flops_per_second"],
        }
        limit, fraction = max(fractions.items(), key=lambda item: item[1])
        if fraction == 0:
            return
        row.limit, row.fraction = limit, fraction
        if fraction < EXPLAINED:
            return
        if limit == "arithmetic":
            row.notes = BETTER
        elif self.cached(work.footprint):
            row.notes = CACHED
        else:
            row.notes = READS if 2 * work.written < work.bytes_moved else FASTER
