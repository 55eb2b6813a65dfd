"""Work that goes on for long: does memory grow, or the time of a round?

``python benchmarks/soak.py mixed --minutes 60 -b cpu -b vulkan`` prints a line a minute and ends with the verdicts: the drift of
processor time, of wall time and of memory, each an hour with its 95 % interval.  ``SCRIPT`` is one kind of work
(``contexts``, ``streams``, ``kernels``, ``dlpack``, ``threads``, ``copies``, ``errors``) or ``mixed``, a round of which is one of
each.  With several backends a round is one of each backend's.
``--json FILE`` keeps the figures, rewritten with every line.

Each kernel is new and is compiled, of which LLVM's Python package keeps 1.5 KB (see docs/host.md).  ``--sources 200`` makes the
same 200 kernels again and again, which come from a cache once each was compiled: what then grows is a leak.

**How time is compared.**  This process, which grows old, takes turns with one that does the same rounds and was just started:
bursts of half a second, in the order old, young, young, old, so that a busy machine takes as much from one as from the other.  A
line stands for the life of one young process, whose place another takes: the median, over its pairs of bursts, of the old one's
time over the young one's, for the processor time of the whole process and for wall time.  Young processes differ by a
percent or so, each from the next, which is why a line and not a burst counts as one observation.  The drift is the slope of the
lines' logarithms after the first quarter, in which caches fill: the median slope of all pairs of lines (Theil-Sen).  Its
interval comes from the spread around the line, with as many lines as would say the same if each did not resemble the one before
(autocorrelation at lag one), and from Student's distribution.

``--leak N`` proves that a drift is found: it plants a dictionary that grows by N entries a round and is scanned in each round.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc as collector
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import gpucore as gc

N = 4096


@gc.kernel
def add(x: gc.Array[gc.i32], a: gc.i32) -> None:
    i = gc.global_id(0)
    if i < x.shape[0]:
        x[i] += a


@gc.kernel
def scatter(x: gc.Array[gc.i32], at: gc.i32) -> None:
    x[at] = 1


class Work:
    """One round of each kind of work, each of which checks what it computed."""

    def __init__(self, backend: str, sources: int | None = None) -> None:
        self.backend = backend
        self.sources = sources
        self.made = 0
        self.context = gc.Context(backend)
        self.checked = self.context.options(check=True)
        self.x = self.context.zeros(N, gc.i32)
        self.failed: list[Exception] = []

    def contexts(self) -> None:
        with gc.Context(self.backend) as context:
            x = context.zeros(N, gc.i32)
            add.over(N, stream=context.stream())(x, 1)
            assert x.numpy()[-1] == 1

    def streams(self) -> None:
        before = self.x.numpy()[0]
        for _ in range(20):
            stream = self.context.stream()
            add.over(N, stream=stream)(self.x, 1)
            self.context.default_stream.wait(stream.record())
        assert self.x.numpy()[0] == before + 20

    def kernels(self) -> None:
        number = time.monotonic_ns() % (1 << 30) if self.sources is None else self.made % self.sources
        self.made += 1

        @gc.kernel
        def store(x: gc.Array[gc.i32]) -> None:
            x[0] = number

        store[1, 1](self.x)
        assert self.x.numpy()[0] == number

    def dlpack(self) -> None:
        for _ in range(10):
            source = np.zeros(1 << 16, np.int32)
            x = gc.from_dlpack(source, context=self.context)
            add.over(x.size)(x, 3)
            assert x.numpy()[-1] == 3
            with contextlib.suppress(BufferError, gc.NotSupportedError):  # memory that NumPy cannot reach
                assert np.from_dlpack(x)[0] == 3

    def threads(self) -> None:
        def launch() -> None:
            try:
                stream = self.context.stream()
                x = self.context.array(np.zeros(N, np.int32), stream=stream)
                for _ in range(100):
                    add.over(N, stream=stream)(x, 1)
                assert (x.numpy(stream=stream) == 100).all()
            except Exception as error:  # noqa: BLE001 - raised by the thread that waits
                self.failed.append(error)

        both = [threading.Thread(target=launch) for _ in range(2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        if self.failed:
            raise self.failed[0]

    def copies(self) -> None:
        host = np.arange(N, dtype=np.int32).reshape(64, 64)
        x = self.context.array(host)
        for view in (x[::2, ::-1], x[1:33], x.reshape(-1)[::3]):
            assert view.contiguous().numpy().size == view.size
        x[::2].copy_from(host[1::2])
        x[1].fill(7)
        assert x.numpy()[1, 1] == 7
        event = self.context.event(timing=True)
        self.context.default_stream.record(event)
        event.synchronize()

    def errors(self) -> None:
        for wrong in (lambda: add.over(N)(self.x, "one"), lambda: self.x.reshape(3)):
            with contextlib.suppress(gc.LaunchError, ValueError):
                wrong()
                raise AssertionError("a mistake went unnoticed")
        x = self.checked.zeros(8, gc.i32)
        scatter[1, 1](x, 8)
        try:
            self.checked.synchronize()
        except gc.KernelBoundsError:
            return
        raise AssertionError("an access out of bounds went unreported")

    KINDS = ("contexts", "streams", "kernels", "dlpack", "threads", "copies", "errors")


def resident() -> int:
    """Bytes of memory that the process has now."""
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource  # elsewhere: the most it ever had

    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


@dataclasses.dataclass(frozen=True)
class Burst:
    """What some rounds took, each: seconds of the processor, of all threads of the process, and by the clock."""

    processor: float
    wall: float

    def over(self, other: Burst) -> tuple[float, float]:
        """This one's times over another's."""
        return self.processor / max(other.processor, 1e-9), self.wall / max(other.wall, 1e-9)


def burst(round_: Callable[[], None], count: int) -> Burst:
    """So many rounds."""
    processor, wall = time.process_time(), time.perf_counter()
    for _ in range(count):
        round_()
    return Burst((time.process_time() - processor) / count, (time.perf_counter() - wall) / count)


class Young:
    """The same rounds in a process that was just started."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, *command, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def burst(self, count: int) -> Burst:
        """So many rounds."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{count}\n")
        process.stdin.flush()
        answer = process.stdout.readline().split()
        if len(answer) != 2:
            raise RuntimeError("the young process ended; what it wrote to standard error says why")
        return Burst(float(answer[0]), float(answer[1]))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def serve(round_: Callable[[], None]) -> None:
    """A burst for each number that is read."""
    for line in sys.stdin:
        done = burst(round_, int(line))
        print(done.processor, done.wall, flush=True)


BURST = 0.5
"""Seconds of a burst."""
WARM = 30
"""Rounds of a young process before its times count."""


def life(minutes: float) -> float:
    """Seconds that a young process lives: sixteen of them in a short run, at most a minute."""
    return max(5.0, min(60.0, minutes * 60 / 16))


def soak(
    round_: Callable[[], None],
    command: list[str],
    first: int,
    minutes: float,
    save: Callable[[list[dict[str, Any]]], None],
) -> list[dict[str, Any]]:
    """Rounds for that many minutes, after the ``first`` ones; a row of figures for each young process."""
    rows: list[dict[str, Any]] = []
    for _ in range(first):
        round_()
    count = max(1, round(BURST / burst(round_, WARM).wall))
    begun = time.monotonic()
    while time.monotonic() - begun < minutes * 60:
        olds: list[Burst] = []
        ratios: list[tuple[float, float]] = []
        with contextlib.closing(Young(command)) as young:
            young.burst(WARM)
            end = time.monotonic() + life(minutes)
            while time.monotonic() < end or not ratios:
                before = burst(round_, count)
                others = [young.burst(count) for _ in range(2)]
                olds += [before, burst(round_, count)]
                ratios += [old.over(other) for old, other in zip(olds[-2:], others, strict=True)]
        collector.collect()
        row = {
            "minute": round((time.monotonic() - begun) / 60, 2),
            "rounds": len(olds) * count,
            "ms": round(statistics.median(old.processor for old in olds) * 1e3, 3),
            "wall_ms": round(statistics.median(old.wall for old in olds) * 1e3, 3),
            "processor": round(statistics.median(ratio[0] for ratio in ratios), 5),
            "wall": round(statistics.median(ratio[1] for ratio in ratios), 5),
            "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
            "MiB": round(resident() / 2**20, 2),
            "threads": threading.active_count(),
            "objects": len(collector.get_objects()),
        }
        rows.append(row)
        print(" ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        save(rows)
    return rows


def slope(hours: list[float], values: list[float]) -> tuple[float, float, float]:
    """How fast values grow, an hour, and the 95 % interval; without enough of them the interval is all numbers.

    The median of the slopes of all pairs (H. Theil, 1950; P. K. Sen, 1968).  Residuals that resemble the one before count for
    fewer: n (1 - r) / (1 + r) with their correlation r at lag one, whose bias toward zero in short series is added (F. Marriott
    and J. Pope, 1954).  Residuals are those of a parabola: a drift that slows down is no noise.
    """
    pairs = [
        (b - a) / (y - x)
        for (x, a), (y, b) in itertools.combinations(zip(hours, values, strict=True), 2)
        if y > x
    ]
    n = len(values)
    if n < 5:
        return (statistics.median(pairs) if pairs else 0.0), -math.inf, math.inf
    found = statistics.median(pairs)
    level = statistics.median(value - found * hour for hour, value in zip(hours, values, strict=True))
    rest = np.array(values) - found * np.array(hours) - level
    # medians of absolute deviations, and residuals cut at three: a line at which the machine did something else decides nothing
    cut = 3 * 1.4826 * np.median(abs(rest))
    rest = np.clip(rest, -cut, cut)
    centred = np.array(hours) - statistics.fmean(hours)
    rest = rest - np.polyval(np.polyfit(centred, rest, 2), centred)
    spread = 1.4826 * float(np.median(abs(rest))) * math.sqrt(n / (n - 3))
    squares = float(rest @ rest)
    alike = float(rest[1:] @ rest[:-1]) / squares if squares else 0.0
    alike = min(max(alike + (3 + 5 * alike) / n, 0.0), 0.9)
    alone = max(n * (1 - alike) / (1 + alike), 4.0)
    width = math.sqrt(statistics.pvariance(hours) * alone) or math.inf
    # 1.1: what medians tell less than means, where there are no outliers
    error = 1.1 * spread / width * student(alone - 2)
    return found, found - error, found + error


def student(freedom: float) -> float:
    """The 97.5 % point of Student's distribution, to 1 % (R. A. Fisher, 1925: the expansion about the normal one)."""
    if freedom < 3:
        return {1: 12.71, 2: 4.303}[max(1, int(freedom))]
    z = 1.959964
    one, two = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    three = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + one / freedom + two / freedom**2 + three / freedom**3


def drift(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What grows after the first quarter, in which pools and caches fill: the slope an hour, and its interval."""
    rest = rows[len(rows) // 4 :]
    hours = [row["minute"] / 60 for row in rest]
    of = {
        "processor_percent": [100 * math.log(row["processor"]) for row in rest],
        "wall_percent": [100 * math.log(row["wall"]) for row in rest],
        "MiB": [row["MiB"] for row in rest],
        "objects": [float(row["objects"]) for row in rest],
    }
    slopes = {name: [round(one, 3) for one in slope(hours, values)] for name, values in of.items()}
    grown = rest[-1]["MiB"] - rest[0]["MiB"]
    return {
        **slopes,
        "bytes_a_round": round(grown * 2**20 / max(sum(row["rounds"] for row in rest[1:]), 1), 1),
    }


FINE = 5.0
"""Percent an hour: where the interval is wider than this to either side, more time has to say."""


def verdicts(rows: list[dict[str, Any]]) -> list[str]:
    """A plain line for each kind of drift."""
    found = drift(rows)
    lines = []
    for name, what in (("processor_percent", "processor time"), ("wall_percent", "wall time")):
        middle, low, high = found[name]
        if low > 0:
            says = "rounds take longer and longer"
        elif high < 0:
            says = "rounds take less and less"
        elif high - low <= 2 * FINE:
            says = "no drift"
        else:
            says = f"no drift seen, but the interval is wider than {FINE:g} % to either side: run it longer"
        lines.append(f"{what}: {middle:+.2f} % an hour (95 %: {low:+.2f} to {high:+.2f}): {says}")
    middle, low, high = found["MiB"]
    says = (
        "memory grows" if low > 0 else "no growth seen" if middle < 1 else "it grew, and may or may not go on"
    )
    lines.append(
        f"memory: {middle:+.2f} MiB an hour (95 %: {low:+.2f} to {high:+.2f}), {found['bytes_a_round']:g} bytes a round: {says}"
    )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("script", choices=[*Work.KINDS, "mixed"])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("-b", "--backend", action="append", help="cpu without it; may be given again")
    parser.add_argument("--sources", type=int, metavar="N", help="make the same N kernels, not new ones")
    parser.add_argument(
        "--leak",
        type=int,
        default=0,
        metavar="N",
        help="plant a drift: N more entries to scan with each round",
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(rounds_of(works_of(options), options))
        return
    with tempfile.TemporaryDirectory() as cache:
        os.environ["GPUCORE_CACHE_DIR"] = "off" if options.sources is None else cache
        run(options)


def works_of(options: argparse.Namespace) -> list[Work]:
    """The work on each backend."""
    return [Work(backend, options.sources) for backend in options.backend or ["cpu"]]


def rounds_of(works: list[Work], options: argparse.Namespace) -> Callable[[], None]:
    """What one round does."""
    kinds = Work.KINDS if options.script == "mixed" else (options.script,)
    leak: dict[int, int] = {}

    def round_() -> None:
        for _ in range(options.leak):
            leak[len(leak)] = 1
        assert sum(leak.values()) == len(leak)
        for work in works:
            for kind in kinds:
                getattr(work, kind)()

    return round_


def run(options: argparse.Namespace) -> None:
    """The rounds, and what they say."""
    works = works_of(options)
    device = " and ".join(f"{work.context.device.name} through {work.backend}" for work in works)

    def save(rows: list[dict[str, Any]]) -> None:
        if options.json is not None:
            figures = {"script": options.script, "device": device, "rows": rows, "drift": drift(rows)}
            options.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")

    # each kernel of a fixed number is compiled before anything is measured
    first = max(3, options.sources or 0)
    rows = soak(rounds_of(works, options), sys.argv[1:], first, options.minutes, save)
    for work in works:
        work.context.close()
    print(f"{device}, {options.script}, {options.minutes:g} minutes, {len(rows)} young processes")
    print(*verdicts(rows), sep="\n")


if __name__ == "__main__":
    main()
