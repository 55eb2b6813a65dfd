"""Work that goes on for long: does memory grow, or the time of a round?

``python benchmarks/soak.py mixed --minutes 60 -b cpu -b vulkan`` prints a line a minute and ends with the drift: the slope of
the process's memory and of the time of a round, with its standard error.  ``SCRIPT`` is one kind of work
(``contexts``, ``streams``, ``kernels``, ``dlpack``, ``threads``, ``copies``, ``errors``) or ``mixed``, a round of which is one of
each.  With several backends a round is one of each backend's.
``--json FILE`` keeps the figures, rewritten every minute.

Each kernel is new and is compiled, of which LLVM's Python package keeps 1.5 KB (see docs/host.md).  ``--sources 200`` makes the
same 200 kernels again and again, which come from a cache once each was compiled: what then grows is a leak.

A time is the CPU time of a round over that of something that takes turns with the rounds, so that a busy machine takes as much
from one as from the other: ``ratio`` over a fixed work of Python, NumPy, threads and files that uses no gpucore, in the same
process; ``old_over_young`` over the same round in a second process, which a new one replaces every few minutes.  Slopes are those
of the ratios' logarithms.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc as collector
import hashlib
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


class Reference:
    """Work of the kinds that a round is made of, without gpucore: what it costs depends on the machine alone."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "reference"
        self._text = Path(__file__).read_text("utf-8")

    def __call__(self) -> float:
        """Its CPU seconds: those of this thread and of the ones that it starts, and of no other."""
        begun = time.thread_time()
        compile(ast.parse(self._text), "reference", "exec")
        table = {f"{number:x}": [number] for number in range(5_000)}
        assert sorted(table)[0] == "0"
        big = np.arange(1 << 18, dtype=np.int32)
        for _ in range(8):
            assert big[::2].copy().size == big.size // 2
        self._file.write_bytes(big.tobytes()[: 1 << 16])
        hashlib.sha256(self._file.read_bytes()).digest()
        return time.thread_time() - begun + self._hand_over()

    def _hand_over(self) -> float:
        """Two threads that wait for each other."""
        turns, spent = (threading.Semaphore(1), threading.Semaphore(0)), [0.0, 0.0]

        def work(mine: int) -> None:
            for _ in range(100):
                turns[mine].acquire()
                turns[1 - mine].release()
            spent[mine] = time.thread_time()

        both = [threading.Thread(target=work, args=(mine,)) for mine in (0, 1)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        return sum(spent)


class Young:
    """The same rounds in a process that is never old."""

    LIFE = 180.0
    """Seconds after which another takes its place."""

    def __init__(self, command: list[str]) -> None:
        self._command = [sys.executable, __file__, *command, "--serve"]
        self._process: subprocess.Popen[str] | None = None
        self._end = 0.0

    def __call__(self) -> float:
        """One round; its CPU seconds."""
        if time.monotonic() > self._end:
            self.close()
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            self._end = time.monotonic() + self.LIFE
            for _ in range(10):
                self._round()
        return self._round()

    def _round(self) -> float:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("round\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate()


def serve(round_: Callable[[], None]) -> None:
    """A round for each line that is read; what the process spent since the last one."""
    before = time.process_time()
    for _ in sys.stdin:
        round_()
        now = time.process_time()
        print(now - before, flush=True)
        before = now


def soak(
    round_: Callable[[], None],
    reference: Callable[[], float],
    young: Callable[[], float],
    first: int,
    minutes: float,
    save: Callable[[list[dict[str, Any]]], None],
) -> list[dict[str, Any]]:
    """Rounds for that many minutes, after the ``first`` ones; a row of figures for each sixtieth of the time, at most a minute.

    A thread of the backend's may work, or spin, past the end of a round: so the time of rounds is all that the process
    spends but for the reference.
    """
    step = min(60.0, minutes)
    rows: list[dict[str, Any]] = []
    for _ in range(first):
        round_()
    unit, before = min(reference() for _ in range(3)), time.process_time()
    for _ in range(3):
        round_()
    times = max(1, round((time.process_time() - before) / 3 / max(unit, 1e-9)))
    begun = time.monotonic()
    while time.monotonic() - begun < minutes * 60:
        end = time.monotonic() + step
        rounds, compared, others, before = 0, 0.0, 0.0, time.process_time()
        while time.monotonic() < end:
            round_()
            others += young()
            compared += sum(reference() for _ in range(times))
            rounds += 1
        spent = time.process_time() - before - compared
        collector.collect()
        row = {
            "minute": round((time.monotonic() - begun) / 60, 2),
            "rounds": rounds,
            "ms": round(spent / rounds * 1e3, 3),
            "ratio": round(spent / compared, 4),
            "old_over_young": round(spent / others, 4),
            "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
            "MiB": round(resident() / 2**20, 2),
            "threads": threading.active_count(),
            "objects": len(collector.get_objects()),
        }
        rows.append(row)
        print(" ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        save(rows)
    return rows


def slope(minutes: list[float], values: list[float]) -> tuple[float, float]:
    """Of the straight line through the values, an hour, and its standard error."""
    if len(values) < 3:
        return 0.0, math.inf
    line = statistics.linear_regression(minutes, values)
    rest = sum((y - line.slope * x - line.intercept) ** 2 for x, y in zip(minutes, values, strict=True))
    spread = sum((x - statistics.fmean(minutes)) ** 2 for x in minutes)
    return line.slope * 60, math.sqrt(rest / (len(values) - 2) / spread) * 60


def drift(rows: list[dict[str, Any]]) -> dict[str, float]:
    """What grows after the first quarter, in which pools and caches fill."""
    quarter = max(len(rows) // 4, 1)
    rest = rows[quarter:] or rows
    minutes = [row["minute"] for row in rest]
    early, late = rest[:quarter], rest[-quarter:]
    grown = rest[-1]["MiB"] - rest[0]["MiB"]
    slopes = {}
    for name in ("ratio", "old_over_young"):
        slower, error = slope(minutes, [math.log(row[name]) for row in rest])
        slopes[f"{name}_percent_an_hour"] = round(slower * 100, 2)
        slopes[f"{name}_standard_error"] = round(error * 100, 2)

    def of_quarters(figure: str) -> float:
        medians = [statistics.median(row[figure] for row in some) for some in (late, early)]
        return round(medians[0] / medians[1], 3)

    return {
        "MiB_an_hour": round(slope(minutes, [row["MiB"] for row in rest])[0], 3),
        "bytes_a_round": round(grown * 2**20 / max(sum(row["rounds"] for row in rest), 1), 1),
        "objects_an_hour": round(slope(minutes, [row["objects"] for row in rest])[0], 1),
        **slopes,
        "ratio_last_over_second_quarter": of_quarters("ratio"),
        "old_over_young_last_over_second_quarter": of_quarters("old_over_young"),
        "ms_last_over_second_quarter": of_quarters("ms"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("script", choices=[*Work.KINDS, "mixed"])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("-b", "--backend", action="append", help="cpu without it; may be given again")
    parser.add_argument("--sources", type=int, metavar="N", help="make the same N kernels, not new ones")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(rounds_of(works_of(options), options))
        return
    with tempfile.TemporaryDirectory() as cache:
        os.environ["GPUCORE_CACHE_DIR"] = "off" if options.sources is None else cache
        with tempfile.TemporaryDirectory() as folder:
            run(options, Reference(Path(folder)))


def works_of(options: argparse.Namespace) -> list[Work]:
    """The work on each backend."""
    return [Work(backend, options.sources) for backend in options.backend or ["cpu"]]


def rounds_of(works: list[Work], options: argparse.Namespace) -> Callable[[], None]:
    """What one round does."""
    kinds = Work.KINDS if options.script == "mixed" else (options.script,)

    def round_() -> None:
        for work in works:
            for kind in kinds:
                getattr(work, kind)()

    return round_


def run(options: argparse.Namespace, reference: Reference) -> None:
    """The rounds, and what they say."""
    works = works_of(options)
    young = Young(sys.argv[1:])
    device = " and ".join(f"{work.context.device.name} through {work.backend}" for work in works)

    def save(rows: list[dict[str, Any]]) -> None:
        if options.json is not None:
            figures = {"script": options.script, "device": device, "rows": rows, "drift": drift(rows)}
            options.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")

    with contextlib.closing(young):
        # each kernel of a fixed number is compiled before anything is measured
        first = max(3, options.sources or 0)
        rows = soak(rounds_of(works, options), reference, young, first, options.minutes, save)
    for work in works:
        work.context.close()
    print(f"{device}, {options.script}, {options.minutes:g} minutes: {drift(rows)}")


if __name__ == "__main__":
    main()
