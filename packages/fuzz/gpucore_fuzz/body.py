"""The random statements of :mod:`gpucore_fuzz.cases`, and its device functions."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import ALL, DType, bool_, i32, index, u32
from gpucore.ir.ops import MATH, OPS
from gpucore_fuzz.values import random_number

__all__ = ["COMMUTATIVE", "Body", "FunctionBody", "Options"]

_TYPES: dict[str, Callable[[DType], bool]] = {
    "bool": lambda d: d is bool_,
    "int": lambda d: d.is_integer,
    "signed": lambda d: d.is_signed,
    "float": lambda d: d.is_float,
    "number": lambda d: d is not bool_,
    "any": lambda d: True,
    "bits": lambda d: not d.is_float,
    "word": lambda d: d is u32,
}
COMMUTATIVE = ("add", "sub", "min", "max", "and", "or", "xor")


@dataclass(frozen=True)
class Options:
    """What kernels are made of; see :func:`gpucore_fuzz.cases.generate`."""

    dtypes: tuple[DType, ...]
    atomics: tuple[DType, ...]
    ops: tuple[str, ...]
    subgroup: int | None
    size: int

    @classmethod
    def of(
        cls,
        dtypes: Sequence[DType],
        atomics: Sequence[DType] | None,
        *,
        math: bool,
        subgroup: int | None,
        size: int,
    ) -> Options:
        """Complete the user's wishes; operations that no dtype allows are left out."""
        wanted = {*dtypes, bool_, i32, index}
        ordered = tuple(d for d in ALL if d in wanted)
        ops = tuple(
            op
            for op, spec in OPS.items()
            if spec.level != "low" and (math or op not in MATH) and any(map(_TYPES[spec.types], ordered))
        )
        return cls(ordered, tuple((i32, u32) if atomics is None else atomics), ops, subgroup, size)


class Body:
    """Builds one function: values in scope by dtype, variables, statements."""

    def __init__(self, rng: random.Random, options: Options, callees: Sequence[ir.Function]) -> None:
        self.rng, self.options, self.callees = rng, options, callees
        self.block: list[ir.Stmt] = []
        self.scope: list[ir.Value] = []
        self.variables: list[ir.Var] = []
        self.digest = ir.Var("digest", i32)
        self.observed: set[ir.Value] = set()
        self.counters: list[ir.Var] = [self.digest]  # nothing else may set them
        self.memories: list[ir.Memory] = []
        self.name = "k"  # begins the names of memories
        self.count = 0
        self.depth = 0
        self.budget = options.size
        self.result: DType | None = None  # of a device function, which may return early
        self.may_return = False
        self.inputs: list[ir.Memory] = []

    # --- building ---
    def fresh(self, dtype: DType) -> ir.Value:
        self.count += 1
        return ir.Value(f"{self.count}", dtype)

    def known(self, value: ir.Value) -> ir.Value:
        self.scope.append(value)
        return value

    def const(self, dtype: DType, number: ir.Number) -> ir.Value:
        result = self.fresh(dtype)
        self.block.append(ir.Const(result, number))
        return self.known(result)

    def op(self, op: str, *args: ir.Value, to: DType | None = None) -> ir.Value:
        spec = OPS[op]
        subject = args[1] if op == "select" else args[0]
        dtype = to or {"same": subject.dtype, "bool": bool_, "i32": i32}[spec.result]
        result = self.fresh(dtype)
        self.block.append(ir.Op(result, op, args))
        return self.known(result)

    @contextmanager
    def nested(self) -> Iterator[list[ir.Stmt]]:
        outer, scope = self.block, len(self.scope)
        inner: list[ir.Stmt] = []
        self.block = inner
        self.depth += 1
        yield inner
        if not (inner and isinstance(inner[-1], (ir.Break, ir.Continue, ir.Return))):
            self.observe(self.scope[scope:], 2)
        self.depth -= 1
        self.block = outer
        del self.scope[scope:]

    def pick(self, dtype: DType) -> ir.Value:
        """A value of the dtype: one in scope, a variable, a conversion or a constant."""
        rng = self.rng
        known = [v for v in self.scope if v.dtype is dtype]
        if known and rng.random() < 0.75:
            return rng.choice(known[-12:])
        variables = [v for v in self.variables if v.dtype is dtype]
        if variables and rng.random() < 0.6:
            result = self.fresh(dtype)
            self.block.append(ir.GetVar(result, rng.choice(variables)))
            return self.known(result)
        if self.scope and rng.random() < 0.4:
            return self.op("cast", rng.choice(self.scope[-12:]), to=dtype)
        return self.const(dtype, random_number(rng, dtype))

    def observe(self, values: Sequence[ir.Value], count: int) -> None:
        """Mix some values into the digest, which is stored in the end: nothing is computed for nobody."""
        values = [v for v in values if v not in self.observed]
        chosen = [v for v in values if v.dtype is not bool_ or self.rng.random() < 0.3][-4 * count :]
        for value in self.rng.sample(chosen, min(count, len(chosen))):
            self.observed.add(value)
            scope = len(self.scope)
            word = value
            if word.dtype.is_float:
                same = [d for d in self.options.dtypes if d.is_integer and d.bits == word.dtype.bits]
                same = [d for d in same if d is not index]
                word = self.op("bitcast" if same else "cast", word, to=same[0] if same else i32)
            if word.dtype is not i32:
                word = self.op("cast", word, to=i32)
            before = self.fresh(i32)
            self.block.append(ir.GetVar(before, self.digest))
            mixed = self.op("add", self.op("mul", before, self.const(i32, 1000003)), word)
            self.block.append(ir.SetVar(self.digest, mixed))
            del self.scope[scope:]

    def start_digest(self) -> None:
        self.block.append(ir.SetVar(self.digest, self.const(i32, self.rng.randint(0, 99))))

    def any_dtype(self) -> DType:
        return self.rng.choice(self.options.dtypes)

    def index_below(self, extent: ir.Value) -> ir.Value:
        """A random index that is in bounds: Python's remainder has the sign of the divisor."""
        return self.op("mod", self.pick(index), extent)

    # --- statements ---
    def variable(self) -> ir.Var:
        var = ir.Var(f"v{len(self.variables)}", self.any_dtype())
        value = self.pick(var.dtype)
        self.variables.append(var)
        self.block.append(ir.SetVar(var, value))
        return var

    def random_op(self) -> None:
        rng = self.rng
        op = rng.choice(self.options.ops)
        spec = OPS[op]
        dtypes = [d for d in self.options.dtypes if _TYPES[spec.types](d)]
        dtype = rng.choice(dtypes)
        if op == "select":
            self.op(op, self.pick(bool_), self.pick(dtype), self.pick(dtype))
        elif op == "cast":
            self.op(op, self.pick(dtype), to=self.any_dtype())
        elif op == "bitcast":
            same = [d for d in self.options.dtypes if d.bits == dtype.bits and d is not bool_]
            if dtype is not bool_:
                self.op(op, self.pick(dtype), to=rng.choice(same))
        else:
            args = [self.pick(dtype) for _ in range(spec.arity)]
            if op in ("shl", "shr") and rng.random() < 0.7:
                args[1] = self.const(dtype, rng.randint(0, dtype.bits if dtype.bits < 64 else 64))
            self.op(op, *args)

    def assign(self) -> None:
        var = self.rng.choice(self.variables)
        self.block.append(ir.SetVar(var, self.pick(var.dtype)))

    def call(self) -> None:
        if self.callees:
            callee = self.rng.choice(self.callees)
            assert callee.result is not None
            args = tuple(self.pick(p.dtype) for p in callee.params)
            result = self.fresh(callee.result)
            self.block.append(ir.Call(result, callee.name, args))
            self.known(result)

    def load(self) -> None:
        if self.inputs:
            memory = self.rng.choice(self.inputs)
            self.load_from(memory)

    def load_from(self, memory: ir.Memory) -> ir.Value:
        indices = []
        for axis in range(memory.rank):
            if memory.space == "global":
                extent = self.fresh(index)
                self.block.append(ir.Extent(extent, memory, axis))
            else:
                extent = self.const(index, memory.shape[axis])
            indices.append(self.index_below(extent))
        result = self.fresh(memory.dtype)
        self.block.append(ir.Load(result, memory, tuple(indices)))
        return self.known(result)

    def table(self) -> None:
        """A constant table or an array of the thread's own, used once it is there."""
        rng = self.rng
        here = [m for m in self.memories if m.space in ("const", "local")]
        if len(here) < 3:
            shape = tuple(rng.randint(1, 4) for _ in range(rng.randint(1, 2)))
            dtype = self.any_dtype()
            # index is a dtype of values, not of elements
            dtype = i32 if dtype is index else dtype
            name = f"{self.name}_m{len(self.memories)}"
            if rng.random() < 0.5:
                values = tuple(random_number(rng, dtype) for _ in range(math.prod(shape)))
                memory = ir.Memory(name, dtype, "const", len(shape), shape, values)
            else:
                memory = ir.Memory(name, dtype, "local", len(shape), shape)
                self.block.append(ir.InitLocal(memory))
            self.memories.append(memory)
            here.append(memory)
        memory = rng.choice(here)
        if memory.space == "local":
            indices = tuple(self.index_below(self.const(index, n)) for n in memory.shape)
            self.block.append(ir.Store(memory, indices, self.pick(memory.dtype)))
        self.load_from(memory)

    def statements(self, count: int) -> None:
        for _ in range(count):
            if self.budget <= 0:
                return
            self.budget -= 1
            self.statement()

    def statement(self) -> None:
        roll = self.rng.random()
        if roll < 0.5:
            self.random_op()
        elif roll < 0.62:
            self.assign()
        elif roll < 0.68:
            self.load()
        elif roll < 0.73:
            self.table()
        elif roll < 0.78:
            self.call()
        elif roll < 0.8:
            self.truth()
        elif roll < 0.83 and self.may_return and self.depth:
            self.leave()
        elif self.depth < 3:
            self.rng.choice((self.branch, self.loop, self.spin))()

    def truth(self) -> None:
        """An assert that holds."""
        dtype = self.rng.choice([d for d in self.options.dtypes if not d.is_float])
        value = self.pick(dtype)
        self.block.append(ir.Assert(self.op("eq", value, value), 'a "value" equals itself'))

    def leave(self) -> None:
        condition = self.pick(bool_)
        with self.nested() as body:
            body.append(ir.Return(self.pick(self.result) if self.result is not None else None))
        self.block.append(ir.If(condition, tuple(body)))

    def branch(self) -> None:
        condition = self.pick(bool_)
        with self.nested() as then:
            self.statements(self.rng.randint(1, 4))
        orelse: list[ir.Stmt] = []
        if self.rng.random() < 0.5:
            with self.nested() as orelse:
                self.statements(self.rng.randint(1, 3))
        self.block.append(ir.If(condition, tuple(then), tuple(orelse)))

    def jump(self) -> None:
        if self.rng.random() < 0.4:
            condition = self.pick(bool_)
            word = self.rng.choice((ir.Break(), ir.Continue()))
            self.block.append(ir.If(condition, (word,)))

    def loop(self) -> None:
        rng = self.rng
        step = rng.choice((1, 1, 2, -1, -2, 0))
        start = self.const(index, rng.randint(-3, 3))
        if rng.random() < 0.5:
            stop = self.const(index, rng.randint(-3, 5))
        else:
            stop = self.op("mod", self.pick(index), self.const(index, rng.choice((4, -4))))
        by = self.const(index, step)
        variable = self.fresh(index)
        with self.nested() as body:
            self.known(variable)
            self.statements(rng.randint(1, 3))
            self.jump()
            self.statements(rng.randint(0, 2))
        self.block.append(ir.For(variable, start, stop, by, tuple(body)))

    def spin(self) -> None:
        """A while loop that a counter ends."""
        rng = self.rng
        counter = ir.Var(f"n{self.count}", i32)
        self.count += 1
        zero = self.const(i32, 0)
        self.block.append(ir.SetVar(counter, zero))
        with self.nested() as header:
            now = self.fresh(i32)
            header.append(ir.GetVar(now, counter))
            self.known(now)
            limit = self.const(i32, rng.randint(1, 4))
            condition = self.op("lt", now, limit)
            if rng.random() < 0.5:
                condition = self.op("and", condition, self.pick(bool_))
            with self.nested() as body:
                more = self.op("add", now, self.const(i32, 1))
                body.append(ir.SetVar(counter, more))
                self.statements(rng.randint(1, 3))
                self.jump()
        self.block.append(ir.While(tuple(header), condition, tuple(body)))
        self.counters.append(counter)


class FunctionBody(Body):
    def build(self, name: str) -> ir.Function:
        rng = self.rng
        self.name, self.budget, self.may_return = name, max(3, self.options.size // 3), True
        self.result = self.any_dtype()
        params = tuple(ir.Value(f"p{i}", self.any_dtype()) for i in range(rng.randint(1, 3)))
        for p in params:
            self.known(p)
        self.start_digest()
        for _ in range(rng.randint(1, 2)):
            self.variable()
        self.statements(self.budget)
        self.observe(self.scope, 3)
        result = self.pick(self.result)
        if self.result is not bool_ and rng.random() < 0.5:
            digest = self.fresh(i32)
            self.block.append(ir.GetVar(digest, self.digest))
            result = self.op("add", result, self.op("cast", digest, to=self.result))
        self.block.append(ir.Return(result))
        variables = (*self.variables, *self.counters)
        return ir.Function(name, params, self.result, variables, tuple(self.memories), tuple(self.block))
