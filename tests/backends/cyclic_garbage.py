"""Cyclic garbage that holds memory of a device, and what must be true of the memory afterwards.

The collector runs the finalizers of all that it finds in one cycle, in the order of its lists: an array's, which gives the memory
back to the pool, and that of the plugin's memory, which gives it back to the driver.
"""

from __future__ import annotations

import gc as collector
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

import gpucore as gc
from gpucore.runtime.memory_block import Owner

N = 1000


class Node:
    """What refers to itself."""

    def __init__(self, **content: Any) -> None:
        self.__dict__.update(content)
        self.itself = self


class Revived(Node):
    """What somebody has again once it was finalized."""

    def __init__(self, kept: list[Revived], **content: Any) -> None:
        super().__init__(**content)
        self.kept = kept

    def __del__(self) -> None:
        self.kept.append(self)


# --- each makes garbage, with a context that stays and one of its device
def stream_with_cached_memory(ctx: gc.Context) -> Node:
    """The memory is free, in the order of a stream that is garbage."""
    stream = ctx.stream()
    ctx.array(np.arange(N, dtype=np.float32), stream=stream)
    ctx.pool.stats()
    return Node(stream=stream)


def array_and_its_stream(ctx: gc.Context) -> Node:
    """The memory is an array's."""
    stream = ctx.stream()
    return Node(stream=stream, array=ctx.array(np.arange(N, dtype=np.float32), stream=stream))


def frames_of_an_error(ctx: gc.Context) -> Node:
    """As a traceback does that somebody keeps beside what it is of."""

    def fails() -> None:
        stream = ctx.stream()
        arrays = [ctx.array(np.full(n, 3, np.float32), stream=stream) for n in (10, N, 100 * N)]
        del arrays[1]
        raise RuntimeError(arrays, stream)

    try:
        fails()
    except RuntimeError as error:
        kept = error
    return Node(error=kept)


def pool_of_the_users(ctx: gc.Context) -> Node:
    """A pool with an array of its large allocation, one that has no room in it, and free memory."""
    pool = gc.MemoryPool(ctx, size=4 * N + 256)
    part = ctx.options(pool=pool)
    arrays = [part.array(np.arange(n, dtype=np.float32)) for n in (N, 10 * N, 20 * N)]
    arrays.pop()
    return Node(pool=pool, part=part, arrays=arrays)


def whole_context(ctx: gc.Context) -> Node:
    """A context of the same device, with a stream, arrays and free memory."""
    other = gc.Context(ctx.device)
    stream = other.stream()
    arrays = [
        other.array(np.arange(n, dtype=np.float32), stream=s) for n in (N, 7 * N) for s in (None, stream)
    ]
    del arrays[0], arrays[-1]
    return Node(context=other, stream=stream, arrays=arrays)


def owner_before_its_memory(ctx: gc.Context) -> Node:
    """The collector finds what gives memory back to the pool before the memory; elsewhere the memory comes first."""
    owner = object.__new__(Owner)
    other = Node(owner=owner, context=gc.Context(ctx.device))
    collector.collect()  # what lives is older from here on
    array = other.context.array(np.arange(N, dtype=np.float32))
    owner.block = array._owner.block
    del array._owner.block
    other.array = array
    return other


def array_that_is_revived(ctx: gc.Context) -> Node:
    """A finalizer of the user's brings it back."""
    kept: list[Revived] = []
    made = array_and_its_stream(ctx)
    return Node(revived=Revived(kept, array=made.array, stream=made.stream))


CYCLES: list[Callable[[gc.Context], Node]] = [
    stream_with_cached_memory, array_and_its_stream, frames_of_an_error, pool_of_the_users, whole_context,
    owner_before_its_memory, array_that_is_revived,
]  # fmt: skip


class Held:
    """Arrays that are each another number throughout."""

    def __init__(self, *contexts: gc.Context) -> None:
        self.contexts = contexts
        self.arrays: list[gc.Array[Any]] = []

    def more(self) -> None:
        """Write more of them, of the sizes that the garbage has."""
        for context in self.contexts:
            for n in (10, N, N, 7 * N, 10 * N, 20 * N, 100 * N):
                self.arrays.append(context.full(n, len(self.arrays), gc.f32))

    def check(self) -> None:
        """None has another's memory."""
        for number, array in enumerate(self.arrays):
            found = array.numpy()
            assert (found == number).all(), f"array {number} holds {np.unique(found)[:5]}"


def collected(
    cycle: Callable[[gc.Context], Node], ctx: gc.Context, second: gc.Context, looks_on: str
) -> None:
    """Make garbage, have it collected, and use the memory that comes back.

    Parameters
    ----------
    ctx, second : Context
        Two of one device.
    looks_on : {"nobody", "weak references", "a finalizer"}
        Who uses the contexts in the middle of the collection.
    """
    held = Held(ctx, second)
    held.more()
    watchers = []

    def look(*_: object) -> None:
        collector.collect()
        held.more()
        ctx.pool.stats()

    garbage = cycle(ctx)
    if looks_on == "weak references":
        parts = [garbage, *(part for part in vars(garbage).values() if hasattr(part, "__weakref__"))]
        watchers = [weakref.ref(part, look) for part in parts]
        del parts
    elif looks_on == "a finalizer":
        garbage.noted = Noted(look)
        garbage.later = Noted(look)
    gone = weakref.ref(garbage)
    del garbage
    collector.collect()
    assert gone() is None
    held.more()
    held.check()
    del watchers
    ctx.synchronize()
    collector.collect()
    held.more()
    second.pool.trim()
    ctx.pool.trim()
    held.more()
    held.check()


class Noted:
    """Calls a function when it is finalized."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.itself = self

    def __del__(self) -> None:
        self.call()
