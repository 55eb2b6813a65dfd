"""Prove the Vulkan backend on a device: ``python device_check.py [--fuzz N] [--large] [--json FILE]``.

Runs the backend's pytest files, then what no CI can: arrays past 4 GiB and past 2^31 elements, random
kernels against the interpreter, a leak run, and the cost of a launch.  Prints one line a check and exits
with the number that failed. Needs NumPy, pytest, cffi, pluggy and the package ``vulkan``; a driver; nothing
else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PATHS = [str(HERE), str(ROOT), str(ROOT / "plugins" / "vulkan"), str(ROOT / "plugins" / "cpu")]
sys.path[:0] = PATHS

import numpy as np  # noqa: E402
from bench import Bench  # noqa: E402

import gpucore_vulkan as plugin  # noqa: E402
from gpucore.errors import OutOfMemoryError  # noqa: E402
from gpucore.hookspecs import CompileOptions, LaunchConfig  # noqa: E402
from gpucore.ir import (  # noqa: E402
    Const,
    Extent,
    Function,
    If,
    Load,
    Memory,
    Module,
    Op,
    Store,
    ThreadIndex,
    Value,
    bool_,
    dtype,
    f32,
    f64,
    i32,
    i64,
    u8,
)

RESULTS: dict[str, Any] = {}


def report(name: str, passed: bool, detail: object = "") -> None:
    """Print and keep one result."""
    RESULTS[name] = {"passed": passed, "detail": str(detail)}
    sys.stdout.write(f"{'ok  ' if passed else 'FAIL'} {name}: {detail}\n")
    sys.stdout.flush()


def identity(bench: Bench) -> None:
    """Who the device is and what probing found."""
    physical, target = bench.device.physical, bench.target
    capabilities = plugin.capabilities(bench.device)
    report("device", True, f"{physical.info.name} {physical.info.uuid} {physical.info.driver}")
    report("limits", True, {
        "push": physical.push_constants, "groups": physical.group_counts, "shared": physical.shared_memory,
        "subgroups": physical.subgroup_sizes, "max_buffer": physical.max_buffer, "heaps": physical.heaps,
        "types": bench.device.memory.types, "families": physical.families,
    })  # fmt: skip
    from gpucore_vulkan.device_features.targets import INTEGER_NATIVE

    report("native", True, sorted(target.native - INTEGER_NATIVE))
    report("features", True, sorted(target.features))
    report("float atomics", True, sorted(key for key in target.atomics if ".f" in key))
    report(
        "strict", "strict" in capabilities.names, capabilities.strict_missing or "every bit as IEEE-754 wants"
    )


def affine(kind: Any, wide: Any, count: int) -> Module:
    """``y[i] = x[i] * 3 + low bits of i`` with an index of the width."""
    x, y = Memory("x", kind, "global"), Memory("y", kind, "global")
    i, n, inside = Value("i", wide), Value("n", wide), Value("inside", bool_)
    v, three, m, low, r = (
        Value("v", kind),
        Value("three", kind),
        Value("m", kind),
        Value("low", kind),
        Value("r", kind),
    )
    seven, masked, word = Value("seven", wide), Value("masked", wide), Value("word", i32)
    body = (
        ThreadIndex(i, "global_id", 0),
        Extent(n, y, 0),
        Op(inside, "lt", (i, n)),
        If(
            inside,
            (
                Load(v, x, (i,)),
                Const(three, 3),
                Op(m, "mul", (v, three)),
                Const(seven, 7),
                Op(masked, "and", (i, seven)),
                *((Op(word, "cast", (masked,)),) if wide is not i32 else ()),
                Op(low, "cast", (masked if wide is i32 else word,)),
                Op(r, "add", (m, low)),
                Store(y, (i,), r),
            ),
        ),
    )
    return Module(Function(f"affine_{kind.name}", (x, y), None, (), (), body))


def saxpy() -> Module:
    """``y[i] = a * x[i] + y[i]``."""
    x, y, a = Memory("x", f32, "global"), Memory("y", f32, "global"), Value("a", f32)
    i, n, inside = Value("i", i32), Value("n", i32), Value("inside", bool_)
    v, w, p, q = (Value(name, f32) for name in ("v", "w", "p", "q"))
    body = (
        ThreadIndex(i, "global_id", 0), Extent(n, y, 0), Op(inside, "lt", (i, n)),
        If(inside, (
            Load(v, x, (i,)), Load(w, y, (i,)), Op(p, "mul", (a, v)), Op(q, "add", (p, w)), Store(y, (i,), q),
        )),
    )  # fmt: skip
    return Module(Function("saxpy", (x, y, a), None, (), (), body))


def explain(bench: Bench) -> None:
    """For every operation that is not native: the first operands on which it was wrong."""
    from gpucore_vulkan.device_features import probes

    for line in probes.explain(bench.device, bench.target):
        sys.stdout.write(f"     {line}\n")


def large(bench: Bench, kind: Any, wide: Any, count: int) -> None:
    """Fill, launch, copy and read an array of ``count`` elements at both ends and across 4 GiB."""
    name = f"{count} elements of {kind.name}, {wide.name} index"
    device, stream = bench.device, bench.stream
    size, window = kind.itemsize, 4096
    pieces: list[Any] = []
    try:
        pieces = [plugin.alloc(device, count * size, "device", stream) for _ in range(3)]
        x, y, z = pieces
        one = np.ones(1, kind.numpy).tobytes()
        plugin.fill(device, x, 0, count * size, one, stream)
        marks = sorted({0, count // 2, count - window, *((1 << b) // size - window // 2 for b in (31, 32))})
        marks = [m for m in marks if 0 <= m <= count - window]
        marks = [
            m for m, later in zip(marks, [*marks[1:], count + window], strict=True) if later - m >= window
        ]
        data = (np.arange(window) % 30).astype(kind.numpy)
        for mark in marks:
            plugin.copy(device, x, mark * size, memoryview(data).cast("B"), 0, data.nbytes, stream)
        executable = plugin.load(
            device, plugin.compile(bench.target, affine(kind, wide, count), CompileOptions())
        )
        launch = plugin.prepare(device, executable, LaunchConfig((-(-count // 256),), (256,)))
        launch(stream, x, 0, count, y, 0, count)
        plugin.copy(device, z, 0, y, 0, count * size, stream)
        wrong = []
        for mark in marks:
            out = np.zeros(window, kind.numpy)
            plugin.copy(device, memoryview(out).cast("B"), 0, z, mark * size, out.nbytes, stream)
            low = ((mark + np.arange(window)) & 7).astype(kind.numpy)
            if not np.array_equal(out, data * kind.numpy.type(3) + low):
                wrong.append(mark)
        gap = marks[0] + 3 * window
        out = np.zeros(window, kind.numpy)
        plugin.copy(device, memoryview(out).cast("B"), 0, z, gap * size, out.nbytes, stream)
        if not np.array_equal(out, 3 + ((gap + np.arange(window)) & 7).astype(kind.numpy)):
            wrong.append(gap)
        report(
            name, not wrong, f"wrong at {wrong}" if wrong else f"{3 * count * size / 2**30:.1f} GiB touched"
        )
        plugin.unload(device, executable)
    except OutOfMemoryError as error:
        report(name, False, error)
    finally:
        plugin.synchronize_stream(device, stream)
        for piece in pieces:
            plugin.free(device, piece, None)


def fuzz(bench: Bench, seeds: int) -> None:
    """Random kernels, plain and with subgroups, against the interpreter."""
    from gpucore_fuzz import cases as fuzzing

    width = bench.device.physical.subgroup_sizes[0]

    def run(module: Module, grid: Any, block: Any, args: Any) -> None:
        bench.run(bench.lowered(module), grid, block, args)

    for label, subgroup in (("plain", None), ("with subgroups", width)):
        failed: list[str] = []
        for seed in range(seeds):
            found = fuzzing.differential(seed, run, subgroup=subgroup)
            if found is not None:
                failed.append(str(found)[:300])
        report(f"{seeds} random kernels, {label}", not failed, failed[:3] if failed else "every bit alike")


def leak(bench: Bench, rounds: int) -> None:
    """Allocations, launches and events: memory stays flat."""
    from gpucore_vulkan.routines import fill_module

    device, stream = bench.device, bench.stream
    executable = plugin.load(device, plugin.compile(bench.target, fill_module(32), CompileOptions()))
    launch = plugin.prepare(device, executable, LaunchConfig((1,), (64,)))

    def resident() -> int:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) << 10
        return 0

    def work(count: int) -> None:
        for n in range(count):
            piece = plugin.alloc(device, 4096 + 256 * (n % 7), "device", stream)
            event = plugin.create_event(device, n % 2 == 0)
            launch(stream, piece, 0, 64, n)
            plugin.record_event(device, event, stream)
            if n % 64 == 63:
                plugin.synchronize_stream(device, stream)
            plugin.destroy_event(device, event)
            plugin.free(device, piece, stream)
        plugin.synchronize_stream(device, stream)

    work(rounds // 10)
    before, used = resident(), sum(device.memory.used)
    work(rounds)
    grown, taken = resident() - before, sum(device.memory.used) - used
    report(
        f"{rounds} allocations, launches and events",
        grown < 8 << 20 and taken <= 0,
        f"host +{grown} bytes, device +{taken}",
    )
    plugin.unload(device, executable)


def cost(bench: Bench) -> None:
    """Microseconds of a launch, enqueued and done, and of a launch that is waited for."""
    device, stream = bench.device, bench.stream
    x, y = (plugin.alloc(device, 1024, "device", stream) for _ in range(2))
    executable = plugin.load(device, plugin.compile(bench.target, affine(f32, i32, 256), CompileOptions()))
    launch = plugin.prepare(device, executable, LaunchConfig((1,), (256,)))
    bound = launch.bind(x, 0, 256, y, 0, 256)

    def measure(call: Any, count: int = 4000) -> tuple[float, float]:
        best = (1e9, 1e9)
        for _ in range(7):
            start = time.perf_counter()
            for _ in range(count):
                call()
            enqueued = time.perf_counter()
            plugin.synchronize_stream(device, stream)
            done = time.perf_counter()
            best = (
                min(best[0], (enqueued - start) / count * 1e6),
                min(best[1], (done - start) / count * 1e6),
            )
        return best

    def waited() -> None:
        bound(stream)
        plugin.synchronize_stream(device, stream)

    report(
        "launch",
        True,
        "enqueued %.2f us, done %.2f us" % measure(lambda: launch(stream, x, 0, 256, y, 0, 256)),
    )
    report("bound launch", True, "enqueued %.2f us, done %.2f us" % measure(lambda: bound(stream)))
    report("launch and wait", True, "%.1f us" % measure(waited, 500)[1])
    n = 1 << 27 if device.physical.heaps[device.memory.device_heap][0] > 8 << 30 else 1 << 22
    big = [plugin.alloc(device, 4 * n, "device", stream) for _ in range(2)]
    wide = plugin.prepare(device, executable, LaunchConfig((n // 256,), (256,)))
    start, end = plugin.create_event(device, True), plugin.create_event(device, True)
    streaming = plugin.load(device, plugin.compile(bench.target, saxpy(), CompileOptions()))
    for label, call, moved in (
        ("one load, one store", lambda: wide(stream, big[0], 0, n, big[1], 0, n), 8),
        ("saxpy", plugin.prepare(device, streaming, LaunchConfig((n // 256,), (256,))).bind(
            big[0], 0, n, big[1], 0, n, 2.0), 12),
    ):  # fmt: skip
        times = []
        for _ in range(10):
            plugin.record_event(device, start, stream)
            call() if moved == 8 else call(stream)
            plugin.record_event(device, end, stream)
            times.append(plugin.elapsed_time(device, start, end))
        report(label, True, f"{moved * n / min(times) / 1e6:.0f} GB/s over {moved * n >> 20} MiB")
    plugin.unload(device, streaming)
    data = np.ones(1 << 28 if n > 1 << 22 else 1 << 24, np.uint8)
    view = memoryview(data)
    plugin.copy(device, big[0], 0, view, 0, data.nbytes, stream)
    begin = time.perf_counter()
    plugin.copy(device, big[0], 0, view, 0, data.nbytes, stream)
    plugin.synchronize_stream(device, stream)
    middle = time.perf_counter()
    plugin.copy(device, view, 0, big[0], 0, data.nbytes, stream)
    finish = time.perf_counter()
    report("pageable copies", True, "to the device %.1f GB/s, back %.1f GB/s" % (
        data.nbytes / (middle - begin) / 1e9, data.nbytes / (finish - middle) / 1e9,
    ))  # fmt: skip
    pinned = plugin.alloc(device, data.nbytes, "pinned", stream)
    rates = []
    for one, other in ((big[0], pinned), (pinned, big[0])):
        best = 1e9
        for _ in range(5):
            plugin.record_event(device, start, stream)
            plugin.copy(device, one, 0, other, 0, data.nbytes, stream)
            plugin.record_event(device, end, stream)
            best = min(best, plugin.elapsed_time(device, start, end))
        rates.append(data.nbytes / best / 1e6)
    report("pinned copies", True, "to the device %.1f GB/s, back %.1f GB/s" % tuple(rates))
    for piece in (x, y, pinned, *big):
        plugin.free(device, piece, None)
    plugin.unload(device, executable)


def suite() -> None:
    """The backend's own tests in a process of their own."""
    folders = [HERE, ROOT / "tests" / "codegen" / "vulkan"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--import-mode=importlib",
            "-p",
            "no:cacheprovider",
            *map(str, folders),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*PATHS, os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    tail = done.stdout.strip().splitlines()[-12:]
    report("test suite", done.returncode == 0, tail[-1] if done.returncode == 0 else "\n".join(tail))


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", type=int, default=0)
    parser.add_argument("--fuzz", type=int, default=300, help="random kernels of each kind")
    parser.add_argument("--leak", type=int, default=20_000, help="rounds of the leak run")
    parser.add_argument("--large", action="store_true", help="arrays past 4 GiB and past 2^31 elements")
    parser.add_argument("--explain", action="store_true", help="why operations are not native")
    parser.add_argument("--skip-suite", action="store_true")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    found = plugin.probe()
    if not found.available:
        sys.stdout.write(f"Vulkan is not available: {found.reason} {found.fix}\n")
        return 1
    start = time.perf_counter()
    device = plugin.open_device(chosen.device, {})
    bench = Bench(device)
    report("opening and probing", True, f"{time.perf_counter() - start:.2f} s")
    steps: list[tuple[str, Any]] = [("identity", lambda: identity(bench)), ("cost", lambda: cost(bench))]
    if chosen.explain:
        steps.append(("explain", lambda: explain(bench)))
    if not chosen.skip_suite:
        steps.append(("suite", suite))
    if chosen.fuzz:
        steps.append(("fuzz", lambda: fuzz(bench, chosen.fuzz)))
    if chosen.leak:
        steps.append(("leak", lambda: leak(bench, chosen.leak)))
    if chosen.large:
        for kind, wide, count in (
            (u8, i64, (1 << 32) + 12_345),
            (u8, i64, (5 << 30) + 3),
            (f32, i64, (1 << 31) + 54_321),
            (f64, i32, 3 << 28),
            (dtype("u16"), i32, (1 << 31) - 7),
        ):
            steps.append(("large", lambda k=kind, w=wide, c=count: large(bench, k, w, c)))
    for name, step in steps:
        try:
            step()
        except Exception:  # noqa: BLE001 - one check must not hide the others
            report(name, False, traceback.format_exc())
    plugin.close_device(device)
    messages = device.instance.messages
    report(
        "validation",
        not messages or all("DenormPreserve" in m for m in messages),
        f"{len(messages)} messages",
    )
    if chosen.json:
        chosen.json.write_text(json.dumps(RESULTS, indent=1))
    return sum(not r["passed"] for r in RESULTS.values())


if __name__ == "__main__":
    sys.exit(main())
