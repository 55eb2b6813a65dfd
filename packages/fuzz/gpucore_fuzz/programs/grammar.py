"""Random programs.

What an operation can leave wrong is seen only by a consumer that looks at more than the dtype has, so results are rarely
stored as they are: narrow ones feed comparisons, quotients, shifts, wider types, floats, indices and atomics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random

from gpucore_fuzz.programs.arithmetic import (
    BITS,
    FLOATS,
    INTS,
    SIGNED,
    Scalar,
    from_bits,
    join,
    limits,
    rounded,
)
from gpucore_fuzz.programs.evaluate import FUNCTIONS
from gpucore_fuzz.programs.tree import Expression

__all__ = ["Grammar", "Scope", "interesting"]

NUMBERS = (*INTS, *FLOATS)
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
_EXACT = (0.0, -0.0, 1.0, -1.0, 0.5, -2.0, 2.25, 3.0, 100.0)
"""Numbers that every float dtype has."""


def interesting(rng: Random, t: str) -> Scalar:
    """A number of a dtype, special more often than not."""
    if t == "bool":
        return rng.random() < 0.5
    if t in FLOATS:
        return _interesting_float(rng, t)
    low, high = limits(t)
    kind = rng.randrange(6)
    if kind <= 1:
        return rng.choice((low, high, low + 1, high - 1, 0, 1, 2, high // 2, high // 2 + 1))
    if kind == 2 and low < 0:
        return rng.choice((-1, -2, -3, -7))
    if kind == 3:  # borders of narrower dtypes
        border = 1 << rng.choice([b for b in (7, 8, 15, 16, 31, 32, 63) if b < BITS[t]] or [3])
        return min(
            max(rng.choice((border - 1, border, border + 1, -border, -border - 1, 1 - border)), low), high
        )
    if kind == 4:
        return rng.randint(low, high)
    return rng.randint(max(low, -9), 20)


def _interesting_float(rng: Random, t: str) -> float:
    kind = rng.randrange(8)
    if kind == 0:
        return rng.choice((0.0, -0.0, math.inf, -math.inf, math.nan))
    if kind == 1:  # around the borders of integers
        border = float(1 << rng.choice((7, 8, 15, 16, 31, 32, 63, 64)))
        return (
            rounded(rng.choice((border, -border, border - 1, border + 1, -border - 1)), t)
            if t != "f16"
            else rng.choice((127.0, 128.0, -129.0, 255.0, 256.0, 32768.0, 65504.0, -32768.0))
        )
    if kind == 2:
        value = from_bits(rng.getrandbits(BITS[t]), t)
        return float(value)
    if kind == 3:
        smallest = {"f16": 2.0**-24, "bf16": 2.0**-133, "f32": 2.0**-149, "f64": 5e-324}[t]
        normal = {"f16": 2.0**-14, "bf16": 2.0**-126, "f32": 2.0**-126, "f64": 2.0**-1022}[t]
        return rng.choice((smallest, normal, normal - smallest, -smallest, -normal, 3 * smallest))
    if kind == 4:
        return rounded(rng.randint(-20, 20) / 2, t)
    return rounded(rng.uniform(-10, 10), t)


class Scope:
    """The leaves that an expression may name, by dtype, and the arrays that it may index."""

    def __init__(self) -> None:
        self.leaves: dict[str, list[Expression]] = {}
        self.arrays: list[tuple[str, str, int]] = []
        self.functions: list[tuple[str, tuple[str, ...], str]] = []

    def copy(self) -> Scope:
        """A scope whose additions do not reach this one."""
        made = Scope()
        made.leaves = {t: list(found) for t, found in self.leaves.items()}
        made.arrays, made.functions = list(self.arrays), list(self.functions)
        return made

    def add(self, leaf: Expression) -> None:
        """Let expressions name a leaf."""
        self.leaves.setdefault(leaf.t, []).append(leaf)


class Grammar:
    """Random expressions over a scope."""

    def __init__(self, rng: Random, dtypes: Sequence[str]) -> None:
        self.rng = rng
        self.dtypes = tuple(dtypes)
        self.ints = [t for t in self.dtypes if t in INTS]
        self.floats = [t for t in self.dtypes if t in FLOATS]

    # --- leaves ---
    def dtype(self) -> str:
        """A number's dtype."""
        return self.rng.choice(self.dtypes)

    def constant(self, t: str, *, bare: bool = False) -> Expression:
        """A constant; ``bare`` ones are written without their dtype, which the other operand gives."""
        if bare:
            value: Scalar = self.rng.choice(_EXACT) if t in FLOATS else self._small(t)
            return Expression("const", t, name="bare", value=value)
        return Expression("const", t, value=interesting(self.rng, t))

    def _small(self, t: str) -> int:
        return self.rng.choice([v for v in (0, 1, 2, 3, 7, 100, -1, -5) if limits(t)[0] <= v])

    def leaf(self, t: str, scope: Scope) -> Expression:
        """A variable, a parameter, a constant, or one of those converted."""
        known = scope.leaves.get(t)
        if known and self.rng.random() < 0.8:
            return self.rng.choice(known)
        others = [leaf for s, found in scope.leaves.items() for leaf in found if s not in (t, "bool")]
        if t != "bool" and others and self.rng.random() < 0.7:
            return self.converted(self.rng.choice(others), t)
        return self.constant(t)

    def converted(self, e: Expression, t: str) -> Expression:
        """A cast, in one of its two spellings."""
        return Expression("cast", t, (e,), "cast" if self.rng.random() < 0.2 else "")

    # --- expressions ---
    def expression(self, t: str, scope: Scope, depth: int) -> Expression:
        """An expression of a dtype, at most so deep."""
        if depth <= 0 or self.rng.random() < 0.08:
            return self.leaf(t, scope)
        if t == "bool":
            return self._condition(scope, depth)
        if t in FLOATS:
            return self.rng.choice(self._float_rules())(t, scope, depth - 1)
        return self.rng.choice(self._int_rules(t))(t, scope, depth - 1)

    _Rule = Callable[[str, Scope, int], Expression]

    def _int_rules(self, t: str) -> list[_Rule]:
        rules: list[Grammar._Rule] = [*[self._int_binary] * 8, *[self._int_unary] * 4, *[self._cast] * 4]
        rules += (
            [self._mixed] * 2 + [self._choice] * 2 + [self._call, self._element, self._clamp, self._bitcast]
        )
        if t == "i32":
            rules += [self._count] * 4
        if t in ("i32", "u32") and "u32" in self.ints:
            rules.append(self._dot4)
        return rules

    def _float_rules(self) -> list[_Rule]:
        rules: list[Grammar._Rule] = [*[self._float_binary] * 8, *[self._float_unary] * 3, *[self._cast] * 3]
        rules += [self._mixed] * 2 + [self._choice] * 3 + [self._selected_constants] * 2
        return rules + [self._fma, self._call, self._element, self._clamp, self._bitcast, self._math]

    def _operands(self, t: str, scope: Scope, depth: int) -> tuple[Expression, Expression]:
        a = self.expression(t, scope, depth)
        if self.rng.random() < 0.15:
            b = self.constant(t, bare=True)
            return (a, b) if self.rng.random() < 0.6 else (b, a)
        if self.rng.random() < 0.15:
            return a, a
        return a, self.expression(t, scope, depth - self.rng.randrange(2))

    def _int_binary(self, t: str, scope: Scope, depth: int) -> Expression:
        op = self.rng.choice(
            (
                "+",
                "-",
                "*",
                "//",
                "//",
                "%",
                "%",
                "&",
                "|",
                "^",
                "<<",
                ">>",
                ">>",
                "min",
                "max",
                "min",
                "max",
                "**",
            )
        )
        if op in ("<<", ">>") and self.rng.random() < 0.7:
            amount = self.rng.choice((0, 1, 3, BITS[t] // 2, BITS[t] - 1, BITS[t]))
            amount = min(amount, limits(t)[1])
            return Expression(op, t, (self.expression(t, scope, depth), Expression("const", t, value=amount)))
        if op == "**":
            return Expression(op, t, (self.expression(t, scope, depth), self._exponent(t, scope)))
        return Expression(op, t, self._operands(t, scope, depth))

    def _exponent(self, t: str, scope: Scope) -> Expression:
        """A power: a constant below 0 is an error of the language, a number read from an array is not."""
        known = [leaf for leaf in scope.leaves.get(t, ()) if leaf.op == "load"]
        if known and self.rng.random() < 0.6:
            return self.rng.choice(known)
        return Expression("const", t, value=self.rng.choice((0, 1, 2, 3, 5, 8, 31)))

    def _int_unary(self, t: str, scope: Scope, depth: int) -> Expression:
        op = self.rng.choice(("neg", "neg", "~", "abs") if t in SIGNED else ("neg", "~", "abs"))
        return Expression(op, t, (self.expression(t, scope, depth),))

    def _count(self, t: str, scope: Scope, depth: int) -> Expression:
        source = self.rng.choice(self.ints)
        return Expression(
            self.rng.choice(("popcount", "clz")), "i32", (self.expression(source, scope, depth),)
        )

    def _dot4(self, t: str, scope: Scope, depth: int) -> Expression:
        """Words of u32, whose bytes are read as the sum's dtype says."""
        words = tuple(self._typed(self.expression("u32", scope, depth - 1)) for _ in range(2))
        return Expression("dot4", t, (*words, self._typed(self.expression(t, scope, depth - 1))))

    def _float_binary(self, t: str, scope: Scope, depth: int) -> Expression:
        op = self.rng.choice(("+", "-", "*", "/", "/", "//", "%", "min", "max"))
        return Expression(op, t, self._operands(t, scope, depth))

    def _float_unary(self, t: str, scope: Scope, depth: int) -> Expression:
        op = self.rng.choice(("neg", "neg", "abs", "floor", "ceil", "trunc", "round", "sqrt"))
        return Expression(op, t, (self.expression(t, scope, depth),))

    def _fma(self, t: str, scope: Scope, depth: int) -> Expression:
        a, b = self._operands(t, scope, depth)
        return Expression("fma", t, (*(self._typed(x) for x in (a, b)), self.expression(t, scope, depth)))

    @staticmethod
    def _typed(e: Expression) -> Expression:
        """A constant with its dtype, where nothing else gives it one."""
        return Expression("const", e.t, value=e.value) if e.op == "const" else e

    def _cast(self, t: str, scope: Scope, depth: int) -> Expression:
        source = self.rng.choice((*self.dtypes, *self.dtypes, "bool"))
        return self.converted(self.expression(source, scope, depth), t)

    def _bitcast(self, t: str, scope: Scope, depth: int) -> Expression:
        others = [s for s in self.dtypes if BITS[s] == BITS[t] and s != t]
        if not others:
            return self._cast(t, scope, depth)
        return Expression("bitcast", t, (self.expression(self.rng.choice(others), scope, depth),))

    def _mixed(self, t: str, scope: Scope, depth: int) -> Expression:
        """Operands of two dtypes that have this one together."""
        pairs = [(a, b) for a in self.dtypes for b in self.dtypes if a != b and join(a, b) == t]
        if not pairs:
            return self._cast(t, scope, depth)
        a, b = (self._implicit(self.expression(s, scope, depth), t) for s in self.rng.choice(pairs))
        ops = ("+", "-", "*", "//", "%", "min", "max") if t in INTS else ("+", "-", "*", "/", "min", "max")
        return Expression(self.rng.choice(ops), t, (a, b))

    @staticmethod
    def _implicit(e: Expression, t: str) -> Expression:
        return e if e.t == t else Expression("implicit", t, (e,))

    def _choice(self, t: str, scope: Scope, depth: int) -> Expression:
        condition = self._condition(scope, min(depth, 2))
        op = "select" if self.rng.random() < 0.4 else "choice"
        return Expression(
            op, t, (condition, self.expression(t, scope, depth), self.expression(t, scope, depth))
        )

    def _selected_constants(self, t: str, scope: Scope, depth: int) -> Expression:
        """A choice between constants, for whose signs and zeros drivers have short ways."""
        condition = self._condition(scope, min(depth, 2))
        a, b = (Expression("const", t, value=self.rng.choice(_EXACT)) for _ in range(2))
        if self.rng.random() < 0.3:
            b = Expression("const", t, name="bare", value=b.value)
        return Expression("select" if self.rng.random() < 0.4 else "choice", t, (condition, a, b))

    def _clamp(self, t: str, scope: Scope, depth: int) -> Expression:
        return Expression("clamp", t, tuple(self.expression(t, scope, depth - n) for n in range(3)))

    def _call(self, t: str, scope: Scope, depth: int) -> Expression:
        fitting = [f for f in scope.functions if f[2] == t]
        if not fitting:
            return self._choice(t, scope, depth)
        name, parameters, _ = self.rng.choice(fitting)
        return Expression("call", t, tuple(self.expression(s, scope, depth - 1) for s in parameters), name)

    def _element(self, t: str, scope: Scope, depth: int) -> Expression:
        fitting = [a for a in scope.arrays if a[1] == t]
        if not fitting:
            return self._cast(t, scope, depth)
        name, _, size = self.rng.choice(fitting)
        return Expression("element", t, (self.index(size, scope, depth),), name)

    def _math(self, t: str, scope: Scope, depth: int) -> Expression:
        name = self.rng.choice(FUNCTIONS)
        count = 2 if name in ("atan2", "pow") else 1
        args = tuple(self._typed(self.expression(t, scope, min(depth, 1))) for _ in range(count))
        if name == "pow" or self.rng.random() < 0.3:  # powers of wild numbers are mostly infinite
            low, high = (Expression("const", t, value=v) for v in (self.rng.choice((-3.0, 0.5)), 3.0))
            args = tuple(Expression("clamp", t, (a, low, high)) for a in args)
        return Expression("math", t, args, name, self.rng.choice((1.0, 4.0, 8.0)))

    def index(self, size: int, scope: Scope, depth: int) -> Expression:
        """An integer below a size that is a power of two, in one of the ways that see bits beyond a dtype's width."""
        t = self.rng.choice([s for s in self.ints if s != "u64"] or ["i32"])
        e = self.expression(t, scope, depth)
        width = size.bit_length() - 1
        kind = self.rng.randrange(3)
        if kind == 0 and not t.startswith("i"):
            return Expression(">>", t, (e, Expression("const", t, value=BITS[t] - width)))
        if kind == 1:
            low, high = (Expression("const", t, value=v) for v in (0, size - 1))
            return Expression("clamp", t, (e, low, high))
        return Expression("&", t, (e, Expression("const", t, value=size - 1)))

    # --- conditions ---
    def _condition(self, scope: Scope, depth: int) -> Expression:
        kind = self.rng.randrange(10)
        if depth > 1 and kind == 0:
            return Expression(
                self.rng.choice(("and", "or", "&", "|", "^")), "bool",
                (self._condition(scope, depth - 1), self._condition(scope, depth - 1)),
            )  # fmt: skip
        if depth > 1 and kind == 1:
            return Expression("not", "bool", (self._condition(scope, depth - 1),))
        if kind == 2 and self.floats:
            e = self._typed(self.expression(self.rng.choice(self.floats), scope, depth - 1))
            return Expression(self.rng.choice(("isnan", "isinf")), "bool", (e,))
        if kind == 3:
            return Expression("cast", "bool", (self.expression(self.dtype(), scope, depth - 1),))
        known = scope.leaves.get("bool")
        if kind == 4 and known:
            return self.rng.choice(known)
        a, b = self._operands(self.dtype(), scope, depth - 1)
        return Expression(self.rng.choice(COMPARISONS), "bool", (a, b))
