"""From one index an axis to one flat offset: in C order, or by the strides of the array.

The offset and every step to it fit in what offsets of the array need: an index is within its extent, or the
access is not executed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import repeat

from gpucore.ir.dtypes import index
from gpucore.ir.nodes import (
    Allocate,
    Atomic,
    AtomicCas,
    Extent,
    Function,
    Load,
    Memory,
    Module,
    Op,
    Stmt,
    Store,
    Value,
    walk,
)  # fmt: skip
from gpucore.ir.ops import SLICE_INDEX
from gpucore.ir.passes.emit import Names, Rewriter, names_of


def flatten(module: Module) -> Module:
    """Give every access one flat element offset of dtype ``index``."""
    kernel = flatten_function(module.kernel)
    functions = tuple(map(flatten_function, module.functions))
    return Module(kernel, functions, module.ndim, module.math, module.subgroup, module.noalias)


def flatten_function(function: Function, shared: Sequence[int] = ()) -> Function:
    """The same for one function; ``shared`` has the elements of the shared memories without a shape, 128 if left out."""
    accesses = (Load, Store, Atomic, AtomicCas)
    if not any(
        (isinstance(s, accesses) and (len(s.indices) != 1 or s.indices[0].dtype is not index))
        or (isinstance(s, Op) and s.op == SLICE_INDEX)
        or isinstance(s, Allocate)
        for s in walk(function.body)
    ) and not any(isinstance(p, Memory) and p.layout != "contiguous" for p in function.params):
        return function
    rewriter = _Flatten(Names(names_of(function)))
    rewriter.elements = dict(
        zip([m.name for m in function.memories if not m.shape], shared or repeat(128), strict=False)
    )
    body = rewriter.block(function.body)
    params = tuple(rewriter.flat(p) if isinstance(p, Memory) else p for p in function.params)
    memories = tuple(map(rewriter.flat, function.memories))
    return Function(
        function.name, params, function.result, function.variables, memories, (*rewriter.top, *body)
    )


def axes_of(memory: Memory) -> int:
    """The axes of a memory of the low level."""
    return memory.rank if memory.layout == "contiguous" else (memory.rank - 1) // 2


def is_stride(memory: Memory, axis: int) -> bool:
    """Whether an :class:`Extent` of the low level is a stride, which may be negative."""
    return memory.layout != "contiguous" and axes_of(memory) <= axis < memory.rank - 1


class _Flatten(Rewriter):
    def __init__(self, names: Names) -> None:
        super().__init__(names)
        self.top: list[Stmt] = []
        self._extents: dict[tuple[str, int], Value] = {}
        self.elements: dict[str, int] = {}
        self._sizes: dict[str, tuple[Value, ...]] = {}

    def extent(self, memory: Memory, axis: int) -> Value:
        """The extent, read once at the top of the kernel where it comes with the launch."""
        if memory.shape:
            return self.const(memory.shape[axis], index)
        if memory.space == "shared":
            return self._sizes[memory.name][axis]
        key = (memory.name, axis)
        result = self._extents.get(key)
        if result is None:
            result = self._extents[key] = self.value(index)
            self.top.append(Extent(result, memory, axis, self.loc))
        return result

    def flat(self, memory: Memory) -> Memory:
        """The memory at the low level."""
        if memory.name in self.elements:
            return replace(memory, rank=1, shape=(self.elements[memory.name],))
        return memory if memory.layout == "contiguous" else replace(memory, rank=2 * memory.rank + 1)

    def on_op(self, s: Op) -> None:
        if s.op != SLICE_INDEX:
            super().on_op(s)
            return
        number, start, _, step = (self.v(a) for a in s.args)
        # where the number is outside of the slice, the access is not executed
        along = number if self.constants.get(step.name) == 1 else self.op("mul", number, step)
        self.replaced[s.result.name] = self.op("add", start, along)

    def on_allocate(self, s: Allocate) -> None:
        self._sizes[s.memory.name] = self.vs(s.extents)

    def on_extent(self, s: Extent) -> None:
        if s.memory.space == "shared":
            self.replaced[s.result.name] = self.extent(s.memory, s.axis)
            return
        self.out.append(Extent(s.result, self.flat(s.memory), s.axis, s.loc))

    def offset(self, memory: Memory, indices: tuple[Value, ...]) -> tuple[Value]:
        if memory.layout != "contiguous":
            return self.strided_offset(memory, indices)
        flat = self.cast(self.v(indices[0]), index)
        for axis in range(1, len(indices)):
            along = self.cast(self.v(indices[axis]), index)
            flat = self.op("add.raw", self.op("mul.raw", flat, self.extent(memory, axis)), along)
        return (flat,)

    def strided_offset(self, memory: Memory, indices: tuple[Value, ...]) -> tuple[Value]:
        """From the lowest element: no partial sum is negative, as the first element counts the axes that go down."""
        low, axes = self.flat(memory), memory.rank
        flat = self.extent(low, 2 * axes)
        for axis, number in enumerate(indices):
            along = self.cast(self.v(number), index)
            if axis < axes - 1 or memory.layout == "strided":
                along = self.op("mul.raw", along, self.extent(low, axes + axis))
            flat = self.op("add.raw", flat, along)
        return (flat,)

    def on_load(self, s: Load) -> None:
        self.out.append(Load(s.result, self.flat(s.memory), self.offset(s.memory, s.indices), s.loc))

    def on_store(self, s: Store) -> None:
        self.out.append(Store(self.flat(s.memory), self.offset(s.memory, s.indices), self.v(s.value), s.loc))

    def on_atomic(self, s: Atomic) -> None:
        offset = self.offset(s.memory, s.indices)
        self.out.append(Atomic(s.result, s.op, self.flat(s.memory), offset, self.v(s.value), s.bits, s.loc))

    def on_atomic_cas(self, s: AtomicCas) -> None:
        offset = self.offset(s.memory, s.indices)
        self.out.append(
            AtomicCas(
                s.result, self.flat(s.memory), offset, self.v(s.expected), self.v(s.desired), s.bits, s.loc
            )
        )
