"""The cost of a call through each tier, beside a bare cffi call of the same native function.

    python call_cost.py            # builds what it needs, prints a table; the least of interleaved rounds

A bare call is what cffi alone gives for `zlib.h`: no guard, no failure value, no check that the lengths fit.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Callable
from pathlib import Path

from gpucore_wrap import generate, load_spec
from gpucore_wrap.output import compare, write

ROUNDS, CALLS = 400, 1_000
SPEC = """
library: {name: cost, headers: [zlib.h], link: [z], prelude: "struct counter { int32_t value; };
inline int32_t next(counter *c) { return ++c->value; } inline int32_t plus(int32_t a, int32_t b) { return a + b; }
inline double half(double x) { return x / 2; } inline void nothing() {}"}
handles:
  - {name: Counter, native: "counter *", drop: "delete handle.inner", threads: shared}
  - {name: Locked, native: "counter *", drop: "delete handle.inner"}
functions:
  - {name: nothing, native: nothing}
  - {name: plus, native: plus, params: [{name: a, type: i32}, {name: b, type: i32}], result: i32}
  - {name: half, native: half, params: [{name: x, type: f64}], result: f64}
  - {name: crc32, native: crc32, params: [{name: value, type: u32}, {name: data, type: bytes}], result: u32}
methods:
  - {name: new, handle: Counter, kind: constructor, cpp_fn: "new counter{0}", result: Counter}
  - {name: next, handle: Counter, native: next, result: i32}
  - {name: new, handle: Locked, kind: constructor, cpp_fn: "new counter{0}", result: Locked}
  - {name: next, handle: Locked, native: next, result: i32}
"""
BARE = """
from cffi import FFI
ffi = FFI()
ffi.cdef('''
typedef struct { int32_t value; } counter;
int32_t next(counter *c); int32_t plus(int32_t a, int32_t b); double half(double x); void nothing(void);
unsigned long crc32(unsigned long crc, const uint8_t *buf, unsigned int len);
''')
ffi.set_source("bare", '''
#include <stdint.h>
#include <zlib.h>
typedef struct { int32_t value; } counter;
static int32_t next(counter *c) { return ++c->value; }
static int32_t plus(int32_t a, int32_t b) { return a + b; }
static double half(double x) { return x / 2; }
static void nothing(void) {}
''', libraries=["z"])
ffi.compile()
"""


def build(folder: Path) -> None:
    spec = folder / "cost.yaml"
    spec.write_text(SPEC)
    made = folder / "made"
    write(compare(generate(load_spec(spec), made).files, made), made)
    subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=made, check=True)
    subprocess.run(
        [sys.executable, "-c", BARE], cwd=folder, check=True, env={**os.environ, "PYTHONPATH": str(folder)}
    )
    sys.path[:0] = [str(made / "src"), str(folder)]


def measure(calls: dict[str, tuple[Callable[..., object], tuple[object, ...]]]) -> dict[str, float]:
    """Nanoseconds a call: the least of rounds in which all are timed one after another; others on the machine only add."""
    timers = {}
    for name, (function, values) in calls.items():
        names = ", ".join(f"a{i}" for i in range(len(values)))
        given = {f"a{i}": value for i, value in enumerate(values)} | {"function": function}
        timers[name] = timeit.Timer(f"function({names})", globals=given)
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, timer in timers.items():
            found[name].append(timer.timeit(CALLS) / CALLS * 1e9)
    return {name: min(times) for name, times in found.items()}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        build(Path(name))
        cost, bare = importlib.import_module("cost"), importlib.import_module("bare")
        low, raw = cost._native.lib, bare.lib
        data, counter, locked = b"x" * 16, cost.Counter(), cost.Locked()
        plain = bare.ffi.new("counter *")
        rows = {
            "nothing()": ((raw.nothing, ()), (low.gpw_cost_nothing, ()), (cost.nothing, ())),
            "plus(1, 2)": ((raw.plus, (1, 2)), (low.gpw_cost_plus, (1, 2)), (cost.plus, (1, 2))),
            "half(1.5)": ((raw.half, (1.5,)), (low.gpw_cost_half, (1.5,)), (cost.half, (1.5,))),
            "crc32(0, 16 bytes)": (
                (raw.crc32, (0, data, 16)), (low.gpw_cost_crc32, (0, data, 16)), (cost.crc32, (0, data)),
            ),
            "handle.next(), shared": (
                (raw.next, (plain,)), (low.gpw_cost_counter_next, (counter._box,)), (counter.next, ()),
            ),
            "handle.next(), exclusive": (
                (raw.next, (plain,)), (low.gpw_cost_locked_next, (locked._box,)), (locked.next, ()),
            ),
        }  # fmt: skip
        print(f"{'call':26}{'bare':>8}{'tier 2':>8}{'tier 3':>8}{'tier 2 / bare':>15}{'tier 3 - tier 2':>17}")
        for row, (first, second, third) in rows.items():
            times = measure({"bare": first, "low": second, "high": third})
            ratio, more = times["low"] / times["bare"], times["high"] - times["low"]
            print(
                f"{row:26}{times['bare']:8.0f}{times['low']:8.0f}{times['high']:8.0f}{ratio:15.2f}{more:14.0f} ns"
            )


if __name__ == "__main__":
    main()
