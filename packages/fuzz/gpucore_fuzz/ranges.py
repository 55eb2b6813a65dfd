"""Random kernels for range launches: each thread has elements of its own, arrays may be the same."""

from __future__ import annotations

from collections.abc import Sequence

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, i32, index
from gpucore_fuzz.blocks import ELEMENTS, BlockKernel, block_options
from gpucore_fuzz.body import Body, FunctionBody, Options
from gpucore_fuzz.values import random_array, random_scalar, source

__all__ = ["range_kernel"]

SHAPES = ((1,), (5,), (31,), (64,), (100,), (257,), (3, 7), (2, 33), (17, 5), (1, 64), (2, 3, 5), (4, 1, 19))


class _RangeBody(Body):
    def build(self, shape: tuple[int, ...]) -> tuple[ir.Function, dict[str, object]]:
        """The kernel and its arguments by name."""
        rng = self.rng
        ndim = len(shape)
        elements = [d for d in self.options.dtypes if d is not index]
        arrays: dict[str, object] = {}
        self.inputs = [ir.Memory("in0", rng.choice(elements), "global", rng.choice((1, 2)))]
        arrays["in0"] = random_array(
            rng, self.inputs[0].dtype, tuple(rng.randint(1, 9) for _ in range(self.inputs[0].rank))
        )
        scalar = ir.Value("s0", rng.choice(elements))
        arrays["s0"] = random_scalar(rng, scalar.dtype)
        self.known(scalar)
        ids: list[ir.Value] = []
        for axis in range(ndim):
            ids.append(self.fresh(index))
            self.block.append(ir.ThreadIndex(self.known(ids[-1]), "global_id", axis))
        dtype = rng.choice(elements)
        work = [ir.Memory("work0", dtype, "global", ndim), ir.Memory("same0", dtype, "global", ndim)]
        arrays["work0"] = random_array(rng, dtype, shape)
        arrays["same0"] = arrays["work0"] if rng.random() < 0.5 else random_array(rng, dtype, shape)
        digests = ir.Memory("out_digest", i32, "global", ndim)
        arrays["out_digest"] = random_array(rng, i32, shape)
        self.start_digest()
        self.variable()
        straight = rng.random() < 0.4
        for _ in range(rng.randint(1, 4)):
            got = self.fresh(dtype)
            self.block.append(ir.Load(got, rng.choice(work), tuple(ids)))
            self.known(got)
            for _ in range(rng.randint(1, 3)):
                if straight:
                    self.random_op()
                else:
                    self.statement()
            self.block.append(ir.Store(rng.choice(work), tuple(ids), self.pick(dtype)))
        self.may_return = not straight
        self.statements(0 if straight else 3)
        self.observe(self.scope, 2 if straight else 6)
        digest = self.fresh(i32)
        self.block.append(ir.GetVar(digest, self.digest))
        self.block.append(ir.Store(digests, tuple(ids), digest))
        params: list[ir.Memory | ir.Value] = [*self.inputs, *work, digests, scalar]
        rng.shuffle(params)
        variables = (*self.variables, *self.counters)
        kernel = ir.Function(
            "fuzzed", tuple(params), None, variables, tuple(self.memories), tuple(self.block)
        )
        return kernel, arrays


def range_kernel(seed: int, *, dtypes: Sequence[DType] = ELEMENTS, size: int = 16) -> BlockKernel:
    """A random kernel for a range launch; its block is ``()`` and its grid the range.

    Parameters
    ----------
    seed : int
    dtypes : sequence of DType
    size : int
        Roughly the number of statements.
    """
    rng = source(seed)
    options: Options = block_options(dtypes, None, size)
    shape = rng.choice(SHAPES)
    functions: list[ir.Function] = []
    if rng.random() < 0.4:
        functions.append(FunctionBody(rng, options, ()).build("f0"))
    kernel, arrays = _RangeBody(rng, options, tuple(functions)).build(shape)
    module = ir.Module(kernel, tuple(functions), len(shape))
    return BlockKernel(module, shape, (), tuple(arrays[p.name] for p in kernel.params))
