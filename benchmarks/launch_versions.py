"""What a launch costs in two versions of gpucore, measured in turn; and what launch shapes cost in each.

    python benchmarks/launch_versions.py OLD NEW -b cpu
    python benchmarks/launch_versions.py OLD NEW -b cuda --quick        # some 20 seconds where a start takes five
    python benchmarks/launch_versions.py OLD NEW -b cuda --stand-in

``OLD`` and ``NEW`` are Python interpreters with gpucore installed, or checkouts, which run under this interpreter and its
installed distributions: ``git worktree add ../old 9b4553b`` makes one.

Two processes, one for each version, enqueue short batches in turn, so that a machine whose speed drifts slows both alike. Each
is started anew several times, because where a process lies in memory alone makes some per cent. The time is that of the
calling thread on its processor: what is measured is the cost of enqueueing, not the wait for a device. ``--stand-in`` replaces
the CUDA driver by functions that do nothing, where there is no device. What each pair of processes found is printed as it ends.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

PAIRS, ROUNDS, BATCH = 5, 150, 400
QUICK_PAIRS, QUICK_ROUNDS = 3, 40
SHAPES = 200
STAND_IN = Path(__file__).parents[1] / "tests" / "backends" / "cuda"

Launch = Callable[[], Any]


# --- in each version: only names that both have
def replace_driver() -> None:
    """Let the CUDA plugin find a driver whose functions do nothing."""
    sys.path.insert(0, str(STAND_IN))
    from cuda.bindings import driver
    from stand_in import StandIn

    for name, function in StandIn().functions().items():
        setattr(driver, name, function)


def launches(gc: Any, context: Any) -> dict[str, Launch]:
    """What is enqueued, by name."""

    @gc.kernel
    def one(x: gc.Array[gc.f32]):
        i = gc.global_id(0)
        if i < x.shape[0]:
            x[i] = 1.0

    @gc.kernel
    def scale(x: gc.Array[gc.f32], a: gc.f32):
        i = gc.global_id(0)
        if i < x.shape[0]:
            x[i] = x[i] * a

    @gc.kernel
    def sixteen(
        a: gc.Array[gc.f32], b: gc.Array[gc.f32], c: gc.Array[gc.f32], d: gc.Array[gc.f32],
        e: gc.Array[gc.f32], f: gc.Array[gc.f32], g: gc.Array[gc.f32], h: gc.Array[gc.f32],
        k: gc.f32, m: gc.f32, n: gc.f32, o: gc.f32, p: gc.i32, q: gc.i32, r: gc.i32, s: gc.i32,
    ):  # fmt: skip
        i = gc.global_id(0)
        if i < a.shape[0]:
            a[i] = b[i] + c[i] + d[i] + e[i] + f[i] + g[i] + h[i] + k + m + n + o + gc.f32(p + q + r + s)

    size = 64
    x, arrays = context.ones(size, gc.f32), [context.ones(size, gc.f32) for _ in range(8)]
    side = context.stream()
    y = context.array(np.ones(size, np.float32), stream=side)
    numbers, turns = itertools.cycle((1.0, 2.0, 0.5, 3.0)), itertools.cycle(arrays)
    ahead, many, bound = one[1, size], sixteen[1, size], one[1, size].bind(x)
    return {
        "configured ahead, 1 argument": lambda: ahead(x),
        "kernel[grid, block](x)": lambda: one[1, size](x),
        "kernel.over(n)(x)": lambda: one.over(size)(x),
        "on a stream": lambda: one[1, size, side](y),
        "16 arguments": lambda: many(*arrays, 1.0, 1.0, 1.0, 1.0, 1, 1, 1, 1),
        "another scalar each time": lambda: scale[1, size](x, next(numbers)),
        "another array each time": lambda: scale[1, size](next(turns), 1.0),
        "bound": bound,
    }


def timed(calls: Iterable[Launch]) -> float:
    """Microseconds of the calling thread for each call."""
    calls = list(calls)
    start = time.thread_time_ns()
    for call in calls:
        call()
    return (time.thread_time_ns() - start) / len(calls) / 1000


def shape_costs(gc: Any, context: Any) -> dict[str, float]:
    """Microseconds of launches by what is known of their shape, medians of five; the program is compiled before."""

    @gc.kernel
    def scale(x: gc.Array[gc.f32], a: gc.f32):
        i = gc.global_id(0)
        if i < x.shape[0]:
            x[i] = x[i] * a

    x, a = context.zeros(64, gc.f32), 1.0
    for _ in range(3):
        scale.over(7)(x, a)
        scale[2, 32](x, a)
    found: dict[str, list[float]] = {}
    numbers = itertools.count(10)
    for _ in range(5):
        fresh = list(itertools.islice(numbers, SHAPES))
        measured: dict[str, Callable[[int], Any]] = {
            "known shape": lambda n: scale.over(7)(x, a),
            "new shape": lambda n: scale.over(n)(x, a),
            "second pass": lambda n: scale.over(n)(x, a),
            "new grid": lambda n: scale[n, 32](x, a),
            "bind": lambda n: scale.over(7).bind(x, a),
        }
        for name, launch in measured.items():
            context.synchronize()
            found.setdefault(name, []).append(timed((lambda n=n, f=launch: f(n)) for n in fresh))
    return {name: statistics.median(values) for name, values in found.items()}


def work(backend: str, stand_in: bool) -> None:
    """Answer the requests on standard input, one a line: the name of a launch, or ``shapes``."""
    if stand_in:
        replace_driver()
    import gpucore as gc

    with gc.Context(backend) as context:
        table = launches(gc, context)
        for launch in table.values():
            for _ in range(50):
                launch()
            context.synchronize()
        print(json.dumps({"names": list(table), "from": gc.__file__}), flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            if asked == "shapes":
                answer: Any = shape_costs(gc, context)
            else:
                launch = table[asked]
                timed([launch] * 20)
                context.synchronize()
                answer = timed([launch] * BATCH)
                context.synchronize()
            print(json.dumps(answer), flush=True)


# --- who asks them
class Version:
    """A process of one version."""

    def __init__(self, install: Path, arguments: list[str]) -> None:
        environment = dict(os.environ, OMP_WAIT_POLICY="PASSIVE")
        python = str(install)
        if install.is_dir():
            python = sys.executable
            folders = [install, *sorted((install / "plugins").glob("*"))]
            environment["PYTHONPATH"] = os.pathsep.join(map(str, folders))
        self._process = subprocess.Popen(
            [python, __file__, "--worker", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.names: list[str] = []
        self.source = ""

    def await_start(self) -> None:
        """Wait until every kernel is compiled; before that, a process starts beside others."""
        first = self._answer()
        self.names, self.source = first["names"], first["from"]

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a version ended before it answered; its message is above")
        return json.loads(line)

    def ask(self, request: str) -> Any:
        """What it answers to the name of a launch, or ``shapes``."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """Let the process end, and wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def compare(
    installs: list[Path], arguments: list[str], pairs: int, rounds: int, shapes_once: bool
) -> dict[str, Any]:
    """Each launch's medians in both versions and their ratio, pair by pair of processes."""
    found: dict[str, list[tuple[float, float]]] = {}
    shapes: list[list[dict[str, float]]] = [[], []]
    start = time.monotonic()
    for pair in range(pairs):
        both = [Version(install, arguments) for install in installs]
        for version in both:
            version.await_start()
        if both[0].source == both[1].source:
            raise SystemExit(f"both versions are {both[0].source}")
        try:
            for name in both[0].names:
                samples: list[list[float]] = [[], []]
                for number in range(rounds):
                    for side in (0, 1) if number % 2 else (1, 0):
                        samples[side].append(both[side].ask(name))
                found.setdefault(name, []).append(
                    (statistics.median(samples[0]), statistics.median(samples[1]))
                )
            for side in (0, 1) if pair == 0 or not shapes_once else ():
                shapes[side].append(both[side].ask("shapes"))
        finally:
            for version in both:
                version.end()
        ratios = ", ".join(f"{name} {found[name][-1][1] / found[name][-1][0]:.3f}" for name in found)
        print(f"pair {pair + 1} of {pairs}, {time.monotonic() - start:.0f} s: {ratios}", flush=True)
    return {
        "launches": found,
        "shapes": [
            {name: statistics.median(row[name] for row in rows) for name in rows[0]} for rows in shapes
        ],
    }


def show(found: dict[str, Any]) -> None:
    """Print both tables."""
    print(
        f"{'microseconds a launch':32}{'old':>9}{'new':>9}{'new/old':>9}   least to most over pairs of processes"
    )
    for name, pairs in found["launches"].items():
        ratios = sorted(new / old for old, new in pairs)
        old, new = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
        print(
            f"{name:32}{old:9.3f}{new:9.3f}{statistics.median(ratios):9.3f}   {ratios[0]:.3f} to {ratios[-1]:.3f}"
        )
    print()
    print(f"{'by launch shape':32}{'old':>9}{'new':>9}   new over its known shape")
    old, new = found["shapes"]
    for name, value in new.items():
        print(f"{name:32}{old[name]:9.2f}{value:9.2f}   {value / new['known shape']:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("installs", nargs="*", type=Path, metavar="OLD NEW")
    parser.add_argument("-b", "--backend", default="cpu", help="cpu, vulkan, cuda, ... (default: cpu)")
    parser.add_argument("--stand-in", action="store_true", help="a CUDA driver that does nothing")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK_PAIRS} pairs of {QUICK_ROUNDS} batches, launch shapes in one of them",
    )
    parser.add_argument("--pairs", type=int, help=f"pairs of processes (default: {PAIRS})")
    parser.add_argument("--rounds", type=int, help=f"batches of each launch (default: {ROUNDS})")
    parser.add_argument("--json", type=Path, help="write the medians of each pair there as well")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.backend, given.stand_in)
        return
    if len(given.installs) != 2:
        parser.error("two installs are compared, the old one first")
    arguments = ["-b", given.backend, *(["--stand-in"] if given.stand_in else [])]
    pairs, rounds = (QUICK_PAIRS, QUICK_ROUNDS) if given.quick else (PAIRS, ROUNDS)
    found = compare(given.installs, arguments, given.pairs or pairs, given.rounds or rounds, given.quick)
    show(found)
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
