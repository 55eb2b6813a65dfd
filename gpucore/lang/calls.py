"""Calls: who lowers each, and what cannot be called."""

from __future__ import annotations

import ast
import builtins as python
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from gpucore.ir.dtypes import DType, from_numpy
from gpucore.ir.records import RecordType
from gpucore.lang import builtins
from gpucore.lang.capture import DeviceFunction
from gpucore.lang.casts import Casts
from gpucore.lang.diagnostics import did_you_mean
from gpucore.lang.evaluator import Evaluator
from gpucore.lang.functions import Functions
from gpucore.lang.operands import Method, Object, Operand, describe
from gpucore.lang.operations import FLOAT_UNARY
from gpucore.lang.printing import Printing
from gpucore.lang.record_functions import RecordFunctions
from gpucore.lang.state import FunctionState

__all__ = ["Calls", "builtin_name"]

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
        if name == "<lambda>":
            self.state.source.syntax_error(
                node,
                "a lambda is a Python function; a kernel calls functions marked for it only",
                "Write it as a def with @gc.func above.",
            )
        if value is python.range:
            self.state.source.syntax_error(node, "range stands in for loops only", "Write for i in range(n):")
        if type(value).__name__ == "Kernel":
            self.state.source.syntax_error(
                node,
                f"{name} is a kernel; a kernel does not launch another",
                "Make the common part a @gc.func.",
            )
        if getattr(math, name, None) is value:
            self.state.source.later(
                node,
                f"math.{name} is not part of the kernel language yet",
                did_you_mean(name, [f.__name__ for f in builtins.TABLE])
                or "Build it from those that gpucore has.",
            )
        if callable(value) and hasattr(value, "__code__"):
            self.state.source.syntax_error(
                node,
                f"{name} is a Python function; a kernel calls functions marked for it only",
                f"Put @gc.func above def {name}.",
            )
        self.state.source.syntax_error(
            node,
            f"{ast.unparse(node.func)} cannot be called in a kernel",
            f"Write gc.{name}."
            if name in {f.__name__ for f in builtins.TABLE}
            else did_you_mean(name, [f.__name__ for f in builtins.TABLE])
            or "Kernels call gpucore's functions, those of math, and @gc.func functions.",
        )
