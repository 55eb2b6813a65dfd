"""The stand-in for the driver has nothing to do with a device that the process has open."""

from __future__ import annotations

import sys
import time

import pytest

import gpucore as gc

driver_module = pytest.importorskip("cuda.bindings.driver", reason="cuda-python is not installed")
NOT_READY = driver_module.CUresult.CUDA_ERROR_NOT_READY


@gc.kernel
def one(x: gc.Array[gc.f32]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        x[i] = 1.0


@gc.kernel
def sized(x: gc.Array[gc.f32], n: gc.i32):
    tile = gc.shared(n, gc.f32)
    t = gc.thread_id(0)
    tile[t] = x[t]
    gc.barrier()
    x[t] = tile[n - 1 - t]


def test_a_shared_array_of_the_launchs_size_may_take_all_that_a_block_can_have():
    from stand_in import StandIn, installed

    asked = []

    class Driver(StandIn):
        def cuLaunchKernel(self, function, *args):
            asked.append(args[6])
            return super().cuLaunchKernel(function, *args)

    with installed(Driver().functions()), gc.Context("cuda") as context:
        x = context.ones(64, gc.f32)
        sized[1, 64](x, 64)
        for n, nbytes in ((20_000, 128 << 10), (30_000, 128 << 10), (40_000, 160 << 10), (58_112, 227 << 10)):
            sized[1, 64](x, n)
            assert asked[-1] == nbytes
        with pytest.raises(gc.NotSupportedError, match="has 232,448"):
            sized[1, 64](x, 58_113)


def test_a_context_on_a_stand_in_uses_no_device_that_is_open_already():
    from stand_in import StandIn, installed

    first, second, calls = StandIn(), StandIn(), []
    with installed(first.functions(), calls), gc.Context("cuda") as opened:
        before = opened.ones(64, gc.f32)
        one.over(64)(before)
        mine = set(first._memory)
        with installed(second.functions()):
            calls.clear()
            with gc.Context("cuda") as beside:
                x = beside.ones(64, gc.f32)
                one.over(64)(x)
                assert (x.numpy() == 1).all()
                assert second._memory
            assert calls == []
        assert set(first._memory) == mine
        one.over(64)(before)
        assert (before.numpy() == 1).all()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the places are those of Python 3.12 and later")
@pytest.mark.parametrize("kind", ["device", "pinned"])
def test_an_interrupted_allocation_is_given_back(kind):
    """The stand-in refuses what is freed twice."""
    from interrupts import Interrupted
    from stand_in import StandIn, installed

    import gpucore_cuda as plugin

    driver = StandIn()
    with installed(driver.functions()):
        device = plugin.open_device(0, {})

        def allocate():
            plugin.free(device, plugin.alloc(device, 1000, kind, None), None)

        def after(interrupted):
            allocate()  # the next call collects
            assert not device.dropped
            assert set(driver._memory) == before

        allocate()
        before = set(driver._memory)
        Interrupted("gpucore_cuda").run(allocate, after, least=20)
        lost = plugin.alloc(device, 1000, kind, None)
        assert set(driver._memory) != before
        del lost
        plugin.close_device(device)
        assert set(driver._memory) == before


@pytest.mark.parametrize("nbytes", [(1 << 20) + 1, (5 << 20) + 12, (37 << 20) + 4095])
@pytest.mark.parametrize("native", [True, False], ids=["machine code", "Python"])
def test_copies_through_staging_move_every_byte(nbytes, native, monkeypatch):
    import numpy as np
    from stand_in import StandIn, installed

    import gpucore_cuda.copy_threads as threads

    if not native:
        monkeypatch.setattr(threads, "_code", lambda: None)
    elif threads._code() is None:
        pytest.skip("the machine code is for another system")
    with installed(StandIn().functions()), gc.Context("cuda") as context:
        given = np.random.default_rng(nbytes).integers(0, 255, nbytes + 7, np.uint8)[3:-4]
        x = context.empty(nbytes, gc.u8)
        for _ in range(3):
            x.copy_from(given)
            found = np.zeros(nbytes + 5, np.uint8)
            x.copy_to(found[1:-4])
            np.testing.assert_array_equal(found[1:-4], given)
            assert not found[0]
            assert not found[-4:].any()
            given[::4096] += 1


@pytest.mark.parametrize("nbytes", [2 << 20, 40 << 20])
@pytest.mark.parametrize("slow", [True, False], ids=["late", "at once"])
def test_a_part_of_the_ring_is_used_again_once_the_device_is_done_with_it(slow, nbytes):
    """The stand-in copies when its events are waited for, as a device may."""
    import numpy as np
    from stand_in import SUCCESS, StandIn, installed

    class Late(StandIn):
        def __init__(self):
            super().__init__()
            self.pending = []

        def cuMemcpyAsync(self, *args):
            self.pending.append(args)
            return (SUCCESS,)

        def cuEventRecord(self, event, stream):
            self.pending.append(int(event))
            return (SUCCESS,)

        def run(self, event=None):
            while self.pending and (event is None or event in self.pending):
                work = self.pending.pop(0)
                if isinstance(work, tuple):
                    super().cuMemcpyAsync(*work)
                elif work == event:
                    break

        def cuEventSynchronize(self, event):
            self.run(int(event))
            return (SUCCESS,)

        def cuEventQuery(self, event):
            if not slow:
                self.run(int(event))
            return (NOT_READY if int(event) in self.pending else SUCCESS,)

        def cuStreamSynchronize(self, stream):
            self.run()
            return super().cuStreamSynchronize(stream)

        def cuCtxSynchronize(self):
            self.run()
            return (SUCCESS,)

    with installed(Late().functions()), gc.Context("cuda") as context:
        given = np.random.default_rng(1).integers(0, 255, (3, nbytes), np.uint8)
        arrays = [context.empty(nbytes, gc.u8) for _ in given]
        for array, values in zip(arrays, given, strict=True):
            scratch = values.copy()
            array.copy_from(scratch)
            scratch[:] = 0
        for array, values in zip(arrays, given, strict=True):
            np.testing.assert_array_equal(array.numpy(), values)


@pytest.mark.parametrize("nbytes", [1 << 20, 20 << 20])
def test_memory_that_others_pinned_is_copied_by_the_driver_alone(nbytes):
    """As what ``cudaHostRegister`` of another library pinned: ndarrays know nothing of it."""
    import numpy as np
    from stand_in import SUCCESS, StandIn, installed

    class Pinned(StandIn):
        known = False

        def __init__(self):
            super().__init__()
            self.copies = []

        def cuPointerGetAttribute(self, attribute, address):
            return (SUCCESS, 1) if self.known else super().cuPointerGetAttribute(attribute, address)

        def cuMemcpyAsync(self, *args):
            self.copies.append(args[:3])
            return super().cuMemcpyAsync(*args)

    driver = Pinned()
    with installed(driver.functions()), gc.Context("cuda") as context:
        given = np.random.default_rng(2).integers(0, 255, nbytes, np.uint8)
        found, x = np.zeros_like(given), context.empty(nbytes, gc.u8)
        for known in (True, False, True):
            driver.known = known
            given += 1
            del driver.copies[:]
            x.copy_from(given)
            assert (driver.copies[-1][1:] == (given.ctypes.data, nbytes)) == known
            given_then = given.copy()
            x.copy_to(found)
            assert ((driver.copies[-1][0], driver.copies[-1][2]) == (found.ctypes.data, nbytes)) == known
            np.testing.assert_array_equal(found, given_then)
        staging = context._state.device._handle.staging
        assert list(staging._free) == staging._all and len(staging._all) == 1


def test_streams_that_were_given_back_without_work_are_used_again():
    from stand_in import SUCCESS, StandIn, installed

    class Counted(StandIn):
        busy = False

        def __init__(self):
            super().__init__()
            self.open = set()

        def cuStreamCreateWithPriority(self, flags, priority):
            answer = super().cuStreamCreateWithPriority(flags, priority)
            self.open.add(int(answer[1]))
            return answer

        def cuStreamDestroy(self, stream):
            self.open.remove(int(stream))
            return (SUCCESS,)

        def cuStreamQuery(self, stream):
            return (NOT_READY if self.busy else SUCCESS,)

    driver = Counted()
    with installed(driver.functions()):
        with gc.Context("cuda") as context:
            state = context._state

            def three(priority=0):
                streams = [context.stream(priority=priority) for _ in range(3)]
                handles = {int(stream._handle) for stream in streams}
                assert len(handles) == 3
                del streams
                state.drain()
                return handles

            first = three()
            assert three() == first <= driver.open
            assert not three(priority=1) & first
            many = [context.stream() for _ in range(20)]
            del many
            state.drain()
            assert len(driver.open) < 20
            driver.busy = True
            three()
            driver.busy = False
            count = len(driver.open)
            three()
            assert len(driver.open) == count
        assert not driver.open


def test_several_threads_copy_through_staging_at_once():
    import threading

    import numpy as np
    from stand_in import StandIn, installed

    errors = []
    with installed(StandIn().functions()), gc.Context("cuda") as context:

        def there_and_back(seed):
            try:
                given = np.random.default_rng(seed).integers(0, 255, 3 << 20, np.uint8)
                x = context.empty(given.size, gc.u8)
                for _ in range(5):
                    x.copy_from(given)
                    np.testing.assert_array_equal(x.numpy(), given)
            except BaseException as error:  # noqa: BLE001 - raised below
                errors.append(error)

        threads = [threading.Thread(target=there_and_back, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors


def test_closing_gives_the_memory_and_the_threads_of_staging_back():
    import threading

    import numpy as np
    from stand_in import StandIn, installed

    driver, others = StandIn(), set(threading.enumerate())  # those of a real device may be among them

    def copying():
        return any(t.name == "gpucore-cuda-copy" and t not in others for t in threading.enumerate())

    with installed(driver.functions()):
        with gc.Context("cuda") as context:
            x = context.empty(2 << 20, gc.u8)
            x.copy_from(np.ones(2 << 20, np.uint8))
            assert copying()
        assert not driver._memory
    end = time.monotonic() + 30
    while copying():
        assert time.monotonic() < end
        time.sleep(1e-3)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the places are those of Python 3.12 and later")
@pytest.mark.parametrize("native", [True, False], ids=["machine code", "Python"])
def test_interrupted_copies_through_staging_lose_and_double_no_lane(native, monkeypatch):
    import numpy as np
    from interrupts import Interrupted
    from stand_in import StandIn, installed

    import gpucore_cuda.copy_threads as threads

    if not native:
        monkeypatch.setattr(threads, "_code", lambda: None)
    with installed(StandIn().functions()), gc.Context("cuda") as context:
        given = np.random.default_rng(1).integers(0, 255, 1 << 20, np.uint8)
        found, x = np.zeros_like(given), context.empty(given.size, gc.u8)
        staging = context._state.device._handle.staging

        def there_and_back():
            x.copy_from(given)
            x.copy_to(found)

        there_and_back()
        lanes = list(staging._all)
        assert len(lanes) == 1

        def after(interrupted):
            assert list(staging._free) == staging._all == lanes
            if not interrupted:
                np.testing.assert_array_equal(found, given)

        Interrupted("gpucore_cuda.staging", "gpucore_cuda.copy_threads").run(there_and_back, after, least=40)
        found[:] = 0
        there_and_back()
        np.testing.assert_array_equal(found, given)


@pytest.mark.parametrize("looks_on", ["nobody", "weak references", "a finalizer"])
def test_memory_in_cyclic_garbage_goes_to_the_pool_or_to_the_driver(looks_on):
    """The stand-in refuses what is freed twice."""
    import gc as collector

    from cyclic_garbage import CYCLES, collected
    from stand_in import StandIn, installed

    driver = StandIn()
    with installed(driver.functions()):
        with gc.Context("cuda") as ctx, gc.Context("cuda") as second:
            for cycle in CYCLES:
                collected(cycle, ctx, second, looks_on)
            collector.collect()
            gc.Context("cuda").close()  # closes what was dropped
            for context in (ctx, second):
                context.synchronize()
                context.pool.trim()
                assert context.pool.stats()["used"] == context.pool.stats()["cached"] == 0
        assert not driver._memory
