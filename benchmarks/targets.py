"""The speed targets, each with the rows of the reports that answer it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


class Reports:
    """Rows of all reports, found by backend, work and contender."""

    def __init__(self, documents: list[dict[str, Any]]) -> None:
        self.documents = documents

    def rows(self, place: str, name: str) -> list[Row]:
        """Measured rows of a work at its largest size in one place."""
        found = [
            row
            for document in self.documents
            if place_of(document) == place
            for row in document["rows"]
            if row["name"] == name and row["median"]
        ]
        top = max((row["size"] for row in found), default=0)
        return [row for row in found if row["size"] == top]

    def seconds(self, place: str, name: str, contender: str) -> float | None:
        """Median of one contender (the best of those whose label begins so); None if it was not measured."""
        return min(
            (r["median"] for r in self.rows(place, name) if r["contender"].startswith(contender)),
            default=None,
        )

    def over(self, place: str, name: str, above: str, below: str) -> float | None:
        """Median of one contender over another's, of one run: the first of those given that has both."""
        runs = (Reports([d]) for d in self.documents)
        largest = max((row["size"] for row in self.rows(place, name)), default=0)
        for run in runs:
            if any(row["size"] == largest for row in run.rows(place, name)):
                found = divide(run.seconds(place, name, above), run.seconds(place, name, below))
                if found is not None:
                    return found
        return None


def place_of(document: dict[str, Any]) -> str:
    """The name under which a machine's figures stand."""
    machine = document["machine"]
    if machine["kind"] == "cpu":
        return "CPU"
    where = "lavapipe" if machine["kind"] == "software" else machine["device"].replace("NVIDIA ", "")
    return f"{where}, {machine['backend']}"


def divide(a: float | None, b: float | None) -> float | None:
    """A ratio, or None where a side is missing."""
    return a / b if a is not None and b else None


@dataclass(frozen=True)
class Target:
    """One line of the table: what is asked, what was found, how they compare."""

    what: str
    asked: str
    measure: Callable[[Reports], float | None]
    limit: float
    at_most: bool
    unit: str = ""
    reason: str = ""
    """Why it is missed, shown only if it is."""

    def line(self, reports: Reports) -> str:
        """The line of the table, in Markdown."""
        found = self.measure(reports)
        if found is None:
            return f"| {self.what} | {self.asked} | | not measured | |"
        met = self.met(found)
        # as many digits as do not round a miss to a hit
        digits = next(d for d in range(2, 17) if self.met(round(found, d)) == met)
        shown = f"{found:.{digits}f}{' ' + self.unit if self.unit else ''}"
        reason = "" if met else self.reason or "not known"
        return f"| {self.what} | {self.asked} | {shown} | {'met' if met else '**missed**'} | {reason} |"

    def met(self, found: float) -> bool:
        """Whether a measured value is within the limit."""
        return found <= self.limit if self.at_most else found >= self.limit


def _time(place: str, name: str, scale: float) -> Callable[[Reports], float | None]:
    def measure(reports: Reports) -> float | None:
        found = reports.seconds(place, name, "gpucore")
        return None if found is None else found * scale

    return measure


def _ratio(place: str, name: str, above: str, below: str) -> Callable[[Reports], float | None]:
    return lambda reports: reports.over(place, name, above, below)


def _between(name: str) -> Callable[[Reports], float | None]:
    """CUDA's time over Vulkan's."""
    return lambda r: divide(
        r.seconds(CUDA, name, "gpucore strict"), r.seconds(VULKAN, name, "gpucore strict")
    )


CUDA, VULKAN = "H200, cuda", "H200, vulkan"
STREAM_REASON = "Numba's loop and this one are both bound by memory; what differs is how two cores of a shared host take turns"
REDUCTION_REASON = (
    "the order of the sum depends on its length alone and is that of a GPU: blocks of 128 KB, whose two barriers are a "
    "twentieth of the time here; the rest is the memory's, as Numba's is"
)
HISTOGRAM_REASON = "both load and increment once a byte; this one also clears and adds up 16 copies of the bins in each block"
NBODY_REASON = (
    "bound by arithmetic: after the reciprocal root's estimate a pair takes 13 multiplications and fused multiply-adds, "
    "which at the measured multiply-add limit are 4.9 ms for 8,192 bodies; Numba's fastmath loop is vector code that "
    "takes about that, so nothing with the same operations is 1.5 times as fast"
)
START_REASON = (
    "the host's pace, which reads files again that it had in memory: imports of Python, NumPy and LLVM are most of it; runs "
    "of other hours took 0.38 s cold and 0.29 s warm, and Numba's first result moves with it, from 0.8 to 1.3 s cold"
)
COMPILE_REASON = (
    "the host's pace: Numba took 479 ms beside it, and 312 ms in a run three hours before, where this took 53 ms; the "
    "sources of then and these, alternated, take the same time"
)
BOUND = (
    "both are bound by the driver call, beside which checking the arguments is a fixed part of a microsecond"
)


def targets() -> list[Target]:
    """Every target, in the order of the table."""
    result = [
        Target("launch on the H200, arguments checked, over `cuda.core.launch`", "at most 1.3",
               _ratio(CUDA, "enqueue, 1 argument", "gpucore", "cuda.core"), 1.3, True, reason=BOUND),
        Target("the same, over CuPy's RawKernel", "at most 0.9",
               _ratio(CUDA, "enqueue, 1 argument", "gpucore", "cupy RawKernel"), 0.9, True, reason=BOUND),
        Target("bound replay on the H200, over a prepacked `cuda.bindings` call", "at most 1.1",
               _ratio(CUDA, "bound, 1 argument", "gpucore", "cuda.bindings prepacked"), 1.1, True, reason=BOUND),
        Target("launch on the CPU, small grid, checked", "at most 2.5 us",
               _time("CPU", "enqueue, 1 argument", 1e6), 2.5, True, "us"),
        Target("the same, bound", "at most 1.5 us", _time("CPU", "bound, 1 argument", 1e6), 1.5, True, "us"),
        Target("the same, checked, over Numba parallel", "below 1",
               _ratio("CPU", "enqueue, 1 argument", "gpucore", "numba parallel"), 1.0, True),
        Target("batched enqueue, Vulkan on the H200", "at most 3 us",
               _time(VULKAN, "enqueue, 1 argument", 1e6), 3.0, True, "us"),
        Target("submit and wait, Vulkan on the H200, over raw calls", "at most 1.2",
               _ratio(VULKAN, "launch and wait", "gpucore", "vulkan-cffi"), 1.2, True),
        Target("launch and wait, Vulkan on lavapipe, over numba-vulkan's", "below 1",
               _ratio("lavapipe, vulkan", "launch and wait", "gpucore", "numba-vulkan"), 1.0, True),
        Target("the same, over vkdispatch's", "at most 0.25",
               _ratio("lavapipe, vulkan", "launch and wait", "gpucore", "vkdispatch"), 0.25, True),
        Target("saxpy on the H200, speed over CuPy's", "at least 0.97",
               _ratio(CUDA, "saxpy", "cupy", "gpucore strict"), 0.97, False),
        Target("copy on the H200, speed over CuPy's", "at least 0.97",
               _ratio(CUDA, "copy", "cupy", "gpucore strict"), 0.97, False),
        Target("saxpy on the H200, Vulkan's speed over CUDA's", "at least 0.95", _between("saxpy"), 0.95, False),
        Target("copy on the H200, Vulkan's speed over CUDA's", "at least 0.95", _between("copy"), 0.95, False),
        Target("matmul f32 on the H200, speed over cuBLAS without TF32 (reported)", "at least 0.5",
               _ratio(CUDA, "matmul", "cupy (cuBLAS)", "gpucore strict"), 0.5, False,
               reason="cuBLAS keeps larger tiles in registers and loads ahead"),
    ]  # fmt: skip
    for name in ("copy", "saxpy", "triad"):
        result += _numba(name, 1.0, STREAM_REASON)
    result += _numba("reduction", 1.0, REDUCTION_REASON)
    result += _numba("histogram", 1.0, HISTOGRAM_REASON) + _numba("transpose", 1.0, "")
    result += _numba("n-body", 1.5, NBODY_REASON)
    result += _numba("mandelbrot", 3.0, "")
    for name in ("exp", "log", "sin", "cos", "tanh"):
        result.append(
            Target(f"`{name}` on the CPU, speed over NumPy's", "at least 2.0",
                   _ratio("CPU", name, "numpy", "gpucore strict"), 2.0, False, reason=MATH_REASONS.get(name, ""))
        )  # fmt: skip
        result += _numba(name, 1.0, "")
    result += [
        Target("first result of a fresh process, CPU, cold", "at most 0.45 s",
               _time("CPU", "first result, cold", 1.0), 0.45, True, "s", reason=START_REASON),
        Target("the same, warm", "at most 0.3 s", _time("CPU", "first result, warm", 1.0), 0.3, True, "s",
               reason=START_REASON),
        Target("a kernel compiles, CPU", "at most 60 ms", _time("CPU", "a fresh kernel", 1e3), 60.0, True, "ms",
               reason=COMPILE_REASON),
    ]  # fmt: skip
    return result


MATH_REASONS = {
    "log": "NumPy's own f32 `log` is vectorised (AVX-512) and runs near the memory's rate; that rate bounds both sides",
    "exp": "NumPy's own f32 `exp` is vectorised (AVX-512) and runs near the memory's rate; that rate bounds both sides",
    "tanh": "bound by memory: it takes as long as a copy of its arrays, here and in C with streaming stores, and one "
    "thread of NumPy's, whose `tanh` is vectorised too, already runs at two thirds of that rate",
}


def _numba(name: str, limit: float, reason: str) -> list[Target]:
    """Strict beside Numba parallel, and fast beside its fastmath."""
    result = []
    for ours, theirs in (("strict", ""), ("fast", " fastmath")):

        def measure(reports: Reports, ours: str = ours, theirs: str = theirs) -> float | None:
            labels = (f"numba parallel{theirs}", f"numba parallel{theirs}, spinning")
            numba = min(
                (r["median"] for r in reports.rows("CPU", name) if r["contender"] in labels), default=None
            )
            return divide(numba, reports.seconds("CPU", name, f"gpucore {ours}"))

        what = f"{name} on the CPU, {ours}, speed over Numba parallel{theirs}"
        result.append(Target(what, f"at least {limit:g}", measure, limit, False, reason=reason))
    return result
