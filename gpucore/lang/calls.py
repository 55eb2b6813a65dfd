"""Calls: builtins, casts, device functions."""

from __future__ import annotations

import ast
import builtins as python
import math
from typing import Any, NoReturn

import numpy as np

from gpucore.errors import GpucoreError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import ALL, DType, bf16, bool_, from_numpy, i32, index, u64
from gpucore.ir.ops import MATH_BINARY, MATH_UNARY
from gpucore.lang import builtins
from gpucore.lang.capture import DeviceFunction
from gpucore.lang.diagnostics import did_you_mean, plural
from gpucore.lang.emitter import as_python, describe, limits
from gpucore.lang.expressions import Expressions
from gpucore.lang.operands import Array, Items, Literal, Object, Operand, Typed
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
    if known is None and getattr(value, "__module__", None) == "gpucore.kernels" and value.__name__ == "cdiv":
        return "cdiv"  # a host function, which kernels may call too
    return known


class Calls(Expressions):
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
        if name in ("global_id", "thread_id", "block_id", "block_dim", "grid_dim"):
            return self.thread_index(name, node)
        if name.startswith("atomic_"):
            return self.atomic(name.removeprefix("atomic_"), node)
        if name.startswith("subgroup_"):
            return self.subgroup(name.removeprefix("subgroup_"), node)
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

    # --- threads
    def thread_index(self, name: str, node: ast.Call) -> Operand:
        (operand,) = self.arguments(node, 1)
        axis = as_python(operand)
        if not isinstance(axis, int) or isinstance(axis, bool):
            self.source.type_error(node, f"{name} wants a constant axis", f"Write {name}(0).")
        self.impure(node, "thread ids")
        if axis < 0 or axis >= self.ndim:
            axes = "1 axis" if self.ndim == 1 else f"{self.ndim} axes"
            self.source.type_error(
                node,
                f"{name}({axis}) of a launch with {axes}",
                f"Axes count from 0; the last is {self.ndim - 1}. Launch with more axes, as in k.over((h, w)).",
            )
        result = self.value(index)
        self.emit(ir.ThreadIndex(result, name, axis, self.location))  # type: ignore[arg-type]
        return Typed(result)

    def call_global_ids(self, node: ast.Call) -> Operand:
        (operand,) = self.arguments(node, 1)
        rank = as_python(operand)
        self.impure(node, "thread ids")
        if rank != self.ndim or isinstance(rank, bool):
            self.source.type_error(
                node,
                f"global_ids({rank}) of a launch with {plural(self.ndim, 'axis')}",
                f"Launch with as many axes, or write global_ids({self.ndim}).",
            )
        result = []
        for axis in range(rank):
            value = self.value(index)
            self.emit(ir.ThreadIndex(value, "global_id", axis, self.location))
            result.append(Typed(value))
        return Items(tuple(result))

    def call_barrier(self, node: ast.Call) -> Operand:
        self.arguments(node, 0)
        self.impure(node, "a barrier")
        self.emit(ir.Barrier(self.location))
        return Object(None)

    def call_memory_fence(self, node: ast.Call) -> Operand:
        self.arguments(node, 0)
        self.impure(node, "a fence")
        self.emit(ir.Fence(self.location))
        return Object(None)

    def call_static_range(self, node: ast.Call) -> Operand:
        self.source.syntax_error(
            node, "static_range stands in for loops only", "Write for k in gc.static_range(4):"
        )

    # --- memory
    def call_shared(self, node: ast.Call) -> Operand:
        self.impure(node, "shared memory")
        if self.depth() > 1:
            self.source.syntax_error(
                node, "gc.shared stands at the top level of a kernel", "Move it to the kernel's first lines."
            )
        return self.declare("shared", node)

    def call_local(self, node: ast.Call) -> Operand:
        operand = self.declare("local", node)
        assert isinstance(operand, Array)
        self.emit(ir.InitLocal(operand.memory, self.location))
        return operand

    def declare(self, space: str, node: ast.Call) -> Operand:
        keywords = {k.arg: k.value for k in node.keywords}
        nodes = [*node.args, *(keywords[k] for k in ("shape", "dtype") if k in keywords)]
        if len(nodes) != 2:
            self.source.type_error(
                node, f"gc.{space} takes a shape and a dtype", f"Write gc.{space}((16, 16), gc.f32)."
            )
        shape = as_python(self.expression(nodes[0]))
        shape = (shape,) if isinstance(shape, int) else shape
        if not isinstance(shape, tuple) or not all(
            isinstance(n, int) and not isinstance(n, bool) for n in shape
        ):
            self.source.type_error(
                nodes[0],
                f"the shape of gc.{space} is known when the kernel is compiled",
                "Use a constant or a gc.constexpr parameter.",
            )
        if not 1 <= len(shape) <= 4 or min(shape) < 1:
            self.source.type_error(
                nodes[0],
                f"the shape {shape} has 1 to 4 positive extents",
                "Write gc.shared((16, 16), gc.f32).",
            )
        dtype = self.dtype_of(self.expression(nodes[1]), nodes[1])
        return Array(self.memory(space, dtype, shape, node))

    def memory(self, space: str, dtype: DType, shape: tuple[int, ...], node: ast.Call) -> ir.Memory:
        raise NotImplementedError

    def impure(self, node: ast.AST, what: str) -> None:
        raise NotImplementedError

    def depth(self) -> int:
        raise NotImplementedError

    ndim: int

    def place(self, node: ast.Call, count: int) -> tuple[ir.Memory, tuple[ir.Value, ...], list[Operand]]:
        operands = self.arguments(node, count)
        array = operands[0]
        if not isinstance(array, Array):
            self.source.type_error(
                node.args[0],
                f"an atomic works on an array, not on {describe(array)}",
                "Write gc.atomic_add(bins, i, 1).",
            )
        if array.memory.space not in ("global", "shared"):
            self.source.type_error(
                node.args[0],
                f"{array.memory.name} belongs to one thread; atomics work on arrays that threads share",
                "Assign to the element.",
            )
        where = operands[1]
        items = where.items if isinstance(where, Items) else (where,)
        self.impure(node, "atomics")
        return (
            array.memory,
            self.index_values(array.memory, [(i, node.args[1]) for i in items], node),
            operands[2:],
        )

    def atomic(self, name: str, node: ast.Call) -> Operand:
        if name == "cas":
            memory, indices, (expected, desired) = self.place(node, 4)
            values = (
                self.stored(expected, memory.dtype, node.args[2]),
                self.stored(desired, memory.dtype, node.args[3]),
            )
            result = self.value(memory.dtype)
            self.emit(ir.AtomicCas(result, memory, indices, *values, None, self.location))
            return Typed(result)
        memory, indices, (operand,) = self.place(node, 3)
        if name in ("and", "or", "xor") and memory.dtype.is_float:
            self.source.type_error(
                node, f"atomic_{name} works on integers, not on {memory.dtype}", "Use an array of u32."
            )
        if memory.dtype is bool_:
            self.source.type_error(
                node, "atomics work on integers and floats, not on bools", "Use a u32 array."
            )
        value = self.stored(operand, memory.dtype, node.args[2])
        result = self.value(memory.dtype)
        self.emit(ir.Atomic(result, name, memory, indices, value, None, self.location))
        return Typed(result)

    def stored(self, operand: Operand, dtype: DType, node: ast.AST) -> ir.Value:
        """The operand converted to an element's type."""
        kind = self.strong_type(operand, node)
        if kind.is_float and not dtype.is_float:
            self.source.type_error(
                node,
                f"a {kind} does not go into an element of {dtype} by itself",
                f"Write gc.{dtype}({ast.unparse(node)}).",
            )
        return self.to(operand, dtype, node)

    # --- subgroups
    def subgroup(self, name: str, node: ast.Call) -> Operand:
        self.impure(node, "subgroup operations")
        arity = {"size": 0, "lane": 0, "broadcast": 2, "shuffle": 2, "shuffle_xor": 2}.get(name, 1)
        operands = self.arguments(node, arity)
        values: list[ir.Value] = []
        if name in ("any", "all", "ballot"):
            values = [self.condition(operands[0], node.args[0], f"subgroup_{name}")]
        elif operands:
            values = [self.number(operands[0], node.args[0])]
        if arity == 2:
            lane = self.number(operands[1], node.args[1])
            if not lane.dtype.is_integer:
                self.source.type_error(
                    node.args[1], f"a lane is an integer, not {lane.dtype}", "Cast it: gc.i32(lane)."
                )
            values.append(self.cast_value(lane, i32))
        dtype = {"size": i32, "lane": i32, "any": bool_, "all": bool_, "ballot": u64}.get(name) or values[
            0
        ].dtype
        if name in ("sum", "min", "max", "inclusive_sum", "exclusive_sum") and dtype is bool_:
            self.source.type_error(node, f"subgroup_{name} of a bool", "Cast it: gc.i32(flag).")
        result = self.value(dtype)
        self.emit(ir.Subgroup(result, name, tuple(values), self.location))
        return Typed(result)

    # --- device functions
    def call_function(self, function: DeviceFunction, node: ast.Call) -> Operand:
        raise NotImplementedError


__all__ += ["GpucoreError"]
