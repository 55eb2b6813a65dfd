"""Assignments of many kinds to a few variables of mixed dtypes, each of which uses earlier ones."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from gpucore_fuzz.programs.arithmetic import BITS, FLOATS, INTS, SIGNED, limits
from gpucore_fuzz.programs.building import all_ones, bare, cast, choice, const, of, size_mask, typed, var
from gpucore_fuzz.programs.grammar import COMPARISONS, Grammar, Scope, interesting
from gpucore_fuzz.programs.tree import Assign, Expression, Statement

__all__ = ["Row"]


class Row:
    """Variables that statements go on with.

    Parameters
    ----------
    rng : Random
    grammar : Grammar
    scope : Scope
        What else expressions may name.
    name : callable
        A new name with a stem.
    """

    def __init__(self, rng: Random, grammar: Grammar, scope: Scope, name: Callable[[str], str]) -> None:
        self.rng, self.grammar, self.scope, self.new = rng, grammar, scope, name
        self.variables: list[Expression] = []
        self.fixed: list[Expression] = []
        """What is read and never assigned: inputs, a function's parameters."""

    # --- variables and operands ---
    def begun(self, t: str, value: Expression | None = None) -> tuple[Expression, Statement]:
        """A new variable and the statement that gives it its first value."""
        name = self.new("w")
        first = typed(value or self.grammar.expression(t, self.scope, 1))
        made = var(name, t)
        self.variables.append(made)
        for _ in range(3):
            self.scope.add(made)
        return made, Assign(name, t, cast(first, t))

    def of_kind(self, dtypes: tuple[str, ...]) -> Expression | None:
        """A variable of one of some dtypes."""
        found = [v for v in self.variables if v.t in dtypes]
        return self.rng.choice(found) if found else None

    def operand(self, t: str, other: Expression | None = None) -> Expression:
        """A variable in a dtype, of which it mostly is, and seldom the other operand."""
        if self.rng.random() < 0.15:
            return typed(self.grammar.leaf(t, self.scope))
        known = [*self.variables, *self.fixed]
        if other is not None and self.rng.random() < 0.95:
            known = [v for v in known if v != other] or known
        same = [v for v in known if v.t == t]
        return self.rng.choice(same) if same and self.rng.random() < 0.6 else cast(self.rng.choice(known), t)

    def pair(self, t: str) -> tuple[Expression, Expression]:
        """Two operands."""
        a = self.operand(t)
        return a, self.operand(t, a)

    def compared(self, t: str) -> Expression:
        """A comparison of two operands, or of one with a number."""
        a, b = self.pair(t)
        if a == b or self.rng.random() < 0.2:
            b = (
                const(t, float(interesting(self.rng, t)))
                if t in FLOATS
                else const(t, interesting(self.rng, t))
            )
        return of(self.rng.choice(COMPARISONS), a, b, t="bool")

    def condition(self) -> Expression:
        """A comparison, or two of them."""
        a = self.compared(self.rng.choice(self.variables).t)
        if self.rng.random() < 0.6:
            return a
        b = self.compared(self.rng.choice(self.variables).t)
        return of(self.rng.choice(("and", "or", "&", "|", "^")), a, b, t="bool")

    # --- one assignment ---
    def statements(self) -> list[Statement]:
        """An assignment to a variable of the row, seldom two."""
        v = self.rng.choice(self.variables)
        if v.t not in FLOATS and self.rng.random() < 0.12:
            return self._carried(v)
        return [Assign(v.name, v.t, self.value(v))]

    def value(self, v: Expression) -> Expression:
        """What a variable becomes."""
        if self.rng.random() < 0.12:
            return cast(typed(self.grammar.expression(v.t, self.scope, 2)), v.t)
        rules = _FLOAT_RULES if v.t in FLOATS else _INT_RULES
        return cast(self.rng.choice(rules)(self, v), v.t)

    def _carried(self, low: Expression) -> list[Statement]:
        """Two limbs, whose carry or borrow is a comparison."""
        high = next((v for v in self.variables if v.t == low.t and v != low), low)
        x, y = self.operand(low.t, low), self.operand(low.t)
        if x == low:
            x = const(low.t, self.rng.getrandbits(BITS[low.t]))
        if self.rng.random() < 0.5:
            carry = cast(of("<", low, x, t="bool"), low.t)
            return [
                Assign(low.name, low.t, of("+", low, x)),
                Assign(high.name, low.t, of("+", of("+", high, y), carry)),
            ]
        borrow = choice(of("<", low, x, t="bool"), const(low.t, 1), const(low.t, 0))
        name = self.new("w")
        return [
            Assign(name, low.t, borrow),
            Assign(low.name, low.t, of("-", low, x)),
            Assign(high.name, low.t, of("-", of("-", high, y), var(name, low.t))),
        ]

    # --- integers ---
    def _amount(self, t: str) -> Expression:
        if self.rng.random() < 0.5:
            return const(t, self.rng.randrange(1, BITS[t]))
        return of("&", self.operand(t), size_mask(t))

    def _odd(self, t: str) -> Expression:
        return const(t, self.rng.getrandbits(BITS[t]) | 1)

    def _hash(self, v: Expression) -> Expression:
        return of("*", of("^", v, of(">>", v, self._amount(v.t))), self._odd(v.t))

    def _multiplied(self, v: Expression) -> Expression:
        mask = self.rng.choice((1, 3, 0xF, 0x55, 0x7F, limits(v.t)[1]))
        a = of("+", of("*", v, self._odd(v.t)), self.operand(v.t, v))
        return of("&", a, const(v.t, mask)) if self.rng.random() < 0.6 else a

    def _rotated(self, v: Expression) -> Expression:
        x, t = self.operand(v.t), v.t
        k = self._amount(t)
        left = of("<<", x, k)
        right = of(">>", x, of("-", bare(t, BITS[t]) if BITS[t] <= limits(t)[1] else const(t, 127), k))
        return of(self.rng.choice("|^+"), left, right)

    def _shifted(self, v: Expression) -> Expression:
        a = of(self.rng.choice(("<<", ">>", ">>")), self.operand(v.t), self._amount(v.t))
        return of(self.rng.choice(("^", "+", "-", "|", "&")), v, a)

    def _bits(self, v: Expression) -> Expression:
        x, one = self.operand(v.t), bare(v.t, 1)
        b = self.operand(v.t)
        return self.rng.choice(
            (
                of("&", x, of("neg", x)),
                of("&", x, of("-", x, one)),
                of("&", of("~", x), of("+", x, one)),
                of("^", x, of(">>", x, one)),
                of("+", of("&", x, b), of(">>", of("^", x, b), one)),
                of(">>", x, const(v.t, min(BITS[v.t] - 1, limits(v.t)[1]))),
                of("-", of("|", x, b), of("^", x, b)),
            )
        )

    def _masked(self, v: Expression) -> Expression:
        """A choice by a mask of all ones or none."""
        mask = of("neg", cast(self.compared(v.t), v.t))
        return of("|", of("&", v, mask), of("&", self.operand(v.t, v), of("~", mask)))

    def _saturated(self, v: Expression) -> Expression:
        x = self.operand(v.t, v)
        total = of("+", v, x)
        if v.t in SIGNED:
            wide = f"i{min(2 * BITS[v.t], 64)}"
            total = of(self.rng.choice("+-*"), cast(v, wide), cast(x, wide))
            low, high = limits(v.t)
            return cast(of("clamp", total, const(wide, low), const(wide, high)), v.t)
        if self.rng.random() < 0.5:
            return choice(of("<", total, x, t="bool"), all_ones(v.t), total)
        return of("-", of("max", v, x), x)

    def _chained(self, v: Expression) -> Expression:
        t = self.rng.choice(self.variables).t
        a, b = (cast(self.compared(t), v.t) for _ in range(2))
        both = of("+", a, of("*", b, const(v.t, 2)))
        return of(self.rng.choice(("+", "^", "-")), v, both)

    def _chosen(self, v: Expression) -> Expression:
        a, b, c = (self.operand(v.t) for _ in range(3))
        return choice(self.condition(), a, choice(self.condition(), b, c))

    def _counted(self, v: Expression) -> Expression:
        x = self.of_kind(INTS) or self.operand("u32")
        return of("+", v, cast(of(self.rng.choice(("popcount", "clz")), x, t="i32"), v.t))

    def _divided(self, v: Expression) -> Expression:
        divisor = (
            const(v.t, self.rng.choice((3, 7, 10, 16, 100, limits(v.t)[1])))
            if self.rng.random() < 0.5
            else self.operand(v.t)
        )
        x = self.operand(v.t)
        if self.rng.random() < 0.3:
            return of("+", of("*", of("//", x, divisor), divisor), of("%", x, divisor))
        return of(self.rng.choice(("//", "%")), x, divisor)

    def _narrowed(self, v: Expression) -> Expression:
        """Computed in another dtype, of which what is too much must not be seen."""
        t = self.rng.choice(self.grammar.ints)
        a = of(self.rng.choice(("+", "-", "*", "<<", "^", "min", "max")), *self.pair(t))
        return cast(self._unary(a), v.t)

    def _unary(self, a: Expression) -> Expression:
        return of(self.rng.choice(("neg", "abs", "~")), a) if self.rng.random() < 0.5 else a

    def _distance(self, v: Expression) -> Expression:
        x, y = self.pair(v.t)
        if self.rng.random() < 0.5:
            return of("-", of("max", x, y), of("min", x, y))
        return of("abs", of("-", x, y))

    # --- floats ---
    def _coefficient(self, t: str) -> Expression:
        return const(t, self.rng.choice((0.25, 0.75, -0.5, 1.5, 0.1, -1.25, 3.0)))

    def _filtered(self, v: Expression) -> Expression:
        a = self.rng.choice((0.25, 0.9, 0.5, 0.125))
        x = self.operand(v.t, v)
        if self.rng.random() < 0.5:
            return of("+", v, of("*", const(v.t, a), of("-", x, v)))
        return of("+", of("*", v, const(v.t, a)), of("*", x, const(v.t, 1 - a)))

    def _horner(self, v: Expression) -> Expression:
        x = self.operand(v.t)
        total = self._coefficient(v.t)
        for _ in range(self.rng.randint(1, 3)):
            if self.rng.random() < 0.3:
                total = Expression("fma", v.t, (total, x, self._coefficient(v.t)))
            else:
                total = of("+", of("*", total, x), self._coefficient(v.t))
        return total

    def _newton(self, v: Expression) -> Expression:
        x = self.operand(v.t, v)
        if self.rng.random() < 0.5:
            return of("*", of("+", v, of("/", x, v)), const(v.t, 0.5))
        return of("*", v, of("-", const(v.t, 2.0), of("*", x, v)))

    def _rounded(self, v: Expression) -> Expression:
        """Computed in another format."""
        t = self.rng.choice((*self.grammar.floats, "f16", "bf16", "f32"))
        return cast(of(self.rng.choice("+-*"), *self.pair(t)), v.t)

    def _through_integers(self, v: Expression) -> Expression:
        t = self.rng.choice((*self.grammar.ints, "i32"))
        return of(self.rng.choice("+-"), v, cast(self._unary(cast(v, t)), v.t))

    def _unary_float(self, v: Expression) -> Expression:
        op = self.rng.choice(("neg", "abs", "floor", "round", "sqrt", "trunc"))
        return of(self.rng.choice("+-*/"), of(op, self.operand(v.t)), self.operand(v.t))

    def _limited(self, v: Expression) -> Expression:
        low, high = const(v.t, -8.0), const(v.t, self.rng.choice((1.0, 100.0)))
        return of("clamp", of(self.rng.choice("+-*/"), v, self.operand(v.t)), low, high)

    def _ordered(self, v: Expression) -> Expression:
        return of(self.rng.choice(("min", "max", "%", "//")), *self.pair(v.t))


_Rule = Callable[[Row, Expression], Expression]
_INT_RULES: tuple[_Rule, ...] = (
    Row._hash, Row._multiplied, Row._rotated, Row._shifted, Row._bits, Row._bits, Row._masked, Row._saturated, Row._chained,
    Row._chosen, Row._counted, Row._divided, Row._divided, Row._narrowed, Row._narrowed, Row._distance,
)  # fmt: skip
_FLOAT_RULES: tuple[_Rule, ...] = (
    Row._filtered, Row._horner, Row._newton, Row._rounded, Row._rounded, Row._through_integers, Row._unary_float,
    Row._limited, Row._ordered, Row._chosen,
)  # fmt: skip
