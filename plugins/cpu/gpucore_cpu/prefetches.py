"""Prefetches for loops whose rounds read several cache lines in a row, as products with quantised weights do.

A processor looks some hundred instructions ahead, which are few rounds of a loop that computes much with what it reads.  Where
its own prefetcher does not help, as in many virtual machines, reading and computing take turns.  Each line of such a row is asked
for some rounds ahead here, by an instruction that has no result, cannot fault and is not waited for: what a kernel computes is
the same.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = ["add_prefetches"]

_DISTANCE = 4096
"""Bytes that are asked for ahead: more gained nothing on a Xeon (Sapphire Rapids), half of it was slower."""
_LINE = 64
_FEWEST = 5
"""Lines in a row from which on it is done; stencils and unrolled loops read fewer, or at other distances."""

_NAME = r'%(?:"[^"]*"|[-\w$.]+)'
_LABEL = re.compile(r'("[^"]*"|[-\w$.]+):')
_JUMP = re.compile(r'label %("[^"]*"|[-\w$.]+)')
_LOAD = re.compile(
    rf"  {_NAME} = (?:load <(?:16 x i32|16 x float|64 x i8)>, ptr|"
    rf"(?:tail )?call <(?:16 x i32|16 x float)> @llvm\.masked\.load\.[\w.]+\(ptr(?: align \d+)?) ({_NAME})"
)
_STEP = re.compile(
    rf"  ({_NAME}) = getelementptr (?:\w+ )*(i8|i32|float), ptr ({_NAME}), i64 (?:({_NAME})|(-?\d+))"
)
_WIDENED = re.compile(rf"  ({_NAME}) = [sz]ext (?:nneg )?i32 ({_NAME}) to i64")
_SUM = re.compile(rf"  ({_NAME}) = (?:add|or) (?:\w+ )*({_NAME}), (-?\d+)$")
_SIZES = {"i8": 1, "i32": 4, "float": 4}


class _Load(NamedTuple):
    offset: int
    line: int
    pointer: str


def add_prefetches(text: str) -> str:
    """LLVM IR that the code generator ends with: the same text where it has no loop of the kind.

    Parameters
    ----------
    text : str
        As LLVM prints a module, after its passes.
    """
    first, *functions = text.split("\ndefine ")
    changed = "\ndefine ".join([first, *map(_in_function, functions)])
    if changed != text and "@llvm.prefetch.p0(" not in text:
        changed += "\ndeclare void @llvm.prefetch.p0(ptr, i32, i32, i32)\n"
    return changed


def _in_function(text: str) -> str:
    lines = text.split("\n")
    looping = _lines_in_loops(lines)
    if not looping:
        return text
    addresses = _Addresses(lines)
    rows: dict[tuple[int, str], list[_Load]] = defaultdict(list)
    block = 0
    for number, line in enumerate(lines):
        if _LABEL.match(line) is not None:
            block = number
        elif number in looping and (found := _LOAD.match(line)) is not None:
            root, offset = addresses.of(found[1])
            rows[block, root].append(_Load(offset, number, found[1]))
    ahead = {load.line: load.pointer for loads in rows.values() for load in _in_a_row(loads)}
    return "\n".join(_with_prefetches(lines, ahead)) if ahead else text


def _with_prefetches(lines: Sequence[str], ahead: dict[int, str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        if (pointer := ahead.get(number)) is not None:
            yield f"  %ahead.{number} = getelementptr i8, ptr {pointer}, i64 {_DISTANCE}"
            # to read, into all caches, data
            yield f"  call void @llvm.prefetch.p0(ptr %ahead.{number}, i32 0, i32 3, i32 1)"
        yield line


def _lines_in_loops(lines: Sequence[str]) -> set[int]:
    """What lies between a label and a jump back to it."""
    labels: dict[str, int] = {}
    found: set[int] = set()
    for number, line in enumerate(lines):
        if (label := _LABEL.match(line)) is not None:
            labels[label[1]] = number
        for target in _JUMP.findall(line):
            if target in labels:
                found.update(range(labels[target], number))
    return found


def _in_a_row(loads: list[_Load]) -> Iterator[_Load]:
    """Those of at least ``_FEWEST`` lines, each of which begins where the one before it ends."""
    row: list[_Load] = []
    for load in [*sorted({load.offset: load for load in loads}.values()), None]:
        if load is None or (row and load.offset != row[-1].offset + _LINE):
            if len(row) >= _FEWEST:
                yield from row
            row = []
        if load is not None:
            row.append(load)


class _Addresses:
    """Pointers of a function as something that is not known and a number of bytes behind it."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._steps: dict[str, tuple[int, str, str, int]] = {}
        self._widened: dict[str, str] = {}
        self._sums: dict[str, tuple[str, int]] = {}
        for line in lines:
            if (step := _STEP.match(line)) is not None:
                self._steps[step[1]] = _SIZES[step[2]], step[3], step[4] or "", int(step[5] or 0)
            elif (widened := _WIDENED.match(line)) is not None:
                self._widened[widened[1]] = widened[2]
            elif (total := _SUM.match(line)) is not None:
                self._sums[total[1]] = total[2], int(total[3])

    def of(self, pointer: str) -> tuple[str, int]:
        root, offset = "", 0
        while (step := self._steps.get(pointer)) is not None:
            size, pointer, name, count = step
            name = self._widened.get(name, name)
            while (total := self._sums.get(name)) is not None:
                count += total[1]
                name = self._widened.get(total[0], total[0])
            root += f"{size}*{name}+"
            offset += size * count
        return root + pointer, offset
