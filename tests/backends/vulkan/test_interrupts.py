"""A KeyboardInterrupt after any instruction of the plugin: nothing is lost, doubled or waited for in vain."""

from __future__ import annotations

import faulthandler
import sys

import numpy as np
import pytest
from interrupts import Interrupted

import gpucore_vulkan as plugin
from gpucore.hookspecs import CompileOptions, LaunchConfig, StreamOptions
from gpucore.ir.text import parse

N = 256
LAUNCH = parse("""\
module ir=1 ndim=1 math=strict

kernel @k(&x: i32[?], %a: i32) {
  %i: i32 = global_id 0
  %v: i32 = load &x[%i]
  %r: i32 = add %v, %a
  store &x[%i], %r
}
""")


@pytest.fixture(autouse=True)
def patience():
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def adder(bench):
    """A device, a stream of its own, an array of zeros and a launch that adds to it."""
    device = bench.device
    stream = plugin.create_stream(device, StreamOptions())
    executable = plugin.load(device, plugin.compile(bench.target, LAUNCH, CompileOptions()))
    piece = bench.upload(np.zeros(N, np.int32))
    launch = plugin.prepare(device, executable, LaunchConfig((N // 64,), (64,)))
    yield device, stream, piece, lambda: launch(stream, piece, 0, N, 1)
    plugin.synchronize_stream(device, stream)
    plugin.unload(device, executable)
    plugin.free(device, piece, None)
    plugin.destroy_stream(device, stream)


def read(device, stream, piece):
    found = np.zeros(N, np.int32)
    plugin.copy(device, memoryview(found).cast("B"), 0, piece, 0, 4 * N, stream)
    return found


def test_an_interrupted_launch_loses_no_other(adder):
    device, stream, piece, launch = adder
    done = 0

    def launches():
        nonlocal done
        for _ in range(3):
            # as if the device were busy: launches are collected, and sent together
            stream.limit = 4
            for _ in range(5):
                launch()
                done += 1

    def after(interrupted):
        nonlocal done
        found = read(device, stream, piece)
        assert (found == found[0]).all()
        assert done <= found[0] <= done + interrupted
        done = int(found[0])

    Interrupted("gpucore_vulkan").run(launches, after, least=40)


def test_an_interrupted_wait_is_followed_by_one_that_ends(adder):
    device, stream, piece, launch = adder
    launched = 0

    def launch_and_wait():
        nonlocal launched
        stream.limit = 4
        launch()
        launched += 1
        plugin.synchronize_stream(device, stream)

    def after(interrupted):
        nonlocal launched
        plugin.synchronize_stream(device, stream)
        assert not stream.lock._is_owned()
        assert stream.completed() >= stream.value
        found = read(device, stream, piece)[0]
        assert launched <= found <= launched + interrupted
        launched = int(found)

    Interrupted("gpucore_vulkan").run(launch_and_wait, after, least=10)


def test_interrupted_order_between_streams_holds_for_what_follows(adder):
    device, stream, _piece, launch = adder
    other = plugin.create_stream(device, StreamOptions())
    event = plugin.create_event(device, False)

    def order():
        launch()
        plugin.record_event(device, event, stream)
        plugin.wait_event(device, other, event)
        plugin.synchronize_event(device, event)
        plugin.synchronize_stream(device, other)

    def after(interrupted):
        for each in (stream, other):
            plugin.synchronize_stream(device, each)
            assert plugin.query_stream(device, each)

    Interrupted("gpucore_vulkan").run(order, after, least=30)
    plugin.destroy_stream(device, other)


@pytest.mark.parametrize("nbytes", [4 << 10, 3 << 20], ids=["small", "in parts"])
def test_interrupted_copies_through_staging_lose_and_double_no_piece(adder, nbytes):
    device, stream, _piece, _launch = adder
    staging, memory = device.staging, device.memory
    block = memory.alloc(nbytes, "device")
    given, found = np.random.default_rng(1).integers(0, 255, (2, nbytes), np.uint8)
    addresses = [device.bound.address_of(a) for a in (given, found)]

    def there_and_back():
        staging.upload(block, 0, addresses[0][0], nbytes, stream, given)
        staging.download(addresses[1][0], block, 0, nbytes, stream, found)

    there_and_back()
    lanes = list(staging._all)

    def after(interrupted):
        pieces = [piece.memory for piece in staging._small]
        assert len({id(piece) for piece in pieces}) == len(pieces)
        assert list(staging._free) == staging._all == lanes
        if not interrupted:
            np.testing.assert_array_equal(found, given)

    Interrupted("gpucore_vulkan").run(there_and_back, after, least=40)
    there_and_back()
    np.testing.assert_array_equal(found, given)
    plugin.synchronize_stream(device, stream)
    memory.free(block)


def test_interrupted_allocations_never_share_memory(bench):
    device = bench.device
    kept = []

    def allocate():
        for size in (1000, 5000, 300):
            kept.append(device.memory.alloc(size, "device"))
        device.memory.free(kept[-2])
        del kept[-2]

    def after(interrupted):
        kept[:] = [piece for piece in kept if not piece.freed]
        ranges = sorted((p.address, p.address + p.size) for p in kept)
        assert all(a[1] <= b[0] for a, b in zip(ranges, ranges[1:], strict=False))

    Interrupted("gpucore_vulkan").run(allocate, after, least=20)
    for piece in kept:
        device.memory.free(piece)


@pytest.mark.parametrize("nbytes", [1000, 40 << 20], ids=["of a block", "of its own"])
def test_an_interrupted_allocation_is_given_back(bench, nbytes):
    device, memory = bench.device, bench.device.memory

    def allocate():
        plugin.free(device, plugin.alloc(device, nbytes, "device", None), None)

    def held():
        allocate()  # the next call collects
        assert not memory.has_dropped
        return sum(memory.used), sum(block.pieces for block in memory._blocks)

    before = held()

    def after(interrupted):
        assert held() == before

    Interrupted("gpucore_vulkan").run(allocate, after, least=20)


@pytest.mark.skipif(sys.platform == "win32", reason="signals cannot be sent to a thread")
def test_interrupts_at_random_times_hang_nothing():
    from interrupted_vulkan import run

    assert run("vulkan", 20, seed=5) == []
