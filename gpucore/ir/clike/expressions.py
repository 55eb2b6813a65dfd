"""C++ expressions with just the parentheses they need."""

from __future__ import annotations

from dataclasses import dataclass

ATOM, UNARY, MUL, ADD, SHIFT, LESS, EQUAL, BITAND, XOR, BITOR, AND, OR, COND = range(13)
_LEVEL = {
    "*": MUL, "/": MUL, "%": MUL, "+": ADD, "-": ADD, "<<": SHIFT, ">>": SHIFT, "<": LESS, "<=": LESS,
    ">": LESS, ">=": LESS, "==": EQUAL, "!=": EQUAL, "&": BITAND, "^": XOR, "|": BITOR, "&&": AND, "||": OR,
}  # fmt: skip
_PLAIN = {
    MUL,
    ADD,
}  # only these may stand without parentheses inside another operator: people misread the rest


@dataclass(frozen=True, slots=True)
class Expr:
    """A C++ expression.

    Attributes
    ----------
    text : str
    level : int
        How loosely its outermost operator binds; ``ATOM`` for names, literals, calls and subscripts.
    reads : bool
        Whether its value depends on memory or a variable, so that it may not move past a write.
    origin : tuple[str, Expr] | None
        A type and an expression of it that this one is the conversion of, where converting back gives the
        same: the unsigned form of wrapping arithmetic, the 16 bits of a half.
    """

    text: str
    level: int = ATOM
    reads: bool = False
    origin: tuple[str, Expr] | None = None

    def inside(self, level: int, *, strict: bool = False) -> str:
        """The text as an operand of an operator of ``level``; ``strict`` on the right of a
        left-associative one."""
        if self.level == ATOM or (self.level == UNARY and level != UNARY):
            return self.text
        fits = self.level < level or (self.level == level and not strict)
        if fits and (
            self.level in _PLAIN or (level >= LESS and self.level < level and level in (COND, AND, OR))
        ):
            return self.text
        return f"({self.text})"


def binary(operator: str, a: Expr, b: Expr) -> Expr:
    """``a operator b``."""
    level = _LEVEL[operator]
    text = f"{a.inside(level)} {operator} {b.inside(level, strict=True)}"
    return Expr(text, level, a.reads or b.reads)


def unary(operator: str, a: Expr) -> Expr:
    """``operator a``."""
    inner = a.inside(UNARY)
    return Expr(
        f"{operator}({inner})" if inner.startswith(operator) else f"{operator}{inner}", UNARY, a.reads
    )


def call(name: str, *args: Expr) -> Expr:
    """``name(args)``: a call or a functional cast."""
    return Expr(f"{name}({', '.join(a.text for a in args)})", ATOM, any(a.reads for a in args))


def conditional(condition: Expr, a: Expr, b: Expr) -> Expr:
    """``condition ? a : b``."""
    parts = [e.inside(COND, strict=True) for e in (condition, a, b)]
    text = f"{parts[0]} ? {parts[1]} : {parts[2]}"
    return Expr(text, COND, condition.reads or a.reads or b.reads)
