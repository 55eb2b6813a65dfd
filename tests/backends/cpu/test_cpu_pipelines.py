"""Long pipelines on the CPU backend: what they hold does not grow."""

import sys

import numpy as np
import pytest

import gpucore as gc

resource = pytest.importorskip("resource", reason="the most memory held is asked of POSIX")

ITEMS, SETTLED = 10_000, 2_000
N = 512


@gc.kernel
def scale(x: gc.Array1[gc.f32], y: gc.Array1[gc.f32]) -> None:
    i = gc.global_id(0)
    if i < x.shape[0]:
        y[i] = 2 * x[i] + 1


def test_memory_is_flat_over_ten_thousand_items(gpucore_context):
    context = gpucore_context

    def step(stream, x):
        y = context.empty(N, gc.f32)
        scale.over(N, stream=stream)(x, y)
        return y

    def held(results):
        stats = results.stats()
        return stats["buffers"], stats["buffer_bytes"], context.pool.stats()["used"]

    source = (np.full(N, number % 100, np.float32) for number in range(ITEMS))
    with context.pipeline(step, source) as results:
        for number, result in enumerate(results):
            assert result[0] == result[-1] == 2 * (number % 100) + 1
            if number == SETTLED:
                before = held(results), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        after = held(results), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert number == ITEMS - 1
    assert all(now <= then for now, then in zip(after[0], before[0], strict=True))
    unit = 1 if sys.platform == "darwin" else 1 << 10
    assert (after[1] - before[1]) * unit < 4 << 20  # 8,000 items of 2 KiB are 16 MiB
