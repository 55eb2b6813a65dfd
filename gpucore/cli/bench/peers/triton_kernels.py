"""Triton's side."""

# mypy: ignore-errors

import triton
import triton.language as tl


@triton.jit
def one(a, BLOCK: tl.constexpr):
    tl.store(a + tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), 1.0)


@triton.jit
def sixteen(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, BLOCK: tl.constexpr):
    t = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.load(b + t) + tl.load(c + t) + tl.load(d + t) + tl.load(e + t)
    total += tl.load(f + t) + tl.load(g + t) + tl.load(h + t)
    tl.store(a + t, total + i + j + k + l + (m + n + o + p).to(tl.float32))
