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


@triton.jit
def copy(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i < n), mask=i < n)


@triton.jit
def saxpy(x, y, n, a, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, a * tl.load(x + i, mask=i < n) + tl.load(y + i, mask=i < n), mask=i < n)


@triton.jit
def triad(b, c, a, n, s, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(a + i, tl.load(b + i, mask=i < n) + s * tl.load(c + i, mask=i < n), mask=i < n)


@triton.jit
def reduce(x, out, n, BLOCK: tl.constexpr):
    """Each program adds blocks a grid apart and leaves its sum."""
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(tl.program_id(0) * BLOCK, n, tl.num_programs(0) * BLOCK):
        i = start + tl.arange(0, BLOCK)
        total += tl.load(x + i, mask=i < n, other=0.0)
    tl.store(out + tl.program_id(0), tl.sum(total, axis=0))
