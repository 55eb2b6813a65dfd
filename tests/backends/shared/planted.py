"""Accesses outside arrays, planted in kernels of many forms, one at a time, and what has to come of each.

    python tests/backends/shared/planted.py cpu         # or cuda, vulkan: all of them
    python tests/backends/shared/planted.py cuda 500    # so many, spread over all forms

Each launch has one thread that leaves an array. It must be named, with array, index, shape and thread; what lies around the
array must stay as it is, the other threads' results must be right, and the same kernel must run without an error where
nothing is wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import gpucore as gc

THREADS = 24
SIZE = 24
TABLE = tuple(float(n) for n in range(SIZE))
FAR = (
    SIZE,
    SIZE + 1,
    SIZE + 4,
    -1,
    -2,
    -SIZE,
    2**15,
    2**31 - 1,
    2**31,
    2**32,
    2**32 + 3,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
    -(2**31),
    -(2**32),
    -(2**63),
)


@gc.func
def element(x, i):
    return x[i]


@gc.func
def shifted(x, i, by):
    return element(x, i + by)


@gc.kernel
def load(x, at, out):
    i = gc.global_id(0)
    if i < out.shape[0]:
        out[i] = x[at[i]] + 1


@gc.kernel
def load_in_branch(x, at, out):
    i = gc.global_id(0)
    if i < out.shape[0]:
        k = at[i]
        if k != 5:
            out[i] = x[k] + 1
        else:
            out[i] = x[5] + 1


@gc.kernel
def load_half_guarded(x, at, out):
    i = gc.global_id(0)
    if i < out.shape[0]:
        k = at[i]
        if k < x.shape[0]:
            out[i] = x[k] + 1
        else:
            out[i] = x[k - 1 + 1] + 1


@gc.kernel
def load_in_function(x, at, out):
    i = gc.global_id(0)
    if i < out.shape[0]:
        out[i] = shifted(x, at[i], 0) + 1


@gc.kernel
def load_in_for(x, at, out):
    i = gc.global_id(0)
    if i < out.shape[0]:
        s = gc.i32(0)
        first = gc.i64(at[i])
        for k in range(first, first + 1):
            s += x[k]
        out[i] = s + 1


@gc.kernel
def load_in_nested_for(x, at, out):
    i = gc.global_id(0)
    if i < out.shape[0]:
        s = gc.i32(0)
        for a in range(2):
            for b in range(2):
                s += x[at[i] + a * b - a * b] * (1 - a) * (1 - b)
        out[i] = s + 1


@gc.kernel
def load_in_for_downwards(x, at, out):
    i = gc.global_id(0)
    if i < out.shape[0]:
        s = gc.i32(0)
        for k in range(3, 0, -3):
            s += x[at[i] + k - 3]
        out[i] = s + 1


@gc.kernel
def load_in_while(x, at, out):
    i = gc.global_id(0)
    if i < out.shape[0]:
        k = gc.i64(at[i])
        n = gc.i32(0)
        while n < 1:
            out[i] = x[k] + 1
            n += 1


@gc.kernel
def load_in_while_that_counts(x, at, out):
    i = gc.global_id(0)
    if i < out.shape[0]:
        s = gc.i32(0)
        k = gc.i64(at[i])
        end = k + 1
        while k < end:
            s += x[k]
            k += 1
        out[i] = s + 1


@gc.kernel
def load_as_condition(x, at, out):
    i = gc.global_id(0)
    if i < out.shape[0]:
        k = gc.i64(at[i])
        n = gc.i32(0)
        while n < 1 and x[k] >= 0:
            n += 1
        out[i] = 1 + (i % 7 if n == 1 else 0)


@gc.kernel
def load_twice_by_data(x, at, out):
    i = gc.global_id(0)
    if i < out.shape[0]:
        out[i] = x[at[at.shape[0] - 1 - (at.shape[0] - 1 - i)]] + 1


@gc.kernel
def store(x, at, out):
    i = gc.global_id(0)
    if i < out.shape[0]:
        x[at[i]] = i % 7
        out[i] = i % 7 + 1


@gc.kernel
def add_in_place(x, at, out):
    i = gc.global_id(0)
    if i < out.shape[0]:
        x[at[i]] += 0
        out[i] = i % 7 + 1


@gc.kernel
def atomic(x, at, out):
    i = gc.global_id(0)
    if i < out.shape[0]:
        out[i] = gc.atomic_add(x, at[i], 0) + 1


@gc.kernel
def compare_and_swap(x, at, out):
    i = gc.global_id(0)
    if i < out.shape[0]:
        out[i] = gc.atomic_cas(x, at[i], 99, 98) + 1


@gc.kernel
def of_table(x, at, out):
    i = gc.global_id(0)
    if i < out.shape[0]:
        out[i] = gc.i32(TABLE[at[i]]) % 7 + 1


@gc.kernel
def of_first_axis(x, at, out):
    i = gc.global_id(0)
    if i < out.shape[0]:
        out[i] = x[at[i], 1] + 1


@gc.kernel
def of_last_axis(x, at, out):
    i = gc.global_id(0)
    if i < out.shape[0]:
        out[i] = x[1, at[i]] + 1


@gc.kernel
def store_to_last_axis(x, at, out):
    i = gc.global_id(0)
    if i < out.shape[0]:
        x[1, at[i]] = i % 7
        out[i] = i % 7 + 1


@gc.kernel
def of_row(x, at, out):
    i = gc.global_id(0)
    if i < out.shape[0]:
        row = x[1]
        out[i] = row[at[i]] + 1


@gc.kernel
def of_middle_axis(x, at, out):
    i = gc.global_id(0)
    if i < out.shape[0]:
        out[i] = x[1, at[i], 0] + 1


@gc.kernel
def shared_load(x, at, out):
    tile = gc.shared(SIZE, gc.i32)
    t = gc.thread_id(0)
    if t < SIZE:
        tile[t] = t % 7
    gc.barrier()
    if t < out.shape[0]:
        out[t] = tile[at[t]] + 1


@gc.kernel
def shared_store(x, at, out):
    tile = gc.shared(SIZE, gc.i32)
    t = gc.thread_id(0)
    if t < SIZE:
        tile[t] = -1
    gc.barrier()
    if t < out.shape[0]:
        tile[at[t]] = t % 7
    gc.barrier()
    if t < out.shape[0]:
        out[t] = max(tile[t], t % 7) + 1


@gc.kernel
def shared_atomic(x, at, out):
    tile = gc.shared(SIZE, gc.i32)
    t = gc.thread_id(0)
    if t < SIZE:
        tile[t] = t % 7
    gc.barrier()
    if t < out.shape[0]:
        out[t] = gc.atomic_add(tile, at[t], 0) + 1


@gc.kernel
def shared_in_loop(x, at, out):
    tile = gc.shared((2, SIZE), gc.i32)
    t = gc.thread_id(0)
    if t < SIZE:
        tile[0, t] = t % 7
        tile[1, t] = 0
    gc.barrier()
    s = gc.i32(0)
    for k in range(2):
        if t < out.shape[0]:
            s += tile[k, at[t]]
        gc.barrier()
    if t < out.shape[0]:
        out[t] = s + 1


@gc.kernel
def sized_in_loop(x, at, out):
    tile = gc.shared((2, out.shape[0] - THREADS + SIZE), gc.i32)
    t = gc.thread_id(0)
    if t < SIZE:
        tile[0, t] = t % 7
        tile[1, t] = 0
    gc.barrier()
    s = gc.i32(0)
    for k in range(2):
        if t < out.shape[0]:
            s += tile[k, at[t]]
        gc.barrier()
    if t < out.shape[0]:
        out[t] = s + 1


@gc.kernel
def local_load(x, at, out):
    line = gc.local(SIZE, gc.i32)
    i = gc.global_id(0)
    if i < out.shape[0]:
        for k in range(SIZE):
            line[k] = k % 7
        out[i] = line[at[i]] + 1


@gc.kernel
def local_store(x, at, out):
    line = gc.local(SIZE, gc.i32)
    i = gc.global_id(0)
    if i < out.shape[0]:
        line[at[i]] = i % 7
        out[i] = i % 7 + 1


FORMS: tuple[tuple[Any, str, str], ...] = (
    *((kernel, "x", "line") for kernel in (load, load_in_branch, load_half_guarded, load_in_function)),
    *((kernel, "x", "line") for kernel in (load_in_for, load_in_nested_for, load_in_for_downwards, load_in_while)),
    *((kernel, "x", "line") for kernel in (load_in_while_that_counts, load_as_condition, load_twice_by_data)),
    *((kernel, "x", "line") for kernel in (store, add_in_place, atomic, compare_and_swap)),
    (of_table, "TABLE", "line"),
    (of_first_axis, "x", "first"),
    *((kernel, "x", "last") for kernel in (of_last_axis, store_to_last_axis, of_row)),
    (of_middle_axis, "x", "middle"),
    *((kernel, "tile", "block") for kernel in (shared_load, shared_store, shared_atomic)),
    *((kernel, "tile", "block") for kernel in (shared_in_loop, sized_in_loop)),
    *((kernel, "line", "line") for kernel in (local_load, local_store)),
)  # fmt: skip
"""Kernels, the array that is left, and how the index lies in it."""

WIDENED = (
    load_half_guarded,
    load_in_function,
    load_in_for,
    load_in_nested_for,
    load_in_for_downwards,
    load_in_while,
    load_in_while_that_counts,
    load_as_condition,
)
"""Those that add signed numbers to the index."""

DTYPES = (np.int64, np.int32, np.uint32, np.uint64, np.int16)


@dataclass
class Planted:
    """One launch with one wrong index."""

    kernel: Any
    array: str
    form: str
    wrong: int
    thread: int
    dtype: Any
    how: str

    def __str__(self) -> str:
        return f"{self.kernel.__name__}, {self.wrong} as {self.dtype.__name__} in thread {self.thread}, {self.how}"


def every() -> Iterator[Planted]:
    """All of them: forms, dtypes of the index, wrong indices, threads, ways to launch."""
    hows = ("over", "grid", "bound", "stream")
    number = 0
    for wrong_at, wrong in enumerate(FAR):
        for kernel, array, form in FORMS:
            if kernel in (load_in_for, load_in_while_that_counts) and wrong == 2**63 - 1:
                continue  # a range that is empty
            dtypes = [d for d in DTYPES if np.iinfo(d).min <= wrong <= np.iinfo(d).max]
            if kernel in WIDENED:
                dtypes = [d for d in dtypes if d is not np.uint64]
            if not dtypes:
                continue
            for turn in range(3):
                dtype = dtypes[(number + turn) % len(dtypes)]
                thread = (0, THREADS // 2, THREADS - 1)[turn]
                number += 1
                yield Planted(kernel, array, form, wrong, thread, dtype, hows[(number + wrong_at) % 4])


class Device:
    """Memory around the array, and launches."""

    def __init__(self, context: gc.Context) -> None:
        self.context = context.options(check="auto")
        self.right: set[Any] = set()  # launches that came out right without a wrong index
        self.values = (np.arange(SIZE) % 7).astype(np.int32)

    def array_of(self, form: str) -> tuple[Any, Any]:
        """An array within a larger one."""
        if form == "first":
            inner = np.stack([self.values, self.values], 1)
        elif form == "last":
            inner = np.stack([self.values, self.values])
        elif form == "middle":
            inner = np.stack([np.stack([self.values, self.values], 1)] * 2)
        else:
            inner = self.values
        edge = np.full((2, *inner.shape[1:]), 77, np.int32)
        whole = self.context.array(np.concatenate([edge, inner, edge]))
        return whole, whole[2 : 2 + len(inner)]

    def launch(self, case: Planted, indices: Any) -> tuple[gc.KernelBoundsError | None, Any, Any]:
        """The error, what the threads gave, and what lies around the array."""
        context = self.context
        whole, x = self.array_of(case.form)
        out = context.array(np.full(THREADS, -5, np.int32))
        at = context.array(indices)
        by_range = case.form != "block" and case.how != "grid"
        configured = case.kernel.over(THREADS) if by_range else case.kernel[1, 32]
        error = None
        try:
            if case.how == "bound":
                configured.bind(x, at, out)()
            elif case.how == "stream":
                with context.stream() as stream:
                    (case.kernel.over(THREADS, stream=stream) if by_range else case.kernel[1, 32, stream])(
                        x, at, out
                    )
                    stream.synchronize()
            else:
                configured(x, at, out)
            context.synchronize()
        except gc.KernelBoundsError as found:
            error = found
        context.synchronize()
        around = whole.numpy()
        return error, out.numpy(), np.concatenate([around[:2].ravel(), around[-2:].ravel()])

    def judge(self, case: Planted) -> str | None:
        """What is wrong with what came of a case."""
        indices = np.arange(THREADS).astype(case.dtype)
        expected = self.values[:THREADS] + 1
        if (case.kernel, case.dtype, case.how) not in self.right:
            error, out, around = self.launch(case, indices)
            if error is not None or not np.array_equal(out, expected) or (around != 77).any():
                return f"without a wrong index: {error}, {out}"
            self.right.add((case.kernel, case.dtype, case.how))
        indices[case.thread] = case.wrong
        error, out, around = self.launch(case, indices)
        if error is None:
            return "no error"
        if (around != 77).any():
            return f"the memory around the array is {around}"
        others = np.arange(THREADS) != case.thread
        if not np.array_equal(out[others], expected[others]):
            return f"other threads gave {out}"
        axis = {"first": 0, "last": 1, "middle": 1}.get(case.form, 0)
        if case.kernel is of_row:
            axis = len(error.index) - 1
        if case.kernel in (shared_in_loop, sized_in_loop):
            axis = 1
        found = (error.array, error.index[axis], error.shape[axis], error.thread[0])
        if found != (case.array, case.wrong, SIZE, case.thread):
            return f"the error is {error}"
        return None


def main() -> None:
    """Plant, and print how many were caught."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("backend")
    parser.add_argument("count", type=int, nargs="?", default=10**6)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="plant none after them")
    options = parser.parse_args()
    warnings.simplefilter("ignore", gc.errors.RaceWarning)
    cases = list(every())
    step = max(len(cases) / options.count, 1.0)
    chosen = [cases[int(n * step)] for n in range(min(options.count, len(cases)))]
    wrong = done = 0
    stop = time.monotonic() + options.seconds
    with gc.Context(options.backend) as context:
        device = Device(context)
        print(f"{context.backend}: {context.device.name}")
        for case in chosen:
            if time.monotonic() > stop:
                break
            found = device.judge(case)
            done += 1
            if found is not None:
                wrong += 1
                print(f"WRONG: {case}: {found}")
    print(f"{done} of {len(cases)} planted accesses in {len(FORMS)} kernels, {wrong} wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
