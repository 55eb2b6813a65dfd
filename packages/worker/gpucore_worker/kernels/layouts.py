"""How threads share a product of one token on a GPU, and what the kernels of such products have in common.

A run of a row is a thread's. Every sum has the order that it has in the kernels of many tokens: the bits are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import gpucore as gc
from gpucore_worker.kernels.blocks import block_functions
from gpucore_worker.kernels.dots import dot_functions
from gpucore_worker.kernels.products import SEGMENTS
from gpucore_worker.quantisation import LANES, QUANTISATIONS

__all__ = ["Layout", "Steps", "shared_bytes", "steps_of", "sum_of_64", "tiles_at_once"]

_BY_NAME = {q.name: q for q in QUANTISATIONS.values()}
_MOST_THREADS = 512
_MOST_HELD = 48
"""Words that a thread reads ahead."""
_AT_ONCE = 64
"""Runs of a row that one thread sums; of longer rows each segment has a thread."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How threads share a product.

    Attributes
    ----------
    name : str
        Of the quantisation.
    quick : bool
    columns : int
    slots : int
        Rows of a block of threads; a divisor of ``LANES``.
    least : int
        Threads that a block has at least: those beyond its runs help to make what is multiplied.
    """

    name: str
    quick: bool
    columns: int
    slots: int
    least: int = 0

    @property
    def runs(self) -> int:
        """Runs of 32 weights in a row."""
        return self.columns // 32

    @property
    def rounds(self) -> int:
        """Runs of a thread, at most."""
        return gc.cdiv(self.runs, max(_MOST_THREADS // self.slots, SEGMENTS))

    @property
    def workers(self) -> int:
        """Threads of a row."""
        return max(gc.cdiv(self.runs, self.rounds), SEGMENTS, gc.cdiv(self.least, self.slots))

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.workers * self.slots

    def over(self, rows: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Grid and block for that many rows."""
        return (1, gc.cdiv(rows, self.slots)), (self.workers, self.slots)

    @property
    def integers(self) -> bool:
        """Whether weights are multiplied with integers."""
        return self.quick and self.name in dot_functions(LANES)

    @property
    def held(self) -> int:
        """Words that a thread reads before the activations are there; 0 where it does not."""
        q = _BY_NAME[self.name]
        words = self.rounds * q.words
        return words if q.runs == 1 and words <= _MOST_HELD else 0


def shared_bytes(layout: Layout, heads: int) -> int:
    """What a block of threads needs of shared memory, at most; ``heads`` of attention, or 0."""
    floats = (
        layout.columns
        + layout.runs * (1 + layout.slots)
        + (layout.columns // 4 + layout.runs) * layout.integers
    )
    return 4 * (floats + SEGMENTS * layout.slots + 128 + heads * (4 * tiles_at_once(layout) + 1)) + 256


def tiles_at_once(layout: Layout) -> int:
    """Tiles that are joined between two barriers: a thread holds them for each of its elements."""
    each = gc.cdiv(layout.columns, layout.threads)
    return 16 if each <= 4 else 8 if each <= 8 else 4


@dataclass(frozen=True, slots=True)
class Steps:
    """What the kernels of a layout share: device functions."""

    fetch: Callable[..., Any]
    quantise: Callable[..., Any]
    multiply: Callable[..., Any]
    row: Callable[..., Any]


@gc.func
def _eight(scratch, at):
    """The sum of eight neighbours, as the tree of ``gc.block_sum`` has it."""
    low = (scratch[at] + scratch[at + 1]) + (scratch[at + 2] + scratch[at + 3])
    return low + ((scratch[at + 4] + scratch[at + 5]) + (scratch[at + 6] + scratch[at + 7]))


@gc.func
def sum_of_64(x, scratch, linear):
    """``gc.block_sum`` over the first 64 threads, for all threads of the block."""
    if linear < 64:
        scratch[linear] = x
    gc.barrier()
    if linear < 8:
        scratch[64 + linear] = _eight(scratch, linear * 8)
    gc.barrier()
    return _eight(scratch, 64)


@cache
def steps_of(layout: Layout) -> Steps:
    lanes, runs, rounds, workers, threads = LANES, layout.runs, layout.rounds, layout.workers, layout.threads
    name, integers, early = layout.name, layout.integers, layout.held > 0
    of = block_functions(1 if early else lanes)
    four, scales = of.fours[name], of.scales[name]
    dot = dot_functions(1 if early else lanes)[name] if integers else None
    size, per = _BY_NAME[name].words, _BY_NAME[name].runs
    blocks = runs // per
    length = gc.cdiv(runs, SEGMENTS)
    at_once = runs <= _AT_ONCE

    @gc.func
    def fetch(words, held, row, number):
        """Read the words of the thread's runs: they wait for no other kernel."""
        if early:
            for r in gc.static_range(rounds):
                run = number + r * workers
                if run < runs:
                    base = ((row // lanes * blocks + run) * size) * lanes + row % lanes
                    for w in gc.static_range(size):
                        held[r * size + w] = words[base + w * lanes]

    @gc.func
    def quantise(xs, codes, steps, linear):
        """Make of each run 8-bit integers with their scale, as ``quantise_run`` does; a thread makes a word."""
        if integers:
            for word in range(linear, runs * 8, threads):
                run = word // 8
                most = gc.f32(0)
                for k in gc.static_range(32):
                    most = max(most, abs(xs[run * 33 + k]))
                inverse = gc.f32(0)
                if most > 0.0:
                    inverse = 127.0 / most
                packed = gc.u32(0)
                for b in gc.static_range(4):
                    x = xs[run * 33 + word % 8 * 4 + b]
                    code = gc.i32(round(min(max(x * inverse, -127.0), 127.0)))
                    packed = packed | (gc.u32(code & 255) << (8 * b))
                codes[0, word] = packed
                if word % 8 == 0:
                    steps[run] = most / 127.0
            gc.barrier()

    @gc.func
    def product_of_run(words, base, sub, xs, codes, steps, run):
        scale, least = scales(words, base, sub)
        if integers:
            total = gc.i32(0)
            for j in gc.static_range(8):
                total = gc.dot4(gc.bitcast(codes[0, run * 8 + j], gc.i32), gc.i32(0x01010101), total)
            step = steps[run]
            part = (scale * step) * gc.f32(dot(words, base, sub, codes, 0, run * 8))
            return part + least * (step * gc.f32(total))
        p = gc.f32(0)
        q = gc.f32(0)
        r = gc.f32(0)
        s = gc.f32(0)
        total_x = gc.f32(0)
        for j in gc.static_range(8):
            a, b, c, d = four(words, base, sub, j)
            at = run * 33 + 4 * j
            w, x, y, z = xs[at], xs[at + 1], xs[at + 2], xs[at + 3]
            p += a * w
            q += b * x
            r += c * y
            s += d * z
            total_x += w
            total_x += x
            total_x += y
            total_x += z
        return scale * ((p + q) + (r + s)) + least * total_x

    @gc.func
    def multiply(words, held, xs, codes, steps, parts, row, number, slot):
        """Multiply the thread's runs, and leave what each gives in ``parts``; all threads are through then."""
        for r in gc.static_range(rounds):
            run = number + r * workers
            if run < runs:
                if early:
                    parts[run, slot] = product_of_run(held, r * size, 0, xs, codes, steps, run)
                else:
                    base = ((row // lanes * blocks + run // per) * size) * lanes + row % lanes
                    parts[run, slot] = product_of_run(words, base, run % per, xs, codes, steps, run)
        gc.barrier()
        if not at_once:
            total = gc.f32(0)
            if number < SEGMENTS:
                for k in range(number * length, min((number + 1) * length, runs)):
                    total += parts[k, slot]
            gc.barrier()
            if number < SEGMENTS:
                parts[number, slot] = total
            gc.barrier()

    @gc.func
    def whole_row(parts, slot):
        """The sum of a row, segment by segment."""
        whole = gc.f32(0)
        if at_once:
            for number in gc.static_range(SEGMENTS):
                total = gc.f32(0)
                for k in gc.static_range(length):
                    if number * length + k < runs:
                        total += parts[number * length + k, slot]
                whole += total
        else:
            for number in gc.static_range(SEGMENTS):
                whole += parts[number, slot]
        return whole

    return Steps(fetch, quantise, multiply, whole_row)
