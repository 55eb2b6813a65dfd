"""Emission of typed IR: blocks, fresh values, constants, conversions."""

from __future__ import annotations

import ast
import math
import struct
from typing import Any

import numpy as np

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bf16, bool_, f64, i32, i64, index, u32, u64
from gpucore.ir.ops import COMPARISONS
from gpucore.lang.diagnostics import Source
from gpucore.lang.operands import Array, Items, Literal, Object, Operand, Typed
from gpucore.lang.types import Type, join, strong

__all__ = ["Emitter"]


def round_to(value: float, dtype: DType) -> float:
    """A Python float rounded to a float dtype, to nearest even."""
    if dtype is f64 or not math.isfinite(value):
        return float(value)
    if dtype is bf16:
        # through odd rounding to f32, so that the second rounding sees the sticky bit
        with np.errstate(all="ignore"):
            near = float(np.float32(value))
        (bits,) = struct.unpack("<I", struct.pack("<f", near))
        if near != value and math.isfinite(near):
            if abs(near) > abs(value):
                bits -= 1
            bits |= 1
        upper = bits >> 16
        if (bits & 0xFFFF) > 0x8000 or ((bits & 0xFFFF) == 0x8000 and upper & 1):
            upper += 1
        return float(struct.unpack("<f", struct.pack("<I", (upper & 0xFFFF) << 16))[0])
    with np.errstate(all="ignore"):
        return float(dtype.numpy.type(value))


def limits(dtype: DType) -> tuple[int, int]:
    """Least and greatest integer of a dtype."""
    if dtype.is_signed:
        return -(1 << (dtype.bits - 1)), (1 << (dtype.bits - 1)) - 1
    return 0, (1 << dtype.bits) - 1


class Emitter:
    """Builds one IR function."""

    def __init__(self) -> None:
        self.blocks: list[list[ir.Stmt]] = [[]]
        self.counter = 0
        self.names: dict[str, int] = {}
        self.hints: dict[str, str] = {}  # what the user calls a value, by its name
        self.source: Source
        self.location: ir.Loc | None = None

    # --- blocks and names
    def emit(self, statement: ir.Stmt) -> None:
        self.blocks[-1].append(statement)

    def open(self) -> None:
        self.blocks.append([])

    def close(self) -> ir.Block:
        return tuple(self.blocks.pop())

    def unique(self, hint: str) -> str:
        count = self.names.get(hint, 0)
        self.names[hint] = count + 1
        return hint if count == 0 else f"{hint}.{count}"

    def value(self, dtype: DType) -> ir.Value:
        self.counter += 1
        return ir.Value(str(self.counter), dtype)

    def at(self, node: ast.AST) -> None:
        """Statements emitted from here on stand at this node."""
        self.location = ir.Loc(self.source.filename, self.source.line(node), self.source.column(node))

    # --- values
    def constant(self, value: int | float | bool, dtype: DType) -> ir.Value:
        if dtype.is_float:
            number: int | float | bool = round_to(float(value), dtype)
        elif dtype is bool_:
            number = bool(value)
        else:
            number = int(value)
        result = self.value(dtype)
        self.emit(ir.Const(result, number, self.location))
        return result

    def op(self, name: str, *args: ir.Value, dtype: DType | None = None) -> ir.Value:
        if dtype is None:
            if name in COMPARISONS or name in ("isnan", "isinf"):
                dtype = bool_
            elif name in ("popcount", "clz"):
                dtype = i32
            elif name == "select":
                dtype = args[1].dtype
            else:
                dtype = args[0].dtype
        result = self.value(dtype)
        self.emit(ir.Op(result, name, args, self.location))
        return result

    def cast_value(self, value: ir.Value, dtype: DType) -> ir.Value:
        return value if value.dtype is dtype else self.op("cast", value, dtype=dtype)

    # --- operands
    def type_of(self, operand: Operand, node: ast.AST) -> Type:
        """The dtype of a value, or the weak type of a literal."""
        if isinstance(operand, Typed):
            return operand.weak or operand.dtype
        if isinstance(operand, Literal):
            if isinstance(operand.value, bool):
                return bool_
            return "int" if isinstance(operand.value, int) else "float"
        if isinstance(operand, Array):
            name = operand.memory.name
            place = ", ".join("ijkl"[: operand.memory.rank])
            self.source.type_error(
                node,
                f"{name} is a whole array, and a kernel computes with its elements",
                f"Write {name}[{place}].",
            )
        if isinstance(operand, Object) and operand.value is None:
            what = (
                f"{ast.unparse(node.func)} returns nothing"
                if isinstance(node, ast.Call)
                else "None is no number"
            )
            self.source.type_error(
                node, what, "Let the function return a value, or call it on a line of its own."
            )
        self.source.type_error(
            node, f"{describe(operand)} is no number", "Use an element, a scalar or a constant here."
        )

    def to(self, operand: Operand, dtype: DType, node: ast.AST) -> ir.Value:
        """The operand as a value of a dtype that its type joins to."""
        if isinstance(operand, Literal):
            self.fits(operand.value, dtype, node)
            return self.constant(operand.value, dtype)
        self.type_of(operand, node)
        assert isinstance(operand, Typed)
        return self.cast_value(operand.value, dtype)

    def number(self, operand: Operand, node: ast.AST) -> ir.Value:
        """The operand as a value of its own dtype; weak literals become i32 or f32."""
        return self.to(operand, self.strong_type(operand, node), node)

    def strong_type(self, operand: Operand, node: ast.AST) -> DType:
        return strong(self.type_of(operand, node))

    def fits(self, value: int | float | bool, dtype: DType, node: ast.AST) -> None:
        """Refuse a literal that a dtype cannot hold."""
        if isinstance(value, bool) or dtype is bool_:
            return
        if dtype.is_float:
            if isinstance(value, int) and abs(value) > 1 << 1023:
                self.source.type_error(node, f"{value} does not fit {dtype}", "Write a smaller number.")
            if math.isfinite(value) and math.isinf(round_to(float(value), dtype)):
                self.source.type_error(
                    node, f"{value!r} does not fit {dtype}", "Write gc.f64(...) or a smaller number."
                )
            return
        if isinstance(value, float):
            self.source.type_error(
                node,
                f"{value!r} is a float and {dtype} holds integers",
                f"Write gc.{dtype}({value!r}) to truncate.",
            )
        low, high = limits(dtype)
        if not low <= value <= high:
            wider = [d for d in (i32, u32, i64, u64) if limits(d)[0] <= value <= limits(d)[1]]
            wide = f"write gc.{wider[0]}({value})" if wider else "use a float"
            self.source.type_error(
                node,
                f"the literal {value} does not fit {dtype} ({low} to {high})",
                f"Use a number in that range, or {wide} where the wider type is meant.",
            )

    def common(self, operands: list[tuple[Operand, ast.AST]], node: ast.AST, what: str) -> DType:
        """The dtype that operands of one operation meet in."""
        return strong(self.common_type(operands, node, what))

    def common_type(self, operands: list[tuple[Operand, ast.AST]], node: ast.AST, what: str) -> Type:
        """The type that operands of one operation meet in, weak where all are."""
        found: Type = self.type_of(*operands[0])
        for operand, at in operands[1:]:
            other = self.type_of(operand, at)
            joined = join(found, other)
            if joined is None:
                self.source.type_error(
                    node,
                    f"{what} of {found} and {other}: there is no integer type for both",
                    "Cast one of them, such as gc.i64(x) or gc.u64(x).",
                )
            found = joined
        return found

    @staticmethod
    def typed(value: ir.Value, kind: Type) -> Typed:
        """A result of a type that may be weak."""
        return Typed(value, weak=kind if isinstance(kind, str) else None)

    def condition(self, operand: Operand, node: ast.AST, where: str) -> ir.Value:
        """The operand as a bool, which it must be."""
        if isinstance(operand, Literal) and isinstance(operand.value, bool):
            return self.constant(operand.value, bool_)
        if isinstance(operand, Typed) and operand.dtype is bool_:
            return operand.value
        text = ast.unparse(node)
        self.source.type_error(node, f"{where} wants a bool, not {describe(operand)}", f"Write {text} != 0.")

    def as_index(self, operand: Operand, node: ast.AST, what: str) -> ir.Value:
        """The operand as an index."""
        kind = self.type_of(operand, node)
        if kind == "float" or (isinstance(kind, DType) and not kind.is_integer):
            instead = f"gc.index({ast.unparse(node)})"
            if isinstance(operand, Literal) and operand.value == operand.value // 1:
                instead = str(int(operand.value))
            self.source.type_error(node, f"{what} is an integer, not {kind}", f"Write {instead}.")
        return self.to(operand, index, node)


def describe(operand: Operand) -> str:
    """An operand in words."""
    match operand:
        case Typed(value=value):
            return f"a value of dtype {value.dtype}"
        case Literal(value=number):
            return f"the literal {number!r}"
        case Array(memory=memory):
            return f"the array {memory.name}"
        case Items(items=items):
            return f"a tuple of {len(items)}"
        case Object(value=value):
            return f"the {type(value).__name__} {getattr(value, '__name__', value)!r}"


def as_constant(operand: Operand) -> Any:
    """As ``as_python``; NumPy's integers count as the numbers that they are."""
    match operand:
        case Typed(number=number) if number is not None:
            return number
        case Object(value=np.integer() as value):
            return int(value)
        case Items(items=items):
            found = tuple(as_constant(item) for item in items)
            return NotImplemented if any(f is NotImplemented for f in found) else found
        case _:
            return as_python(operand)


def as_python(operand: Operand) -> Any:
    """The Python value of something known at compile time, or ``NotImplemented``."""
    match operand:
        case Literal(value=value) | Object(value=value):
            return value
        case Typed(known=known) if known is not None:
            return known
        case Items(items=items):
            found = tuple(as_python(item) for item in items)
            return NotImplemented if any(f is NotImplemented for f in found) else found
        case _:
            return NotImplemented
