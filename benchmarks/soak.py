"""Work that goes on for long: does memory grow, or the time of a round?

``python benchmarks/soak.py mixed --minutes 60 -b cpu -b vulkan`` prints a line a minute and ends with the drift: the slope of
the process's memory and the CPU time of the last quarter of rounds over that of the second.  ``SCRIPT`` is one kind of work
(``contexts``, ``streams``, ``kernels``, ``dlpack``, ``threads``, ``copies``, ``errors``) or ``mixed``, a round of which is one of
each.  With several backends a round is one of each backend's.
``--json FILE`` keeps the figures, rewritten every minute.

Each kernel is new and is compiled, of which LLVM's Python package keeps 1.5 KB (see docs/host.md).  ``--sources 200`` makes the
same 200 kernels again and again, which come from a cache once each was compiled: what then grows is a leak.

Times are CPU time of the process over that of a fixed loop measured beside it, so that a busy machine does not look like drift.
"""

from __future__ import annotations

import argparse
import contextlib
import gc as collector
import json
import os
import statistics
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


def yardstick() -> float:
    """CPU seconds of a fixed loop."""
    begun = time.thread_time()
    sum(number * number for number in range(200_000))
    return time.thread_time() - begun


def soak(
    round_: Callable[[], None], minutes: float, save: Callable[[list[dict[str, Any]]], None]
) -> list[dict[str, Any]]:
    """Rounds for that many minutes; a row of figures for each sixtieth of the time, at most a minute."""
    step = min(60.0, minutes)
    rows: list[dict[str, Any]] = []
    begun = time.monotonic()
    for _ in range(3):
        round_()
    while time.monotonic() - begun < minutes * 60:
        end = time.monotonic() + step
        costs, rounds = [], 0
        while time.monotonic() < end:
            unit, before = yardstick(), time.process_time()
            round_()
            costs.append((time.process_time() - before) / unit)
            rounds += 1
        collector.collect()
        row = {
            "minute": round((time.monotonic() - begun) / 60, 2),
            "rounds": rounds,
            "cost": round(statistics.median(costs), 3),
            "MiB": round(resident() / 2**20, 2),
            "threads": threading.active_count(),
            "objects": len(collector.get_objects()),
        }
        rows.append(row)
        print(" ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        save(rows)
    return rows


def drift(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Slopes after the first quarter, in which pools and caches fill."""
    quarter = len(rows) // 4
    rest = rows[quarter:]
    minutes = [row["minute"] for row in rest]
    slope = (
        statistics.linear_regression(minutes, [row["MiB"] for row in rest]).slope if len(rest) > 1 else 0.0
    )
    objects = (
        statistics.linear_regression(minutes, [row["objects"] for row in rest]).slope
        if len(rest) > 1
        else 0.0
    )
    early, late = rest[: max(quarter, 1)], rest[-max(quarter, 1) :]
    cost = statistics.median(row["cost"] for row in late) / statistics.median(row["cost"] for row in early)
    rounds = sum(row["rounds"] for row in rest)
    grown = rest[-1]["MiB"] - rest[0]["MiB"]
    return {
        "MiB_an_hour": round(slope * 60, 3),
        "bytes_a_round": round(grown * 2**20 / max(rounds, 1), 1),
        "objects_an_hour": round(objects * 60, 1),
        "time_last_over_second_quarter": round(cost, 3),
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
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["GPUCORE_CACHE_DIR"] = "off" if options.sources is None else cache
        run(options)


def run(options: argparse.Namespace) -> None:
    """The rounds, and what they say."""
    works = [Work(backend, options.sources) for backend in options.backend or ["cpu"]]
    kinds = Work.KINDS if options.script == "mixed" else (options.script,)

    def round_() -> None:
        for work in works:
            for kind in kinds:
                getattr(work, kind)()

    device = " and ".join(f"{work.context.device.name} through {work.backend}" for work in works)

    def save(rows: list[dict[str, Any]]) -> None:
        if options.json is not None:
            figures = {"script": options.script, "device": device, "rows": rows, "drift": drift(rows)}
            options.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")

    rows = soak(round_, options.minutes, save)
    for work in works:
        work.context.close()
    print(f"{device}, {options.script}, {options.minutes:g} minutes: {drift(rows)}")


if __name__ == "__main__":
    main()
