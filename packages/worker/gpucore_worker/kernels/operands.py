"""What products take beside activations, made run by run of 32 of them."""

from __future__ import annotations

import gpucore as gc

__all__ = ["finish_run"]


@gc.func
def sum_run(x, sums, t, run):
    """The sum of a run, which least values are multiplied with."""
    total = gc.f32(0)
    for k in gc.static_range(32):
        total += x[t, run * 32 + k]
    sums[t, run] = total


@gc.func
def quantise_run(x, sums, codes, scales, t, run):
    """A run as integers from -127 to 127, four in a word, with the scale that they are multiplied with and their scaled sum."""
    most = gc.f32(0)
    for k in gc.static_range(32):
        most = max(most, abs(x[t, run * 32 + k]))
    scale = most / 127.0
    inverse = gc.f32(0)
    if most > 0.0:
        inverse = 127.0 / most
    total = gc.i32(0)
    for j in gc.static_range(8):
        word = gc.u32(0)
        for b in gc.static_range(4):
            # beyond 127 by a rounding at most
            code = gc.i32(round(min(max(x[t, run * 32 + 4 * j + b] * inverse, -127.0), 127.0)))
            total += code
            word = word | (gc.u32(code & 255) << (8 * b))
        codes[t, run * 8 + j] = word
    scales[t, run] = scale
    sums[t, run] = scale * gc.f32(total)


@gc.func
def finish_run(x, sums, codes, scales, t, run, quick):
    """Make of run ``run`` of token ``t`` what products take."""
    if quick:
        quantise_run(x, sums, codes, scales, t, run)
    else:
        sum_run(x, sums, t, run)
