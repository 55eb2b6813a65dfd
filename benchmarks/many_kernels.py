"""Thousands of kernels in one process, with much of the address space taken: are results right, launches and memory flat?

``python benchmarks/many_kernels.py --count 5000 --mapped 100 -b cpu`` writes each kernel as a source of its own, launches it,
checks what it computed, and maps memory between kernels, so that later code lands far from earlier code.  A line each tenth of
the way: the CPU time of a first and of a later launch, and for each kernel so far the memory of the process and what of it is in
use: bytes of the C library's heap, blocks of Python's.  ``--drop`` lets go of each kernel at once; without it all stay loaded,
are launched once more at the end, and are then dropped together.
"""

from __future__ import annotations

import argparse
import ctypes
import gc as collector
import linecache
import mmap
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("GPUCORE_CACHE_DIR", "off")  # every kernel is new: nothing would be found again

import numpy as np

import gpucore as gc

N = 256
SHAPES = (
    "y[i] = x[i] * {n} + gc.i32(i)",
    "y[i] = (x[i] ^ {n}) - gc.i32(i)",
    "t = x[i]\n        for k in range({n} % 7 + 1):\n            t = t + (t >> k)\n        y[i] = t + {n}",
    "y[i] = gc.i32({n}) if x[i] > {n} % 97 else gc.i32(i) - {n}",
)


def source(number: int) -> str:
    """A kernel of that number."""
    body = SHAPES[number % len(SHAPES)].format(n=number)
    return (
        f"@gc.kernel\ndef kernel_{number}(x: gc.Array[gc.i32], y: gc.Array[gc.i32]) -> None:\n"
        f"    i = gc.global_id(0)\n    if i < y.shape[0]:\n        {body}\n"
    )


def expected(number: int, x: list[int]) -> list[int]:
    """The same in plain Python."""
    found = []
    for i, value in enumerate(x):
        if number % 4 == 0:
            found.append(value * number + i)
        elif number % 4 == 1:
            found.append((value ^ number) - i)
        elif number % 4 == 2:
            for k in range(number % 7 + 1):
                value += value >> k
            found.append(value + number)
        else:
            found.append(number if value > number % 97 else i - number)
    return found


def resident() -> int:
    """Bytes of memory that the process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class _Heap(ctypes.Structure):
    """``struct mallinfo2`` of glibc."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
    )]  # fmt: skip


def in_use() -> tuple[int, int]:
    """Bytes of the C library's heap that somebody holds, 0 where it does not say; blocks of Python's."""
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    blocks = sys.getallocatedblocks()
    if mallinfo is None:
        return 0, blocks
    mallinfo.restype = _Heap
    heap = mallinfo()
    return heap.uordblks + heap.hblkhd, blocks


def trim() -> None:
    """Have the C library give back what it keeps, so that it is not taken for a leak."""
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(0)


def make(number: int) -> Any:
    """The kernel of that number, from a file name of its own, as exec makes functions."""
    name, text = f"<kernel {number}>", source(number)
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    names: dict[str, Any] = {"gc": gc}
    exec(compile(text, name, "exec"), names)
    return names[f"kernel_{number}"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--mapped", type=int, default=100, help="GiB of address space taken in between")
    parser.add_argument("--drop", action="store_true", help="let go of each kernel at once")
    parser.add_argument("-b", "--backend", default="cpu")
    options = parser.parse_args()
    if sys.platform != "linux":
        parser.error("memory is read from /proc, which only Linux has")
    context = gc.Context(options.backend)
    host = np.arange(N, dtype=np.int32) * 3 % 101
    x, y = context.array(host), context.zeros(N, gc.i32)
    plain, kept, maps = host.tolist(), [], []
    tenth = max(options.count // 10, 1)
    firsts: list[float] = []
    laters: list[float] = []
    base, held = 0, (0, 0)
    for number in range(options.count + tenth):
        if number == tenth:  # what is made once is there by now
            collector.collect()
            trim()
            base, held = resident(), in_use()
        if number % tenth == 0 and len(maps) < 10:
            maps.append(
                mmap.mmap(
                    -1, options.mapped * (1 << 30) // 10, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000
                )
            )
        kernel = make(number)
        begun = time.process_time()
        kernel.over(N)(x, y)
        firsts.append(time.process_time() - begun)
        assert y.numpy().tolist() == expected(number, plain), source(number)
        launch = kernel.over(N)
        begun = time.process_time()
        for _ in range(20):
            launch(x, y)
        laters.append((time.process_time() - begun) / 20)
        context.synchronize()
        if not options.drop:
            kept.append(kernel)
        del kernel, launch
        linecache.cache.pop(f"<kernel {number}>", None)
        if number % tenth == tenth - 1 and number > tenth:
            collector.collect()
            trim()
            so_far = number + 1 - tenth
            heap, blocks = ((now - then) / so_far for now, then in zip(in_use(), held, strict=True))
            print(
                f"{so_far} kernels: first launch {1e3 * statistics.median(firsts):.2f} ms, a later one "
                f"{1e6 * statistics.median(laters):.2f} us, {(resident() - base) / so_far:.0f} bytes a kernel, "
                f"{heap:.0f} in use and {blocks:.1f} of Python's blocks",
                flush=True,
            )
            firsts, laters = [], []
    if kept:
        for number, kernel in enumerate(kept):
            kernel.over(N)(x, y)
            assert y.numpy().tolist() == expected(number, plain), source(number)
        print(f"all {len(kept)} launched once more: the same results")
        before, count = resident(), len(kept)
        del kernel
        kept.clear()
        collector.collect()
        context.synchronize()  # unloads
        collector.collect()  # launch functions of what was unloaded
        left = resident() - base
        trim()
        print(
            f"dropped together: {(before - base) / count:.0f} bytes a kernel before, {left / count:.0f} after, "
            f"{(resident() - base) / count:.0f} once malloc_trim gave back what the C library kept"
        )
    context.close()


if __name__ == "__main__":
    main()
