"""What devices report: the record of what failed and the error that it becomes, and ``print`` in kernels, a record a call.

Loops that a device ended before their time are reported through the same record: see
:mod:`gpucore.ir.passes.loop_limit`.

The record is a u32 array ``$error`` of ``RECORD_WORDS`` words, all zero at first.  Word 0 is claimed once, by
compare-and-swap, with the number of the failing site plus one; only the thread that claimed it writes the
rest::

    0        site + 1
    2..19    the thread's global id, one axis after the other, low word first
    20..37   the offending index, likewise
    38..55   the array's extents, likewise

The array ``$print`` holds ``PRINT_WORDS`` u32 words::

    0        words taken, these three and a spare one included; records that no longer fit count too
    1        records that did not fit
    2        the number of the launch, written by the host before it
    4..      records: site + 1, the launch, where the thread is (two words an axis), the values

A thread takes its words with one atomic addition. Where a thread is are its global ids in a range launch, low word first, else
the ids of its block and then of itself in the block.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gpucore._messages import shown_file
from gpucore.errors import (
    GpucoreError,
    KernelAssertionError,
    KernelBoundsError,
    KernelDivisionError,
    KernelRuntimeError,
)
from gpucore.ir.dtypes import DType, bf16, bool_, f16, f32, f64, index, u32, u64
from gpucore.ir.nodes import Atomic, Function, If, Memory, Module, Print, ThreadIndex, Value, walk
from gpucore.ir.passes.emit import Names, Rewriter, names_of
from gpucore.ir.records import array_name

__all__ = [
    "ANY_LOOP",
    "ERROR_ARRAY",
    "EXTENT",
    "FIRST_WORD",
    "INDEX",
    "PRINT_ARRAY",
    "PRINT_WORDS",
    "RECORD_WORDS",
    "THREAD",
    "PrintSite",
    "Site",
    "decode",
    "decode_prints",
    "has_prints",
    "lower_prints",
]


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


PRINT_WORDS = 1 << 20
FIRST_WORD = 4
PRINT_ARRAY = Memory("$print", u32, "global", 1)


@dataclass(frozen=True, slots=True)
class PrintSite:
    """A ``print`` of a kernel.

    Attributes
    ----------
    text : str
        As in :class:`gpucore.ir.nodes.Print`.
    dtypes : tuple[DType, ...]
        Of the values.
    ndim : int
        Axes of the launch.
    is_range : bool
        Whether threads are known by their global ids.
    """

    text: str
    dtypes: tuple[DType, ...]
    ndim: int
    is_range: bool

    @property
    def words(self) -> int:
        """Of one record."""
        return 2 + 2 * self.ndim + sum(map(_words, self.dtypes))

    def place(self, words: Sequence[int]) -> tuple[int, ...]:
        """Where a record's thread is, as records are ordered."""
        if not self.is_range:
            return tuple(words)
        return tuple(words[k] | words[k + 1] << 32 for k in range(0, len(words), 2))


def _words(dtype: DType) -> int:
    return 2 if dtype.bits == 64 else 1


def has_prints(module: Module) -> bool:
    """Whether the kernel prints."""
    return any(type(s) is Print for s in walk(module.kernel.body))


def lower_prints(module: Module, *, is_range: bool) -> tuple[Module, tuple[PrintSite, ...]]:
    """Write records instead of printing; the module as it is where it does not print."""
    if not has_prints(module):
        return module, ()
    kernel = module.kernel
    rewriter = _Prints(Names(names_of(kernel)), module.ndim, is_range)
    body = rewriter.block(kernel.body)
    lowered = Function(
        kernel.name,
        (*kernel.params, PRINT_ARRAY),
        kernel.result,
        (*kernel.variables, *rewriter.new_variables),
        kernel.memories,
        body,
    )
    return replace(module, kernel=lowered), tuple(rewriter.sites)


class _Prints(Rewriter):
    def __init__(self, names: Names, ndim: int, is_range: bool) -> None:
        super().__init__(names)
        self.ndim = ndim
        self.is_range = is_range
        self.sites: list[PrintSite] = []

    def on_print(self, s: Print) -> None:
        values = self.vs(s.values)
        site = PrintSite(s.text, tuple(v.dtype for v in values), self.ndim, self.is_range)
        self.sites.append(site)
        number = len(self.sites)
        # not one word more is taken once the array is full: the count would wrap
        taken = self.atomic("or", 0, 0)
        full = self.op("ge", taken, self.const(PRINT_WORDS - FIRST_WORD, u32))

        def write() -> None:
            start = self.atomic("add", 0, site.words)
            fits = self.op("le", start, self.const(PRINT_WORDS - FIRST_WORD - site.words, u32))
            then = self.capture(lambda: self.record(start, number, values))
            self.out.append(If(fits, then, self.capture(self.lose), self.loc))

        self.out.append(If(full, self.capture(self.lose), self.capture(write), self.loc))

    def lose(self) -> None:
        self.atomic("add", 1, 1)

    def atomic(self, op: str, word: int, amount: int) -> Value:
        result = self.value(u32)
        value = self.const(amount, u32)
        self.out.append(Atomic(result, op, PRINT_ARRAY, (self.const(word, index),), value, None, self.loc))
        return result

    def record(self, start: Value, number: int, values: Sequence[Value]) -> None:
        """The words of a record, from the word ``FIRST_WORD + start`` on."""
        first = self.cast(start, index)
        written = 0

        def write(word: Value) -> None:
            nonlocal written
            place = self.op("add", first, self.const(FIRST_WORD + written, index))
            self.store(PRINT_ARRAY, word, place)
            written += 1

        def halves(value: Value) -> None:
            write(self.cast(value, u32))
            write(self.cast(self.op("shr", value, self.const(32, value.dtype)), u32))

        write(self.const(number, u32))
        write(self.load(PRINT_ARRAY, self.const(2, index)))
        if self.is_range:
            for axis in range(self.ndim):
                halves(self.thread("global_id", axis))
        else:
            for kind in ("block_id", "thread_id"):
                for axis in range(self.ndim):
                    write(self.cast(self.thread(kind, axis), u32))
        for value in values:
            if value.dtype in (f16, bf16):
                value = self.cast(value, f32)
            if value.dtype.is_float:
                value = self.convert("bitcast", value, u64 if value.dtype is f64 else u32)
            if value.dtype.bits == 64:
                halves(value)
            else:
                write(self.cast(value, u32))

    def thread(self, kind: Any, axis: int) -> Value:
        result = self.value(index)
        self.out.append(ThreadIndex(result, kind, axis, self.loc))
        return result


# --- on the host -------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Shown:
    """A value in the text of a print: as NumPy shows it, or as a format specification asks."""

    value: Any
    before: Any

    def __format__(self, spec: str) -> str:
        shown = str(self.value)
        if spec in ("(", "j"):  # the parts of a complex number
            part = shown.removesuffix(".0")
            if spec == "(":
                return "" if shown == "0.0" else f"({part}"
            if str(self.before) == "0.0":
                return f"{part}j"
            return f"{part}j)" if part[0] == "-" else f"+{part}j)"
        plain = self.value.item() if isinstance(self.value, np.generic) else self.value
        return format(plain, spec) if spec else shown


def _value(dtype: DType, words: Sequence[int]) -> Any:
    bits = words[0] | (words[1] << 32 if len(words) == 2 else 0)
    if dtype is bool_:
        return bool(bits)
    if dtype is f64:
        return struct.unpack("<d", struct.pack("<Q", bits))[0]
    if dtype.is_float:
        single = struct.unpack("<f", struct.pack("<I", bits))[0]
        return np.float16(single) if dtype is f16 else np.float32(single)
    bits &= (1 << dtype.bits) - 1
    return bits - (1 << dtype.bits) if dtype.is_signed and bits >> (dtype.bits - 1) else bits


def decode_prints(
    words: npt.NDArray[np.uint32], sites_of: Callable[[int], tuple[str, Sequence[PrintSite]]]
) -> str:
    """What the records of an array say: launch by launch, in the order of blocks and of threads, in that of each thread.

    Parameters
    ----------
    words : ndarray of u32
        The array up to the last word taken, or more.
    sites_of : Callable
        The kernel and the sites of a launch.
    """
    end = min(FIRST_WORD + int(words[0]), len(words), PRINT_WORDS)
    rows = words[:end].tolist()
    found: list[tuple[int, tuple[int, ...], str]] = []
    at = FIRST_WORD
    while at + 1 < end and rows[at]:
        launch = rows[at + 1]
        site = sites_of(launch)[1][rows[at] - 1]
        place = at + 2 + 2 * site.ndim
        values: list[_Shown] = []
        for dtype in site.dtypes:
            value = _value(dtype, rows[place : place + _words(dtype)])
            values.append(_Shown(value, values and values[-1].value))
            place += _words(dtype)
        found.append((launch, site.place(rows[at + 2 : at + 2 + 2 * site.ndim]), site.text.format(*values)))
        at = place
    found.sort(key=lambda record: record[:2])  # stable: a thread's own order stays
    text = "".join(shown for _, _, shown in found)
    lost = int(words[1])
    if lost:
        text += (
            f"[gpucore: {lost:,} more prints did not fit into the {4 * PRINT_WORDS >> 20} MiB kept for them between two calls "
            "that wait]\n"
        )
    return text
