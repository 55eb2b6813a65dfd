"""The program of a seed."""

from __future__ import annotations

from random import Random

from gpucore_fuzz.programs import forms
from gpucore_fuzz.programs.arithmetic import FLOATS, INTS, join
from gpucore_fuzz.programs.evaluate import AmbiguousError, evaluate
from gpucore_fuzz.programs.grammar import NUMBERS, Grammar, Scope, interesting
from gpucore_fuzz.programs.structs import STRUCTS
from gpucore_fuzz.programs.tree import (
    RECORDS,
    Assign,
    Atomic,
    Barrier,
    Break,
    Collective,
    Expression,
    For,
    Function,
    If,
    LocalStore,
    Program,
    Return,
    SharedStore,
    Statement,
    Store,
    While,
)
from gpucore_fuzz.programs.views import FIRST_SEED, VIEWS

__all__ = ["generate"]

NARROW = ("i8", "i16", "u8", "u16")
_COLLECTIVES = ("sum", "min", "max", "inclusive_sum", "exclusive_sum", "broadcast", "any", "all")
_ATOMICS = ("add", "sub", "min", "max", "and", "or", "xor")


def generate(seed: int) -> tuple[Program, dict[str, list[int]]]:
    """The program of a seed and the bits of its outputs; the same on every platform."""
    for attempt in range(1000):
        program = _Maker(Random(seed * 1000 + attempt), seed).program()
        try:
            return program, evaluate(program)
        except AmbiguousError:
            continue
    raise AssertionError(f"no program of seed {seed} has known results")


class _Maker:
    def __init__(self, rng: Random, seed: int) -> None:
        self.rng, self.seed = rng, seed
        # few dtypes a program, so that they meet
        narrow, wide = rng.choice(NARROW), rng.choice(NUMBERS)
        others = rng.sample(NUMBERS, rng.randrange(1, 4))
        self.dtypes = list(dict.fromkeys([narrow, wide, *others]))
        if not set(self.dtypes) & set(FLOATS):
            self.dtypes.append(rng.choice(FLOATS))
        self.grammar = Grammar(rng, self.dtypes)
        self.count = 0
        self.scope = Scope()
        self.locals: dict[str, tuple[str, int]] = {}

    def name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    # --- the whole ---
    def program(self) -> Program:
        rng = self.rng
        if self.seed >= forms.FIRST_SEED:
            return forms.Forms(rng, self.seed, self.grammar, self.name, self._statement).program()
        block = rng.choice((0, 0, 8, 16, 24, 48))
        grid = 48 // block if block else 48
        inputs = {f"x{n}": self.dtypes[n % len(self.dtypes)] for n in range(rng.randint(2, 3))}
        scalars = {f"s{n}": rng.choice(self.dtypes) for n in range(rng.randrange(3))}
        values = {name: tuple(interesting(rng, t) for _ in range(48)) for name, t in inputs.items()}
        values |= {name: (interesting(rng, t),) for name, t in scalars.items()}
        for name, t in inputs.items():
            self.scope.add(Expression("load", t, name=name))
        for name, t in scalars.items():
            self.scope.add(Expression("scalar", t, name=name))
        tables = {}
        if rng.random() < 0.3:
            tables["T"] = self._table()
        functions = tuple(self._function(n) for n in range(rng.choice((0, 0, 1, 2))))
        counters, tallies = self._counters(block)
        body: list[Statement] = []
        shared: dict[str, str] = {}
        if rng.random() < 0.25:
            t = rng.choice(self.dtypes)
            self.locals["a"] = (t, 4)
            body.append(LocalStore("a", t, self.grammar.index(4, self.scope, 1), self._expression(t, 2)))
            self.scope.arrays.append(("a", t, 4))
        for _ in range(rng.randint(1, 3)):
            body += self._statement(self.scope, 2)
        for name, (t, size) in {**counters, **tallies}.items():
            body += self._atomic(name, t, size)
        if block and rng.random() < 0.6:
            t = rng.choice((*self.dtypes, "bool"))
            shared["g"] = t
            body += [SharedStore("g", t, self._expression(t, 2)), Barrier()]
            v = self.name("v")
            body.append(Assign(v, t, Expression("element", t, (self._neighbour(block),), "g")))
            self.scope.add(Expression("var", t, name=v))
        elif tallies:
            body.append(Barrier())
        for name, (t, size) in tallies.items():
            self.scope.arrays.append((name, t, size))
        if block:
            body += self._together(block)
        body += self._of_records()
        body += self._of_structs()
        body += self._of_views()
        for _ in range(rng.randrange(2)):
            body += self._statement(self.scope, 2)
        outputs = {}
        for n in range(3):
            t = rng.choice(self.dtypes) if rng.random() < 0.9 else "bool"
            outputs[f"o{n}"] = t
            body.append(Store(f"o{n}", t, self._stored(t)))
        return Program(
            self.seed, inputs, outputs, scalars, counters, tables, self.locals, shared, tallies, functions, tuple(body), grid,
            block, values,
        )  # fmt: skip

    def _expression(self, t: str, depth: int) -> Expression:
        return self.grammar.expression(t, self.scope, depth)

    def _stored(self, t: str) -> Expression:
        """The value of an output, sometimes of another dtype that the store converts."""
        rng = self.rng
        if t != "bool" and rng.random() < 0.4:
            source = rng.choice(self.dtypes)
            if source in INTS or t in FLOATS:
                return self.grammar._typed(self._expression(source, 3))
        return self._expression(t, rng.choice((2, 3, 3, 4)))

    def _table(self) -> tuple[str, tuple[float, ...]]:
        t = self.rng.choice([s for s in ("i32", "f32") if s in self.dtypes] or ["i32"])
        if t == "i32":
            # Python's integers are i32 where they fit
            values: tuple[float, ...] = tuple(int(interesting(self.rng, t)) for _ in range(4))
        else:
            values = tuple(float(self.rng.randint(-40, 40)) / 4 for _ in range(4))
        if t == "i32":
            self.scope.arrays.append(("T", t, 4))
        return t, values

    def _counters(self, block: int) -> tuple[dict[str, tuple[str, int]], dict[str, tuple[str, int]]]:
        counters, tallies = {}, {}
        if self.rng.random() < 0.3:
            counters["c"] = (self.rng.choice(("i32", "u32")), 4)
        if block and self.rng.random() < 0.3:
            tallies["h"] = (self.rng.choice(("i32", "u32")), 4)
        return counters, tallies

    def _atomic(self, name: str, t: str, size: int) -> list[Statement]:
        op = self.rng.choice(_ATOMICS)
        made: list[Statement] = []
        for _ in range(self.rng.randint(1, 2)):
            source = self.rng.choice([s for s in self.dtypes if s in INTS] or [t])
            value = self.grammar._typed(self._expression(source, 2))
            if source != t:
                value = Expression("cast", t, (value,))
            made.append(Atomic(op, name, t, self.grammar.index(size, self.scope, 2), value))
        return made

    def _of_records(self) -> list[Statement]:
        """Vectors and complex numbers, with random numbers of their own as well."""
        kept, self.rng = self.rng, Random(f"records {self.seed} {self.count}")
        self.grammar.rng = self.rng
        made: list[Statement] = []
        for _ in range(self.rng.choice((0, 0, 1))):
            t = self.rng.choice(self.dtypes)
            names = [n for n in RECORDS if t in ("f32", "f64") or n in ("dot", "sum", "cross")]
            args = tuple(self.grammar._typed(self._expression(t, 1)) for _ in range(4))
            v = self.name("v")
            made.append(Assign(v, t, Expression("record", t, args, self.rng.choice(names))))
            for _ in range(4):
                self.scope.add(Expression("var", t, name=v))
        self.rng = self.grammar.rng = kept
        return made

    def _of_structs(self) -> list[Statement]:
        """Structs, with random numbers of their own: programs without them stay what they were."""
        kept, self.rng = self.rng, Random(f"structs {self.seed} {self.count}")
        self.grammar.rng = self.rng
        made: list[Statement] = []
        for _ in range(self.rng.choice((0, 0, 0, 1, 2))):
            t = self.rng.choice(self.dtypes)
            args = tuple(self.grammar._typed(self._expression(t, 1)) for _ in range(4))
            v = self.name("v")
            made.append(Assign(v, t, Expression("struct", t, args, self.rng.choice(tuple(STRUCTS)))))
            for _ in range(4):
                self.scope.add(Expression("var", t, name=v))
        self.rng = self.grammar.rng = kept
        return made

    def _of_views(self) -> list[Statement]:
        """Slices, with random numbers of their own."""
        if self.seed < FIRST_SEED:
            return []
        kept, self.rng = self.rng, Random(f"slices {self.seed} {self.count}")
        self.grammar.rng = self.rng
        made: list[Statement] = []
        for _ in range(self.rng.choice((0, 0, 0, 1, 2))):
            t = self.rng.choice(self.dtypes)
            args = tuple(self.grammar._typed(self._expression(t, 1)) for _ in range(4))
            v = self.name("v")
            made.append(Assign(v, t, Expression("view", t, args, self.rng.choice(tuple(VIEWS)))))
            for _ in range(4):
                self.scope.add(Expression("var", t, name=v))
        self.rng = self.grammar.rng = kept
        return made

    def _together(self, block: int) -> list[Statement]:
        """Functions of the block, with random numbers of their own: programs without them stay what they were."""
        kept, self.rng = self.rng, Random(f"block {self.seed} {self.count}")
        self.grammar.rng = self.rng
        made: list[Statement] = []
        for _ in range(self.rng.choice((0, 0, 1, 2))):
            op = self.rng.choice(_COLLECTIVES)
            t = "bool" if op in ("any", "all") else self.rng.choice(self.dtypes)
            value = self.grammar._typed(self._expression(t, 2))
            v = self.name("v")
            made.append(Collective(v, t, op, value, self.rng.randrange(block + 2)))
            for _ in range(4):  # so that what follows names it
                self.scope.add(Expression("var", t, name=v))
        self.rng = self.grammar.rng = kept
        return made

    def _neighbour(self, block: int) -> Expression:
        """Another thread of the block."""
        t, size = Expression("thread", "index"), Expression("const", "index", name="bare", value=block)
        shift = Expression("const", "index", name="bare", value=self.rng.randrange(1, block))
        if self.rng.random() < 0.5:
            return Expression("%", "index", (Expression("+", "index", (t, shift)), size))
        last = Expression("const", "index", name="bare", value=block - 1)
        return Expression("-", "index", (last, t))

    # --- statements ---
    def _statement(self, scope: Scope, depth: int) -> list[Statement]:
        kind = self.rng.randrange(10)
        if kind <= 3 or depth == 0:
            return [self._assign(scope)]
        if kind <= 6:
            return self._joined(scope, depth)
        return self._accumulated(scope, depth)

    def _assign(self, scope: Scope) -> Statement:
        t = self.rng.choice((*self.dtypes, *self.dtypes, "bool"))
        value = self.grammar._typed(self.grammar.expression(t, scope, 3))
        name = self.name("v")
        scope.add(Expression("var", t, name=name))
        return Assign(name, t, value)

    def _value_for(self, t: str, scope: Scope, depth: int) -> Expression:
        """A value for a variable: of its dtype, of one that joins to it, or a number without dtype."""
        chance = self.rng.random()
        if t != "bool" and chance < 0.2:
            return self.grammar.constant(t, bare=True)
        narrower = [s for s in self.dtypes if s != t and t != "bool" and join(s, t) == t]
        if narrower and chance < 0.4:
            return self.grammar._typed(self.grammar.expression(self.rng.choice(narrower), scope, depth))
        return self.grammar._typed(self.grammar.expression(t, scope, depth))

    def _joined(self, scope: Scope, depth: int) -> list[Statement]:
        """A variable with a value from before and others from the branches."""
        t = self.rng.choice((*self.dtypes, *self.dtypes, "bool"))
        name = self.name("v")
        first = Assign(name, t, self.grammar._typed(self.grammar.expression(t, scope, 2)))
        inner = scope.copy()
        inner.add(Expression("var", t, name=name))
        condition = self.grammar.expression("bool", scope, 2)
        then: list[Statement] = [Assign(name, t, self._value_for(t, inner, 2))]
        orelse: list[Statement] = []
        if self.rng.random() < 0.5:
            orelse.append(Assign(name, t, self._value_for(t, inner, 2)))
        if depth > 1 and self.rng.random() < 0.3:
            then = [*self._statement(inner.copy(), depth - 1), *then]
        scope.add(Expression("var", t, name=name))
        return [first, If(condition, tuple(then), tuple(orelse))]

    def _accumulated(self, scope: Scope, depth: int) -> list[Statement]:
        """A variable that a loop goes on with."""
        rng = self.rng
        t = self.grammar.dtype()
        name, counter = self.name("v"), self.name("n")
        first = Assign(name, t, self.grammar._typed(self.grammar.expression(t, scope, 2)))
        variable = Expression("var", t, name=name)
        inner = scope.copy()
        inner.add(variable)
        inner.add(variable)
        looping = rng.randrange(3)
        if looping == 0:
            inner.add(Expression("var", "i32", name=counter))
        else:
            for s in self.dtypes:
                if s in INTS:
                    inner.add(Expression("cast", s, (Expression("var", "index", name=counter),)))
        body: list[Statement] = []
        if depth > 1 and rng.random() < 0.3:
            body += self._statement(inner.copy(), depth - 1)
        body.append(Assign(name, t, self._value_for(t, inner, 3)))
        if rng.random() < 0.3 and looping != 2:
            body.append(If(self.grammar.expression("bool", inner, 2), (Break(rng.random() < 0.4),)))
            body.append(Assign(name, t, self.grammar._typed(self.grammar.expression(t, inner, 2))))
        scope.add(variable)
        loop: Statement
        if looping == 0:
            loop = While(counter, rng.randint(1, 4), self.grammar.expression("bool", inner, 2), tuple(body))
        elif looping == 1:
            stop: int | Expression = rng.randint(1, 5)
            if rng.random() < 0.4:
                stop = Expression(
                    "&",
                    "i32",
                    (self.grammar.expression("i32", scope, 1), Expression("const", "i32", value=3)),
                )
            loop = For(counter, rng.randrange(2), stop, rng.choice((1, 1, 2)), tuple(body))
        else:
            loop = For(counter, 0, rng.randint(1, 3), 1, tuple(body), unrolled=True)
        return [first, loop]

    def _function(self, number: int) -> Function:
        rng = self.rng
        t = rng.choice(self.dtypes)
        parameters = tuple((f"p{number}{n}", rng.choice(self.dtypes)) for n in range(rng.randint(1, 2)))
        scope = Scope()
        scope.functions = list(self.scope.functions)
        for name, s in parameters:
            scope.add(Expression("var", s, name=name))
        body: list[Statement] = []
        if rng.random() < 0.5:
            body += self._statement(scope, 1)
        if rng.random() < 0.4:
            value = self.grammar._typed(self.grammar.expression(t, scope, 2))
            body.append(If(self.grammar.expression("bool", scope, 2), (Return(value),)))
        body.append(Return(self.grammar._typed(self.grammar.expression(t, scope, 3))))
        self.scope.functions.append((f"f{number}", tuple(s for _, s in parameters), t))
        return Function(f"f{number}", parameters, t, tuple(body))
