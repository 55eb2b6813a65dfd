"""The record of what failed on a device, and the error that it becomes.

Loops that a device ended before their time are reported through the same record: see
:mod:`gpucore.ir.passes.loop_limit`.

The record is a u32 array ``$error`` of ``RECORD_WORDS`` words, all zero at first.  Word 0 is claimed once, by
compare-and-swap, with the number of the failing site plus one; only the thread that claimed it writes the
rest::

    0        site + 1
    2..19    the thread's global id, one axis after the other, low word first
    20..37   the offending index, likewise
    38..55   the array's extents, likewise
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gpucore._ipython import shown_file
from gpucore.errors import (
    GpucoreError,
    KernelAssertionError,
    KernelBoundsError,
    KernelDivisionError,
    KernelRuntimeError,
)
from gpucore.ir.dtypes import u32
from gpucore.ir.nodes import Memory
from gpucore.ir.records import array_name

__all__ = ["ANY_LOOP", "ERROR_ARRAY", "EXTENT", "INDEX", "RECORD_WORDS", "THREAD", "Site", "decode"]

RECORD_WORDS = 56
ERROR_ARRAY = Memory("$error", u32, "global", 1)

ANY_LOOP = 0xFFFFFFFF
"""What a backend reports for a loop that it made itself of another statement, which has no site: the last site."""

THREAD, INDEX, EXTENT = 2, 20, 38


@dataclass(frozen=True, slots=True)
class Site:
    """A place in a kernel that can fail.

    Attributes
    ----------
    kind : {"bounds", "division", "assert", "loop"}
    file : str | None
    line : int | None
        Where in the user's Python source.
    array : str | None
        The array's name, for ``bounds``.
    rank, ndim : int
        Axes of the array and of the launch.
    message : str
        The assert's message, the operation that divides, or the limit of the device's loops.
    unsigned : tuple[bool, ...]
        Which indices were u64 before they became ``index``.
    sliced : bool
        Whether index and shape are those of a slice of the array.
    """

    kind: Literal["bounds", "division", "assert", "loop"]
    file: str | None
    line: int | None
    array: str | None = None
    rank: int = 0
    ndim: int = 1
    message: str = ""
    unsigned: tuple[bool, ...] = ()
    sliced: bool = False


def decode(words: Sequence[int], sites: Sequence[Site], kernel: str) -> GpucoreError | None:
    """The error that a record holds, or None.

    Parameters
    ----------
    words : sequence of int
        The record, ``RECORD_WORDS`` u32 words.
    sites : sequence of Site
        From ``Lowered.sites``.
    kernel : str
        The kernel's name, for the message.
    """
    number = int(words[0])
    if number == 0:
        return None
    site = sites[-1] if number == ANY_LOOP else sites[number - 1]
    if site.kind == "loop":
        return _loop_error(site, kernel)

    def read(start: int, count: int) -> tuple[int, ...]:
        pairs = [int(words[start + 2 * i]) | int(words[start + 2 * i + 1]) << 32 for i in range(count)]
        return tuple(p - (1 << 64) if p >> 63 else p for p in pairs)

    thread = read(THREAD, site.ndim)
    where = f"at {shown_file(site.file)}, line {site.line}, " if site.file is not None else ""
    tail = f"{where}in thread {_tuple(thread)}"
    if site.kind == "bounds":
        unsigned = site.unsigned or (False,) * site.rank
        name = array_name(site.array or "")
        axes = site.rank - (name != site.array)  # the last axis of a memory of records is within them
        offending = tuple(
            number % (1 << 64) if wide else number
            for number, wide in zip(read(INDEX, site.rank), unsigned, strict=True)
        )[:axes]
        shape = read(EXTENT, site.rank)[:axes]
        part = "a slice of " if site.sliced else ""
        return KernelBoundsError(
            f"kernel {kernel!r}: index {_tuple(offending)} is out of bounds for {part}array {name!r} of shape {shape} {tail}",
            kernel=kernel, filename=site.file, lineno=site.line, array=name, index=offending,
            shape=shape, thread=thread,
        )  # fmt: skip
    if site.kind == "division":
        return KernelDivisionError(
            f"kernel {kernel!r}: integer {site.message} by zero {tail}",
            kernel=kernel, filename=site.file, lineno=site.line, thread=thread,
        )  # fmt: skip
    message = f": {site.message}" if site.message else ""
    return KernelAssertionError(
        f"kernel {kernel!r}: assertion failed{message} {tail}",
        kernel=kernel, filename=site.file, lineno=site.line, thread=thread,
    )  # fmt: skip


def _loop_error(site: Site, kernel: str) -> KernelRuntimeError:
    where = f" at {shown_file(site.file)}, line {site.line}" if site.file is not None else ""
    return KernelRuntimeError(
        f"kernel {kernel!r}: the loop{where} was ended by the device before its time, and what the kernel wrote is not "
        f"right: this driver stops loops after {site.message} iterations per thread, all loops together, without saying "
        "so; split the work over more threads or launches, or use another backend",
        kernel=kernel, filename=site.file, lineno=site.line,
    )  # fmt: skip


def _tuple(values: tuple[int, ...]) -> str:
    return str(values[0]) if len(values) == 1 else str(values)
