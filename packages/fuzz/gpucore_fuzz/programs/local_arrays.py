"""Local arrays worked on in place: neighbours, swaps, sorts, recurrences, rings, two at once."""

from __future__ import annotations

from gpucore_fuzz.programs.arithmetic import FLOATS, limits
from gpucore_fuzz.programs.building import bare, cast, const, element, of, typed, var
from gpucore_fuzz.programs.rows import Row
from gpucore_fuzz.programs.tree import (
    Assign,
    Break,
    Expression,
    For,
    If,
    LocalPair,
    LocalStore,
    Statement,
    While,
)

__all__ = ["LocalArrays"]

_BITS = ("&", "|", "^")


class LocalArrays:
    """Arrays of a thread and what is done to them.

    Parameters
    ----------
    row : Row
        Whose variables fill them, and to which what is read out of them is added.
    """

    def __init__(self, row: Row) -> None:
        self.row, self.rng = row, row.rng
        self.declared: dict[str, tuple[str, int]] = {}

    # --- parts ---
    def _index(self) -> tuple[str, Expression]:
        name = self.row.new("j")
        return name, var(name, "index")

    @staticmethod
    def _plus(j: Expression, n: int) -> Expression:
        if n == 0:
            return j
        return Expression("+" if n > 0 else "-", j.t, (j, bare(j.t, abs(n))))

    def _combined(self, t: str, a: Expression, b: Expression) -> Expression:
        """Two elements made one."""
        if t == "bool":
            return of(self.rng.choice(_BITS), a, b)
        if self.rng.random() < 0.25:
            x = self.row.operand(t)
            return of(self.rng.choice("+-"), of("*", a, x), b)
        if t in FLOATS:
            return of(self.rng.choice(("+", "-", "*", "/", "min", "max")), a, b)
        return of(
            self.rng.choice(("+", "-", "*", "//", "%", "min", "max", "^", "&", "<<", ">>", "+", "-")), a, b
        )

    # --- arrays ---
    def filled(self) -> list[Statement]:
        """A new array with its first elements."""
        rng, row = self.rng, self.row
        t = rng.choice((*row.grammar.dtypes, *row.grammar.dtypes, "bool"))
        size = rng.choice((3, 4, 4, 5, 6, 7, 8))
        name = row.new("a")
        self.declared[name] = (t, size)
        if rng.random() < 0.35:
            made: list[Statement] = [
                LocalStore(name, t, bare("index", n), typed(row.grammar.expression(t, row.scope, 1)))
                for n in range(size)
            ]
        else:
            j, at = self._index()
            if t == "bool":
                value = of("<", row.operand("i32"), cast(at, "i32"), t="bool")
            elif t in FLOATS:
                value = of(rng.choice("+-*"), row.operand(t), cast(at, t))
            else:
                factor = const(t, rng.getrandbits(7) | 1)
                value = of(rng.choice("+^-*"), row.operand(t), of("*", cast(at, t), factor))
            made = [For(j, 0, size, 1, (LocalStore(name, t, at, value),))]
        if size in (4, 8):
            row.scope.arrays.append((name, t, size))
        return made

    def worked(self) -> list[Statement]:
        """Something done to an array."""
        name = self.rng.choice(tuple(self.declared))
        t, size = self.declared[name]
        kinds = [self._neighbours, self._neighbours, self._swaps, self._recurrence, self._ring, self._reversed,
                 self._in_a_row]  # fmt: skip
        if t != "bool":
            kinds += [self._bubbled, self._bubbled, self._inserted]
        if len([a for a in self.declared if self.declared[a][0] == t]) > 1:
            kinds += [self._of_two] * 4
        if size in (4, 8) and t != "bool":
            kinds.append(self._tallied)
        return self.rng.choice(kinds)(name, t, size)

    def read(self) -> list[Statement]:
        """A variable of what the elements are together."""
        name = self.rng.choice(tuple(self.declared))
        t, size = self.declared[name]
        into = "i32" if t == "bool" else t
        total, first = self.row.begun(into, const(into, 1))
        j, at = self._index()
        e = cast(element(name, t, at), into)
        if into in FLOATS:
            value = of("+", of("*", total, const(into, self.rng.choice((0.5, -0.75)))), e)
        else:
            value = of("+", of("*", total, const(into, 31)), e)
        return [first, For(j, 0, size, 1, (Assign(total.name, into, value),))]

    def _loop(
        self, first: int, stop: int, make: tuple[Statement, ...], j: str, *, backwards: bool
    ) -> Statement:
        """From ``first`` to below ``stop``, or the other way."""
        if backwards:
            return For(j, stop - 1, first - 1, -1, make)
        return For(j, first, stop, 1, make, unrolled=self.rng.random() < 0.1)

    def _neighbours(self, name: str, t: str, size: int) -> list[Statement]:
        step = self.rng.choice((1, 1, 1, 2))
        if self.rng.random() < 0.2:  # by a counter of i32
            counter = self.row.new("n")
            at = var(counter, "i32")  # from 1 on
            before = element(name, t, self._plus(at, -1))
            body = LocalStore(name, t, self._plus(at, -1), self._combined(t, before, element(name, t, at)))
            return [While(counter, size - 1, self.row.condition(), (body,))]
        j, at = self._index()
        a, b = element(name, t, at), element(name, t, self._plus(at, step))
        a, b = (b, a) if self.rng.random() < 0.3 else (a, b)
        where = at if self.rng.random() < 0.6 else self._plus(at, step)
        body = LocalStore(name, t, where, self._combined(t, a, b))
        return [self._loop(0, size - step, (body,), j, backwards=self.rng.random() < 0.4)]

    def _ordered_pair(self, name: str, t: str, at: Expression, after: Expression) -> tuple[Statement, ...]:
        """Two elements brought into order, in one of three ways."""
        a, b = element(name, t, at), element(name, t, after)
        kind = self.rng.randrange(3)
        if kind == 0 or t == "bool":
            low, high = ("&", "|") if t == "bool" else ("min", "max")
            if self.rng.random() < 0.3:
                low, high = high, low
            return (LocalPair(name, t, at, of(low, a, b), after, of(high, a, b)),)
        condition = of(self.rng.choice((">", "<", ">=")), a, b, t="bool")
        if kind == 1:
            return (If(condition, (LocalPair(name, t, at, b, after, a),)),)
        kept = self.row.new("w")
        swap = (Assign(kept, t, a), LocalStore(name, t, at, b), LocalStore(name, t, after, var(kept, t)))
        return (If(condition, swap),)

    def _swaps(self, name: str, t: str, size: int) -> list[Statement]:
        j, at = self._index()
        body = self._ordered_pair(name, t, at, self._plus(at, 1))
        return [self._loop(0, size - 1, body, j, backwards=self.rng.random() < 0.4)]

    def _bubbled(self, name: str, t: str, size: int) -> list[Statement]:
        turn, nth = self._index()
        j, at = self._index()
        body = self._ordered_pair(name, t, at, self._plus(at, 1))
        kind = self.rng.randrange(3)
        if kind == 0:
            inner = For(j, 0, size - 1, 1, body)
        elif kind == 1:
            inner = For(j, 0, Expression("-", "index", (bare("index", size - 1), nth)), 1, body)
        else:
            inner = For(j, size - 2, -1, -1, body)
        ending: tuple[Statement, ...] = ()
        if self.rng.random() < 0.3:
            ending = (If(self.row.condition(), (Break(),)),)
        return [For(turn, 0, size - 1, 1, (inner, *ending))]

    def _inserted(self, name: str, t: str, size: int) -> list[Statement]:
        k, nth = self._index()
        s = self.rng.choice(("i32", "i32", "i8", "i16", "i64"))
        place, kept, counter = self.row.new("w"), self.row.new("w"), self.row.new("n")
        at, x = var(place, s), var(kept, t)
        order = of(self.rng.choice(("<", ">")), x, element(name, t, at), t="bool")
        body: tuple[Statement, ...] = (
            LocalStore(name, t, self._plus(at, 1), element(name, t, at)),
            Assign(place, s, self._plus(at, -1)),
        )
        inside = of(">=", at, bare(s, 0), t="bool")
        steps = (
            Assign(kept, t, element(name, t, nth)),
            Assign(place, s, self._plus(cast(nth, s), -1)),
            While(counter, size, of("and", inside, order, t="bool"), body),
            LocalStore(name, t, self._plus(at, 1), x),
        )
        return [For(k, 1, size, 1, steps)]

    def _recurrence(self, name: str, t: str, size: int) -> list[Statement]:
        j, at = self._index()
        back = 2 if self.rng.random() < 0.4 else 1
        before = element(name, t, self._plus(at, -1))
        if back == 2:
            value = self._combined(t, before, element(name, t, self._plus(at, -2)))
        else:
            value = self._combined(t, element(name, t, at), before)
        return [For(j, back, size, 1, (LocalStore(name, t, at, value),))]

    def _ring(self, name: str, t: str, size: int) -> list[Statement]:
        """Places modulo the size, of a narrow integer often."""
        rng = self.rng
        s = rng.choice([s for s in self.row.grammar.ints if s != "u64"] or ["i32"])
        head, first = self.row.begun(s)
        j, at = self._index()

        def place(n: int) -> Expression:
            total = of("+", head, cast(self._plus(at, n), s))
            if size in (4, 8) and rng.random() < 0.4:
                return of("&", total, const(s, size - 1))
            return of("%", total, bare(s, size) if rng.random() < 0.5 else const(s, size))

        value = self._combined(t, element(name, t, place(0)), element(name, t, place(rng.choice((1, 2)))))
        body: list[Statement] = [LocalStore(name, t, place(rng.choice((0, 0, 1))), value)]
        if rng.random() < 0.5:
            body.append(Assign(head.name, s, of("+", head, const(s, rng.choice((1, 3, limits(s)[1]))))))
        return [first, For(j, 0, rng.randint(2, size), 1, tuple(body))]

    def _reversed(self, name: str, t: str, size: int) -> list[Statement]:
        j, at = self._index()
        other = Expression("-", "index", (bare("index", size - 1), at))
        pair = LocalPair(name, t, at, element(name, t, other), other, element(name, t, at))
        return [For(j, 0, size // 2, 1, (pair,))]

    def _in_a_row(self, name: str, t: str, size: int) -> list[Statement]:
        """Statements one after the other, of places that are literals or masked."""
        made: list[Statement] = []
        for _ in range(self.rng.randint(2, 5)):
            places = []
            for _ in range(3):
                if size in (4, 8) and self.rng.random() < 0.4:
                    places.append(self.row.grammar.index(size, self.row.scope, 1))
                else:
                    places.append(bare("index", self.rng.randrange(size)))
            a, b = (element(name, t, p) for p in places[1:])
            made.append(LocalStore(name, t, places[0], self._combined(t, a, b)))
        return made

    def _of_two(self, name: str, t: str, size: int) -> list[Statement]:
        others = [a for a in self.declared if self.declared[a][0] == t and a != name]
        other = self.rng.choice(others)
        count = min(size, self.declared[other][1])
        j, at = self._index()
        mirror = Expression("-", "index", (bare("index", count - 1), at))
        a, b = element(name, t, at), element(other, t, self.rng.choice((at, mirror)))
        body = [LocalStore(name, t, at, self._combined(t, a, b))]
        there = self.rng.choice((at, mirror))
        body.append(LocalStore(other, t, there, self._combined(t, element(other, t, there), a)))
        return [self._loop(0, count, tuple(body), j, backwards=self.rng.random() < 0.4)]

    def _tallied(self, name: str, t: str, size: int) -> list[Statement]:
        """A histogram of the bits of a number."""
        u = self.rng.choice(("u32", "u8", "u16"))
        bits, first = self.row.begun(u, self.row.operand(u))
        j, _ = self._index()
        place = of("&", bits, const(u, size - 1))
        step: list[Statement] = [
            LocalStore(name, t, place, of("+", element(name, t, place), const(t, 1))),
            Assign(bits.name, u, of(">>", bits, const(u, 2))),
        ]
        return [first, For(j, 0, 5, 1, tuple(step))]
