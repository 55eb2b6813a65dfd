"""Short names for parts of trees, which :mod:`~gpucore_fuzz.programs.forms` writes many of."""

from __future__ import annotations

from gpucore_fuzz.programs.arithmetic import BITS, FLOATS, INTS, Scalar, limits, rounded, wrapped
from gpucore_fuzz.programs.tree import Expression

__all__ = ["all_ones", "bare", "cast", "choice", "const", "element", "of", "size_mask", "typed", "var"]


def var(name: str, t: str) -> Expression:
    """A variable."""
    return Expression("var", t, name=name)


def const(t: str, value: float) -> Expression:
    """A constant with its dtype, brought into its range."""
    made: Scalar = rounded(float(value), t) if t in FLOATS else wrapped(int(value), t)
    return Expression("const", t, value=made)


def bare(t: str, value: float) -> Expression:
    """A constant whose dtype the other operand gives."""
    return Expression("const", t, name="bare", value=value)


def of(op: str, *args: Expression, t: str = "") -> Expression:
    """An operation; its dtype is the first operand's unless another is given."""
    return Expression(op, t or args[0].t, args)


def cast(e: Expression, t: str) -> Expression:
    """An expression in a dtype."""
    return e if e.t == t else Expression("cast", t, (e,))


def choice(condition: Expression, a: Expression, b: Expression) -> Expression:
    """A conditional expression."""
    return Expression("choice", a.t, (condition, a, b))


def element(array: str, t: str, index: Expression) -> Expression:
    """An array's element."""
    return Expression("element", t, (index,), array)


def typed(e: Expression) -> Expression:
    """A constant with its dtype, where nothing else gives it one."""
    return Expression("const", e.t, value=e.value) if e.op == "const" else e


def size_mask(t: str) -> Expression:
    """The mask of amounts that are less than the width."""
    return const(t, BITS[t] - 1)


def all_ones(t: str) -> Expression:
    """The greatest number of an integer dtype."""
    assert t in INTS
    return const(t, limits(t)[1])
