"""Structs in programs: what a program defines for those that it uses, and what expressions of them give."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gpucore_fuzz.programs.arithmetic import FLOATS, INTS, Scalar, apply, cast

__all__ = ["STRUCTS", "definitions", "value"]

STRUCTS = {
    "method": "Both_{n}({0}, gc.vec2[{t}]({1}, {2}), True, {3}).mixed({2})",
    "choice": (
        "(Both_{n}({0}, gc.vec2[{t}]({1}, {2}), False, {3}) if {0} < {3} else "
        "Both_{n}({1}, gc.vec2[{t}]({2}, {3}), True, {0})).pair.y"
    ),
    "flags": "{t}(Both_{n}({0}, gc.vec2[{t}]({1}, {2}), {0} < {1}, {3}).flag)",
    "kept": "kept_{n}({0}, {1}, {2} < {3})",
}
"""Expressions of structs that give a number of four."""

_TEXT = """
@gc.struct
class Both_{n}:
    first: {t}
    pair: gc.vec2[{t}]
    flag: gc.bool_
    other: {t}

    @gc.func
    def mixed(self, factor: {t}) -> {t}:
        self.pair.x = self.other
        return self.first * factor + self.pair.y


@gc.func
def kept_{n}(a: {t}, b: {t}, second: gc.bool_) -> {t}:
    kept = gc.local(2, Both_{n})
    kept[0] = Both_{n}(a, gc.vec2[{t}](b, a), True, b)
    kept[1] = Both_{n}(b, gc.vec2[{t}](a, b), False, a)
    at = gc.i32(second)
    kept[at].pair.y = a + b
    one = kept[1]
    one.first = a
    return kept[at].first - kept[0].pair.y * kept[1].other
"""


def definitions(body: Iterable[str]) -> list[str]:
    """The lines that define the structs that a program's other lines use."""
    text = "\n".join(body)
    lines: list[str] = []
    for n in (*INTS, *FLOATS):
        if f"Both_{n}(" in text or f"kept_{n}(" in text:
            lines += _TEXT.format(n=n, t=f"gc.{n}").splitlines()
    return lines


def value(name: str, t: str, x: Sequence[Scalar]) -> Scalar:
    """The number that an expression of :data:`STRUCTS` gives, by operations on the fields."""
    if name == "method":
        return apply("+", t, apply("*", t, x[0], x[2]), x[2])
    if name == "choice":
        return x[2] if apply("<", t, x[0], x[3]) else x[3]
    if name == "flags":
        return cast(bool(apply("<", t, x[0], x[1])), "bool", t)
    a, b = x[0], x[1]
    second = bool(apply("<", t, x[2], x[3]))
    y = a if second else apply("+", t, a, b)
    return apply("-", t, b if second else a, apply("*", t, y, a))
