"""Values: the operands that the IR's names stand for, in their scalar and vector forms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gpucore import ir
from gpucore_cpu.spmd.analysis import Analysis, Shape
from gpucore_cpu.spmd.types import VectorTypes, scalar_type, splat_constant
from gpucore_cpu.spmd.writer import Writer

__all__ = ["Values"]

_DEEPEST = 32


class Values:
    """Operands by name, in scopes: those made inside do not dominate what follows."""

    def __init__(self, writer: Writer, types: VectorTypes, analysis: Analysis) -> None:
        self._writer = writer
        self._types = types
        self._analysis = analysis
        self._scopes: list[dict[str, str]] = [{}]
        self._sources: dict[str, str] = {}

    # -- scopes
    @contextmanager
    def scope(self) -> Iterator[None]:
        """Operands defined inside are forgotten at its end."""
        self._scopes.append({})
        yield
        self._scopes.pop()

    def find(self, key: str) -> str | None:
        """The operand that a name stands for, from the innermost scope out."""
        for scope in reversed(self._scopes):
            found = scope.get(key)
            if found is not None:
                return found
        return None

    def keep(self, key: str, operand: str) -> None:
        """Let a name stand for an operand in this scope."""
        self._scopes[-1][key] = operand

    def define(self, value: ir.Value, operand: str) -> None:
        """Name a value: a scalar, for an affine one that of lane 0, for a varying one the vector."""
        self._scopes[-1][value.name] = operand

    def narrowed(self, operand: str, source: str) -> None:
        """Note what a scalar of 32 bits was narrowed from, without loss."""
        self._sources[operand] = source

    # -- forms
    def shape(self, value: ir.Value) -> Shape:
        """The shape that the analysis found."""
        return self._analysis.shapes[value.name]

    def scalar(self, value: ir.Value) -> str:
        """A value's operand as it was defined: the scalar of one that is alike in the gang, lane 0's of an affine one, the
        vector of a varying one."""
        found = self.find(value.name)
        if found is None:
            raise KeyError(f"the value %{value.name} is used before it is defined")
        return found

    def wide(self, value: ir.Value, depth: int = 0) -> str:
        """The scalar of an i32 in 64 bits, put together there as far as nothing on its way can wrap.

        LLVM does not look through the extension of a sum; addresses made in 64 bits become displacements.
        """
        operand = self.scalar(value)
        if not operand.startswith("%"):
            return operand
        source = self._sources.get(operand)
        if source is not None:
            return source
        key = f"wide {operand}"
        found = self.find(key)
        if found is None:
            definition = self._analysis.definitions.get(value.name)
            match definition:
                case ir.Op(op="add.raw" | "mul.raw" as op, args=args) if depth < _DEEPEST and all(
                    self.find(a.name) is not None and self.shape(a) <= Shape.AFFINE for a in args
                ):
                    a, b = (self.wide(arg, depth + 1) for arg in args)
                    found = self._writer.tmp(f"{op.removesuffix('.raw')} nsw i64 {a}, {b}")
                case _:
                    found = self._writer.tmp(f"sext i32 {operand} to i64")
            self.keep(key, found)
        return found

    def vector(self, value: ir.Value) -> str:
        """All lanes of a value."""
        shape = self.shape(value)
        operand = self.scalar(value)
        if shape == Shape.VARYING:
            return operand
        # the key names the operand as well: a value emitted twice (full and masked copy) has two of them
        key = f"vector {value.name} {operand}"
        found = self.find(key)
        if found is None:
            kind = scalar_type(value.dtype)
            found = self.splat(kind, operand)
            if shape == Shape.AFFINE:
                found = self.per_lane(kind, found)
            self.keep(key, found)
        return found

    def operand(self, value: ir.Value, vector: bool) -> str:
        """A value in the form asked for."""
        return self.vector(value) if vector else self.scalar(value)

    def splat(self, kind: str, operand: str) -> str:
        """A scalar in all lanes."""
        if not operand.startswith("%"):
            return splat_constant(kind, operand)
        vector = self._types.vec(kind)
        one = self._writer.tmp(f"insertelement {vector} poison, {kind} {operand}, i64 0")
        return self._writer.tmp(
            f"shufflevector {vector} {one}, {vector} poison, <{self._types.width} x i32> zeroinitializer"
        )

    def per_lane(self, kind: str, vector: str) -> str:
        """Lane 0's element in all lanes as the elements of an affine value."""
        return self._writer.tmp(f"add {self._types.vec(kind)} {vector}, {self._types.iota(kind)}")

    def constant(self, value: ir.Value) -> int | None:
        """The number that a value always is, where it is a literal."""
        defined = self._analysis.definitions.get(value.name)
        return int(defined.value) if isinstance(defined, ir.Const) else None
