"""Calls: builtins, casts, device functions."""

from __future__ import annotations

import ast
import builtins as python
import math
from typing import Any, NoReturn

import numpy as np

from gpucore.errors import GpucoreError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import ALL, DType, bf16, bool_, from_numpy, index
from gpucore.ir.ops import MATH_BINARY, MATH_UNARY
from gpucore.lang import builtins
from gpucore.lang.capture import DeviceFunction
from gpucore.lang.diagnostics import did_you_mean
from gpucore.lang.emitter import describe, limits
from gpucore.lang.operands import Array, Items, Literal, Object, Operand, Typed
from gpucore.lang.subscripts import Subscripts
from gpucore.lang.types import strong

__all__ = ["Calls", "builtin_name"]

ROUNDINGS = ("floor", "ceil", "trunc", "round")
FLOAT_UNARY = frozenset({*MATH_UNARY, "sqrt"})
_PYTHON: dict[Any, str] = {
    python.min: "min",
    python.max: "max",
    python.abs: "abs",
    python.round: "round",
    python.pow: "pow",
    python.len: "len",
    math.floor: "floor",
    math.ceil: "ceil",
    math.trunc: "trunc",
    math.fabs: "abs",
    math.pow: "pow",
    math.atan2: "atan2",
    math.isnan: "isnan",
    math.isinf: "isinf",
    **{getattr(math, n): n for n in FLOAT_UNARY if hasattr(math, n)},
    **({math.fma: "fma"} if hasattr(math, "fma") else {}),
}


def builtin_name(value: Any) -> str | None:
    """The builtin that a captured object stands for."""
    try:
        known = builtins.TABLE.get(value) or _PYTHON.get(value)
    except TypeError:  # unhashable
        return None
    if (
        known is None
        and getattr(value, "__module__", None) == "gpucore.launch.kernel"
        and value.__name__ == "cdiv"
    ):
        return "cdiv"  # a host function, which kernels may call too
    return known


class Calls(Subscripts):
    """Lowers calls."""

    def lower_Call(self, node: ast.Call) -> Operand:
        target = self.expression(node.func)
        if not isinstance(target, Object):
            self.source.type_error(
                node,
                f"{describe(target)} cannot be called",
                "Call a function of gpucore, of math, or a @gc.func.",
            )
        value = target.value
        if isinstance(value, DType):
            return self.cast_call(value, node)
        if value in (python.bool, python.int, python.float) and isinstance(value, type):
            return self.python_cast(value, node)
        if isinstance(value, type) and issubclass(value, np.generic):
            dtype = from_numpy(np.dtype(value))
            if dtype is not None:
                return self.cast_call(dtype, node)
        if isinstance(value, DeviceFunction):
            return self.call_function(value, node)
        name = builtin_name(value)
        if name is None:
            return self.unknown(value, node)
        if node.keywords:
            node = self.positional(name, value, node)
        method = getattr(self, f"call_{name}", None)
        if method is not None:
            return method(node)  # type: ignore[no-any-return]
        return self.call_by_kind(name, node)

    def positional(self, name: str, value: Any, node: ast.Call) -> ast.Call:
        """The call of a builtin with its keyword arguments put in their places."""
        code = getattr(value, "__code__", None)
        names = list(code.co_varnames[: code.co_argcount]) if code is not None else []
        given = {k.arg: k.value for k in node.keywords}
        free = names[len(node.args) :]
        for keyword in node.keywords:
            if keyword.arg not in free:
                self.source.type_error(
                    keyword.value,
                    f"{name} has no free parameter {keyword.arg!r}",
                    did_you_mean(str(keyword.arg), free) or f"It takes ({', '.join(names)}).",
                )
        missing = [n for n in free if n not in given]
        if missing and any(n in given for n in free[free.index(missing[0]) :]):
            self.source.type_error(node, f"{name} wants an argument for {missing[0]}", "Pass it too.")
        args = [*node.args, *(given[n] for n in free if n in given)]
        return ast.copy_location(ast.Call(node.func, args, []), node)

    def unknown(self, value: Any, node: ast.Call) -> NoReturn:
        name = getattr(value, "__name__", type(value).__name__)
        if value is python.print:
            self.source.later(
                node,
                "print is not part of the kernel language yet",
                "Write to an array, or use kernel.interpret under a debugger.",
            )
        if value is python.range:
            self.source.syntax_error(node, "range stands in for loops only", "Write for i in range(n):")
        if type(value).__name__ == "Kernel":
            self.source.syntax_error(
                node,
                f"{name} is a kernel; a kernel does not launch another",
                "Make the common part a @gc.func.",
            )
        if getattr(math, name, None) is value:
            self.source.later(
                node,
                f"math.{name} is not part of the kernel language yet",
                did_you_mean(name, [f.__name__ for f in builtins.TABLE])
                or "Build it from those that gpucore has.",
            )
        if callable(value) and hasattr(value, "__code__"):
            self.source.syntax_error(
                node,
                f"{name} is a Python function; a kernel calls functions marked for it only",
                f"Put @gc.func above def {name}.",
            )
        self.source.syntax_error(
            node,
            f"{ast.unparse(node.func)} cannot be called in a kernel",
            f"Write gc.{name}."
            if name in {f.__name__ for f in builtins.TABLE}
            else did_you_mean(name, [f.__name__ for f in builtins.TABLE])
            or "Kernels call gpucore's functions, those of math, and @gc.func functions.",
        )

    def signature(self, node: ast.Call) -> str:
        """What a builtin takes, for a message."""
        code = getattr(self.scope.captured.resolve(node.func), "__code__", None)
        return f"It takes ({', '.join(code.co_varnames[: code.co_argcount])})." if code else ""

    def arguments(self, node: ast.Call, low: int, high: int | None = None) -> list[Operand]:
        """The call's positional arguments, their number checked."""
        high = low if high is None else high
        if any(isinstance(a, ast.Starred) for a in node.args):
            self.source.syntax_error(
                node, "unpacking with * is not part of the kernel language", "Name each argument."
            )
        if not low <= len(node.args) <= high:
            count = str(low) if low == high else f"{low} to {high}"
            self.source.type_error(
                node,
                f"{ast.unparse(node.func)} takes {count} argument{'' if count == '1' else 's'}, not {len(node.args)}",
                self.signature(node),
            )
        return [self.expression(a) for a in node.args]

    # --- casts
    def cast_call(self, dtype: DType, node: ast.Call) -> Operand:
        outer, self.wanted = self.wanted, dtype
        try:
            (operand,) = self.arguments(node, 1)
        finally:
            self.wanted = outer
        return self.convert(operand, dtype, node.args[0])

    def convert(self, operand: Operand, dtype: DType, node: ast.AST) -> Operand:
        """An explicit cast."""
        if isinstance(operand, Literal):
            value = operand.value
            if dtype is bool_:
                return Literal(bool(value))
            if isinstance(value, float) and not dtype.is_float:
                if not math.isfinite(value):
                    self.source.type_error(node, f"{value} is no integer", "Write a finite number.")
                value = math.trunc(value)
            self.fits(value, dtype, node)
            return Typed(self.constant(value, dtype))
        self.type_of(operand, node)
        assert isinstance(operand, Typed)
        return Typed(self.cast_value(operand.value, dtype))

    def python_cast(self, kind: type, node: ast.Call) -> Operand:
        (operand,) = self.arguments(node, 1)
        if isinstance(operand, Literal) or (isinstance(operand, Object) and isinstance(operand.value, str)):
            return self.fold(node, kind.__name__, kind, operand.value)  # float("inf") too
        if kind is bool:
            return self.convert(operand, bool_, node)
        dtype = self.strong_type(operand, node)
        if (kind is float and dtype.is_float) or (kind is int and dtype.is_integer):
            return operand
        widths = "gc.i32(x) or gc.i64(x)" if kind is int else "gc.f32(x) or gc.f64(x)"
        self.source.type_error(node, f"{kind.__name__}() does not say how wide", f"Write {widths}.")

    def call_cast(self, node: ast.Call) -> Operand:
        operand, dtype = self.with_dtype(node)
        return self.convert(operand, dtype, node.args[0])

    def call_bitcast(self, node: ast.Call) -> Operand:
        operand, dtype = self.with_dtype(node)
        value = self.bits_of(operand, dtype, node.args[0])
        if value.dtype.bits != dtype.bits or bool_ in (value.dtype, dtype):
            self.source.type_error(
                node,
                f"bitcast from {value.dtype} to {dtype}: the widths differ",
                "Use a dtype of the same width.",
            )
        if value.dtype is dtype:
            return Typed(value)
        return Typed(self.op("bitcast", value, dtype=dtype))

    def bits_of(self, operand: Operand, dtype: DType, node: ast.AST) -> ir.Value:
        """What is to be seen as another dtype; a literal takes the width asked for, unsigned where it must."""
        if not isinstance(operand, Literal) or isinstance(operand.value, bool):
            return self.number(operand, node)
        kinds = ("float",) if isinstance(operand.value, float) else ("int", "uint")
        fitting = [
            d for d in ALL
            if d.bits == dtype.bits and d.kind in kinds and d not in (index, bf16)
            and (d.is_float or limits(d)[0] <= operand.value <= limits(d)[1])
        ]  # fmt: skip
        return self.to(operand, fitting[0], node) if fitting else self.number(operand, node)

    def with_dtype(self, node: ast.Call) -> tuple[Operand, DType]:
        keywords = {k.arg: k.value for k in node.keywords}
        nodes = [*node.args, *(keywords[k] for k in ("dtype",) if k in keywords)]
        if len(nodes) != 2:
            self.source.type_error(
                node, f"{ast.unparse(node.func)} takes a value and a dtype", "Write gc.cast(x, gc.f32)."
            )
        operand, found = self.expression(nodes[0]), self.expression(nodes[1])
        return operand, self.dtype_of(found, nodes[1])

    def dtype_of(self, operand: Operand, node: ast.AST) -> DType:
        if isinstance(operand, Object):
            value = operand.value
            if isinstance(value, DType):
                return value
            if value is python.bool:
                return bool_
            if isinstance(value, type) and issubclass(value, np.generic):
                dtype = from_numpy(np.dtype(value))
                if dtype is not None:
                    return dtype
        self.source.type_error(node, f"{describe(operand)} is no dtype", "Write gc.f32, gc.i32, ...")

    # --- operations
    def call_by_kind(self, name: str, node: ast.Call) -> Operand:
        if name in FLOAT_UNARY:
            return self.float_unary(name, node)
        if name in ROUNDINGS:
            return self.rounding(name, node)
        if name in MATH_BINARY:
            return self.float_binary(name, node)
        if name in ("min", "max"):
            return self.extreme(name, node)
        if name in ("isnan", "isinf"):
            (operand,) = self.arguments(node, 1)
            value = self.number(operand, node)
            return Typed(self.op(name, value)) if value.dtype.is_float else Literal(False)
        if name in ("popcount", "clz"):
            (operand,) = self.arguments(node, 1)
            value = self.number(operand, node)
            if not value.dtype.is_integer:
                self.source.type_error(
                    node, f"{name} works on integers, not on {value.dtype}", "Use gc.bitcast(x, gc.u32)."
                )
            return Typed(self.op(name, value))
        self.source.syntax_error(node, f"{name} cannot be used here", "Use it as its documentation says.")

    def float_unary(self, name: str, node: ast.Call) -> Operand:
        (operand,) = self.arguments(node, 1)
        return Typed(self.op(name, self.floating(operand, node.args[0], name)))

    def floating(self, operand: Operand, node: ast.AST, name: str) -> ir.Value:
        """The operand as a float; integers are an error, since the width would be a guess."""
        if isinstance(operand, Literal):
            return self.number(Literal(float(operand.value)), node)
        value = self.number(operand, node)
        if not value.dtype.is_float:
            self.source.type_error(
                node,
                f"{name} works on floats, not on {value.dtype}",
                f"Write {name}(gc.f32({ast.unparse(node)})).",
            )
        return value

    def float_binary(self, name: str, node: ast.Call) -> Operand:
        a, b = self.arguments(node, 2)
        if name == "pow" and not self.strong_type(a, node.args[0]).is_float:
            return self.arithmetic("pow", a, b, node, node.args[0], node.args[1])
        dtype = self.common([(a, node.args[0]), (b, node.args[1])], node, name)
        if not dtype.is_float:
            if not (isinstance(a, Literal) and isinstance(b, Literal)):
                self.source.type_error(node, f"{name} works on floats, not on {dtype}", "Cast: gc.f32(x).")
            dtype = self.strong_type(Literal(0.0), node)
        return Typed(self.op(name, self.to(a, dtype, node.args[0]), self.to(b, dtype, node.args[1])))

    def rounding(self, name: str, node: ast.Call) -> Operand:
        (operand,) = self.arguments(node, 1)
        value = self.number(operand, node)
        if value.dtype is bool_:
            self.source.type_error(node, f"{name} of a bool", "Cast it: gc.f32(flag).")
        return Typed(self.op(name, value)) if value.dtype.is_float else Typed(value)

    def extreme(self, name: str, node: ast.Call) -> Operand:
        operands = self.arguments(node, 2, 64)
        pairs = list(zip(operands, node.args, strict=True))
        if all(isinstance(o, Literal) for o in operands):
            return self.fold(node, name, getattr(python, name), *(o.value for o in operands))  # type: ignore[union-attr]
        kind = self.common_type(pairs, node, name)  # type: ignore[arg-type]
        dtype = strong(kind)
        if dtype is bool_:
            self.source.type_error(node, f"{name} of bools", f"Write {'and' if name == 'min' else 'or'}.")
        values = [self.to(o, dtype, n) for o, n in pairs]
        result = values[0]
        for value in values[1:]:
            result = self.op(name, result, value)
        return self.typed(result, kind)

    def call_abs(self, node: ast.Call) -> Operand:
        (operand,) = self.arguments(node, 1)
        if isinstance(operand, Literal):
            return self.fold(node, "abs", python.abs, operand.value)
        value = self.number(operand, node)
        if value.dtype is bool_:
            self.source.type_error(node, "abs of a bool", "Cast it: gc.i32(flag).")
        weak = operand.weak if isinstance(operand, Typed) else None
        return Typed(value if value.dtype.kind == "uint" else self.op("abs", value), weak=weak)

    def call_clamp(self, node: ast.Call) -> Operand:
        operands = self.arguments(node, 3)
        dtype = self.common(list(zip(operands, node.args, strict=True)), node, "clamp")
        x, low, high = (self.to(o, dtype, n) for o, n in zip(operands, node.args, strict=True))
        return Typed(self.op("min", self.op("max", x, low), high))

    def call_fma(self, node: ast.Call) -> Operand:
        operands = self.arguments(node, 3)
        dtype = self.common(list(zip(operands, node.args, strict=True)), node, "fma")
        if not dtype.is_float:
            self.source.type_error(node, f"fma works on floats, not on {dtype}", "Write a * b + c.")
        return Typed(
            self.op("fma", *(self.to(o, dtype, n) for o, n in zip(operands, node.args, strict=True)))
        )

    def call_select(self, node: ast.Call) -> Operand:
        c, a, b = self.arguments(node, 3)
        condition = self.condition(c, node.args[0], "select")
        kind = self.common_type([(a, node.args[1]), (b, node.args[2])], node, "the two values of select")
        dtype = strong(kind)
        result = self.op(
            "select", condition, self.to(a, dtype, node.args[1]), self.to(b, dtype, node.args[2])
        )
        return self.typed(result, kind)

    def call_cdiv(self, node: ast.Call) -> Operand:
        a, b = self.arguments(node, 2)
        at_a, at_b = node.args
        if isinstance(a, Literal) and isinstance(b, Literal):
            return self.fold(node, "cdiv", lambda x, y: -(-x // y), a.value, b.value)
        if any(self.strong_type(o, at).is_float for o, at in ((a, at_a), (b, at_b))):
            self.source.type_error(node, "cdiv works on integers", "Write gc.ceil(a / b).")
        less = (
            Literal(b.value - 1)
            if isinstance(b, Literal)
            else self.arithmetic("sub", b, Literal(1), node, at_b, at_b)
        )
        return self.arithmetic(
            "floordiv", self.arithmetic("add", a, less, node, at_a, at_b), b, node, at_a, at_b
        )

    def call_len(self, node: ast.Call) -> Operand:
        (operand,) = self.arguments(node, 1)
        if isinstance(operand, Items):
            return Literal(len(operand.items))
        if isinstance(operand, Array):
            return self.extent(operand.memory, 0)
        self.source.type_error(node, f"{describe(operand)} has no length", "Arrays and tuples have one.")

    # --- device functions
    def call_function(self, function: DeviceFunction, node: ast.Call) -> Operand:
        raise NotImplementedError


__all__ += ["GpucoreError"]
