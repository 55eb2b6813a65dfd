"""Operands as values of a dtype: what meets in which type, what fits, what is refused."""

from __future__ import annotations

import ast
import builtins
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bool_, f32, f64, from_numpy, i32, i64, index, integer_range, u32, u64
from gpucore.ir.rounding import round_to
from gpucore.lang.capture import DeviceFunction
from gpucore.lang.diagnostics import article
from gpucore.lang.operands import Array, Items, Literal, Object, Operand, Record, Typed, describe
from gpucore.lang.state import FunctionState
from gpucore.lang.types import Type, Weak

__all__ = ["Conversions"]

HOLDERS = {"an element of": "an array of", "a field of": "a field of"}
"""What is made wider where a stored literal does not fit."""


@dataclass(frozen=True, slots=True)
class Conversions:
    """Gives operands their types and converts them."""

    state: FunctionState

    # --- types
    def type_of(self, operand: Operand, node: ast.AST) -> Type:
        """The dtype of a value, or the weak type of a literal."""
        if isinstance(operand, Typed):
            return operand.weak or operand.dtype
        if isinstance(operand, Literal):
            if isinstance(operand.value, bool):
                return bool_
            return Weak.INT if isinstance(operand.value, int) else Weak.FLOAT
        source = self.state.source
        if isinstance(operand, Array):
            name = ast.unparse(node) if operand.axes else operand.memory.name
            index = ", ".join("ijklmnop"[: operand.rank])
            source.type_error(
                node,
                f"{name} is a whole array, and a kernel computes with its elements",
                f"Write {name}[{index}].",
            )
        if isinstance(operand, Object) and operand.value is None:
            what = (
                f"{ast.unparse(node.func)} returns nothing"
                if isinstance(node, ast.Call)
                else "None is no number"
            )
            cure = "Let the function return a value, or call it on a line of its own."
            if not isinstance(node, ast.Call):
                cure = "Write a number, such as 0.0; a missing one is float('nan') or a value of your own."
            source.type_error(node, what, cure)
        if isinstance(operand, Record):
            names = ["real", "imag"] if operand.type is None else [f.name for f in operand.type.fields]
            fields = ", ".join(f"{ast.unparse(node)}.{name}" for name in names)
            source.type_error(node, f"{describe(operand)} is no number", f"Use a part of it: {fields}.")
        cure = "Use an element, a scalar or a constant here."
        if isinstance(operand, Object) and isinstance(operand.value, DeviceFunction):
            cure = "Call it here: f(x) if c else g(x)."
        source.type_error(node, f"{describe(operand)} is no number", cure)

    def strong_type(self, operand: Operand, node: ast.AST) -> DType:
        return self.state.strong(self.type_of(operand, node))

    def common(self, operands: list[tuple[Operand, ast.AST]], node: ast.AST, what: str) -> DType:
        """The dtype that operands of one operation meet in."""
        return self.state.strong(self.common_type(operands, node, what))

    def common_type(self, operands: list[tuple[Operand, ast.AST]], node: ast.AST, what: str) -> Type:
        """The type that operands of one operation meet in, weak where all are."""
        found: Type = self.type_of(*operands[0])
        for operand, at in operands[1:]:
            other = self.type_of(operand, at)
            joined = self.state.join(found, other)
            if joined is None:
                self.state.source.type_error(
                    node,
                    f"{what} of {found} and {other}: there is no integer type for both",
                    "Cast one of them, such as gc.i64(x) or gc.u64(x).",
                )
            found = joined
        return found

    # --- values
    def to(self, operand: Operand, dtype: DType, node: ast.AST) -> ir.Value:
        """The operand as a value of a dtype that its type joins to."""
        if isinstance(operand, Literal):
            self.fits(operand.value, dtype, node)
            return self.state.writer.constant(operand.value, dtype)
        self.type_of(operand, node)
        assert isinstance(operand, Typed)
        return self._cast(operand, dtype, node)

    def _cast(self, operand: Typed, dtype: DType, node: ast.AST) -> ir.Value:
        inference = self.state.inference
        if dtype is f64 and operand.dtype is f32 and operand.rounded is not None:
            if not inference.weak_reads:
                self.state.source.type_error(
                    node,
                    f"the literal {operand.rounded} is an f32 in a kernel of f32 and f64 parameters, and its rounded value "
                    "would be widened to f64",
                    f"Write gc.f64({operand.rounded}), or gc.f32({operand.rounded}) where the rounded value is meant.",
                )
            inference.loose = True  # it may become f64 itself; the pass in which it cannot decides
        return self.state.writer.cast(operand.value, dtype)

    def result(self, value: ir.Value, kind: Type, *operands: Operand) -> Typed:
        """A result of a type that may be weak, of operands."""
        weak = kind if isinstance(kind, Weak) else None
        return Typed(value, weak=weak, rounded=self.rounded(operands) if value.dtype is f32 else None)

    def note_rounded(self, key: tuple[Any, ...], operand: Operand) -> None:
        """Record whether what is assigned to a variable comes from literals alone."""
        inference = self.state.inference
        text = self.rounded((operand,))
        if text is not None:
            inference.rounded.setdefault(key, text)
        elif is_true_float(operand):
            inference.true_floats.add(key)

    def rounded(self, operands: Iterable[Operand]) -> str | None:
        """A literal that f32 rounds and that a result of the operands carries; none where a true f32 takes part."""
        if not self.state.library.floats.mixed:
            return None
        found = None
        for operand in operands:
            if isinstance(operand, Literal):
                if isinstance(operand.value, float) and round_to(operand.value, f32) != operand.value:
                    found = found or (repr(operand.value) if math.isfinite(operand.value) else None)
            elif isinstance(operand, Typed):
                found = found or operand.rounded
                if is_true_float(operand):
                    return None
        return found

    def number(self, operand: Operand, node: ast.AST) -> ir.Value:
        """The operand as a value of its own dtype; weak literals become i32 or the default float."""
        return self.to(operand, self.strong_type(operand, node), node)

    def fits(self, value: int | float | bool, dtype: DType, node: ast.AST, holder: str = "") -> None:
        """Refuse a literal that a dtype cannot hold; ``holder`` says what would hold a wider one, such as "an array of"."""
        if isinstance(value, bool) or dtype is bool_:
            return
        source = self.state.source
        if dtype.is_float:
            if isinstance(value, int) and abs(value) > 1 << 1023:
                source.type_error(node, f"{value} does not fit {dtype}", "Write a smaller number.")
            if math.isfinite(value) and math.isinf(round_to(value, dtype)):
                source.type_error(
                    node, f"{value!r} does not fit {dtype}", "Write gc.f64(...) or a smaller number."
                )
            return
        if isinstance(value, float):
            source.type_error(
                node,
                f"{value!r} is a float and {dtype} holds integers",
                f"Write gc.{dtype}({value!r}) to truncate.",
            )
        low, high = integer_range(dtype)
        if not low <= value <= high:
            wider = [d for d in (i32, u32, i64, u64) if integer_range(d)[0] <= value <= integer_range(d)[1]]
            wide = f"write gc.{wider[0]}({value})" if wider else "use a float"
            cure = f"Use a number in that range, or {wide} where the wider type is meant."
            if holder:
                cure = (
                    f"Store a number in that range{f', or make it {holder} gc.{wider[0]}' if wider else ''}."
                )
            source.type_error(node, f"the literal {value} does not fit {dtype} ({low} to {high})", cure)

    def condition(self, operand: Operand, node: ast.AST, where: str) -> ir.Value:
        """The operand as a bool, which it must be."""
        if isinstance(operand, Literal) and isinstance(operand.value, bool):
            return self.state.writer.constant(operand.value, bool_)
        if isinstance(operand, Typed) and operand.dtype is bool_:
            return operand.value
        text = ast.unparse(node)
        instead = f"Write {text} != 0."
        if isinstance(operand, Array):
            index = ", ".join("ijklmnop"[: operand.rank])
            instead = f"Write {text}[{index}] != 0 for an element, or {text}.shape[0] > 0."
        elif isinstance(operand, Items):
            instead = f"Write len({text}) > 0, or compare its items."
        self.state.source.type_error(node, f"{where} wants a bool, not {describe(operand)}", instead)

    def as_index(self, operand: Operand, node: ast.AST, what: str) -> ir.Value:
        """The operand as an index."""
        kind = self.type_of(operand, node)
        if kind is Weak.FLOAT or (isinstance(kind, DType) and not kind.is_integer):
            instead = f"gc.index({ast.unparse(node)})"
            if isinstance(operand, Literal) and operand.value == operand.value // 1:
                instead = str(int(operand.value))
            slot = self.state.scope.slots.get(node.id) if isinstance(node, ast.Name) else None
            line = self.state.inference.float_lines.get(slot.key) if slot is not None else None
            if line is not None:
                self.state.source.type_error(
                    node,
                    f"{what} is an integer, and {ast.unparse(node)} is {kind}, since it also gets a float (line {line})",
                    f"Give the float a name of its own, or write {instead}.",
                )
            self.state.source.type_error(node, f"{what} is an integer, not {kind}", f"Write {instead}.")
        return self.to(operand, index, node)

    def stored(
        self, operand: Operand, dtype: DType, node: ast.AST, target: str = "an element of"
    ) -> ir.Value:
        """The operand converted to the type of an element, or of another target."""
        kind = self.strong_type(operand, node)
        if kind.is_float and not dtype.is_float:
            self.state.source.type_error(
                node,
                f"{article(kind)} does not go into {target} {dtype} by itself",
                f"Write gc.{dtype}({ast.unparse(node)}).",
            )
        if isinstance(operand, Literal):
            self.fits(operand.value, dtype, node, HOLDERS.get(target, ""))
        return self.to(operand, dtype, node)

    # --- casts
    def convert(self, operand: Operand, dtype: DType, node: ast.AST) -> Operand:
        """An explicit cast."""
        writer = self.state.writer
        if isinstance(operand, Literal):
            value = operand.value
            if dtype is bool_:
                return Literal(bool(value))
            if isinstance(value, float) and not dtype.is_float:
                if not math.isfinite(value):
                    self.state.source.type_error(node, f"{value} is no integer", "Write a finite number.")
                value = math.trunc(value)
            self.fits(value, dtype, node)
            return Typed(writer.constant(value, dtype))
        self.type_of(operand, node)
        assert isinstance(operand, Typed)
        return Typed(self._cast(operand, dtype, node))

    def dtype_of(self, operand: Operand, node: ast.AST) -> DType:
        """The dtype that an operand names."""
        if isinstance(operand, Object):
            value = operand.value
            if isinstance(value, DType):
                return value
            if value is builtins.bool:
                return bool_
            if isinstance(value, type) and issubclass(value, np.generic):
                dtype = from_numpy(np.dtype(value))
                if dtype is not None:
                    return dtype
        self.state.source.type_error(node, f"{describe(operand)} is no dtype", "Write gc.f32, gc.i32, ...")


def is_true_float(operand: Operand) -> bool:
    """Whether a float comes from more than literals."""
    return (
        isinstance(operand, Typed)
        and operand.dtype.is_float
        and operand.rounded is None
        and operand.known is None
        and operand.weak is None
    )
