"""Shadow memory against the definition: every pair of accesses compared."""

import random

import pytest

from gpucore.ir.interpreter.shadow import Clock, Shadow, joint_shadow


class Found(Exception):
    pass


def report(element, site, offset, other):
    raise Found(element, site, offset, other)


def conflict(a, b):
    """Two accesses (block, interval, thread, site, kind) that nothing orders."""
    if a[0] == b[0] and (a[1] != b[1] or a[2] == b[2]):
        return False
    kinds = {a[4], b[4]}
    return kinds not in ({"read"}, {"atomic"})


def random_history(rng, threads):
    """Accesses of a launch in the order in which the interpreter makes them."""
    history = []
    for block in range(rng.randint(1, 3)):
        for interval in range(rng.randint(1, 3)):
            for thread in range(threads):
                for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
                    kind = rng.choice(("read", "read", "atomic", "atomic", "write"))
                    history.append((block, interval, thread, rng.randrange(5), kind))
    return history


def replay(history, threads):
    """The access at which the shadow reports, and the other one, or None."""
    clock = Clock(threads, 5)
    shadow = Shadow(clock, 1, report)
    now = None
    for position, (block, interval, thread, site, kind) in enumerate(history):
        while now != (block, interval):
            if now is None or now[0] != block:
                clock.next_block()
                now = (0 if now is None else now[0] + 1, 0)
            else:
                clock.next_interval()
                now = (block, now[1] + 1)
        try:
            getattr(shadow, kind)(0, site, 2 * clock.sites * thread)
        except Found as found:
            return position, clock.decode(found.args[3])
    return None


@pytest.mark.parametrize("seed", range(20))
def test_a_race_is_reported_exactly_where_the_first_one_is(seed):
    rng = random.Random(seed)
    threads = rng.randint(1, 4)
    racy = 0
    for _ in range(200):
        history = random_history(rng, threads)
        first = next((i for i, b in enumerate(history) if any(conflict(a, b) for a in history[:i])), None)
        found = replay(history, threads)
        assert (found and found[0]) == first, history
        if found is not None:
            racy += 1
            block, thread, site = found[1]
            there = [a for a in history[: found[0]] if a[0] == block and a[2] == thread and a[3] == site]
            assert any(conflict(a, history[found[0]]) for a in there), "the other access is a real one"
    assert threads == 1 or racy > 10


def test_overlapping_arrays_of_different_width_share_their_bytes():
    clock = Clock(2, 1)
    clock.next_block()
    wide, narrow = joint_shadow(clock, [(1000, 4, 8), (1012, 4, 4)], [report, report])
    wide.write(1, 0, 0)  # bytes 1008 to 1015
    narrow.read(1, 0, 2)  # bytes 1016 to 1019
    with pytest.raises(Found):
        narrow.read(0, 0, 2)


def test_a_shadow_of_a_huge_array_takes_no_memory():
    clock = Clock(1, 1)
    clock.next_block()
    shadow = Shadow(clock, 1 << 40, report)
    shadow.write(1 << 39, 0, 0)
    assert len(shadow.w) == 1
