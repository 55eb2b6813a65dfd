"""Loops in strides with guards, as tiles are loaded: an error exactly where the interpreter finds an access outside an array."""

from __future__ import annotations

import linecache
from random import Random

import numpy as np
import pytest

import gpucore as gc

pytestmark = pytest.mark.filterwarnings("ignore::gpucore.errors.RaceWarning")

SIZES = (0, *range(1, 18), 20, 23, 24, 25, 31, 32, 33, 40, 48)
FAR = (2**31 - 1, 2**31 - 9, -(2**31), -(2**31) + 7)
HEAD = (
    "import gpucore as gc",
    "@gc.kernel",
    "def k(x: gc.Array[gc.i32], y: gc.Array[gc.i32, 2], n: gc.i32, m: gc.i32) -> None:",
    "    t = gc.thread_id(0)",
    "    b = gc.block_id(0)",
    "    one = gc.local(1, gc.i32)",
)


def text_of(rng: Random) -> str:
    """A kernel around one loop, whose stride is a number."""
    step = rng.choice((2, 3, 4, 5, 8, 8, 16))
    ahead = rng.choice((0, 1, step - 1, step, step, 2 * step))
    stop = rng.choice(("x.shape[0]", "x.shape[0]", "x.shape[0] - 1", "n", "y.shape[0]", "y.shape[1]", "24"))
    first = rng.choice(("0", "0", "0", "1", "n", "t", f"t * {step}", f"b * {2 * step}", "m", "-3", f"{step}"))
    convert = rng.choice(("gc.i64", "gc.i64", "gc.i32", "gc.u32" if first != "-3" else "gc.i32"))
    offset = rng.choice(
        (f"t % {step}", f"t % {step}", f"t // {step}", "t", "1", f"{step} - 1", f"t % {step} * 2")
    )

    def at(variable: str) -> str:
        return rng.choice((
            f"{variable} + {offset}", f"{variable} + {ahead} + {offset}", f"{variable} + {ahead} + {offset}",
            f"{variable} - {ahead} + {offset}", f"{variable} // {step}", f"{variable} // 2 + {offset}",
        ))  # fmt: skip

    def access(variable: str) -> str:
        return rng.choice((
            f"one[0] = x[{at(variable)}]", f"one[0] = x[{at(variable)}]", f"x[{at(variable)}] = 1",
            f"one[0] = y[{at(variable)}, t % 2]", f"one[0] = y[0, {at(variable)}]",
        ))  # fmt: skip

    def compared() -> str:
        limit = rng.choice((stop, stop, "x.shape[0]", "n", "y.shape[0]", "2"))
        return rng.choice((
            f"s + {ahead} < {limit}", f"s + {ahead} < {limit}", f"s + {ahead} <= {limit}", f"not s + {ahead} >= {limit}",
            f"s < {limit} - {ahead}", f"{limit} - s > {ahead}", f"s - {ahead} >= {limit}", f"2 * s + {ahead} < {limit}",
        ))  # fmt: skip

    def guard() -> str:
        return rng.choice((
            compared(), compared(), f"{compared()} and {compared()}", f"{compared()} or {compared()}",
            f"not ({compared()} and t > 0)", f"t < {step} and {compared()}",
        ))  # fmt: skip

    kind = rng.randrange(6)
    body: list[str] = []
    if rng.random() < 0.2:
        body += [f"if {compared()}:", f"    {rng.choice(('break', 'continue')) if kind < 4 else 'break'}"]
    if rng.random() < 0.3:
        body.append(access("s"))
    body += [f"if {guard()}:", f"    {access('s')}"]
    if rng.random() < 0.3:
        body += ["else:", f"    {access('s')}"]
    if rng.random() < 0.2:
        body += [f"v = s + {ahead} if {compared()} else {rng.choice(('s', '0', '1'))}", access("v")]
    if rng.random() < 0.2:
        body.append(f"one[0] = x[{rng.choice(('c', 'c + 1', f'c * {step} + {offset}'))}]")
    body.append("c += 1")
    before = ["c = gc.i64(0)"]
    if kind <= 2:
        loop = f"for s in range({first}, {stop}, {step}):"
    elif kind == 3:
        end = rng.choice((f"{stop} - 1", f"{stop} - {step}", stop))
        loop = f"for s in range({end}, {rng.choice(('-1', '-1', '0', first))}, -{step}):"
    elif kind == 4:
        before.append(f"s = {convert}({first})")
        loop = f"while {rng.choice((f's < {stop}', f's + {step} <= {stop}', f's < {stop} and s + {ahead} < n'))}:"
        body.append(f"s += {step}")
    else:
        before.append(f"s = gc.i64({stop}) - {rng.choice((1, step))}")
        loop = f"while s {rng.choice(('>= 0', '> 0', f'>= {step}'))}:"
        body.append(f"s -= {step}")
    after = [f"one[0] = x[{rng.choice(('c', 'c - 1', f'c * {step} - 1'))}]"] if rng.random() < 0.15 else []
    return (
        "\n".join([*HEAD, *(f"    {s}" for s in (*before, loop, *(f"    {s}" for s in body), *after))]) + "\n"
    )


def kernel_of(text: str, name: str):
    """The kernel of a text, with its source where Python looks for it."""
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space = {"__name__": "strided_loop"}
    exec(compile(text, name, "exec"), space)
    return space["k"]


def launch_of(rng: Random, text: str):
    """Arguments and launch shape for a kernel: sizes that are multiples of its stride and not, numbers whose sums wrap."""
    size, rows, columns = rng.choice(SIZES), rng.choice((1, 2, 8, 16, 24)), rng.choice((2, 8, 9, 24))
    n = rng.choice((size, size, size, *SIZES, -1, -8))
    m = rng.choice((0, 1, 8, n, n - 8, -5, size))
    if "range(m, n" in text and rng.random() < 0.3:
        n = rng.choice(FAR)
        m = n - rng.randrange(20)
    x, y = np.zeros(size, np.int32), np.zeros((rows, columns), np.int32)
    return x, y, n, max(m, -(2**31)), (rng.choice((1, 2)), rng.choice((1, 3, 8, 16)))


def judged(context, seed: int, launches: int) -> dict[str, int]:
    """Launches of the kernel of a seed on the device and on the interpreter: how many were wrong, and right."""
    rng = Random(seed)
    text, name = text_of(rng), f"<strided loop {seed}>"
    counts = {"wrong": 0, "right": 0}
    try:
        kernel = kernel_of(text, name)
        for _ in range(launches):
            x, y, n, m, shape = launch_of(rng, text)
            size = len(x)
            expected = found = None
            try:
                kernel.interpret(*shape, x, y, n, m, detect_races=False)
            except gc.KernelBoundsError as error:
                expected = error
            around = context.zeros(512, gc.i32)
            part = around[128 : 128 + size]
            given = (part, context.array(y), n, m)
            try:
                kernel[shape](*given)
                context.synchronize()
            except gc.KernelBoundsError as error:
                found = error
            case = f"{text}\nx {size}, y {y.shape}, n {n}, m {m}, launch {shape}\nexpected {expected}\nfound {found}"
            assert (found is None) == (expected is None), case
            if found is None:
                assert np.array_equal(around.numpy(), np.pad(x, (128, 384 - size))), case
            counts["right" if found is None else "wrong"] += 1
    finally:
        linecache.cache.pop(name, None)
    return counts


def test_random_strided_loops_fail_exactly_where_the_interpreter_does(gpucore_context):
    counts = [judged(gpucore_context.options(check="auto"), seed, 16) for seed in range(12)]
    assert sum(c["wrong"] for c in counts) > 40
    assert sum(c["right"] for c in counts) > 40
