"""What the table is made of: rows, and the groups of rows that one kernel evaluates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

from gpucore.ir.dtypes import DType

Shape = Literal["elementwise", "atomic", "contended", "subgroup", "view", "tile"]
Views: TypeAlias = "tuple[tuple[slice, slice], tuple[slice, slice]]"
"""Of the array that a kernel reads, of the one that it writes."""


@dataclass(frozen=True, slots=True)
class Row:
    """One case of one operation.

    Attributes
    ----------
    id : str
        Unique in the table: the group and the operands' bits, ``"add.i8(7f,01)"``.
    op : str
        The operation, as :data:`gpucore.ir.ops.OPS` names it (``atomic_add``, ``subgroup_sum`` besides).
    dtypes : tuple[str, ...]
        Of the operands, then of the results.
    inputs : tuple[int, ...]
        The operands' bit patterns.
    expected : tuple[int, ...]
        The results' bit patterns; NaN is the canonical one.
    group : str
        The key of the group.
    ulp : int
        How many representable numbers the result may be off: 0 but for the math functions.
    """

    id: str
    op: str
    dtypes: tuple[str, ...]
    inputs: tuple[int, ...]
    expected: tuple[int, ...]
    group: str
    ulp: int = 0


Case = tuple[tuple[int, ...], tuple[int, ...]]
"""The bits of the operands and of the results."""


@dataclass(frozen=True)
class Group:
    """The rows of one operation on one combination of dtypes; one kernel evaluates them in one launch.

    Attributes
    ----------
    key : str
        ``"add.f32"``, ``"cast.f64.f16"``.
    op : str
    operands, results : tuple[DType, ...]
        Dtypes in the operation's own terms (``index`` is stored as i64, see the kernels).
    shape : {"elementwise", "atomic", "contended", "subgroup", "view", "tile"}
        How the kernel lays out its operands.
    generate : Callable[[], list[Case]]
        Makes the cases; deterministic.
    lanes : int
        Operands of one row: threads of its block for subgroup operations, elements for views and tiles, else 1.
    subgroup : int | None
        The subgroup width asked for.
    ulp : int
        Tolerance of the rows.
    template : str
        How a kernel writes the operation, where that is not ``gc.op(operands)``: its operands stand for the braces.
        One that names ``{into}`` is a statement, which does something to element ``i`` of that array of zeros. For the
        shape "view": a slice.
    views : Views | None
        For the shape "view": of what is read and written; None where the kernel slices.
    """

    key: str
    op: str
    operands: tuple[DType, ...]
    results: tuple[DType, ...]
    generate: Callable[[], list[Case]]
    shape: Shape = "elementwise"
    lanes: int = 1
    subgroup: int | None = None
    ulp: int = 0
    template: str = ""
    views: Views | None = None

    @property
    def dtypes(self) -> tuple[str, ...]:
        return tuple(d.name for d in (*self.operands, *self.results))

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The rows, in a fixed order, without repeats."""
        cases = dict(self.generate())
        widths = [d.bits // 4 for d in self.operands for _ in range(self.lanes)]
        return tuple(
            Row(self._id(inputs, widths), self.op, self.dtypes, inputs, expected, self.key, self.ulp)
            for inputs, expected in cases.items()
        )

    def _id(self, inputs: tuple[int, ...], widths: list[int]) -> str:
        digits = ",".join(f"{bits:0{width}x}" for bits, width in zip(inputs, widths, strict=True))
        return f"{self.key}({digits})"
