"""The random kernels of :mod:`gpucore_fuzz.cases`."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bool_, i32, index, u64
from gpucore.ir.ops import SUBGROUP_OPS
from gpucore_fuzz.body import COMMUTATIVE, Body, FunctionBody, Options

__all__ = ["Options", "build_module"]


class _KernelBody(Body):
    def __init__(
        self, rng: random.Random, options: Options, callees: Sequence[ir.Function], block: tuple[int, ...]
    ) -> None:
        super().__init__(rng, options, callees)
        self.launch_block = block
        self.threads = math.prod(block)

    def build(self) -> ir.Function:
        rng = self.rng
        elements = [d for d in self.options.dtypes if d is not index]
        self.inputs = [
            ir.Memory(f"in{i}", rng.choice(elements), "global", rng.choice((1, 1, 2, 3, 4)))
            for i in range(rng.randint(1, 3))
        ]
        ndim = len(self.launch_block)
        outputs = [
            ir.Memory(f"out{i}", rng.choice(elements), "global", ndim) for i in range(rng.randint(1, 3))
        ]
        outputs.append(ir.Memory("out_digest", i32, "global", ndim))
        scalars = [ir.Value(f"s{i}", self.any_dtype()) for i in range(rng.randint(0, 3))]
        shared_atomic = None
        if self.options.atomics and rng.random() < 0.4:
            shared_atomic = ir.Memory("hits", rng.choice(self.options.atomics), "global", 1)
        for s in scalars:
            self.known(s)
        self.start_digest()
        ids = [self.thread_index("global_id", axis) for axis in range(ndim)]
        self.linear = self.linear_id()
        for kind in ("block_id", "block_dim", "grid_dim"):
            if rng.random() < 0.4:
                self.thread_index(kind, rng.randrange(ndim))
        for _ in range(rng.randint(1, 4)):
            self.variable()
        phases = rng.choice((0, 0, 1, 2))
        share = self.options.size // (phases + 1)
        for _ in range(phases):
            self.budget = share
            self.statements(share)
            self.exchange()
        if self.options.subgroup is not None:
            for _ in range(rng.randint(1, 3)):
                self.subgroup()
        self.budget = share
        self.may_return = True
        self.statements(share)
        if shared_atomic is not None:
            self.common_atomic(shared_atomic)
        self.observe(self.scope, 8)
        for memory in outputs[:-1]:
            self.output(memory, tuple(ids))
        digest = self.fresh(i32)
        self.block.append(ir.GetVar(digest, self.digest))
        self.block.append(ir.Store(outputs[-1], tuple(ids), digest))
        params: list[ir.Memory | ir.Value] = [*self.inputs, *outputs, *scalars]
        if shared_atomic is not None:
            params.append(shared_atomic)
        rng.shuffle(params)
        variables = (*self.variables, *self.counters)
        return ir.Function("fuzzed", tuple(params), None, variables, tuple(self.memories), tuple(self.block))

    def thread_index(self, kind: ir.IdKind, axis: int) -> ir.Value:
        result = self.fresh(index)
        self.block.append(ir.ThreadIndex(result, kind, axis))
        return self.known(result)

    def linear_id(self) -> ir.Value:
        value = self.thread_index("thread_id", 0)
        for axis in range(1, len(self.launch_block)):
            scaled = self.op("mul", value, self.thread_index("block_dim", axis))
            value = self.op("add", scaled, self.thread_index("thread_id", axis))
        return value

    def exchange(self) -> None:
        """Write the thread's own element of shared memory, pass a barrier, read another's."""
        rng = self.rng
        elements = [d for d in self.options.dtypes if d is not index]
        tile = ir.Memory(f"tile{len(self.memories)}", rng.choice(elements), "shared", 1, (self.threads,))
        self.memories.append(tile)
        loops = rng.random() < 0.4
        stop = self.const(index, rng.randint(1, 3)) if loops else None
        start, step = self.const(index, 0), self.const(index, 1)
        variable = self.fresh(index)
        with self.nested() as body:
            if loops:
                self.known(variable)
            self.block.append(ir.Store(tile, (self.linear,), self.pick(tile.dtype)))
            if tile.dtype in self.options.atomics and rng.random() < 0.6:
                self.block.append(ir.Barrier())
                where = self.index_below(self.const(index, self.threads))
                op = rng.choice(COMMUTATIVE)
                old = self.fresh(tile.dtype)
                self.block.append(ir.Atomic(old, op, tile, (where,), self.pick(tile.dtype)))
            if rng.random() < 0.2:
                self.block.append(ir.Fence())
            self.block.append(ir.Barrier())
            other = self.index_below(self.const(index, self.threads))
            got = self.fresh(tile.dtype)
            self.block.append(ir.Load(got, tile, (other,)))
            self.known(got)
            self.statements(2)
            self.keep(got)
            self.block.append(ir.Barrier())
        if stop is None:
            self.block += body
            return
        self.block.append(ir.For(variable, start, stop, step, tuple(body)))

    def keep(self, value: ir.Value) -> None:
        """Let a variable carry a value out of its block."""
        candidates = [v for v in self.variables if v.dtype is value.dtype]
        if candidates:
            self.block.append(ir.SetVar(self.rng.choice(candidates), value))

    def subgroup(self) -> None:
        rng = self.rng
        op = rng.choice(tuple(SUBGROUP_OPS))
        args: tuple[ir.Value, ...] = ()
        dtype: DType = i32
        if op in ("any", "all", "ballot"):
            args = (self.pick(bool_),)
            dtype = u64 if op == "ballot" else bool_
        elif SUBGROUP_OPS[op]:
            numbers = [d for d in self.options.dtypes if d not in (bool_, index)]
            dtype = rng.choice(numbers)
            args = (self.pick(dtype),)
            if op == "broadcast":
                args += (self.const(i32, rng.randint(-1, 9)),)
            elif SUBGROUP_OPS[op] == 2:
                args += (self.op("mod", self.pick(i32), self.const(i32, 8)),)
        result = self.fresh(dtype)
        self.block.append(ir.Subgroup(result, op, args))
        self.known(result)
        self.keep(result)

    def common_atomic(self, memory: ir.Memory) -> None:
        """One commutative operation by all threads; nobody looks at what it returns."""
        extent = self.fresh(index)
        self.block.append(ir.Extent(extent, memory, 0))
        where = self.index_below(extent)
        value = self.pick(memory.dtype)
        old = self.fresh(memory.dtype)
        self.block.append(ir.Atomic(old, self.rng.choice(COMMUTATIVE), memory, (where,), value))

    def output(self, memory: ir.Memory, ids: tuple[ir.Value, ...]) -> None:
        """Store to the thread's own element; sometimes with atomics, whose old values are then its own
        too."""
        rng = self.rng
        value = self.pick(memory.dtype)
        if memory.dtype not in self.options.atomics or rng.random() < 0.4:
            self.block.append(ir.Store(memory, ids, value))
            return
        old = self.fresh(memory.dtype)
        if rng.random() < 0.3:
            expected = self.pick(memory.dtype)
            self.block.append(ir.AtomicCas(old, memory, ids, expected, value))
        else:
            op = rng.choice((*COMMUTATIVE, "exchange"))
            self.block.append(ir.Atomic(old, op, memory, ids, value))
        self.known(old)


def build_module(rng: random.Random, options: Options, block: tuple[int, ...]) -> ir.Module:
    """A random module for launches with blocks of this shape."""
    functions: list[ir.Function] = []
    for i in range(rng.choice((0, 0, 1, 2))):
        functions.append(FunctionBody(rng, options, tuple(functions)).build(f"f{i}"))
    kernel = _KernelBody(rng, options, tuple(functions), block).build()
    return ir.Module(kernel, tuple(functions), len(block), "strict", options.subgroup)
