"""Memory that the threads of a block share, and who may touch which element between two barriers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bool_, i32, index, u32
from gpucore_fuzz.body import Body

__all__ = ["FAMILIES", "Access", "BlockBase", "Place"]

FAMILIES = (("add", "sub"), ("min",), ("max",), ("and",), ("or",), ("xor",))
"""Atomic operations that commute with each other."""


@dataclass(eq=False)
class Place:
    """Elements of which a block owns some: an array in shared memory, or the block's part of global arrays.

    Attributes
    ----------
    memories : list of (Memory, int)
        The names it goes by, and how far an element's index is from its number in the place.
    shape : tuple[int, ...]
        What a block sees.
    base : Value | None
        Number of the block's first element in a global array of one axis.
    """

    memories: list[tuple[ir.Memory, int]]
    shape: tuple[int, ...]
    base: ir.Value | None = None

    @property
    def dtype(self) -> DType:
        return self.memories[0][0].dtype

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass
class Access:
    """What threads may do to a place between two barriers.

    Attributes
    ----------
    mode : {"read", "own", "one", "atomic"}
        Everybody reads anything; each thread has an element of its own, or one thread has all; everybody
        uses one family of atomics.
    guard : Value | None
        True for the threads that have an element, or for the one thread; None where all do.
    own : tuple[Value, ...]
        Index of the thread's own element.
    family : tuple[str, ...]
    """

    mode: str
    guard: ir.Value | None = None
    own: tuple[ir.Value, ...] = ()
    family: tuple[str, ...] = field(default=())


class BlockBase(Body):
    """Tells values that all threads of the block agree on, and makes indices."""

    launch_block: tuple[int, ...]
    threads: int
    linear: ir.Value
    local_ids: tuple[ir.Value, ...]

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.uniform: set[ir.Value] = set()
        self.uniform_vars: list[ir.Var] = []
        self.places: list[Place] = []
        self.access: dict[Place, Access] = {}

    # --- uniform values ---
    def const(self, dtype: DType, number: ir.Number) -> ir.Value:
        value = super().const(dtype, number)
        self.uniform.add(value)
        return value

    def op(self, op: str, *args: ir.Value, to: DType | None = None) -> ir.Value:
        value = super().op(op, *args, to=to)
        if self.uniform.issuperset(args):
            self.uniform.add(value)
        return value

    def read_uniform(self, var: ir.Var) -> ir.Value:
        value = self.fresh(var.dtype)
        self.block.append(ir.GetVar(value, var))
        self.uniform.add(value)
        return self.known(value)

    def pick(self, dtype: DType) -> ir.Value:
        mine = [v for v in self.uniform_vars if v.dtype is dtype]
        if mine and self.rng.random() < 0.2:
            return self.read_uniform(self.rng.choice(mine))
        return super().pick(dtype)

    def pick_uniform(self, dtype: DType) -> ir.Value:
        """A value that all threads agree on."""
        rng = self.rng
        mine = [v for v in self.uniform_vars if v.dtype is dtype]
        known = [v for v in self.scope[-60:] if v.dtype is dtype and v in self.uniform]
        if mine and rng.random() < 0.4:
            return self.read_uniform(rng.choice(mine))
        if known and rng.random() < 0.8:
            return rng.choice(known)
        others = [v for v in self.scope[-60:] if v in self.uniform]
        if others and rng.random() < 0.6:
            value = rng.choice(others)
            if dtype is bool_:
                return self.op(
                    rng.choice(("lt", "ne", "ge")),
                    value,
                    rng.choice([v for v in others if v.dtype is value.dtype]),
                )
            return self.op("cast", value, to=dtype)
        return self.const(dtype, rng.random() < 0.5 if dtype is bool_ else rng.randint(0, 5))

    # --- indices ---
    def below(self, extent: int, value: ir.Value | None = None) -> ir.Value:
        """An index under a constant extent: uniform, by the thread's id, or of the data."""
        rng = self.rng
        roll = rng.random()
        if value is None and roll < 0.12:
            return self.const(index, rng.randrange(extent))
        if value is None and roll < 0.3:
            return self.op("mod", self.pick_uniform(index), self.const(index, extent))
        if roll < 0.38:
            return self.wrapped(value or self.pick(i32), extent)
        if roll < 0.46 and extent & (extent - 1) == 0:
            word = self.op("cast", value or self.pick(u32), to=u32)
            return self.op("cast", self.op("and", word, self.const(u32, extent - 1)), to=index)
        ids = (*self.local_ids, self.linear)
        extents = (*self.launch_block, self.threads)
        if value is None and roll < 0.75:
            at = rng.randrange(len(ids))
            slack = extent - extents[at]
            if slack >= 0:
                if rng.random() < 0.3:
                    return self.op("sub", self.const(index, extent - 1 - rng.randint(0, slack)), ids[at])
                return self.op("add", ids[at], self.const(index, rng.randint(0, slack)))
            moved = self.op("add", ids[at], self.pick_uniform(index))
            return self.op("mod", moved, self.const(index, extent))
        word = value or self.pick(index)
        if word.dtype is not index:
            word = self.op("cast", word, to=index)
        return self.op("mod", word, self.const(index, extent))

    def wrapped(self, value: ir.Value, extent: int) -> ir.Value:
        """Arithmetic in 32 bits that overflows, and then an index."""
        rng = self.rng
        word = value if value.dtype is i32 else self.op("cast", value, to=i32)
        word = self.op("mul", word, self.const(i32, rng.choice((0x7FFFFFFF, 1 << 30, 1103515245, -3))))
        word = self.op("add", word, self.const(i32, rng.choice((0x7FFFFFFF, -(1 << 31), 12345, 1))))
        word = self.op("mod", word, self.const(i32, extent))
        return self.op("cast", word, to=index)

    def anywhere(self, place: Place) -> tuple[ir.Value, ...]:
        """Indices of a random element, one an axis of the place."""
        if len(place.shape) > 1 and self.rng.random() < 0.25:
            return self.unravel(place, self.below(place.size))
        return tuple(self.below(extent) for extent in place.shape)

    def unravel(self, place: Place, flat: ir.Value) -> tuple[ir.Value, ...]:
        parts: list[ir.Value] = []
        for extent in reversed(place.shape[1:]):
            by = self.const(index, extent)
            parts.append(self.op("mod", flat, by))
            flat = self.op("floordiv", flat, by)
        return (flat, *reversed(parts))

    def owned(self, place: Place) -> Access:
        """Give each thread an element of its own by a rule that is a permutation."""
        rng = self.rng
        threads, size = self.threads, place.size
        ids = self.local_ids
        if place.shape == self.launch_block and rng.random() < 0.6:
            return Access("own", None, ids)
        if len(ids) > 1 and place.shape == self.launch_block[::-1] and rng.random() < 0.6:
            return Access("own", None, ids[::-1])
        guard = None
        slot = self.linear
        if size < threads:
            guard = self.op("lt", slot, self.const(index, size))
            if rng.random() < 0.5:
                slot = self.op("sub", self.const(index, size - 1), slot)
            return Access("own", guard, self.unravel(place, slot))
        roll = rng.random()
        if roll < 0.3:
            pass
        elif roll < 0.45:
            slot = self.op("sub", self.const(index, threads - 1), slot)
        elif roll < 0.6 and size >= 2 * threads:
            slot = self.op("mul", slot, self.const(index, size // threads))
        elif roll < 0.85:
            turn = self.pick_uniform(index) if rng.random() < 0.7 else self.const(index, rng.randint(1, 9))
            slot = self.op("mod", self.op("add", slot, turn), self.const(index, threads))
        elif threads & (threads - 1) == 0:
            slot = self.op("xor", slot, self.const(index, rng.randrange(threads)))
        if roll < 0.45 and size > threads:
            slot = self.op("add", slot, self.const(index, rng.randint(0, size - threads)))
        if rng.random() < 0.2:
            guard = self.pick(bool_)
        return Access("own", guard, self.unravel(place, slot))

    # --- access ---
    def at(self, place: Place, indices: tuple[ir.Value, ...]) -> tuple[ir.Memory, tuple[ir.Value, ...]]:
        """One of the names of a place, and the element's index there."""
        memory, offset = self.rng.choice(place.memories)
        if place.base is not None:
            where = self.op("add", place.base, indices[0])
            if offset:
                where = self.op("add", where, self.const(index, offset))
            return memory, (where,)
        return memory, indices

    def load_at(self, place: Place, indices: tuple[ir.Value, ...]) -> ir.Value:
        memory, where = self.at(place, indices)
        got = self.fresh(memory.dtype)
        self.block.append(ir.Load(got, memory, where))
        if self.uniform.issuperset(indices):
            self.uniform.add(got)
        return self.known(got)

    def decide(self) -> ir.Value:
        """A condition on a loaded element and the thread's id."""
        rng = self.rng
        readable = [p for p, a in self.access.items() if a.mode == "read" and p.dtype is not bool_]
        loaded = self.pick(index)
        if readable:
            place = rng.choice(readable)
            where = tuple(self.op("mod", self.pick_uniform(index), self.const(index, n)) for n in place.shape)
            loaded = self.load_at(place, where)
        dtype = rng.choice((i32, index))
        part = self.op("mod", self.op("cast", loaded, to=dtype), self.const(dtype, self.threads))
        start = self.op("add", part, self.op("cast", rng.choice(self.local_ids), to=dtype))
        return self.op(
            rng.choice(("lt", "le", "gt")), start, self.const(dtype, rng.randint(1, self.threads + 1))
        )

    def store_at(self, place: Place, indices: tuple[ir.Value, ...], value: ir.Value) -> None:
        memory, where = self.at(place, indices)
        self.block.append(ir.Store(memory, where, value))
