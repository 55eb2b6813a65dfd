"""Interrupts of who consumes a pipeline, between any two of its steps; sources that block while a context closes."""

from __future__ import annotations

import contextlib
import gc as garbage
import sys
import threading
import time

import numpy as np
import pytest

import gpucore as gc
from gpucore.testing import null

ENOUGH = 20.0
ITEMS = 4
IN_THE_WAY = ("pipeline_engine.py", "pipeline_source.py", "pipeline.py", "threading.py")


@pytest.fixture(autouse=True)
def no_cycles_are_left():
    yield
    garbage.collect()  # errors, whose frames hold memory of the context


class Interrupt:
    """Raises KeyboardInterrupt at one step of this thread's, as a signal may; counts the steps."""

    def __init__(self, at):
        self.left = at

    def __enter__(self):
        garbage.disable()  # no finalizer of another pipeline in between
        sys._getframe().f_trace_opcodes = True  # before: Python 3.12 looks for it once
        sys.settrace(self.trace)

    def __exit__(self, kind, error, trace):
        sys.settrace(None)
        garbage.enable()
        return kind is KeyboardInterrupt

    def trace(self, frame, event, argument):
        if not frame.f_code.co_filename.endswith(IN_THE_WAY):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self.trace


def in_time(what):
    """Do it in a thread, which is not waited for for ever."""
    answer = []
    thread = threading.Thread(target=lambda: answer.append(what()), daemon=True)
    thread.start()
    thread.join(ENOUGH)
    assert not thread.is_alive(), "it never ends"
    return answer[0]


def rest_of(pipeline):
    """The numbers of the other items, up to one that an interrupt fell upon."""
    numbers = []
    with contextlib.suppress(KeyboardInterrupt):
        for result in pipeline:
            numbers.append(number_of(result))
    return numbers


def number_of(result):
    return int((result.numpy() if isinstance(result, gc.Array) else result)[0])


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("prefetch", [False, True])
def test_after_an_interrupt_of_any_step_a_pipeline_goes_on_and_closes(backend, depth, prefetch):
    backend("null")
    with gc.Context("null") as ctx:
        at = finished = 0
        while not finished:
            at += 1
            source = (np.full(4, number, np.float32) for number in range(ITEMS))
            pipeline = (
                ctx.prefetch(source, depth=depth)
                if prefetch
                else ctx.pipeline(lambda stream, x: x, source, depth=depth)
            )
            got = [number_of(next(pipeline))]
            interrupt = Interrupt(at)
            with interrupt:
                got.append(number_of(next(pipeline)))
            finished = interrupt.left > 0
            got += in_time(lambda pipeline=pipeline: rest_of(pipeline))
            if (
                pipeline._engine.has_failed
            ):  # the interrupt was the error of the item whose work was enqueued, the last then
                assert got == list(range(len(got))), at
            else:  # it may have come when the result was on its way to the caller already
                assert got in (list(range(ITEMS)), [0, *range(2, ITEMS)]), at
            assert len(got) == ITEMS or not finished
            in_time(pipeline.close)
        assert at > 50


def test_after_an_interrupt_of_any_step_of_closing_a_pipeline_closes(backend):
    backend("null")
    before = threading.active_count()
    with gc.Context("null") as ctx:
        at = finished = 0
        while not finished:
            at += 1
            pipeline = ctx.pipeline(lambda stream, x: x, (np.ones(4, np.float32) for _ in range(9)))
            next(pipeline)
            interrupt = Interrupt(at)
            with interrupt:
                pipeline.close()
            finished = interrupt.left > 0
            in_time(pipeline.close)
        assert at > 50
    deadline = time.monotonic() + ENOUGH
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.001)
    assert threading.active_count() == before


@pytest.mark.parametrize("kind", ["items", "calls", "calls by workers"])
def test_a_source_that_blocks_does_not_hold_up_the_closing_of_its_context(backend, kind, caplog):
    blocked, go = threading.Event(), threading.Event()

    def block():
        blocked.set()
        go.wait()

    def source():
        yield np.ones(4, np.float32)
        if kind == "items":
            block()
        else:
            yield block

    backend("null", free=null.free)
    ctx = gc.Context("null")
    pipeline = ctx.pipeline(lambda stream, x: x, source(), workers=2 if kind == "calls by workers" else 1)
    assert next(pipeline)[0] == 1

    def consume():
        with contextlib.suppress(gc.LaunchError):  # once the context is closed
            list(pipeline)

    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    assert blocked.wait(ENOUGH)
    in_time(ctx.close)
    assert "other threads are in calls" not in caplog.text
    go.set()
    consumer.join(ENOUGH)
