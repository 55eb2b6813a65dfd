"""Random kernels whose threads work together: shared memory, barriers in loops and branches, atomics.

Between two barriers each memory is in one state (:class:`gpucore_fuzz.places.Access`): all read it,
each thread has elements of its own, or all use atomics that commute.  Afterwards some barriers are taken away
again (:mod:`gpucore_fuzz.barriers`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bool_, f32, i32, i64, index, u32, u64
from gpucore.ir.ops import SUBGROUP_OPS
from gpucore_fuzz.barriers import BlockKernel, with_fewer_barriers
from gpucore_fuzz.body import FunctionBody, Options
from gpucore_fuzz.places import FAMILIES, Access, BlockBase, Place
from gpucore_fuzz.values import random_array, random_number, random_scalar, source

__all__ = ["ELEMENTS", "BlockKernel", "block_kernel", "block_options"]

ELEMENTS = (bool_, i32, u32, f32, i64)
OPERATIONS = (
    "neg", "add", "sub", "mul", "min", "max", "abs", "not", "and", "or", "xor", "shl", "shr", "eq", "ne", "lt", "le",
    "gt", "ge", "select", "cast", "bitcast", "isnan", "floor", "popcount",
)  # fmt: skip
"""Cheap ones: what this is about is memory."""
BLOCKS = (
    (1,), (3,), (5,), (7,), (8,), (13,), (16,), (17,), (24,), (31,), (32,), (33,), (40,), (64,), (70,),
    (3, 5), (4, 8), (2, 17), (5, 7), (8, 8), (1, 9), (16, 3), (2, 3, 5), (1, 4, 7), (2, 2, 9), (3, 4, 4),
)  # fmt: skip


class _BlockBody(BlockBase):
    def __init__(
        self,
        rng: random.Random,
        options: Options,
        callees: Sequence[ir.Function],
        grid: tuple[int, ...],
        block: tuple[int, ...],
    ) -> None:
        super().__init__(rng, options, callees)
        self.launch_grid, self.launch_block = grid, block
        self.threads = math.prod(block)
        self.family = rng.choice(FAMILIES)
        self.hits: ir.Memory | None = None
        self.arrays: dict[str, Any] = {}
        self.uniform_depth = 0
        self.phases = 0

    # --- the whole ---
    def build(self) -> ir.Function:
        rng = self.rng
        ndim = len(self.launch_block)
        total = tuple(g * b for g, b in zip(self.launch_grid, self.launch_block, strict=True))
        elements = [d for d in self.options.dtypes if d is not index]
        self.inputs = [
            ir.Memory(f"in{i}", rng.choice(elements), "global", rng.choice((1, 1, 2)))
            for i in range(rng.randint(1, 2))
        ]
        for memory in self.inputs:
            shape = tuple(rng.randint(1, 9) for _ in range(memory.rank))
            self.arrays[memory.name] = random_array(rng, memory.dtype, shape)
        scalars = [ir.Value(f"s{i}", rng.choice((i32, index, f32, u32))) for i in range(rng.randint(1, 3))]
        for s in scalars:
            self.arrays[s.name] = rng.randint(0, 6) if s.dtype is index else random_scalar(rng, s.dtype)
            self.uniform.add(self.known(s))
        self.start_digest()
        self.ids = tuple(self.thread_index("global_id", axis) for axis in range(ndim))
        self.local_ids = tuple(self.thread_index("thread_id", axis) for axis in range(ndim))
        self.linear = self.ravel("thread_id", "block_dim")
        block = self.ravel("block_id", "grid_dim")
        for _ in range(rng.randint(1, 3)):
            self.variable()
        for _ in range(rng.randint(1, 3)):
            self.uniform_variable()
        self.digests = ir.Memory("out_digest", i32, "global", ndim)
        self.arrays["out_digest"] = random_array(rng, i32, total)
        globals_ = [self.digests, *self.inputs, *self.global_places(block, elements)]
        if self.options.atomics and rng.random() < 0.5:
            self.hits = ir.Memory("hits", rng.choice(self.options.atomics), "global", 1)
            self.arrays["hits"] = random_array(rng, self.hits.dtype, (rng.randint(1, 9),))
            globals_.append(self.hits)
        self.shared_places(elements)
        self.budget = self.options.size
        self.uniform_statements(rng.randint(2, 4))
        self.finish()
        params: list[ir.Memory | ir.Value] = [*globals_, *scalars]
        rng.shuffle(params)
        variables = (*self.variables, *self.counters)
        return ir.Function("fuzzed", tuple(params), None, variables, tuple(self.memories), tuple(self.block))

    def thread_index(self, kind: ir.IdKind, axis: int) -> ir.Value:
        result = self.fresh(index)
        self.block.append(ir.ThreadIndex(result, kind, axis))
        if kind not in ("thread_id", "global_id"):
            self.uniform.add(result)
        return self.known(result)

    def ravel(self, kind: ir.IdKind, extents: ir.IdKind) -> ir.Value:
        value = self.thread_index(kind, 0)
        for axis in range(1, len(self.launch_block)):
            scaled = self.op("mul", value, self.thread_index(extents, axis))
            value = self.op("add", scaled, self.thread_index(kind, axis))
        return value

    def global_places(self, block: ir.Value, elements: list[DType]) -> list[ir.Memory]:
        """Arrays of which each block has a part; some are one array under two names."""
        rng = self.rng
        made = []
        blocks = math.prod(self.launch_grid)
        for number in range(rng.randint(1, 2)):
            dtype = rng.choice(elements)
            part = self.threads + rng.choice((0, 0, 3, self.threads))
            memory = ir.Memory(f"work{number}", dtype, "global", 1)
            base = self.op("mul", block, self.const(index, part))
            memories = [(memory, 0)]
            whole = random_array(rng, dtype, (blocks * part,))
            if rng.random() < 0.35:
                offset = rng.choice((0, 0, 1, 5))
                other = ir.Memory(f"same{number}", dtype, "global", 1)
                whole = np.concatenate([random_array(rng, dtype, (offset,)), whole])
                memories = [(memory, offset), (other, 0)]
                self.arrays[other.name] = whole[offset:]
            self.arrays[memory.name] = whole
            made += [m for m, _ in memories]
            self.places.append(Place(memories, (part,), base))
        return made

    def shared_places(self, elements: list[DType]) -> None:
        """Shared arrays, filled before their first barrier."""
        rng = self.rng
        block = self.launch_block
        for number in range(rng.randint(1, 3)):
            n = self.threads
            shapes: list[tuple[int, ...]] = [
                (n,), (n + rng.randint(1, 5),), (2 * n,), (rng.choice((1, 2, 4, 8, 16)),),
                (rng.randint(1, 4), rng.randint(1, 9)), (rng.randint(1, 3), 2, rng.randint(1, 4)), block, block[::-1],
            ]  # fmt: skip
            shape = rng.choice(shapes)
            memory = ir.Memory(f"tile{number}", rng.choice(elements), "shared", len(shape), shape)
            self.memories.append(memory)
            place = Place([(memory, 0)], shape)
            self.places.append(place)
            self.fill(place)
        self.barrier()

    def fill(self, place: Place) -> None:
        """Every element once, by the threads in turn or by one of them."""
        if place.shape == self.launch_block and self.rng.random() < 0.5:
            self.store_at(place, self.local_ids, self.pick(place.dtype))
            return
        size = self.const(index, place.size)
        one = self.rng.random() < 0.25
        start = self.const(index, 0) if one else self.linear
        step = self.const(index, 1 if one else self.threads)
        element = self.fresh(index)
        with self.nested() as body:
            self.known(element)
            cast = self.rng.random() < 0.5
            value = self.op("cast", element, to=place.dtype) if cast else self.pick(place.dtype)
            self.store_at(place, self.unravel(place, element), value)
        loop = ir.For(element, start, size, step, tuple(body))
        if one:
            first = self.op("eq", self.linear, self.const(index, self.rng.randrange(self.threads)))
            self.block.append(ir.If(first, (loop,)))
        else:
            self.block.append(loop)

    def finish(self) -> None:
        """After the last barrier: everybody looks at everything, threads may leave, the digest is stored."""
        for place in self.places:
            self.access[place] = Access("read")
        for place in self.places:
            for _ in range(2):
                self.load_at(place, self.anywhere(place))
            self.load_at(
                place, self.unravel(place, self.op("mod", self.linear, self.const(index, place.size)))
            )
            self.observe(self.scope, 3)
        self.store_digest()
        self.may_return = True
        self.budget = 6
        self.statements(self.rng.randint(0, 4))
        self.observe(self.scope, 6)
        self.store_digest()

    def store_digest(self) -> None:
        digest = self.fresh(i32)
        self.block.append(ir.GetVar(digest, self.digest))
        self.block.append(ir.Store(self.digests, self.ids, digest))

    # --- barriers and what may be done between them ---
    def barrier(self, entry: Callable[[Place], bool] = lambda place: False) -> None:
        if self.rng.random() < 0.1:
            self.block.append(ir.Fence())
        self.block.append(ir.Barrier())
        self.phases += 1
        self.access = {place: self.rule(place, entry(place)) for place in self.places}

    def rule(self, place: Place, read: bool) -> Access:
        rng = self.rng
        roll = rng.random()
        if read or roll < 0.4:
            return Access("read")
        if roll < 0.75:
            return self.owned(place)
        if place.dtype in self.options.atomics and roll < 0.9:
            return Access("atomic", family=rng.choice(FAMILIES))
        who = self.op("mod", self.pick_uniform(index), self.const(index, self.threads))
        if rng.random() < 0.5:
            who = self.const(index, 0)
        return Access("one", self.op("eq", self.linear, who))

    @contextmanager
    def guarded(self, condition: ir.Value | None) -> Iterator[None]:
        if condition is None:
            yield
            return
        with self.nested() as body:
            yield
        self.block.append(ir.If(condition, tuple(body)))

    def touch(self) -> None:
        """Use a place as its state allows."""
        rng = self.rng
        if not self.access:
            return
        place = rng.choice(list(self.access))
        access = self.access[place]
        if access.mode == "read":
            for _ in range(rng.randint(1, 3)):
                self.keep(self.load_at(place, self.anywhere(place)))
        elif access.mode == "atomic":
            with self.guarded(self.pick(bool_) if rng.random() < 0.3 else None):
                memory, where = self.at(place, self.anywhere(place))
                op = rng.choice(access.family)
                self.block.append(
                    ir.Atomic(self.fresh(memory.dtype), op, memory, where, self.pick(memory.dtype))
                )
        else:
            with self.guarded(access.guard):
                self.mine(place, access.own or self.anywhere(place))

    def mine(self, place: Place, indices: tuple[ir.Value, ...]) -> None:
        """Read and write an element that is the thread's own."""
        rng = self.rng
        roll = rng.random()
        if roll < 0.3:
            self.keep(self.load_at(place, indices))
        if roll > 0.9 and place.dtype in self.options.atomics:
            memory, where = self.at(place, indices)
            old = self.fresh(memory.dtype)
            if rng.random() < 0.5:
                expected, desired = self.pick(memory.dtype), self.pick(memory.dtype)
                self.block.append(ir.AtomicCas(old, memory, where, expected, desired))
            else:
                op = rng.choice((*sum(FAMILIES, ()), "exchange"))
                self.block.append(ir.Atomic(old, op, memory, where, self.pick(memory.dtype)))
            self.keep(self.known(old))
            return
        if roll > 0.15:
            self.store_at(place, indices, self.pick(place.dtype))
        if rng.random() < 0.2:
            self.keep(self.load_at(place, indices))

    def keep(self, value: ir.Value) -> None:
        """Let a variable carry a value out of its block, at times mixed with what it held."""
        candidates = [v for v in self.variables if v.dtype is value.dtype]
        if not candidates or self.rng.random() < 0.3:
            return
        var = self.rng.choice(candidates)
        if value.dtype not in (bool_, f32) and self.rng.random() < 0.5:
            before = self.fresh(var.dtype)
            self.block.append(ir.GetVar(before, var))
            value = self.op("add", self.op("mul", before, self.const(var.dtype, 3)), value)
        self.block.append(ir.SetVar(var, value))

    def common_atomic(self) -> None:
        if self.hits is None:
            return
        extent = self.fresh(index)
        self.block.append(ir.Extent(extent, self.hits, 0))
        where = self.op("mod", self.pick(index), extent)
        op = self.rng.choice(self.family)
        value = self.pick(self.hits.dtype)
        self.block.append(ir.Atomic(self.fresh(self.hits.dtype), op, self.hits, (where,), value))

    def statement(self) -> None:
        roll = self.rng.random()
        if roll < 0.45:
            self.touch()
        elif roll < 0.5:
            self.common_atomic()
        else:
            super().statement()

    # --- what all threads of the block do alike ---
    def uniform_variable(self) -> None:
        var = ir.Var(f"u{len(self.uniform_vars)}", self.rng.choice((i32, index, u32)))
        self.block.append(ir.SetVar(var, self.pick_uniform(var.dtype)))
        self.uniform_vars.append(var)
        self.counters.append(var)

    def uniform_statements(self, count: int) -> None:
        for _ in range(count):
            roll = self.rng.random()
            if self.uniform_depth < 2 and self.phases < 14 and roll < 0.5:
                self.rng.choice((self.uniform_for, self.uniform_while, self.uniform_branch))()
            elif roll < 0.55 and self.uniform_depth == 0:
                self.all_leave()
            else:
                self.phase()

    def phase(self) -> None:
        rng = self.rng
        self.budget = max(3, self.options.size // 4)
        for _ in range(rng.randint(1, 3)):
            self.touch()
        self.statements(rng.randint(1, 4))
        if self.options.subgroup is not None and rng.random() < 0.6:
            self.subgroup()
        if rng.random() < 0.5:
            self.set_uniform()
        self.observe(self.scope, 2)
        decided = self.decide() if rng.random() < 0.2 else None
        self.barrier()
        if decided is not None:
            with self.guarded(decided):
                self.touch()
            self.barrier()

    def set_uniform(self) -> None:
        rng = self.rng
        var = rng.choice(self.uniform_vars)
        readable = [p for p, a in self.access.items() if a.mode == "read" and not p.dtype.is_float]
        if readable and rng.random() < 0.6:
            place = rng.choice(readable)
            got = self.load_at(
                place,
                tuple(self.op("mod", self.pick_uniform(index), self.const(index, n)) for n in place.shape),
            )
            value = self.op("cast", got, to=var.dtype)
        else:
            value = self.op(
                rng.choice(("add", "mul", "xor")), self.read_uniform(var), self.pick_uniform(var.dtype)
            )
        self.block.append(ir.SetVar(var, value))

    @contextmanager
    def uniform_block(self) -> Iterator[list[ir.Stmt]]:
        self.uniform_depth += 1
        with self.nested() as body:
            yield body
        self.uniform_depth -= 1

    def uniform_jump(self) -> None:
        if self.rng.random() < 0.35:
            condition = self.pick_uniform(bool_)
            word = self.rng.choice((ir.Break(), ir.Continue()))
            self.block.append(ir.If(condition, (ir.Barrier(), word)))

    def uniform_body(self) -> None:
        self.uniform_statements(self.rng.randint(1, 2))
        self.uniform_jump()
        if self.rng.random() < 0.5:
            self.uniform_statements(1)

    def uniform_for(self) -> None:
        rng = self.rng
        if rng.random() < 0.5:
            stop = self.const(index, rng.randint(1, 4))
        else:
            stop = self.op("mod", self.pick_uniform(index), self.const(index, 5))
        step = rng.choice((1, 1, 1, 2, -1))
        start = self.const(index, rng.choice((0, 0, 1)))
        if step < 0:
            start, stop = stop, start
        by = self.const(index, step)
        variable = self.fresh(index)
        with self.uniform_block() as body:
            self.uniform.add(self.known(variable))
            self.uniform_body()
        self.block.append(ir.For(variable, start, stop, by, tuple(body)))
        self.barrier()

    def uniform_while(self) -> None:
        """A loop that a counter ends, or before that what is in memory."""
        rng = self.rng
        counter = ir.Var(f"n{self.count}", i32)
        self.count += 1
        self.block.append(ir.SetVar(counter, self.const(i32, 0)))
        self.counters.append(counter)
        watched = rng.choice([p for p in self.places if p.base is None])
        self.barrier(lambda place: place is watched)
        with self.nested() as header:
            now = self.read_uniform(counter)
            condition = self.op("lt", now, self.const(i32, rng.randint(1, 4)))
            if rng.random() < 0.6:
                where = tuple(
                    self.op("mod", self.pick_uniform(index), self.const(index, n)) for n in watched.shape
                )
                seen = self.load_at(watched, where)
                if seen.dtype is not bool_:
                    limit = self.const(seen.dtype, random_number(rng, seen.dtype))
                    seen = self.op(rng.choice(("ne", "lt", "gt")), seen, limit)
                condition = self.op("and", condition, seen)
            with self.uniform_block() as body:
                more = self.op("add", now, self.const(i32, 1))
                body.append(ir.SetVar(counter, more))
                self.uniform_body()
                body.append(ir.Barrier())
        self.block.append(ir.While(tuple(header), condition, tuple(body)))
        self.barrier()

    def uniform_branch(self) -> None:
        condition = self.pick_uniform(bool_)
        entry = self.access
        with self.uniform_block() as then:
            self.uniform_statements(self.rng.randint(1, 2))
        orelse: list[ir.Stmt] = []
        if self.rng.random() < 0.5:
            self.access = entry
            with self.uniform_block() as orelse:
                self.uniform_statements(1)
        self.block.append(ir.If(condition, tuple(then), tuple(orelse)))
        self.barrier()

    def all_leave(self) -> None:
        """The whole block leaves, or stays."""
        condition = self.pick_uniform(bool_)
        with self.nested() as body:
            self.store_digest()
            body.append(ir.Return())
        self.block.append(ir.If(condition, tuple(body)))

    def subgroup(self) -> None:
        rng = self.rng
        op = rng.choice(tuple(SUBGROUP_OPS))
        args: tuple[ir.Value, ...] = ()
        dtype: DType = i32
        if op in ("any", "all", "ballot"):
            args = (self.pick(bool_),)
            dtype = u64 if op == "ballot" else bool_
        elif SUBGROUP_OPS[op]:
            dtype = rng.choice((i32, u32, f32))
            args = (self.pick(dtype),)
            if op == "broadcast":
                args += (self.const(i32, rng.randint(-1, 9)),)
            elif SUBGROUP_OPS[op] == 2:
                args += (self.op("mod", self.pick(i32), self.const(i32, 8)),)
        result = self.fresh(dtype)
        self.block.append(ir.Subgroup(result, op, args))
        if dtype is u64:
            result = self.op("cast", result, to=u32)
        self.keep(self.known(result))


def block_options(dtypes: Sequence[DType], subgroup: int | None, size: int) -> Options:
    """Options with the operations of :data:`OPERATIONS`."""
    options = Options.of(dtypes, None, math=False, subgroup=subgroup, size=size)
    return replace(options, ops=tuple(op for op in OPERATIONS if op in options.ops))


def block_kernel(
    seed: int, *, dtypes: Sequence[DType] = ELEMENTS, subgroup: int | None = None, size: int = 16
) -> BlockKernel:
    """A random kernel of cooperating threads.

    Parameters
    ----------
    seed : int
    dtypes : sequence of DType
        What values and arrays may be; ``bool`` and ``i32`` appear anyway.
    subgroup : int, optional
        Fix the subgroup width, and use subgroup operations.
    size : int
        Roughly the number of statements, but for what the phases need.
    """
    rng = source(seed)
    options = block_options(dtypes, subgroup, size)
    block = rng.choice(BLOCKS)
    grid = tuple(rng.choice((1, 1, 2)) for _ in block)
    functions: list[ir.Function] = []
    for i in range(rng.choice((0, 0, 1, 2))):
        functions.append(FunctionBody(rng, options, tuple(functions)).build(f"f{i}"))
    body = _BlockBody(rng, options, tuple(functions), grid, block)
    kernel = body.build()
    module = ir.Module(kernel, tuple(functions), len(block), "strict", subgroup)
    made = BlockKernel(module, grid, block, tuple(body.arrays[p.name] for p in kernel.params))
    return with_fewer_barriers(rng, made) if rng.random() < 0.5 else made
