"""Release and acquire by fences, against the definition: every pair of events of a history, and paths between them."""

import random

import numpy as np
import pytest

import gpucore as gc
from gpucore.errors import DataRaceError
from gpucore.ir.interpreter.shadow import OrderedClock

SITES = 3


HABITS = (
    [("write", 0)], [("read", 0)], [("write", 1)], [("read", 1)], [("fence", 2)], [("failed", 2)],
    [("fence", 2), ("atomic", 2)], [("atomic", 2), ("fence", 2)], [("failed", 2), ("fence", 2)],
    [("write", 0), ("fence", 2), ("atomic", 2)], [("atomic", 2), ("fence", 2), ("read", 0)], [("atomic", 1)],
)  # fmt: skip
"""What threads do with the elements 0 and 1, and with the flag 2."""


class Found(Exception):
    pass


def report(element, site, offset, other):
    raise Found(other)


def random_history(rng, threads, blocks):
    """Events ``(block, interval, thread, kind, element)``, as the interpreter makes them: block after block."""
    history = []
    for block in range(blocks):
        for interval in range(rng.randint(1, 2)):
            events = []
            for thread in range(threads):
                for _ in range(rng.randrange(4)):
                    events += [(thread, *event) for event in rng.choice(HABITS)]
            if rng.random() < 0.5:  # subgroup operations let threads take turns
                order = [thread for thread, _, _ in events]
                rng.shuffle(order)
                queues = {t: [e for e in events if e[0] == t] for t in range(threads)}
                events = [queues[t].pop(0) for t in order]
            history += [(block, interval, *event) for event in events]
    return history


def same(a, b):
    """Whether two events are of one thread."""
    return a[0] == b[0] and a[2] == b[2]


def first_race(history):
    """The first event that conflicts with an earlier one from which no path of order leads to it."""
    after = {k: set() for k in range(len(history))}
    for k, b in enumerate(history):
        for j, a in enumerate(history[:k]):
            if a[0] == b[0] and (a[2] == b[2] or a[1] < b[1]):
                after[j].add(k)
    for x, release in enumerate(history):
        if release[3] != "atomic":
            continue
        fences = [f for f in range(x) if history[f][3] == "fence" and same(history[f], release)]
        for y in range(x + 1, len(history)):
            acquire = history[y]
            if acquire[3] not in ("atomic", "failed") or acquire[4] != release[4] or same(acquire, release):
                continue
            later = [
                f for f in range(y, len(history)) if history[f][3] == "fence" and same(history[f], acquire)
            ]
            for fence in fences:
                after[fence].update(later)
    reached = {}
    for k in reversed(range(len(history))):
        reached[k] = set().union(after[k], *(reached[n] for n in after[k]))
    for k, b in enumerate(history):
        for j, a in enumerate(history[:k]):
            if {"fence", "nothing"} & {a[3], b[3]} or a[4] != b[4] or same(a, b) or k in reached[j]:
                continue
            kinds = {"atomic" if kind == "failed" else kind for kind in (a[3], b[3])}
            if kinds not in ({"read"}, {"atomic"}):
                return k
    return None


def replay(history, threads):
    clock = OrderedClock(threads, SITES)
    shadow = clock.shadow(3, report)
    now = (-1, 0)
    for position, (block, interval, thread, kind, element) in enumerate(history):
        while now[0] < block:
            clock.next_block()
            now = (now[0] + 1, 0)
        while now[1] < interval:
            clock.next_interval()
            now = (block, now[1] + 1)
        offset = 2 * clock.sites * thread
        try:
            if kind == "fence":
                clock.fence(offset)
            else:
                getattr(shadow, "atomic" if kind == "failed" else kind)(element, 0, offset)
                if kind == "atomic":
                    shadow.release(element, offset)
        except Found:
            return position
    return None


@pytest.mark.parametrize("seed", range(12))
def test_a_race_is_reported_exactly_where_the_first_one_is(seed):
    rng = random.Random(seed)
    ordered = raced = 0
    for _ in range(300):
        threads = rng.randint(1, 3)
        history = random_history(rng, threads, rng.randint(1, 4))
        first = first_race(history)
        assert replay(history, threads) == first, history
        raced += first is not None
        without = [(*e[:3], "nothing" if e[3] == "fence" else e[3], e[4]) for e in history]
        ordered += first_race(without) != first
    assert raced > 50
    assert ordered > 3, "the fences of some histories matter"


@gc.kernel
def last_block(
    x: gc.Array[gc.i32], part: gc.Array[gc.i32], ticket: gc.Array[gc.i32], out: gc.Array[gc.i32],
    release: gc.constexpr, acquire: gc.constexpr,
):  # fmt: skip
    b = gc.block_id(0)
    last = gc.shared(1, gc.i32)
    if gc.thread_id(0) == 0:
        part[b] = x[2 * b] + x[2 * b + 1]
        if release:
            gc.memory_fence()
        last[0] = gc.atomic_add(ticket, 0, 1)
        if acquire:
            gc.memory_fence()
    gc.barrier()
    if last[0] == gc.i32(gc.grid_dim(0)) - 1 and gc.thread_id(0) == 1:
        total = 0
        for k in range(gc.grid_dim(0)):
            total += part[k]
        out[0] = total


def total_of(release, acquire, **options):
    x = np.arange(10, dtype=np.int32)
    out = np.zeros(1, np.int32)
    last_block.interpret(
        5, 2, x, np.zeros(5, np.int32), np.zeros(1, np.int32), out, release, acquire, **options
    )
    return int(out[0])


def test_the_last_block_sums_up():
    assert total_of(True, True) == 45


@pytest.mark.parametrize(("release", "acquire"), [(False, True), (True, False), (False, False)])
def test_without_a_fence_on_either_side_it_is_a_race(release, acquire):
    with pytest.raises(DataRaceError, match="nothing orders the two") as error:
        total_of(release, acquire)
    assert error.value.array == "part"
    assert "detect_races=False" in str(error.value)
    assert total_of(release, acquire, detect_races=False) == 45


@gc.kernel
def locked(lock: gc.Array[gc.i32], count: gc.Array[gc.i32], fenced: gc.constexpr):
    while gc.atomic_cas(lock, 0, 0, 1) != 0:
        pass
    if fenced:
        gc.memory_fence()
    count[0] = count[0] + 1
    if fenced:
        gc.memory_fence()
    gc.atomic_exchange(lock, 0, 0)


def test_a_lock_orders_what_it_guards():
    count = np.zeros(1, np.int32)
    locked.interpret(3, 4, np.zeros(1, np.int32), count, True)
    assert count[0] == 12
    with pytest.raises(DataRaceError):
        locked.interpret(3, 4, np.zeros(1, np.int32), np.zeros(1, np.int32), False)


@gc.kernel
def stale(flag: gc.Array[gc.i32], data: gc.Array[gc.i32]):
    if gc.global_id(0) == 0:
        gc.atomic_exchange(flag, 0, 1)
        data[0] = 7  # after the flag: no fence before it covers this
        gc.memory_fence()
    if gc.global_id(0) == 1 and gc.atomic_add(flag, 0, 0) == 1:
        gc.memory_fence()
        data[1] = data[0]


def test_a_fence_after_the_flag_releases_nothing():
    with pytest.raises(DataRaceError):
        stale.interpret(2, 1, np.zeros(1, np.int32), np.zeros(2, np.int32))
