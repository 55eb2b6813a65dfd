"""Contexts in asyncio programs: waits in threads, tasks that are cancelled, Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading

import numpy as np
import pytest

import gpucore as gc

N, STEPS = 1024, 20_000


@gc.kernel
def count(x: gc.Array[gc.i32], n: gc.i32) -> None:
    i = gc.global_id(0)
    if i < x.shape[0]:
        total = x[i]
        for k in range(n):
            total = total ^ (k + i)
        x[i] = total


def counted(n: int) -> np.ndarray:
    """What the kernel makes of zeros."""
    found, i = np.zeros(N, np.int32), np.arange(N, dtype=np.int32)
    for k in range(n):
        found ^= k + i
    return found


def test_a_wait_in_a_thread_lets_the_loop_go_on(gpucore_context):
    ctx = gpucore_context
    x = ctx.zeros(N, gc.i32)

    async def program():
        count.over(N)(x, STEPS)
        waiting, turns = asyncio.create_task(asyncio.to_thread(x.numpy)), 0
        while not waiting.done():
            await asyncio.sleep(0)
            turns += 1
        return await waiting, turns

    found, turns = asyncio.run(program())
    np.testing.assert_array_equal(found, counted(STEPS))
    assert turns > 0


def test_tasks_have_streams_of_their_own(gpucore_context):
    ctx = gpucore_context

    async def one(n):
        stream = ctx.stream()
        x = ctx.array(np.zeros(N, np.int32), stream=stream)
        count.over(N, stream=stream)(x, n)
        return await asyncio.to_thread(lambda: x.numpy(stream=stream))

    async def program():
        return await asyncio.gather(*(one(n) for n in range(20)))

    for n, found in enumerate(asyncio.run(program())):
        np.testing.assert_array_equal(found, counted(n))


def test_a_cancelled_wait_leaves_the_work_and_the_context_as_they_are(gpucore_context):
    ctx = gpucore_context
    x = ctx.zeros(N, gc.i32)

    async def program():
        count.over(N)(x, STEPS)
        waiting = asyncio.create_task(asyncio.to_thread(ctx.synchronize))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        count.over(N)(x, 10)
        return await asyncio.to_thread(x.numpy)

    np.testing.assert_array_equal(asyncio.run(program()), counted(STEPS) ^ counted(10))


@pytest.mark.skipif(
    sys.version_info < (3, 11) or sys.platform == "win32",
    reason="asyncio.run takes Ctrl-C for a cancellation",
)
def test_ctrl_c_ends_the_program_and_leaves_the_context(gpucore_context):
    ctx = gpucore_context
    x = ctx.zeros(N, gc.i32)
    reached = []

    async def program():
        count.over(N)(x, STEPS)
        os.kill(os.getpid(), signal.SIGINT)
        reached.append(x.numpy())  # in the loop's own thread: it is waited for
        await asyncio.sleep(60)
        reached.append("past the interrupt")

    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(program())
    assert len(reached) == 1
    np.testing.assert_array_equal(reached[0], counted(STEPS))
    count.over(N)(x, STEPS)
    assert not x.numpy().any()
