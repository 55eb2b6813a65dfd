"""Kernels that evaluate groups of rows: their source text, and their operands as arrays."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import gpucore as gc
from gpucore.ir.dtypes import DType, bool_, i64, index
from gpucore.testing.semantics.aggregates import SHAPE
from gpucore.testing.semantics.reference import FORMATS
from gpucore.testing.semantics.values import Group

BLOCK = 64

_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "and": "&", "or": "|", "xor": "^", "shl": "<<", "shr": ">>",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip
_PREFIX = {"neg": "-", "not": "~"}


@dataclass(frozen=True)
class Launch:
    """A kernel, its launch shape and its arguments.

    Attributes
    ----------
    source : str
        The kernel's source text.
    arrays : tuple[ndarray, ...]
        The arguments; those that the kernel writes hold what they start with.
    results : tuple[tuple[int, ...], ...]
        For each group the positions of its results among the arguments.
    views : tuple
        What each array is indexed with for the launch; empty where arrays are passed whole.
    """

    name: str
    source: str
    grid: int
    block: int
    subgroup: int | None
    arrays: tuple[npt.NDArray[Any], ...]
    results: tuple[tuple[int, ...], ...]
    views: tuple[Any, ...] = ()

    def kernel(self) -> Any:
        """The kernel, captured from its source text."""
        namespace: dict[str, Any] = {"gc": gc}
        exec(compile(self.source, f"<semantics {self.name}>", "exec"), namespace)
        return gc.kernel(source=self.source, subgroup=self.subgroup)(namespace[self.name])


def expression(op: str, operands: Sequence[str], result: DType) -> str:
    """An operation in the kernel language."""
    if op in _INFIX:
        return f"{operands[0]} {_INFIX[op]} {operands[1]}"
    if op == "not" and result is bool_:
        return f"not {operands[0]}"
    if op in _PREFIX:
        return f"{_PREFIX[op]}{operands[0]}"
    if op in ("cast", "bitcast"):
        return f"gc.{op}({operands[0]}, {_spelled(result)})"
    return f"gc.{op}({', '.join(operands)})"


def _spelled(dtype: DType) -> str:
    return "gc.bool_" if dtype is bool_ else f"gc.{dtype.name}"


def _stored(dtype: DType) -> DType:
    return i64 if dtype is index else dtype  # `index` is no element type


def _annotation(dtype: DType) -> str:
    return f"gc.Array[{_spelled(_stored(dtype))}]"


def _read(name: str, dtype: DType) -> str:
    return f"gc.index({name}[i])" if dtype is index else f"{name}[i]"


# --- bits and arrays ---------------------------------------------------------------------------------------
def to_array(bits: Sequence[int], dtype: DType) -> npt.NDArray[Any]:
    """Bit patterns as an array of the dtype (``index`` as i64)."""
    raw = np.array(bits, dtype=f"u{dtype.itemsize}")
    return raw.astype(np.bool_) if dtype is bool_ else raw.view(_stored(dtype).numpy)


def to_bits(array: npt.NDArray[Any], dtype: DType) -> list[int]:
    """The bit patterns of an array; NaN becomes the canonical one."""
    bits: list[int] = np.ascontiguousarray(array).view(f"u{dtype.itemsize}").ravel().tolist()
    if dtype.is_float:
        form = FORMATS[dtype.name]
        return [form.canonical(b) for b in bits]
    return bits


# --- launches ----------------------------------------------------------------------------------------------
def launch(groups: Sequence[Group]) -> Launch:
    """One launch that evaluates groups which share operands (elementwise), or one group of another shape."""
    makers = {
        "elementwise": _elementwise,
        "atomic": _atomic,
        "contended": _contended,
        "subgroup": _subgroup,
        "view": _view,
        "tile": _tile,
    }
    return makers[groups[0].shape](list(groups))


def _name(group: Group) -> str:
    return re.sub(r"\W", "_", group.key)


def _columns(group: Group) -> list[npt.NDArray[Any]]:
    return [to_array([row.inputs[n] for row in group.rows], dtype) for n, dtype in enumerate(group.operands)]


def _evaluated(group: Group, reads: Sequence[str], into: str) -> str:
    """The statement that stores a group's result."""
    if "{into}" in group.template:
        return group.template.format(*reads, into=into)
    text = group.template.format(*reads) if group.template else expression(group.op, reads, group.results[0])
    return f"{into}[i] = {text}"


def _elementwise(groups: list[Group]) -> Launch:
    first = groups[0]
    count = len(first.rows)
    inputs = _columns(first)
    names = [f"x{n}" for n in range(len(inputs))]
    reads = [_read(name, dtype) for name, dtype in zip(names, first.operands, strict=True)]
    parameters = [f"{name}: {_annotation(dtype)}" for name, dtype in zip(names, first.operands, strict=True)]
    parameters += [f"r{n}: {_annotation(group.results[0])}" for n, group in enumerate(groups)]
    body = [f"        {_evaluated(group, reads, f'r{n}')}" for n, group in enumerate(groups)]
    lines = [f"def {_name(first)}({', '.join(parameters)}):", "    i = gc.global_id(0)",
             "    if i < r0.shape[0]:", *body]  # fmt: skip
    outputs = [to_array([0] * count, group.results[0]) for group in groups]
    results = tuple((len(inputs) + n,) for n in range(len(groups)))
    return Launch(
        _name(first),
        "\n".join(lines) + "\n",
        gc.cdiv(count, BLOCK),
        BLOCK,
        None,
        (*inputs, *outputs),
        results,
    )


def _atomic(groups: list[Group]) -> Launch:
    (group,) = groups
    columns = _columns(group)
    operands = [f"x{n}" for n in range(1, len(columns))]
    kind = _annotation(group.operands[0])
    parameters = ", ".join(f"{name}: {kind}" for name in ("cell", *operands, "old"))
    values = ", ".join(f"{name}[i]" for name in operands)
    lines = [f"def {_name(group)}({parameters}):", "    i = gc.global_id(0)", "    if i < old.shape[0]:",
             f"        old[i] = gc.{group.op}(cell, i, {values})"]  # fmt: skip
    count = len(group.rows)
    arrays = (*columns, to_array([0] * count, group.operands[0]))
    results = ((len(columns), 0),)  # the old element, then the cell
    return Launch(_name(group), "\n".join(lines) + "\n", gc.cdiv(count, BLOCK), BLOCK, None, arrays, results)


def _contended(groups: list[Group]) -> Launch:
    (group,) = groups
    kind = group.operands[0]
    threads = len(group.operands) - 1
    head = f"def {_name(group)}(cell: {_annotation(kind)}, x: {_annotation(kind)}):"
    lines = [head, "    i = gc.global_id(0)",
             f"    gc.{group.op}(cell, i // {threads}, x[i])"]  # fmt: skip
    cells = to_array([row.inputs[0] for row in group.rows], kind)
    operands = to_array([bits for row in group.rows for bits in row.inputs[1:]], kind)
    return Launch(
        _name(group), "\n".join(lines) + "\n", len(group.rows), threads, None, (cells, operands), ((0,),)
    )


def _subgroup(groups: list[Group]) -> Launch:
    (group,) = groups
    lanes, count = group.lanes, len(group.rows)
    names = [f"x{n}" for n in range(len(group.operands))]
    parameters = [f"{name}: {_annotation(dtype)}" for name, dtype in zip(names, group.operands, strict=True)]
    parameters.append(f"r: {_annotation(group.results[0])}")
    lines = [f"def {_name(group)}({', '.join(parameters)}):", "    i = gc.global_id(0)",
             f"    r[i] = gc.{group.op}({', '.join(f'{name}[i]' for name in names)})"]  # fmt: skip
    inputs = [
        to_array([bits for row in group.rows for bits in row.inputs[n * lanes : (n + 1) * lanes]], dtype)
        for n, dtype in enumerate(group.operands)
    ]
    output = to_array([0] * (lanes * count), group.results[0])
    results = ((len(inputs),),)
    return Launch(
        _name(group), "\n".join(lines) + "\n", count, lanes, group.subgroup, (*inputs, output), results
    )


def _view(groups: list[Group]) -> Launch:
    """A copy from one view to another, or of a slice to the front of the result; a row is a thread."""
    (group,) = groups
    count, kind = len(group.rows), _spelled(group.operands[0])
    inputs = to_array([bits for row in group.rows for bits in row.inputs], group.operands[0])
    outputs = to_array([0] * inputs.size, group.results[0])
    shape: tuple[int, ...] = (count, group.lanes)
    views: tuple[Any, ...] = ()
    if group.views is not None:
        shape = (count, *SHAPE)
        views = tuple((slice(None), *view) for view in group.views)
        lines = [f"def {_name(group)}(x: gc.Strided[{kind}, 3], r: gc.Strided[{kind}, 3]):", "    i = gc.global_id(0)",
                 "    for j in range(r.shape[1]):", "        for k in range(r.shape[2]):",
                 "            r[i, j, k] = x[i, j, k]"]  # fmt: skip
    else:
        lines = [f"def {_name(group)}(x: gc.Array[{kind}, 2], r: gc.Array[{kind}, 2]):", "    i = gc.global_id(0)",
                 "    n, k = x.shape[1], gc.block_dim(0) + 9", f"    part = x[i, {group.template}]",
                 "    for m in range(part.shape[0]):", "        r[i, m] = part[m]"]  # fmt: skip
    arrays = (inputs.reshape(shape), outputs.reshape(shape))
    return Launch(_name(group), "\n".join(lines) + "\n", count, 1, None, arrays, ((1,),), views)


def _tile(groups: list[Group]) -> Launch:
    """Products of square matrices, one a block; the matrices of the rows lie one below the other."""
    (group,) = groups
    size, count = math.isqrt(group.lanes), len(group.rows)
    kinds = (*group.operands, *group.results)
    parameters = (f"{n}: gc.Array[{_spelled(d)}, 2]" for n, d in zip("abcr", kinds, strict=True))
    lines = [f"def {_name(group)}({', '.join(parameters)}):", f"    i = gc.block_id(0) * {size}",
             f"    shape = ({size}, {size})", "    total = gc.tile.load_c(c, (i, 0), shape)",
             "    total += gc.tile.load_a(a, (i, 0), shape) @ gc.tile.load_b(b, (i, 0), shape)",
             "    gc.tile.store(r, (i, 0), total)"]  # fmt: skip
    lanes = group.lanes
    inputs = [
        to_array([bits for row in group.rows for bits in row.inputs[n * lanes : (n + 1) * lanes]], dtype)
        for n, dtype in enumerate(group.operands)
    ]
    output = to_array([0] * (lanes * count), group.results[0])
    arrays = tuple(array.reshape(count * size, size) for array in (*inputs, output))
    return Launch(_name(group), "\n".join(lines) + "\n", count, 32, None, arrays, ((len(inputs),),))


def observed(group: Group, arrays: Sequence[npt.NDArray[Any]]) -> list[tuple[int, ...]]:
    """The results' bits, row by row, from the result arrays of a group."""
    if group.shape in ("subgroup", "view", "tile"):
        flat = to_bits(arrays[0], group.results[0])
        return [tuple(flat[n : n + group.lanes]) for n in range(0, len(flat), group.lanes)]
    columns = [to_bits(array, dtype) for array, dtype in zip(arrays, group.results, strict=True)]
    return list(zip(*columns, strict=True))
