"""Reports: how the error record is written, by one lane of a gang and in scalars.

All lanes of a gang that have something to report come to it at once, and the record takes the first report alone: so the first of
these lanes claims it for all of them.  That keeps loops over lanes and vectors that only reports need out of kernels, where they
would be taken for the work itself and be given its registers.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpucore import ir
from gpucore_cpu.spmd.analysis import Shape
from gpucore_cpu.spmd.elements import Elements
from gpucore_cpu.spmd.operations import Operations
from gpucore_cpu.spmd.state import FunctionState
from gpucore_cpu.spmd.types import scalar_type

__all__ = ["Reports"]

_SCALAR_OPERATIONS = ("cast", "shr", "shr.raw")
"""What makes words of indices and coordinates."""


@dataclass(frozen=True, slots=True)
class Reports:
    """Writes claims of the error record, and its words."""

    state: FunctionState
    elements: Elements
    operations: Operations

    def emit_claim(self, statement: ir.AtomicCas) -> str:
        """Claim the record; the scalar that was there before."""
        values = self.state.values
        address = self.elements.address(statement.memory, *self.elements.index(statement.indices[0]))
        expected, desired = values.scalar(statement.expected), values.scalar(statement.desired)
        pair = self.state.writer.tmp(
            f"cmpxchg ptr {address}, i32 {expected}, i32 {desired} monotonic monotonic, align 4"
        )
        return self.state.writer.tmp(f"extractvalue {{ i32, i1 }} {pair}, 0")

    def emit_word(self, statement: ir.Store) -> None:
        """Store a word of the record: that of the first active lane."""
        address = self.elements.address(statement.memory, *self.elements.index(statement.indices[0]))
        word = self._of_lane(statement.value, self._first_lane())
        self.state.writer.store("i32", word, address, ", align 4")

    def _first_lane(self) -> str:
        """The number of the first active lane (i64)."""
        writer, values, masks = self.state.writer, self.state.values, self.state.masks
        if masks.current is None:
            return "0"
        key = f"first lane {masks.current}"
        lane = values.find(key)
        if lane is None:
            kind = self.state.types.bits
            bits = [(kind, masks.bits(masks.current)), ("i1", "true")]
            lane = writer.intrinsic(f"llvm.cttz.{kind}", kind, bits)
            if kind != "i64":
                lane = writer.tmp(f"zext {kind} {lane} to i64")
            values.keep(key, lane)
        return lane

    def _of_lane(self, value: ir.Value, lane: str) -> str:
        """A value in one lane, without its vector where it can be had so."""
        writer, values = self.state.writer, self.state.values
        shape, kind = values.shape(value), scalar_type(value.dtype)
        operand = values.scalar(value)
        if shape <= Shape.GANG:
            return operand
        if shape == Shape.AFFINE:
            if lane != "0" and kind != "i64":
                lane = writer.tmp(f"trunc i64 {lane} to {kind}")
            return writer.tmp(f"add {kind} {operand}, {lane}")
        made = self.state.analysis.definitions.get(value.name)
        if (
            isinstance(made, ir.Op)
            and made.op in _SCALAR_OPERATIONS
            and all(values.find(a.name) is not None for a in made.args)
        ):
            operands = [self._of_lane(a, lane) for a in made.args]
            return self.operations.apply(
                made.op, value.dtype, [a.dtype for a in made.args], operands, vector=False
            )
        return writer.tmp(f"extractelement {self.state.types.vec(kind)} {operand}, i64 {lane}")
