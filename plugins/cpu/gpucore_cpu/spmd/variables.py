"""Variables: memory of the function's own, which LLVM promotes to registers."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpucore import ir
from gpucore_cpu.spmd.analysis import Shape
from gpucore_cpu.spmd.state import FunctionState
from gpucore_cpu.spmd.types import scalar_type

__all__ = ["Variables"]


@dataclass(frozen=True, slots=True)
class Variables:
    """Writes reads and assignments of variables."""

    state: FunctionState
    _addresses: dict[str, str] = field(default_factory=dict)

    def address(self, var: ir.Var) -> tuple[str, str]:
        """Address and LLVM type of a variable."""
        kind = self.state.types.of(var.dtype, self.state.analysis.variables[var.name] == Shape.VARYING)
        address = self._addresses.get(var.name)
        if address is None:
            address = self._addresses[var.name] = self.state.writer.alloca(kind, "var")
        return address, kind

    def emit_get(self, statement: ir.GetVar) -> str:
        """Read a variable in the form that its reader expects."""
        values, var = self.state.values, statement.var
        address, kind = self.address(var)
        loaded = self.state.writer.load(kind, address)
        shape, stored = values.shape(statement.result), self.state.analysis.variables[var.name]
        if shape == Shape.VARYING and stored != Shape.VARYING:
            scalar = scalar_type(var.dtype)
            loaded = values.splat(scalar, loaded)
            if stored == Shape.AFFINE:
                loaded = values.per_lane(scalar, loaded)
        return loaded

    def emit_set(self, statement: ir.SetVar) -> None:
        """Write a variable, in the active lanes only where others may still read it."""
        writer, masks = self.state.writer, self.state.masks
        address, kind = self.address(statement.var)
        varying = self.state.analysis.variables[statement.var.name] == Shape.VARYING
        value = self.state.values.operand(statement.value, varying)
        if varying and masks.current is not None and id(statement) in self.state.analysis.divergent_sets:
            value = masks.where_active(kind, value, writer.load(kind, address))
        writer.store(kind, value, address)
