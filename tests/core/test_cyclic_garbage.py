"""Cyclic garbage that holds memory: each piece is in the pool, or was given to the driver once."""

from __future__ import annotations

import gc as collector
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import gpucore as gc
from gpucore.testing import null

sys.path.append(str(Path(__file__).parent.parent / "backends"))
from cyclic_garbage import CYCLES, Held, N, array_and_its_stream, collected, whole_context


class Strict:
    """The null backend with memory whose finalizer gives it back at once, and a driver that is told of each piece once.

    Attributes
    ----------
    wrong : list[str]
        What was given back twice, or used after that.
    """

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.taken = 0
        strict = self

        class Allocation(null.Allocation):
            def __del__(self) -> None:
                if self.bytes is not None and self.owner is None:
                    strict.give_back(self)

        self.kind = Allocation

    def give_back(self, allocation) -> None:
        if allocation.bytes is None:
            self.wrong.append("given back twice")
            return
        allocation.bytes[:] = 255
        allocation.bytes = None
        self.taken -= 1

    def hooks(self):
        def alloc(device, nbytes, kind, stream):
            plain = null.alloc(device, nbytes, kind, stream)
            made = self.kind(plain.view())
            self.taken += 1
            return made

        def free(device, allocation, stream):
            self.give_back(allocation)

        return {"alloc": alloc, "free": free}


@pytest.fixture
def strict(backend):
    made = Strict()
    backend("strict", **made.hooks())
    collector.collect()
    yield made
    collector.collect()


@pytest.fixture(params=["asked for", "at each allocation"])
def collections(request):
    """When the collector runs: where the test asks, or all the time."""
    before = collector.get_threshold()
    collector.collect()
    if request.param == "asked for":
        collector.disable()
    else:
        collector.set_threshold(1, 1, 1)
    yield
    collector.enable()
    collector.set_threshold(*before)


@pytest.mark.parametrize("looks_on", ["nobody", "weak references", "a finalizer"])
@pytest.mark.parametrize("cycle", CYCLES, ids=lambda cycle: cycle.__name__)
def test_memory_in_cyclic_garbage_goes_to_the_pool_or_to_the_driver(strict, collections, cycle, looks_on):
    with gc.Context("strict") as ctx, gc.Context("strict") as second:
        for _ in range(2):
            collected(cycle, ctx, second, looks_on)
        assert strict.wrong == []
        collector.collect()
        gc.Context("strict").close()  # closes what was dropped
        for context in (ctx, second):
            context.synchronize()
            context.pool.trim()
            assert context.pool.stats()["used"] == context.pool.stats()["cached"] == 0
        assert strict.taken == 0, "given back before any context is closed"
    assert strict.wrong == []


def test_an_array_that_a_finalizer_brought_back_is_gone_and_says_so(strict):
    with gc.Context("strict") as ctx:
        kept = []

        class Keeper:
            def __del__(self):
                kept.append(self.array)

        keeper = Keeper()
        keeper.array, keeper.itself = ctx.ones(N, gc.f32), keeper
        del keeper
        collector.collect()
        other = ctx.zeros(N, gc.f32)
        with pytest.raises(gc.LaunchError, match="the array is gone"):
            kept[0].fill(3)
        assert (other.numpy() == 0).all()
        kept.clear()
        assert strict.wrong == []


def test_a_kernels_reports_in_cyclic_garbage_are_read_and_given_back(backend, copy_kernel):
    """The records of a stream: the error that was found is raised by who waits next."""
    from dataclasses import replace

    made = Strict()
    names = null.capabilities(null.Device(0)).names - {"pinned_memory"}
    backend(
        "strict", **made.hooks(), capabilities=lambda device: replace(null.capabilities(device), names=names)
    )
    with gc.Context("strict", check=True) as ctx:
        stream = ctx.stream()
        x, out = ctx.zeros(4, gc.f32), ctx.zeros(8, gc.f32)
        copy_kernel[1, 8, stream](x, out)
        copy_kernel[1, 4](x, out)  # what is kept of the last launch is another stream's
        cycle = [stream]
        cycle.append(cycle)
        del stream, cycle
        collector.collect()
        held = Held(ctx)
        held.more()
        with pytest.raises(gc.KernelBoundsError):
            ctx.synchronize()
        held.check()
    assert made.wrong == [] and made.taken == 0


def test_collections_in_other_threads(strict):
    """The collector runs finalizers on whatever thread it runs on."""
    failures = []
    with gc.Context("strict") as ctx, gc.Context("strict") as second:
        ended = threading.Event()

        def work():
            try:
                held = Held(ctx, second)
                for number in range(10):
                    (array_and_its_stream if number % 2 else whole_context)(ctx)
                    held.more()
                    held.check()
            except BaseException as failure:  # noqa: BLE001 - shown by the test's own thread
                failures.append(failure)

        def collect():
            while not ended.is_set():
                collector.collect()

        threads = [threading.Thread(target=work) for _ in range(3)]
        other = threading.Thread(target=collect)
        for thread in (*threads, other):
            thread.start()
        for thread in threads:
            thread.join()
        ended.set()
        other.join()
        assert failures == []
        collector.collect()
    gc.Context("strict").close()
    assert strict.wrong == [] and strict.taken == 0


def test_a_stream_whose_retirement_is_interrupted_is_retired_by_the_next_call(backend):
    """Its memory is found again."""
    interrupts = [KeyboardInterrupt()]

    def query_stream(device, stream):
        if interrupts:
            raise interrupts.pop()
        return True

    made = Strict()
    backend("strict", **made.hooks(), query_stream=query_stream)
    with gc.Context("strict") as ctx:
        stream = ctx.stream()
        ctx.array([1.0], dtype=gc.f32, stream=stream)
        ctx.pool.stats()
        del stream
        with pytest.raises(KeyboardInterrupt):
            ctx.synchronize()
        ctx.synchronize()
        ctx.pool.trim()
        assert made.taken == 0
        assert ctx.device._handle.open["streams"] == 1


PROGRAM = """
import gc as collector, sys
sys.path.append({helpers!r})
from cyclic_garbage import CYCLES
import gpucore as gc
from gpucore.backends import discovery
from gpucore.testing import null
from gpucore.hookspecs import hookimpl

closed = []

@hookimpl
def close_device(device):
    closed.append(device)
    print("closed", device.open, flush=True)

null.close_device = close_device
collector.disable()
context = discovery.register("null", null)
context.__enter__()
ctx = gc.Context("null")
for cycle in CYCLES:
    cycle(ctx)
    if {collects}:
        collector.collect()
if {drops}:
    ctx = None
if {collects}:
    collector.collect()
"""


@pytest.mark.parametrize("drops", [False, True], ids=["open", "dropped"])
@pytest.mark.parametrize("collects", [False, True], ids=["at the end", "before"])
def test_an_exit_with_cyclic_garbage_closes_the_device(tmp_path, collects, drops):
    """Contexts that the collector found are closed at the exit, too."""
    script = tmp_path / "program.py"
    helpers = str(Path(__file__).parent.parent / "backends")
    script.write_text(PROGRAM.format(helpers=helpers, collects=collects, drops=drops), "utf-8")
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "GPUCORE_CACHE_DIR": "off"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout.split("\n")[0]
        == f"closed {dict.fromkeys(('allocations', 'streams', 'events', 'kernels'), 0)}"
    )
