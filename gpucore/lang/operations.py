"""Calls of operations on numbers, vectors and complex numbers."""

from __future__ import annotations

import ast
import builtins as python
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NoReturn, TypeGuard

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bool_, i32, u16, u32, u64
from gpucore.ir.ops import LIBRARY, MATH_BINARY, MATH_UNARY
from gpucore.ir.records import RecordType, complex_of
from gpucore.lang.conversions import Conversions
from gpucore.lang.expressions import Arithmetic, Evaluated, Evaluator
from gpucore.lang.lookups import Lookups
from gpucore.lang.operands import Array, Items, Literal, Operand, Record, Records, Typed, describe
from gpucore.lang.record_arithmetic import RecordArithmetic
from gpucore.lang.record_values import RecordValues
from gpucore.lang.state import FunctionState

__all__ = ["FLOAT_UNARY", "Operations", "RecordFunctions"]


OF_COMPLEX = ("exp", "log", "sqrt", "sin", "cos")
Element = Callable[[ir.Value], ir.Value]


@dataclass(frozen=True, slots=True)
class RecordFunctions:
    """Lowers calls of functions on records."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions
    arithmetic: Arithmetic
    records: RecordValues
    operators: RecordArithmetic

    def builtins(self) -> Mapping[str, Callable[[ast.Call], Operand]]:
        """What lowers a call of each builtin."""
        return {"dot": self.dot, "cross": self.cross, "length": self.length, "conj": self.conj}

    def made(self, record: RecordType, node: ast.Call) -> Operand:
        """``gc.vec3[gc.f32](x, y, z)``, ``P(pos, mass=1.0)``, ``gc.complex64(re, im)``."""
        if any(isinstance(a, ast.Starred) for a in node.args) or any(k.arg is None for k in node.keywords):
            self.state.source.syntax_error(
                node, "unpacking with * is not part of the kernel language", "Name each argument."
            )
        nodes = [(None, a) for a in node.args] + [(k.arg, k.value) for k in node.keywords]
        return self.records.made(record, [(name, self.evaluator.expression(a), a) for name, a in nodes], node)

    def selected(self, condition: ir.Value, a: Operand, b: Operand, node: ast.AST) -> Operand:
        """``a`` where a condition holds, else ``b``."""
        kind = self.operators.common_type(a, b, node)
        sides = (self.records.converted(side, kind, node) for side in (a, b))
        return self.operators.selected(condition, *sides)

    # --- vectors
    def dot(self, node: ast.Call) -> Operand:
        a, b = self._vectors(node, 2)
        return self.operators.dot(self.arithmetic.combine, a, b, node)

    def cross(self, node: ast.Call) -> Operand:
        a, b = self._vectors(node, 2)
        if len(a.items) != 3:
            self.state.source.type_error(
                node,
                f"cross works on vectors of 3 elements, not of {len(a.items)}",
                "Write a.x * b.y - a.y * b.x.",
            )
        return self.operators.cross(self.arithmetic.combine, a, b, node)

    def length(self, node: ast.Call) -> Operand:
        (v,) = self._vectors(node, 1)
        square = self.conversions.number(self.operators.dot(self.arithmetic.combine, v, v, node), node)
        if not square.dtype.is_float:
            self.state.source.type_error(
                node,
                f"length works on vectors of floats, not of {square.dtype}",
                "Convert it: gc.vec3[gc.f32](v).",
            )
        return Typed(self.state.writer.op("sqrt", square))

    def _vectors(self, node: ast.Call, count: int) -> list[Record]:
        operands = self.evaluator.arguments(node, count)
        found: list[Record] = []
        for operand, at in zip(operands, node.args, strict=True):
            if not _is_vector(operand):
                self.state.source.type_error(
                    at, f"{ast.unparse(node.func)} works on vectors, not on {describe(operand)}",
                    "Make one: gc.vec3[gc.f32](x, y, z).",
                )  # fmt: skip
            self.check_lengths([*found, operand], at)
            found.append(operand)
        return found

    def check_lengths(self, vectors: list[Record], at: ast.AST) -> None:
        """Refuse vectors of two lengths."""
        first, last = (len(vectors[k].items) for k in (0, -1))
        if first != last:
            self.state.source.type_error(
                at,
                f"vectors of {first} and of {last} elements do not go together",
                "Use vectors of one length.",
            )

    # --- complex numbers
    def conj(self, node: ast.Call) -> Operand:
        (operand,) = self.evaluator.arguments(node, 1)
        if not isinstance(operand, Record) or not _is_complex(operand):
            self.state.source.type_error(
                node.args[0], f"conj works on complex numbers, not on {describe(operand)}",
                "Make one: gc.complex64(re, im).",
            )  # fmt: skip
        real, imag = operand.items
        return Record(operand.type, (real, self.operators.negative(imag, node)))

    def unary(self, name: str, operand: Record, node: ast.Call, element: Element) -> Operand:
        """A function of one number on a record: that of a complex number, or of each element of a vector."""
        if _is_vector(operand):
            items = [element(self.conversions.number(item, node)) for item in operand.items]
            return Record(operand.type, tuple(map(Typed, items)))
        if not _is_complex(operand):
            self._refuse(name, operand, node)
        settled = self.records.settled(operand)
        a, b = (self.conversions.number(item, node) for item in settled.items)
        if name == "abs":
            return Typed(self.state.writer.op("hypot", a, b))
        if name not in OF_COMPLEX:
            self._refuse(name, operand, node)
        parts = {
            "exp": self._exp,
            "log": self._log,
            "sqrt": self.operators.root,
            "sin": self.operators.sine,
            "cos": self.operators.cosine,
        }[name](a, b)
        return Record(complex_of(a.dtype), tuple(map(Typed, parts)))

    def _refuse(self, name: str, operand: Operand, node: ast.Call) -> NoReturn:
        self.state.source.type_error(
            node,
            f"{name} is not defined on {describe(operand)}",
            f"On complex numbers there are abs, conj, {', '.join(OF_COMPLEX)} and **.",
        )

    def _exp(self, a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
        op = self.state.writer.op
        size = op("exp", a)
        return op("mul", size, op("cos", b)), op("mul", size, op("sin", b))

    def _log(self, a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
        op = self.state.writer.op
        return op("log", op("hypot", a, b)), op("atan2", b, a)


def _is_vector(operand: Operand) -> TypeGuard[Record]:
    return isinstance(operand, Record) and operand.type is not None and operand.type.record == "vec"


def _is_complex(operand: Record) -> bool:
    return operand.type is None or operand.type.record == "complex"


FLOAT_UNARY = frozenset(
    {
        *MATH_UNARY,
        "sqrt",
        *(name for name, op in LIBRARY.items() if op.operands == ("float",) and "frexp" not in name),
    }
)
FLOAT_BINARY = (*MATH_BINARY, *(name for name, op in LIBRARY.items() if op.operands == ("float", "float")))


@dataclass(frozen=True, slots=True)
class Operations:
    """Lowers calls that compute on their arguments alone."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions
    arithmetic: Arithmetic
    lookups: Lookups
    records: RecordFunctions

    def builtins(self) -> Mapping[str, Callable[[ast.Call], Operand]]:
        """What lowers a call of each builtin."""
        kinds: list[tuple[Callable[[str, ast.Call], Operand], tuple[str, ...]]] = [
            (self.float_unary, tuple(FLOAT_UNARY)),
            (self.float_test, ("isnan", "isinf")),
            (self.bit_count, ("popcount", "clz")),
        ]
        elements: list[tuple[Callable[[Operations, str, ast.Call], Operand], tuple[str, ...]]] = [
            (Operations.float_binary, FLOAT_BINARY),
            (Operations.rounding, ("floor", "ceil", "trunc", "round")),
            (Operations.extreme, ("min", "max")),
            (Operations.number_extreme, ("fmin", "fmax")),
            (Operations.clamp, ("clamp",)),
            (Operations.fma, ("fma",)),
            (Operations.copysign, ("copysign",)),
            (Operations.ldexp, ("ldexp",)),
        ]
        return {
            **{name: partial(lower, name) for lower, names in kinds for name in names},
            **{name: partial(self.by_elements, lower, name) for lower, names in elements for name in names},
            "abs": self.abs,
            "dot4": self.dot4,
            "select": self.select,
            "frexp": self.frexp,
            "cdiv": self.cdiv,
            "divmod": self.divmod,
            "len": self.len,
        }

    def by_elements(
        self, lower: Callable[[Operations, str, ast.Call], Operand], name: str, node: ast.Call
    ) -> Operand:
        """A function of numbers, on vectors by elements, with numbers beside them."""
        given = {at: self.evaluator.expression(at) for at in node.args if not isinstance(at, ast.Starred)}
        vectors = {at: o for at, o in given.items() if _is_vector(o)} if name != "pow" else {}

        def on(operands: dict[ast.expr, Operand]) -> Operand:
            evaluator = Evaluated(self.state, self.evaluator.records, given=operands)
            return lower(replace(self, evaluator=evaluator), name, node)

        if not vectors:
            return on(given)
        for at, vector in vectors.items():
            self.records.check_lengths([*vectors.values(), vector], at)
        columns = zip(*(vector.items for vector in vectors.values()), strict=True)
        found = [on({**given, **dict(zip(vectors, column, strict=True))}) for column in columns]
        return self.records.operators.vector(found, node)

    def float_test(self, name: str, node: ast.Call) -> Operand:
        (operand,) = self.evaluator.arguments(node, 1)
        value = self.conversions.number(operand, node)
        return Typed(self.state.writer.op(name, value)) if value.dtype.is_float else Literal(False)

    def bit_count(self, name: str, node: ast.Call) -> Operand:
        (operand,) = self.evaluator.arguments(node, 1)
        value = self.conversions.number(operand, node)
        if not value.dtype.is_integer:
            self.state.source.type_error(
                node, f"{name} works on integers, not on {value.dtype}", "Use gc.bitcast(x, gc.u32)."
            )
        return Typed(self.state.writer.op(name, value))

    def float_unary(self, name: str, node: ast.Call) -> Operand:
        (operand,) = self.evaluator.arguments(node, 1)
        if isinstance(operand, Record):
            return self.records.unary(name, operand, node, lambda x: self.state.writer.op(name, x))
        value = self.state.writer.op(name, self._floating(operand, node.args[0], name))
        return self.conversions.result(value, value.dtype, operand)

    def _floating(self, operand: Operand, node: ast.AST, name: str) -> ir.Value:
        """The operand as a float; integers are an error, since the width would be a guess."""
        if isinstance(operand, Literal):
            return self.conversions.number(Literal(float(operand.value)), node)
        value = self.conversions.number(operand, node)
        if not value.dtype.is_float:
            self.state.source.type_error(
                node,
                f"{name} works on floats, not on {value.dtype}",
                f"Write {name}(gc.{self.state.library.floats.default}({ast.unparse(node)})).",
            )
        return value

    def float_binary(self, name: str, node: ast.Call) -> Operand:
        a, b = self.evaluator.arguments(node, 2)
        if name == "pow" and (isinstance(a, Record) or isinstance(b, Record)):
            return self.arithmetic.any("pow", a, b, node, node.args[0], node.args[1])
        if name == "pow" and not self.conversions.strong_type(a, node.args[0]).is_float:
            return self.arithmetic.combine("pow", a, b, node, node.args[0], node.args[1])
        dtype = self.conversions.common([(a, node.args[0]), (b, node.args[1])], node, name)
        if not dtype.is_float:
            if not (isinstance(a, Literal) and isinstance(b, Literal)):
                self.state.source.type_error(
                    node,
                    f"{name} works on floats, not on {dtype}",
                    f"Cast: gc.{self.state.library.floats.default}(x).",
                )
            dtype = self.conversions.strong_type(Literal(0.0), node)
        self._whole(name, dtype, node)
        x, y = self.conversions.to(a, dtype, node.args[0]), self.conversions.to(b, dtype, node.args[1])
        return self.conversions.result(self.state.writer.op(name, x, y), dtype, a, b)

    def _whole(self, name: str, dtype: DType, node: ast.AST) -> None:
        """Refuse f16 and bf16 where going through f32 would give another result."""
        if name in LIBRARY and not LIBRARY[name].halves and dtype.bits < 32:
            self.state.source.type_error(
                node, f"{name} works on f32 and f64, not on {dtype}", "Cast it: gc.f32(x)."
            )

    def number_extreme(self, name: str, node: ast.Call) -> Operand:
        """``fmin`` and ``fmax``: as ``min`` and ``max``, but a NaN gives way to a number."""
        a, b = self.evaluator.arguments(node, 2)
        dtype = self.conversions.common([(a, node.args[0]), (b, node.args[1])], node, name)
        if not dtype.is_float:
            self.state.source.type_error(
                node, f"{name} works on floats, not on {dtype}", f"Write {name[1:]}."
            )
        op = self.state.writer.op
        x, y = self.conversions.to(a, dtype, node.args[0]), self.conversions.to(b, dtype, node.args[1])
        both = op(name[1:], x, y)
        result = op("select", op("isnan", x), y, op("select", op("isnan", y), x, both))
        return self.conversions.result(result, dtype, a, b)

    def copysign(self, name: str, node: ast.Call) -> Operand:
        a, b = self.evaluator.arguments(node, 2)
        dtype = self.conversions.common([(a, node.args[0]), (b, node.args[1])], node, name)
        if not dtype.is_float:
            self.state.source.type_error(node, f"{name} works on floats, not on {dtype}", "Cast: gc.f32(x).")
        writer = self.state.writer
        word = next(d for d in (u16, u32, u64) if d.bits == dtype.bits)
        x, y = self.conversions.to(a, dtype, node.args[0]), self.conversions.to(b, dtype, node.args[1])
        sign = writer.constant(1 << (dtype.bits - 1), word)
        rest = writer.constant((1 << (dtype.bits - 1)) - 1, word)
        magnitude = writer.op("and", writer.op("bitcast", x, dtype=word), rest)
        signed = writer.op("or", magnitude, writer.op("and", writer.op("bitcast", y, dtype=word), sign))
        return self.conversions.result(writer.op("bitcast", signed, dtype=dtype), dtype, a, b)

    def ldexp(self, name: str, node: ast.Call) -> Operand:
        a, n = self.evaluator.arguments(node, 2)
        x = self._floating(a, node.args[0], name)
        self._whole(name, x.dtype, node)
        exponent = self.conversions.number(n, node.args[1])
        if not exponent.dtype.is_integer:
            self.state.source.type_error(
                node.args[1],
                f"the exponent of ldexp is an integer, not {exponent.dtype}",
                "Cast it: gc.i32(n).",
            )
        writer = self.state.writer
        if exponent.dtype.bits > 32 or exponent.dtype is u32:
            # past these bounds every result is zero or infinite
            low, high = (-100_000 if exponent.dtype.is_signed else 0), 100_000
            exponent = writer.op("min", exponent, writer.constant(high, exponent.dtype))
            exponent = writer.op("max", exponent, writer.constant(low, exponent.dtype))
        result = writer.op(name, x, writer.cast(exponent, i32))
        return self.conversions.result(result, x.dtype, a)

    def frexp(self, node: ast.Call) -> Operand:
        (a,) = self.evaluator.arguments(node, 1)
        x = self._floating(a, node.args[0], "frexp")
        fraction = self.state.writer.op("frexp_fraction", x)
        exponent = self.state.writer.op("frexp_exponent", x, dtype=i32)
        return Items((self.conversions.result(fraction, x.dtype, a), Typed(exponent)))

    def rounding(self, name: str, node: ast.Call) -> Operand:
        (operand,) = self.evaluator.arguments(node, 1)
        value = self.conversions.number(operand, node)
        if value.dtype is bool_:
            self.state.source.type_error(node, f"{name} of a bool", "Cast it: gc.f32(flag).")
        return Typed(self.state.writer.op(name, value)) if value.dtype.is_float else Typed(value)

    def extreme(self, name: str, node: ast.Call) -> Operand:
        operands = self.evaluator.arguments(node, 2, 64)
        pairs = list(zip(operands, node.args, strict=True))
        if all(isinstance(o, Literal) for o in operands):
            return self.arithmetic.fold(node, name, getattr(python, name), *(o.value for o in operands))  # type: ignore[union-attr]
        kind = self.conversions.common_type(pairs, node, name)  # type: ignore[arg-type]
        dtype = self.state.strong(kind)
        if dtype is bool_:
            self.state.source.type_error(
                node, f"{name} of bools", f"Write {'and' if name == 'min' else 'or'}."
            )
        values = [self.conversions.to(o, dtype, n) for o, n in pairs]
        result = values[0]
        for value in values[1:]:
            result = self.state.writer.op(name, result, value)
        return self.conversions.result(result, kind, *operands)

    def abs(self, node: ast.Call) -> Operand:
        (operand,) = self.evaluator.arguments(node, 1)
        if isinstance(operand, Literal):
            return self.arithmetic.fold(node, "abs", python.abs, operand.value)
        if isinstance(operand, Record):
            return self.records.unary("abs", operand, node, lambda x: self.state.writer.op("abs", x))
        value = self.conversions.number(operand, node)
        if value.dtype is bool_:
            self.state.source.type_error(node, "abs of a bool", "Cast it: gc.i32(flag).")
        if value.dtype.kind != "uint":
            value = self.state.writer.op("abs", value)
        return self.conversions.result(value, self.conversions.type_of(operand, node), operand)

    def clamp(self, name: str, node: ast.Call) -> Operand:
        operands = self.evaluator.arguments(node, 3)
        dtype = self.conversions.common(list(zip(operands, node.args, strict=True)), node, name)
        x, low, high = (self.conversions.to(o, dtype, n) for o, n in zip(operands, node.args, strict=True))
        result = self.state.writer.op("min", self.state.writer.op("max", x, low), high)
        return self.conversions.result(result, dtype, *operands)

    def fma(self, name: str, node: ast.Call) -> Operand:
        operands = self.evaluator.arguments(node, 3)
        dtype = self.conversions.common(list(zip(operands, node.args, strict=True)), node, name)
        if not dtype.is_float:
            self.state.source.type_error(node, f"{name} works on floats, not on {dtype}", "Write a * b + c.")
        values = [self.conversions.to(o, dtype, n) for o, n in zip(operands, node.args, strict=True)]
        return self.conversions.result(self.state.writer.op(name, *values), dtype, *operands)

    def dot4(self, node: ast.Call) -> Operand:
        operands = self.evaluator.arguments(node, 3)
        words = [self._word(o, at) for o, at in zip(operands, node.args, strict=True)]
        kinds = [word.dtype for word in words]
        for position, other in ((0, 1), (1, 0)):
            if isinstance(operands[position], Literal):
                kinds[position] = kinds[other]  # a constant is read as the word beside it
        first, second, total = kinds
        if first is u32 and second is u32:
            name = "dot4_unsigned" if total is u32 else "dot4_signed"
        elif first is i32 and second is i32:
            name = "dot4_signed"
        else:
            name = "dot4_mixed"
            if second is u32:
                words[:2] = words[1], words[0]
        writer = self.state.writer
        bits = [w if w.dtype is u32 else writer.op("bitcast", w, dtype=u32) for w in words]
        result = writer.op(name, *bits)
        return Typed(result if total is u32 else writer.op("bitcast", result, dtype=i32))

    def _word(self, operand: Operand, node: ast.AST) -> ir.Value:
        if isinstance(operand, Literal) and type(operand.value) is int and operand.value >= 1 << 31:
            return self.conversions.to(operand, u32, node)
        value = self.conversions.number(operand, node)
        if value.dtype not in (i32, u32):
            self.state.source.type_error(
                node,
                f"dot4 takes words of i32 or u32 that hold four bytes, not {value.dtype}",
                f"Cast it: gc.u32({ast.unparse(node)}), or use an array of u32 on the same bytes.",
            )
        return value

    def select(self, node: ast.Call) -> Operand:
        c, a, b = self.evaluator.arguments(node, 3)
        condition = self.conversions.condition(c, node.args[0], "select")
        if isinstance(a, Record) or isinstance(b, Record):
            return self.records.selected(condition, a, b, node)
        kind = self.conversions.common_type(
            [(a, node.args[1]), (b, node.args[2])], node, "the two values of select"
        )
        dtype = self.state.strong(kind)
        result = self.state.writer.op(
            "select",
            condition,
            self.conversions.to(a, dtype, node.args[1]),
            self.conversions.to(b, dtype, node.args[2]),
        )
        return self.conversions.result(result, kind, a, b)

    def cdiv(self, node: ast.Call) -> Operand:
        a, b = self.evaluator.arguments(node, 2)
        at_a, at_b = node.args
        if isinstance(a, Literal) and isinstance(b, Literal):
            return self.arithmetic.fold(node, "cdiv", lambda x, y: -(-x // y), a.value, b.value)
        if any(self.conversions.strong_type(o, at).is_float for o, at in ((a, at_a), (b, at_b))):
            self.state.source.type_error(node, "cdiv works on integers", "Write gc.ceil(a / b).")
        less = (
            Literal(b.value - 1)
            if isinstance(b, Literal)
            else self.arithmetic.combine("sub", b, Literal(1), node, at_b, at_b)
        )
        return self.arithmetic.combine(
            "floordiv", self.arithmetic.combine("add", a, less, node, at_a, at_b), b, node, at_a, at_b
        )

    def divmod(self, node: ast.Call) -> Operand:
        a, b = self.evaluator.arguments(node, 2)
        at_a, at_b = node.args
        if isinstance(a, Literal) and isinstance(b, Literal):
            values = a.value, b.value
            return Items(
                (
                    self.arithmetic.fold(node, "//", operator.floordiv, *values),
                    self.arithmetic.fold(node, "%", operator.mod, *values),
                )
            )
        return Items(
            (
                self.arithmetic.combine("floordiv", a, b, node, at_a, at_b),
                self.arithmetic.combine("mod", a, b, node, at_a, at_b),
            )
        )

    def len(self, node: ast.Call) -> Operand:
        (operand,) = self.evaluator.arguments(node, 1)
        if isinstance(operand, Items):
            return Literal(len(operand.items))
        if isinstance(operand, (Array, Records)):
            return self.lookups.extent(operand, 0)
        self.state.source.type_error(
            node, f"{describe(operand)} has no length", "Arrays and tuples have one."
        )
