"""Programs of many statements: rows of assignments, loops over them, local arrays, and what stands right behind joins."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from gpucore_fuzz.programs.arithmetic import BITS, FLOATS, INTS, limits
from gpucore_fuzz.programs.building import bare, cast, choice, const, of, typed, var
from gpucore_fuzz.programs.grammar import Grammar, Scope, interesting
from gpucore_fuzz.programs.local_arrays import LocalArrays
from gpucore_fuzz.programs.rows import Row
from gpucore_fuzz.programs.tree import (
    Assign,
    Break,
    Expression,
    For,
    Function,
    If,
    Program,
    Return,
    Statement,
    Store,
    While,
)

__all__ = ["FIRST_SEED", "Forms"]

FIRST_SEED = 80_000_000
"""Programs from this seed on are of many statements; those of smaller seeds, which reports name, stay what they were."""

THREADS = 24
"""Fewer than of other programs, for the reference goes through every statement of every thread."""


class Forms:
    """The maker of such programs.

    Parameters
    ----------
    rng : Random
    seed : int
    grammar : Grammar
    name : callable
        A new name with a stem.
    older : callable
        Statements of the other programs, at a depth in a scope.
    """

    def __init__(
        self,
        rng: Random,
        seed: int,
        grammar: Grammar,
        name: Callable[[str], str],
        older: Callable[[Scope, int], list[Statement]],
    ) -> None:
        self.rng, self.seed, self.grammar, self.name, self.older = rng, seed, grammar, name, older
        self.scope = Scope()

    # --- the whole ---
    def program(self) -> Program:
        """A program with its data."""
        rng, dtypes = self.rng, self.grammar.dtypes
        block = rng.choice((0, 0, 8, 12, 24))
        grid = THREADS // block if block else THREADS
        inputs = {f"x{n}": dtypes[n % len(dtypes)] for n in range(3)}
        scalars = {f"s{n}": rng.choice(dtypes) for n in range(rng.randrange(2))}
        values = {name: tuple(interesting(rng, t) for _ in range(THREADS)) for name, t in inputs.items()}
        values |= {name: (interesting(rng, t),) for name, t in scalars.items()}
        for name, t in inputs.items():
            self.scope.add(Expression("load", t, name=name))
        for name, t in scalars.items():
            self.scope.add(Expression("scalar", t, name=name))
        functions = tuple(self._function(n) for n in range(rng.choice((0, 0, 1, 2))))
        row = Row(rng, self.grammar, self.scope, self.name)
        row.fixed = [Expression("load", t, name=name) for name, t in inputs.items()]
        body: list[Statement] = []
        for n in range(rng.randint(4, 7)):
            body.append(row.begun(dtypes[n] if n < len(dtypes) else rng.choice(dtypes))[1])
        arrays = LocalArrays(row)
        kind = rng.randrange(3)  # of a row, of arrays, of both
        if kind:
            for _ in range(rng.choice((1, 1, 2))):
                body += arrays.filled()
        for _ in range(
            rng.randint(3, 6) if kind == 1 else rng.randint(8, 16) if kind else rng.randint(12, 24)
        ):
            if arrays.declared and rng.random() < (0.7 if kind == 1 else 0.25):
                body += arrays.worked()
            else:
                body += self._some(row)
        if arrays.declared:
            body += arrays.read()
        outputs = {}
        chosen = rng.sample(row.variables, min(len(row.variables), 5))
        if arrays.declared:
            chosen = list(dict.fromkeys([row.variables[-1], *chosen]))
        for n, v in enumerate(chosen):
            value, t = self._seen(v)
            outputs[f"o{n}"] = t
            body.append(Store(f"o{n}", t, value))
        return Program(
            self.seed, inputs, outputs, scalars, {}, {}, arrays.declared, {}, {}, functions, tuple(body), grid, block, values,
        )  # fmt: skip

    def _seen(self, v: Expression) -> tuple[Expression, str]:
        """A variable as it is, or with all that it may hold beyond its dtype."""
        if self.rng.random() < 0.5:
            return v, v.t
        if v.t in FLOATS:
            return cast(v, "f64"), "f64"
        t = self.rng.choice(("i64", "u64", "f32"))
        return cast(v, t), t

    def _some(self, row: Row) -> list[Statement]:
        """A statement or a few."""
        chance = self.rng.random()
        if chance < 0.62:
            return row.statements()
        if chance < 0.76:
            return self._joined(row)
        if chance < 0.97:
            loops = (
                self._digits,
                self._machine,
                self._machine,
                self._repeated,
                self._repeated,
                self._by_bits,
                self._divisors,
            )
            return self.rng.choice(loops)(row)
        return self.older(row.scope, 1)

    # --- behind joins ---
    def _joined(self, row: Row) -> list[Statement]:
        """A variable that branches or a loop give a value, and right behind them what looks at all of its bits."""
        narrow = ("i8", "i16", "u8", "u16", "f16", "bf16")
        v = row.of_kind(narrow) if self.rng.random() < 0.7 else None
        v = v or self.rng.choice(row.variables)
        changed: tuple[Statement, ...] = (Assign(v.name, v.t, row.value(v)),)
        if self.rng.random() < 0.3:
            changed = (*row.statements(), *changed)
        join: Statement
        if self.rng.random() < 0.65:
            orelse: tuple[Statement, ...] = ()
            if self.rng.random() < 0.5:
                orelse = (Assign(v.name, v.t, row.value(v)),)
                if self.rng.random() < 0.4:
                    orelse = (If(row.condition(), (Assign(v.name, v.t, row.value(v)),), orelse),)
            join = If(row.condition(), changed, orelse)
        else:
            join = While(self.name("n"), self.rng.randint(1, 4), row.condition(), changed)
        seen = self._consumer(row, v)
        _, behind = row.begun(seen.t, seen)
        return [join, behind]

    def _consumer(self, row: Row, v: Expression) -> Expression:
        if v.t in FLOATS:
            a = self.rng.choice(
                (of("abs", v), of("neg", v), of("min", v, row.operand(v.t)), of("/", v, row.operand(v.t)),
                 of("floor", v), of("max", of("neg", v), row.operand(v.t)))
            )  # fmt: skip
            return cast(a, self.rng.choice((v.t, "f32", "f64", *self.grammar.ints)))
        other = row.operand(v.t, v)
        if self.rng.random() < 0.4:
            other = const(v.t, self.rng.choice((0, 1, 3, 7, *limits(v.t))))
        a = self.rng.choice(
            (
                of("abs", v), of("neg", v), of("min", v, other), of("max", other, of("neg", v)), of("//", v, other),
                of("%", v, other), of("popcount", v, t="i32"), of("clz", v, t="i32"), of("popcount", of("neg", v), t="i32"),
                of(">>", of("-", v, other), const(v.t, 1)), of("abs", of("-", v, other)), of("<", v, other, t="bool"),
                of("//", of("+", v, other), const(v.t, 3)),
            )
        )  # fmt: skip
        wider = [t for t in (*INTS, "f32", "f64") if BITS[t] > BITS[v.t]] or [v.t]
        return cast(a, self.rng.choice((v.t, *wider)))

    # --- loops ---
    def _inside(self, row: Row, count: int) -> list[Statement]:
        """Statements of a loop's body."""
        return [s for _ in range(count) for s in row.statements()]

    def _repeated(self, row: Row) -> list[Statement]:
        """A few assignments some times over, left early or gone on with."""
        body = self._inside(row, self.rng.randint(1, 4))
        if self.rng.random() < 0.4:
            body.insert(
                self.rng.randrange(1, len(body) + 1), If(row.condition(), (Break(self.rng.random() < 0.5),))
            )
        if self.rng.random() < 0.4:
            return [While(self.name("n"), self.rng.randint(2, 5), row.condition(), tuple(body))]
        j = self.name("j")
        if self.rng.random() < 0.3:
            return [For(j, self.rng.randint(2, 4), -1, -1, tuple(body))]
        return [For(j, 0, self.rng.randint(2, 5), 1, tuple(body))]

    def _digits(self, row: Row) -> list[Statement]:
        """Digits of a number by quotient and remainder."""
        t = self.rng.choice(self.grammar.ints)
        x, first = row.begun(t, row.operand(t))
        s = self.rng.choice(self.grammar.ints)
        total, second = row.begun(s, const(s, self.rng.randrange(3)))
        digit = self.name("w")
        base = const(t, self.rng.choice((10, 10, 7, 16)))
        d = cast(var(digit, t), s)
        body: list[Statement] = [
            Assign(digit, t, of("%", x, base)),
            Assign(x.name, t, of("//", x, base)),
        ]
        if self.rng.random() < 0.5:
            body.append(Assign(total.name, s, of("+", of("*", total, const(s, 10)), d)))
        else:
            small = of("<", var(digit, t), const(t, 5), t="bool")
            body.append(
                If(
                    small,
                    (Assign(total.name, s, of("+", total, d)),),
                    (Assign(total.name, s, of("^", total, of("*", d, const(s, 3)))),),
                )
            )
        return [first, second, While(self.name("n"), 6, of("!=", x, bare(t, 0), t="bool"), tuple(body))]

    def _machine(self, row: Row) -> list[Statement]:
        """States that go over into one another by the bits of a number."""
        rng = self.rng
        t = rng.choice(("i32", "i32", "u8", *self.grammar.ints))
        state, first = row.begun(t, const(t, 0))
        s = rng.choice(self.grammar.ints)
        source, second = row.begun(s, row.operand(s))
        symbol = self.name("w")
        read = var(symbol, s)

        def branch() -> tuple[Statement, ...]:
            step = (
                const(t, rng.randrange(4))
                if rng.random() < 0.5
                else choice(
                    of("==", read, bare(s, rng.randrange(4)), t="bool"), const(t, rng.randrange(4)), state
                )
                if rng.random() < 0.5
                else of("+", state, cast(read, t))
            )
            made: list[Statement] = [Assign(state.name, t, step)]
            if rng.random() < 0.6:
                made = [*row.statements(), *made]
            if rng.random() < 0.2:
                made.append(Break(rng.random() < 0.5))
            return tuple(made)

        orelse = branch()
        for n in reversed(range(rng.randint(2, 3))):
            orelse = (If(of("==", state, bare(t, n), t="bool"), branch(), orelse),)
        body = [
            Assign(symbol, s, of("&", source, const(s, 3))),
            Assign(source.name, s, of(">>", source, const(s, rng.choice((1, 2))))),
            *orelse,
        ]
        if rng.random() < 0.3:
            body.append(Assign(state.name, t, of("&", state, const(t, 3))))
        return [first, second, For(self.name("j"), 0, rng.randint(3, 6), 1, tuple(body))]

    def _by_bits(self, row: Row) -> list[Statement]:
        """A shift register, or a product, by the lowest bit."""
        t = self.rng.choice(self.grammar.ints)
        v, first = row.begun(t, row.operand(t))
        bit = self.name("w")
        odd = of("!=", var(bit, t), bare(t, 0), t="bool")
        mixed = of(self.rng.choice("^+-"), v, const(t, self.rng.getrandbits(BITS[t])))
        body: list[Statement] = [
            Assign(bit, t, of("&", v, bare(t, 1))),
            Assign(v.name, t, of(">>", v, bare(t, 1))),
        ]
        if self.rng.random() < 0.6:
            body.append(If(odd, (Assign(v.name, t, mixed),)))
        else:
            body.append(Assign(v.name, t, choice(odd, mixed, v)))
        body += self._inside(row, self.rng.randrange(2))
        return [first, For(self.name("j"), 0, self.rng.randint(3, 8), 1, tuple(body))]

    def _divisors(self, row: Row) -> list[Statement]:
        """Euclid's steps, some of them."""
        t = self.rng.choice(self.grammar.ints)
        a, first = row.begun(t, row.operand(t))
        b, second = row.begun(t, row.operand(t))
        kept = self.name("w")
        body = (
            Assign(kept, t, of("%", a, b)),
            Assign(a.name, t, b),
            Assign(b.name, t, var(kept, t)),
        )
        return [first, second, While(self.name("n"), 6, of("!=", b, bare(t, 0), t="bool"), body)]

    # --- device functions ---
    def _function(self, number: int) -> Function:
        """A function that returns early, from a loop too."""
        rng = self.rng
        t = rng.choice(self.grammar.dtypes)
        parameters = tuple(
            (f"p{number}{n}", rng.choice(self.grammar.dtypes)) for n in range(rng.randint(1, 2))
        )
        scope = Scope()
        scope.functions = list(self.scope.functions)
        row = Row(rng, self.grammar, scope, self.name)
        for name, s in parameters:
            scope.add(var(name, s))
            row.fixed.append(var(name, s))
        v, first = row.begun(t)
        body: list[Statement] = [first]
        if rng.random() < 0.5:
            body.append(If(row.condition(), (Return(typed(row.value(v))),)))
        inner: list[Statement] = self._inside(row, rng.randint(1, 2))
        inner.append(If(row.condition(), (Return(typed(row.value(v))),)))
        inner += self._inside(row, rng.randrange(2))
        if rng.random() < 0.7:
            body.append(For(self.name("j"), 0, rng.randint(2, 4), 1, tuple(inner)))
        else:
            body += inner
        body.append(Return(typed(row.value(v))))
        self.scope.functions.append((f"f{number}", tuple(s for _, s in parameters), t))
        return Function(f"f{number}", parameters, t, tuple(body))
