"""Interrupts where the memory pool works, at every place where CPython looks for signals: all memory is given back."""

from __future__ import annotations

import dataclasses
import gc as garbage
import sys

import numpy as np
import pytest

import gpucore as gc
from gpucore.hookspecs import hookimpl
from gpucore.testing import null

HERE = ("memory_pool.py", "memory_block.py", "arena.py", "hooks.py")
GROUPS = (
    "group.py", "all_reduce.py", "direct_reduce.py", "repeated_reduce.py", "following_stream.py", "context.py", "stream.py",
    "state.py",
)  # fmt: skip


class Interrupt:
    """Raises KeyboardInterrupt at one place, of those where CPython looks for signals: as a Python function begins, and after
    one of C; counts them.
    """

    def __init__(self, at, files):
        self.left, self.files = at, files

    def __enter__(self):
        garbage.disable()
        sys.setprofile(self.profile)

    def __exit__(self, kind, error, trace):
        sys.setprofile(None)
        garbage.enable()
        return kind is KeyboardInterrupt

    def profile(self, frame, event, argument):
        if event not in ("call", "c_return"):
            return
        if frame.f_code.co_filename.endswith(self.files) and not in_finalizer(frame):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


def in_finalizer(frame):
    """Whether an interrupt would be swallowed there."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


def unaccounted(context):
    """Allocations of the driver that no pool of a context knows."""
    state = context._state
    state.pool.stats()  # takes back what finalizers left
    arenas = [arena.entries for stream in state.live_streams() for arena in stream._timeline.arenas.values()]
    reserves = [pool for pool in state.pools if getattr(pool, "_reserve", None)]
    live = [block for pool in state.pools for block in pool._live if block.reserve is None]
    return state.device._handle.open["allocations"] - sum(map(len, arenas)) - len(reserves) - len(live)


def interrupted_everywhere(files, prepare, action, contexts, used):
    """How often an action was interrupted, one place after the other; at most ``used`` bytes are in use between."""
    at = 0
    while True:
        at += 1
        given = prepare()
        interrupt = Interrupt(at, files)
        with interrupt:
            action(given)
        del given
        for context, before in zip(contexts, used, strict=True):
            context.synchronize()
            if unaccounted(context):
                action(prepare())  # a launch shape refers to the memory of its last launch until the next
            assert unaccounted(context) == 0, at
            assert context.pool.stats()["used"] <= before, at
        if interrupt.left > 0:
            return at


@pytest.mark.parametrize("size", [100, 1 << 20])  # a cached piece, and new memory each time
def test_no_block_is_lost_to_an_interrupt(backend, monkeypatch, size):
    backend("null")
    ctx = gc.Context("null")
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    def prepare():
        ctx.zeros(100, gc.f32)  # dropped: what the next allocation takes back first
        if size > 100:
            ctx.pool.trim()

    def allocate(_):
        ctx.zeros(size, gc.f32)

    assert interrupted_everywhere(HERE, prepare, allocate, [ctx], [0]) > 10
    ctx.close()
    assert ctx.device._handle.open["allocations"] == 0
    assert unraisable == []


@pytest.mark.parametrize("size", [100, 100_000])
def test_no_piece_of_a_users_pool_is_lost_to_an_interrupt(backend, size):
    backend("null")
    ctx = gc.Context("null")
    at = 0
    while True:
        at += 1
        pool = gc.MemoryPool(ctx, size=1 << 22)
        interrupt = Interrupt(at, (*HERE, "user_memory.py"))
        with interrupt:
            part = ctx.options(pool=pool)
            arrays = [part.zeros(size, gc.f32) for _ in range(2)]
            del arrays
        part = arrays = None
        ctx.synchronize()
        assert pool.stats()["used"] == 0, at
        pool.close()
        assert ctx.device._handle.open["allocations"] == 0, at
        if interrupt.left > 0:
            break
    assert at > 10
    ctx.close()


def test_trimming_that_is_interrupted_leaves_the_rest_in_the_pool(backend):
    backend("null")
    ctx = gc.Context("null")

    def prepare():
        for n in (100, 1000, 10_000):
            ctx.zeros(n, gc.f32)

    assert interrupted_everywhere(HERE[:3], prepare, lambda _: ctx.pool.trim(), [ctx], [0]) > 5
    assert ctx.pool.trim() >= 0 and ctx.pool.stats()["cached"] == 0
    ctx.close()
    assert ctx.device._handle.open["allocations"] == 0


@pytest.mark.parametrize("direct", [False, True])
def test_no_memory_of_a_group_is_lost_to_an_interrupt(several, direct):
    def capabilities(device):
        found = null.capabilities(device)
        names = {"peer_copy", "peer_events", *(["peer_memory"] if direct else [])}
        return dataclasses.replace(found, names=found.names | names)

    more = {"enable_peer_access": hookimpl(lambda device, other: None)} if direct else {}
    group = gc.Group(several(2, capabilities=capabilities, **more))
    data = np.arange(12, dtype=np.float32)
    kept = [group.replicate(data)]
    for _ in range(5):
        group.all_reduce(kept[0])  # the pair is tried, the kernel is compiled, memory for results is kept

    def used():  # an all-reduce keeps memory for the results of three more
        return [context.pool.stats()["used"] + 3 * 256 for context in group.contexts]

    def nothing():
        return None

    files = GROUPS[:5] if direct else ("memory_pool.py", "arena.py", *GROUPS)
    transfers = [
        (nothing, lambda _: group.scatter(data)),
        (nothing, lambda _: group.replicate(data)),
        (nothing, lambda _: group.gather(kept[0])),
    ]
    exchanges = [
        (lambda: group.all_reduce(kept[0]).shards and None, lambda _: group.all_reduce(kept[0])),
        (lambda: group.replicate(data), lambda arrays: group.all_reduce(arrays)),
    ]
    for prepare, action in exchanges if direct else transfers + exchanges:
        assert interrupted_everywhere(files, prepare, action, group.contexts, used()) > 10
    group.synchronize()
    np.testing.assert_array_equal(group.gather(group.all_reduce(kept[0])), data * 2)
    kept.clear()
    garbage.collect()
    assert [context.pool.stats()["used"] for context in group.contexts] == [0, 0]
    handles = [context.device._handle for context in group.contexts]
    group.close()
    assert [handle.open["allocations"] for handle in handles] == [0, 0]
