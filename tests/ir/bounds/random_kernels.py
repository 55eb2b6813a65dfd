"""Random kernels full of indices: guards, loops, quotients, conversions, several axes, block memory."""

from __future__ import annotations

import contextlib
import linecache
from collections.abc import Iterator
from random import Random
from typing import Any

import gpucore as gc

HEADER = "import gpucore as gc\n"


class _Text:
    """Writes one kernel."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.lines: list[str] = []
        self.indent = 1
        self.names = ["i", "n", "m"]
        self.fresh = 0
        self.unguarded = rng.random() < 0.3

    def line(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    def name(self) -> str:
        self.fresh += 1
        return f"v{self.fresh}"

    def small(self) -> str:
        return str(self.rng.choice((0, 1, 1, 2, 3, 4, 7, 8, 16, 31)))

    def index(self, depth: int = 2) -> str:
        """An integer expression."""
        rng = self.rng
        if depth == 0 or rng.random() < 0.25:
            return rng.choice((*self.names[-4:], *self.names[:1], self.small(), "x.shape[0]"))
        a, b = self.index(depth - 1), self.index(depth - 1)
        return rng.choice(
            (
                f"({a} + {b})", f"({a} + {self.small()})", f"({a} - {b})", f"({a} - {self.small()})", f"({a} - 1)",
                f"({a} * {self.small()})", f"({a} * {b})", f"({a} // {rng.choice((2, 3, 4, 8))})",
                f"({a} % {rng.choice((2, 4, 5, 8))})", f"({a} % n)", f"({a} // m)", f"min({a}, {b})", f"max({a}, {b})",
                f"max(min({a}, x.shape[0] - 1), 0)", f"gc.i32({a})", f"gc.i64({a})", f"gc.u32({a})",
                f"({a} if {self.condition(0)} else {b})", f"abs({a})", f"(gc.i32({a}) & {rng.choice((3, 7, 15))})",
                f"(gc.i32({a}) >> {rng.choice((1, 2))})", f"(gc.i32({a}) << 1)", f"(x.shape[0] - 1 - {a})",
            )
        )  # fmt: skip

    def condition(self, depth: int = 1) -> str:
        rng = self.rng
        if depth and rng.random() < 0.35:
            return f"({self.condition(depth - 1)} {rng.choice(('and', 'or'))} {self.condition(depth - 1)})"
        a = self.index(1)
        bound = rng.choice(
            ("x.shape[0]", "x.shape[0] - 1", "y.shape[0]", "y.shape[1]", "n", "m", self.small())
        )
        plain = f"{a} {rng.choice(('<', '<', '<=', '>', '>=', '==', '!='))} {bound}"
        return rng.choice((plain, plain, f"{a} >= 0 and {a} < {bound}", f"not {a} >= {bound}"))

    def access(self) -> None:
        rng = self.rng
        a = self.index()
        kind = rng.randrange(7)
        if kind == 0:
            self.line(f"y[{a}, {self.index(1)}] = 1")
        elif kind == 1:
            name = self.name()
            self.line(f"{name} = gc.i32(x[{a}])")
            self.names.append(name)
        elif kind == 2:
            self.line(f"l[{a}] = 2")
        elif kind == 3:
            self.line(f"gc.atomic_add(x, {a}, 1)")
        elif kind == 4:
            inner = self.name()
            self.line(f"{inner} = {a}")
            self.line(f"if {inner} >= 0 and {inner} < x.shape[0]:")
            self.line(f"    x[{inner}] = x[{inner}] + y[{self.index(1)}, {inner} % y.shape[1]]")
        else:
            self.line(f"x[{a}] = {self.rng.choice(('1', 'n', 'x[' + self.index(1) + ']'))}")

    def statement(self, depth: int) -> None:
        rng = self.rng
        kind = rng.randrange(9)
        if kind <= 2 or depth == 0:
            self.access()
        elif kind == 3:
            name = self.name()
            self.line(f"{name} = {self.index()}")
            self.names.append(name)
        elif kind == 4:
            self.line(f"if {self.condition()}:")
            self.nested(depth)
            if rng.random() < 0.4:
                self.line("else:")
                self.nested(depth)
        elif kind == 5:
            self.line(f"if {self.condition()}:")
            self.line("    return")
        elif kind == 6:
            name = self.name()
            a, b = self.index(1), rng.choice(("x.shape[0]", "n", "y.shape[1]", self.index(1)))
            step = rng.choice(("", "", "", ", 2", ", 3", ", -1", ", m"))
            self.line(f"for {name} in range({f'{b} - 1, {a} - 1' if step == ', -1' else f'{a}, {b}'}{step}):")
            self.line(f"    if {name} - ({a}) > 9 or ({a}) - {name} > 9:")
            self.line("        break")
            self.names.append(name)
            self.nested(depth)
            self.names.remove(name)
        elif kind == 7:
            name = self.name()
            self.line(f"{name} = gc.i32({self.index(1)})")
            self.names.append(name)
            self.line(f"for u{name} in range({rng.choice(('n', '5', 'x.shape[0]'))}):")
            self.indent += 1
            self.statements(depth - 1, 1)
            change = rng.choice(
                ("+= 1", "+= 2", "-= 1", "//= 2", f"= max({name} - 1, 0)", f"= min({name} + 1, n)")
            )
            if rng.random() < 0.3:
                self.line(f"if {self.condition(0)}:")
                self.line(f"    {name} {change}")
            else:
                self.line(f"{name} {change}")
            self.indent -= 1
        else:
            lo, hi = self.name(), self.name()
            self.line(f"{lo} = gc.i32(0)")
            self.line(f"{hi} = gc.i32({rng.choice(('x.shape[0]', 'n', 'y.shape[0]'))})")
            self.line(f"while {lo} < {hi}:")
            self.line(f"    mid{lo} = ({lo} + {hi}) // 2")
            self.line(f"    if x[mid{lo}] < n:")
            self.line(f"        {lo} = mid{lo} + 1")
            self.line("    else:")
            self.line(f"        {hi} = mid{lo}")
            self.names.append(lo)

    def nested(self, depth: int) -> None:
        self.indent += 1
        known = list(self.names)
        self.statements(depth - 1, self.rng.randint(1, 2))
        self.names = known
        self.indent -= 1

    def statements(self, depth: int, number: int) -> None:
        for _ in range(number):
            self.statement(depth)


def text_of(seed: int) -> str:
    """The source of a kernel."""
    rng = Random(seed)
    text = _Text(rng)
    text.statements(2, rng.randint(2, 5))
    guard = [] if text.unguarded else ["    if i >= x.shape[0]:", "        return"]
    if rng.random() < 0.3:
        guard = [
            f"    if i >= {rng.choice(('n', 'x.shape[0] - 1', 'y.shape[0]'))} or i < {rng.choice('01')}:",
            "        return",
        ]
    head = [
        "@gc.kernel",
        "def k(x: gc.Array[gc.i32], y: gc.Array[gc.i32, 2], n: gc.i32, m: gc.i32) -> None:",
        "    i = gc.global_id(0)",
        "    l = gc.local(8, gc.i32)",
    ]
    return HEADER + "\n".join([*head, *guard, *text.lines]) + "\n"


@contextlib.contextmanager
def kernel_of(text: str) -> Iterator[Any]:
    """The kernel of a text, with its source where Python looks for it."""
    name = f"<random kernel {hash(text)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    try:
        space: dict[str, Any] = {"__name__": "random_kernel"}
        exec(compile(text, name, "exec"), space)
        yield space["k"]
    finally:
        linecache.cache.pop(name, None)


TYPES = (gc.Array[gc.i32], gc.Array[gc.i32, 2], gc.i32, gc.i32)
