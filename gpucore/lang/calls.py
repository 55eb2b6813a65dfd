"""Calls: who lowers each, what cannot be called, casts and ``print``."""

from __future__ import annotations

import ast
import builtins as python
import functools
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import ALL, DType, bf16, bool_, from_numpy, index, integer_range
from gpucore.ir.records import RecordType, VectorFamily
from gpucore.lang import builtins
from gpucore.lang.capture import DeviceFunction
from gpucore.lang.conversions import Conversions
from gpucore.lang.diagnostics import did_you_mean
from gpucore.lang.expressions import Arithmetic, Evaluator
from gpucore.lang.functions import Functions
from gpucore.lang.operands import (
    Array,
    Items,
    Literal,
    Method,
    Object,
    Operand,
    Record,
    Records,
    Typed,
    as_python,
    describe,
)
from gpucore.lang.operations import FLOAT_UNARY, RecordFunctions
from gpucore.lang.state import FunctionState
from gpucore.lang.subscripts import Subscripts

__all__ = ["Calls", "Casts", "Printing", "builtin_name"]


@dataclass(frozen=True, slots=True)
class Casts:
    """Lowers casts."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions
    arithmetic: Arithmetic
    subscripts: Subscripts

    def builtins(self) -> Mapping[str, Callable[[ast.Call], Operand]]:
        return {"cast": self.cast, "bitcast": self.bitcast}

    def to_dtype(self, dtype: DType, node: ast.Call) -> Operand:
        """``gc.f32(x)``."""
        with self.subscripts.inside_cast(dtype):
            (operand,) = self.evaluator.arguments(node, 1)
        return self.conversions.convert(operand, dtype, node.args[0])

    def to_python(self, kind: type, node: ast.Call) -> Operand:
        """``float(x)``, ``int(x)``, ``bool(x)``."""
        (operand,) = self.evaluator.arguments(node, 1)
        if isinstance(operand, Literal) or (isinstance(operand, Object) and isinstance(operand.value, str)):
            return self.arithmetic.fold(node, kind.__name__, kind, operand.value)  # float("inf") too
        if kind is bool:
            return self.conversions.convert(operand, bool_, node)
        dtype = self.conversions.strong_type(operand, node)
        if (kind is float and dtype.is_float) or (kind is int and dtype.is_integer):
            return operand
        widths = "gc.i32(x) or gc.i64(x)" if kind is int else "gc.f32(x) or gc.f64(x)"
        self.state.source.type_error(node, f"{kind.__name__}() does not say how wide", f"Write {widths}.")

    def cast(self, node: ast.Call) -> Operand:
        operand, dtype = self._with_dtype(node)
        return self.conversions.convert(operand, dtype, node.args[0])

    def bitcast(self, node: ast.Call) -> Operand:
        operand, dtype = self._with_dtype(node)
        value = self._bits_of(operand, dtype, node.args[0])
        if value.dtype.bits != dtype.bits or bool_ in (value.dtype, dtype):
            self.state.source.type_error(
                node,
                f"bitcast from {value.dtype} to {dtype}: the widths differ",
                "Use a dtype of the same width.",
            )
        if value.dtype is dtype:
            return Typed(value)
        return Typed(self.state.writer.op("bitcast", value, dtype=dtype))

    def _bits_of(self, operand: Operand, dtype: DType, node: ast.AST) -> ir.Value:
        """What is to be seen as another dtype; a literal takes the width asked for, unsigned where it must."""
        if not isinstance(operand, Literal) or isinstance(operand.value, bool):
            return self.conversions.number(operand, node)
        kinds = ("float",) if isinstance(operand.value, float) else ("int", "uint")
        fitting = [
            d for d in ALL
            if d.bits == dtype.bits and d.kind in kinds and d not in (index, bf16)
            and (d.is_float or integer_range(d)[0] <= operand.value <= integer_range(d)[1])
        ]  # fmt: skip
        return (
            self.conversions.to(operand, fitting[0], node)
            if fitting
            else self.conversions.number(operand, node)
        )

    def _with_dtype(self, node: ast.Call) -> tuple[Operand, DType]:
        keywords = {k.arg: k.value for k in node.keywords}
        nodes = [*node.args, *(keywords[k] for k in ("dtype",) if k in keywords)]
        if len(nodes) != 2:
            self.state.source.type_error(
                node, f"{ast.unparse(node.func)} takes a value and a dtype", "Write gc.cast(x, gc.f32)."
            )
        operand, found = self.evaluator.expression(nodes[0]), self.evaluator.expression(nodes[1])
        return operand, self.conversions.dtype_of(found, nodes[1])


@dataclass(frozen=True, slots=True)
class Printing:
    """Lowers calls of Python's ``print``."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions

    def call(self, node: ast.Call) -> Operand:
        self.state.impure("it prints")
        source = self.state.source
        ends = {"sep": " ", "end": "\n"}
        for keyword in node.keywords:
            if keyword.arg not in ends:
                source.syntax_error(
                    keyword.value,
                    f"print in a kernel takes sep= and end=, not {keyword.arg}=",
                    "It goes to sys.stdout of the host, at the next call that waits for the kernel.",
                )
            text = as_python(self.evaluator.expression(keyword.value))
            if not isinstance(text, str):
                source.type_error(
                    keyword.value, f"{keyword.arg}= of print is a plain string", f"Write {keyword.arg}=', '."
                )
            ends[keyword.arg] = text
        values: list[ir.Value] = []
        parts = []
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                source.syntax_error(
                    argument, "unpacking with * is not part of the kernel language", "Name each argument."
                )
            parts.append(self._argument(argument, values))
        shown = _literal(ends["sep"]).join(parts) + _literal(ends["end"])
        writer = self.state.writer
        writer.emit(ir.Print(shown, tuple(values), writer.location))
        return Object(None)

    def _argument(self, node: ast.expr, values: list[ir.Value]) -> str:
        if not isinstance(node, ast.JoinedStr):
            return self._shown(self.evaluator.expression(node), node, values)
        parts = []
        for piece in node.values:
            if isinstance(piece, ast.Constant):
                parts.append(_literal(str(piece.value)))
            elif isinstance(piece, ast.FormattedValue):
                parts.append(self._formatted(piece, node, values))
        return "".join(parts)

    def _formatted(self, piece: ast.FormattedValue, whole: ast.JoinedStr, values: list[ir.Value]) -> str:
        """A field of an f-string."""
        source, spec = self.state.source, ""
        if piece.conversion not in (-1, ord("s")):
            written = ast.unparse(piece.value)
            source.syntax_error(
                whole, "!r, which {x=} means too, is not part of the kernel language",
                f"Write {{{written}}}, or {written}={{{written}}} to print the name.",
            )  # fmt: skip
        if piece.format_spec is not None:
            constant = all(isinstance(part, ast.Constant) for part in piece.format_spec.values)  # type: ignore[attr-defined]
            spec = "".join(str(part.value) for part in piece.format_spec.values) if constant else "?"  # type: ignore[attr-defined]
        operand = self.evaluator.expression(piece.value)
        if not spec:
            return self._shown(operand, piece.value, values)
        if isinstance(operand, Literal):
            sample: int | float | bool = operand.value
        elif isinstance(operand, Typed):
            sample = 0.0 if operand.dtype.is_float else 0
        else:
            source.type_error(
                whole, f"{describe(operand)} takes no format", "Print its parts, each with a format."
            )
        try:
            written = format(sample, spec)
        except ValueError as error:
            source.type_error(whole, f"the format {spec!r}: {error}", "Write one such as {x:.3f}.")
        if isinstance(operand, Literal):
            return _literal(written)
        values.append(self.conversions.number(operand, piece.value))
        return f"{{:{spec}}}"

    def _shown(self, operand: Operand, node: ast.expr, values: list[ir.Value]) -> str:
        match operand:
            case Literal(value=value):
                return _literal(str(value))
            case Typed(known=known) if known is not None:
                return _literal(str(known))
            case Typed(value=value):
                values.append(value)
                return "{}"
            case Items(items=items, names=names):
                parts = [self._shown(item, node, values) for item in items]
                if names:
                    return (
                        "("
                        + ", ".join(f"{name}={part}" for name, part in zip(names, parts, strict=True))
                        + ")"
                    )
                return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
            case Record(type=kind, items=items):
                if kind is None or kind.record == "complex":
                    real, imaginary = (self.conversions.number(part, node) for part in items)
                    values += [real, imaginary]
                    return "{:(}{:j}"
                parts = [self._shown(item, node, values) for item in items]
                if kind.record == "vec":
                    return f"({', '.join(parts)})"
                fields = (f"{field.name}={part}" for field, part in zip(kind.fields, parts, strict=True))
                return f"{kind.name}({', '.join(fields)})"
            case Object(value=str() | None as value):
                return _literal(str(value))
            case Object(value=DType() as dtype):
                return _literal(dtype.name)
            case Object(value=np.generic() as value):
                return _literal(str(value))
        instead = (
            "Print elements, such as x[i]."
            if isinstance(operand, (Array, Records))
            else "Print numbers and strings."
        )
        self.state.source.type_error(node, f"print does not take {describe(operand)}", instead)


def _literal(text: str) -> str:
    """Text without fields."""
    return text.replace("{", "{{").replace("}", "}}")


_PYTHON: dict[Any, str] = {
    python.min: "min",
    python.max: "max",
    python.abs: "abs",
    python.round: "round",
    python.pow: "pow",
    python.len: "len",
    python.divmod: "divmod",
    math.floor: "floor",
    math.ceil: "ceil",
    math.trunc: "trunc",
    math.fabs: "abs",
    math.pow: "pow",
    math.atan2: "atan2",
    math.hypot: "hypot",
    math.copysign: "copysign",
    math.fmod: "fmod",
    math.remainder: "remainder",
    math.ldexp: "ldexp",
    math.frexp: "frexp",
    math.nextafter: "nextafter",
    math.isnan: "isnan",
    math.gamma: "tgamma",
    math.isinf: "isinf",
    **{getattr(math, n): n for n in FLOAT_UNARY if hasattr(math, n)},
    **({math.fma: "fma"} if hasattr(math, "fma") else {}),
}
"""Python's functions that mean a builtin."""


REFUSED_BUILTINS: dict[Callable[..., Any], str] = {
    python.sum: "Write a loop: s = 0.0, then s += x[i]; of a tuple, add its items.",
    python.any: "Write a loop, or the conditions with or between them.",
    python.all: "Write a loop, or the conditions with and between them.",
    python.sorted: "Sort on the host, or write the exchanges as loops.",
    python.list: "Use a tuple, or gc.local(shape, dtype).",
    python.tuple: "Write the items in parentheses.",
    python.map: "Write a for loop.",
    python.filter: "Write a for loop with an if.",
    python.enumerate: "It stands in for loops: for k, v in enumerate(t):",
    python.zip: "It stands in for loops: for a, b in zip(s, t):",
    python.reversed: "It stands in for loops: for i in reversed(range(n)):",
    python.isinstance: "Types are known when the kernel is compiled: compare x.dtype, or pass a gc.constexpr.",
    python.str: "Write numbers to an array.",
    python.breakpoint: "Set the breakpoint in the debugger, at a line of the kernel, and run it with .interpret(); "
    "see docs/howto/debugging.md.",
}
"""Python's builtins that the language lacks, and what to write instead."""


def builtin_name(value: Any) -> str | None:
    """The builtin that a captured object stands for."""
    try:
        return builtins.TABLE.get(value) or _PYTHON.get(value)
    except TypeError:  # unhashable
        return None


@dataclass(frozen=True, slots=True)
class Calls:
    """Lowers calls: ``builtins`` holds what lowers each builtin."""

    state: FunctionState
    evaluator: Evaluator
    casts: Casts
    functions: Functions
    records: RecordFunctions
    printing: Printing
    builtins: Mapping[str, Callable[[ast.Call], Operand]]

    def call(self, node: ast.Call) -> Operand:
        target = self.evaluator.expression(node.func)
        if isinstance(target, Method):
            return self.functions.call(target.function, node, target.record)
        if not isinstance(target, Object):
            self.state.source.type_error(
                node,
                f"{describe(target)} cannot be called",
                "Call a function of gpucore, of math, or a @gc.func.",
            )
        value = target.value
        if isinstance(value, RecordType):
            return self.records.made(value, node)
        if isinstance(value, DType):
            return self.casts.to_dtype(value, node)
        if value in (python.bool, python.int, python.float) and isinstance(value, type):
            return self.casts.to_python(value, node)
        if isinstance(value, type) and issubclass(value, np.generic):
            dtype = from_numpy(np.dtype(value))
            if isinstance(dtype, RecordType):
                return self.records.made(dtype, node)
            if dtype is not None:
                return self.casts.to_dtype(dtype, node)
        if isinstance(value, DeviceFunction):
            return self.functions.call(value, node)
        if value is python.print:
            return self.printing.call(node)
        name = builtin_name(value)
        if name is None:
            self._unknown(value, node)
        if node.keywords:
            node = self._positional(name, value, node)
        return self.builtins[name](node)

    def _positional(self, name: str, value: Any, node: ast.Call) -> ast.Call:
        """The call of a builtin with its keyword arguments put in their places."""
        code = getattr(value, "__code__", None)
        names = list(code.co_varnames[: code.co_argcount]) if code is not None else []
        given = {k.arg: k.value for k in node.keywords}
        free = names[len(node.args) :]
        for keyword in node.keywords:
            if keyword.arg not in free:
                self.state.source.type_error(
                    keyword.value,
                    f"{name} has no free parameter {keyword.arg!r}",
                    did_you_mean(str(keyword.arg), free) or f"It takes ({', '.join(names)}).",
                )
        missing = [n for n in free if n not in given]
        if missing and any(n in given for n in free[free.index(missing[0]) :]):
            self.state.source.type_error(node, f"{name} wants an argument for {missing[0]}", "Pass it too.")
        args = [*node.args, *(given[n] for n in free if n in given)]
        return ast.copy_location(ast.Call(node.func, args, []), node)

    def _unknown(self, value: Any, node: ast.Call) -> NoReturn:
        name = getattr(value, "__name__", type(value).__name__)
        refused = next((instead for f, instead in REFUSED_BUILTINS.items() if f is value), None)
        if refused is not None:
            self.state.source.syntax_error(node, f"{name} is not part of the kernel language", refused)
        if any(
            f[0].__wrapped__.__code__ is getattr(value, "__code__", None) for f in self.state.library.calling
        ):
            self.functions.refuse_recursion(name, node)
        if isinstance(value, (functools.partial, types.MethodType)):
            self.state.source.syntax_error(
                node,
                f"a {type(value).__name__} is no plain function",
                "Pass a lambda that calls a @gc.func with all its arguments.",
            )
        if value is python.range:
            self.state.source.syntax_error(node, "range stands in for loops only", "Write for i in range(n):")
        if type(value).__name__ == "Kernel":
            self.state.source.syntax_error(
                node,
                f"{name} is a kernel; a kernel does not launch another",
                "Make the common part a @gc.func.",
            )
        if value is not None and getattr(math, name, None) is value:
            self.state.source.later(
                node,
                f"math.{name} is not part of the kernel language yet",
                did_you_mean(name, [f.__name__ for f in builtins.TABLE])
                or "Build it from those that gpucore has.",
            )
        if callable(value) and hasattr(value, "__code__"):
            self.state.source.syntax_error(
                node,
                f"{name} is a Python function; a kernel calls functions marked for it, and those that it is given as "
                "gc.constexpr",
                "Write gc.func(lambda ...)." if name == "<lambda>" else f"Put @gc.func above def {name}.",
            )
        self.state.source.syntax_error(
            node,
            f"{ast.unparse(node.func)} cannot be called in a kernel",
            f"Say of what: {ast.unparse(node.func)}[gc.f32](...)."
            if isinstance(value, VectorFamily)
            else f"Write gc.{name}."
            if name in {f.__name__ for f in builtins.TABLE}
            else did_you_mean(name, [f.__name__ for f in builtins.TABLE])
            or "Kernels call gpucore's functions, those of math, and @gc.func functions.",
        )
