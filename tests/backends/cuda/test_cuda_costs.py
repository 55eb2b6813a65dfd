"""Which calls of the driver launches and copies make: on the device, and on a stand-in where there is none."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import gpucore as gc

cu = pytest.importorskip("cuda.bindings.driver", reason="cuda-python is not installed")

SMALL, LARGE, STAGED = 256, 1 << 17, (13 << 20) // 4 + 3


@gc.kernel
def one(x: gc.Array[gc.f32]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        x[i] = 1.0


@gc.kernel
def many(
    a: gc.Array[gc.f32], b: gc.Array[gc.f32], c: gc.Array[gc.f32], d: gc.Array[gc.f32],
    e: gc.Array[gc.f32], f: gc.Array[gc.f32], g: gc.Array[gc.f32], h: gc.Array[gc.f32],
    k: gc.f32, m: gc.f32, n: gc.f32, o: gc.f32, p: gc.i32, q: gc.i32, r: gc.i32, s: gc.i32,
):  # fmt: skip
    i = gc.global_id(0)
    if i < a.shape[0]:
        a[i] = b[i] + c[i] + d[i] + e[i] + f[i] + g[i] + h[i] + k + m + n + o + gc.f32(p + q + r + s)


class Driver:
    """The names of the driver's functions in the order of their calls, and the stand-in where it is one."""

    def __init__(self, stand_in) -> None:
        self.stand_in = stand_in
        self.calls: list[str] = []

    def of(self, action) -> list[str]:
        """The calls of one action that was done before."""
        for _ in range(3):
            action()
        self.calls.clear()
        action()
        return list(self.calls)


@pytest.fixture(scope="module", params=["stand-in", "device"])
def driver(request):
    """Every call of the driver is written down."""
    from stand_in import StandIn, driver_functions, installed

    stand_in = None
    if request.param == "device":
        request.getfixturevalue("fixture")
        functions = driver_functions()
    else:
        stand_in = StandIn()
        functions = stand_in.functions()
    found = Driver(stand_in)
    with installed(functions, found.calls):
        yield found


@pytest.fixture(scope="module")
def shared_context(driver):
    with gc.Context("cuda") as context:
        yield context


@pytest.fixture
def context(shared_context):
    shared_context.synchronize()
    yield shared_context
    shared_context.synchronize()


# --- launches --------------------------------------------------------------------------------------------
def test_a_launch_is_one_call_of_the_driver_whatever_its_arguments(driver, context):
    x = context.ones(SMALL, gc.f32)
    arrays = [context.ones(SMALL, gc.f32) for _ in range(8)]
    numbers = iter(range(100))
    launches = {
        "1 argument": lambda: one[1, SMALL](x),
        "16 arguments": lambda: many[1, SMALL](*arrays, 1.0, 1.0, 1.0, 1.0, 1, 1, 1, 1),
        "arguments that change": lambda: many[1, SMALL](*arrays, 1.0, 1.0, 1.0, 1.0, 1, 1, 1, next(numbers)),
        "over": lambda: one.over(SMALL)(x),
        "bound": one[1, SMALL].bind(x),
        "bound over": one.over(SMALL).bind(x),
    }
    for name, launch in launches.items():
        assert driver.of(launch) == ["cuLaunchKernel"], name


def test_a_launch_on_the_streams_of_its_arrays_is_one_call_of_the_driver(driver, context):
    stream = context.stream()
    x = context.array(np.ones(SMALL, np.float32), stream=stream)
    assert driver.of(lambda: one[1, SMALL, stream](x)) == ["cuLaunchKernel"]


def test_a_launch_on_another_stream_orders_it_once_and_not_each_time(driver, context):
    stream, x = context.stream(), context.ones(SMALL, gc.f32)
    one[1, SMALL].bind(x)()
    driver.calls.clear()
    one[1, SMALL, stream](x)
    assert driver.calls.count("cuStreamWaitEvent") == 1
    assert driver.calls[-1] == "cuLaunchKernel"
    assert driver.of(lambda: one[1, SMALL, stream](x)) == ["cuLaunchKernel"]


# --- copies ----------------------------------------------------------------------------------------------
def copies(context, size):
    """What is copied how, by name."""
    x, y = context.ones(size, gc.f32), context.ones(size, gc.f32)
    host, pinned = np.ones(size, np.float32), context.pinned(size, gc.f32)
    return {
        "from an ndarray": lambda: x.copy_from(host),
        "to an ndarray": lambda: x.copy_to(host),
        "numpy": lambda: x.numpy(),
        "from an array": lambda: x.copy_from(y),
        "fill": lambda: x.fill(2.0),
        "from pinned memory": lambda: x.copy_from(pinned),
        "to pinned memory": lambda: x.copy_to(pinned),
        "synchronize": lambda: x.context.synchronize(),
    }


CALLS = {
    "from an ndarray": ["cuMemcpyAsync"],
    "to an ndarray": ["cuMemcpyAsync", "cuStreamSynchronize"],
    "numpy": ["cuMemcpyAsync", "cuStreamSynchronize"],
    "from an array": ["cuMemcpyAsync"],
    "fill": ["cuMemsetD32Async"],
    "from pinned memory": ["cuMemcpyAsync"],
    "to pinned memory": ["cuMemcpyAsync"],
}


@pytest.mark.parametrize("name", CALLS)
def test_a_small_copy_makes_no_call_of_the_driver_but_those_it_is(driver, context, name):
    assert driver.of(copies(context, SMALL)[name]) == CALLS[name]


@pytest.mark.parametrize("name", CALLS)
def test_a_large_copy_asks_only_whether_the_ndarray_is_pinned(driver, context, name):
    asked = ["cuCtxGetCurrent", "cuPointerGetAttribute"] if name == "from an ndarray" else []
    assert driver.of(copies(context, LARGE)[name]) == asked + CALLS[name]


@pytest.mark.parametrize("name", CALLS)
def test_copies_of_pageable_memory_from_a_mebibyte_on_go_through_pinned_parts(driver, context, name):
    made = driver.of(copies(context, STAGED)[name])
    pageable = name in ("from an ndarray", "to an ndarray", "numpy")
    assert ("cuEventRecord" in made) == pageable
    if pageable:
        assert "cuMemcpyAsync" in made
    else:
        assert made == CALLS[name]


@pytest.mark.parametrize("offset", [0, 5])
def test_staged_copies_carry_every_byte(context, offset):
    host = np.random.default_rng(offset).random(STAGED + offset, np.float32)
    x = context.zeros(STAGED + offset, gc.f32)
    x[offset:].copy_from(host[offset:])
    back = np.zeros(STAGED + 2 * offset, np.float32)
    x[offset:].copy_to(back[offset : offset + STAGED])
    np.testing.assert_array_equal(back[offset : offset + STAGED], host[offset:])
    assert not back[:offset].any()
    assert not back[offset + STAGED :].any()


def test_the_source_of_a_staged_copy_may_change_once_the_call_has_returned(context):
    host = np.zeros(STAGED, np.float32)
    arrays = [context.empty(STAGED, gc.f32) for _ in range(6)]
    for number, x in enumerate(arrays):
        host[:] = number
        x.copy_from(host)
    host[:] = -1
    for number, x in enumerate(arrays):
        assert (x.numpy() == number).all()


def test_threads_stage_copies_side_by_side(context):
    hosts = [np.full(STAGED, number, np.float32) for number in range(4)]
    arrays = [context.empty(STAGED, gc.f32) for _ in hosts]
    streams = [context.stream() for _ in hosts]
    context.synchronize()
    found = [np.zeros(0, np.float32)] * len(hosts)

    def work(number):
        for _ in range(3):
            arrays[number].copy_from(hosts[number], stream=streams[number])
            found[number] = arrays[number].numpy(stream=streams[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(hosts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, one in enumerate(found):
        assert one.size == STAGED
        assert (one == number).all()


def test_waiting_is_one_call_of_the_driver(driver, context):
    x = context.ones(SMALL, gc.f32)
    stream = context.default_stream
    assert driver.of(lambda: stream.synchronize()) == ["cuStreamSynchronize"]
    assert x.size == SMALL


def test_the_source_of_a_small_copy_may_change_once_the_call_has_returned(context):
    host = np.zeros(SMALL, np.float32)
    arrays = [context.empty(SMALL, gc.f32) for _ in range(50)]
    for number, x in enumerate(arrays):
        host[:] = number
        x.copy_from(host)
    host[:] = -1
    for number, x in enumerate(arrays):
        assert (x.numpy() == number).all()


def test_a_part_of_a_read_only_ndarray_is_copied(context):
    source = np.frombuffer(np.arange(SMALL, dtype=np.float32).tobytes(), np.float32)
    np.testing.assert_array_equal(context.array(source).numpy(), source)
    x = context.zeros((4, SMALL), gc.f32)
    x[1:3].copy_from(np.stack([source, -source]))
    np.testing.assert_array_equal(x.numpy(), np.stack([0 * source, source, -source, 0 * source]))
    x[:, 3].copy_from(np.arange(4, dtype=np.float32))
    np.testing.assert_array_equal(x[:, 3].numpy(), np.arange(4))


# --- threads without a context, and errors -----------------------------------------------------------------
def test_a_thread_without_a_current_context_copies_fills_waits_and_launches(driver, context):
    def fresh(action):
        failures = []

        def work():
            try:
                action()
            except Exception as error:  # noqa: BLE001  (handed to the test)
                failures.append(error)

        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        assert not failures

    x, host = context.zeros(SMALL, gc.f32), np.ones(SMALL, np.float32)
    found = np.zeros(SMALL, np.float32)
    one[1, SMALL](x)
    context.synchronize()
    x.fill(0.0)
    for action in (
        lambda: x.copy_from(host),
        lambda: x.copy_to(found),
        lambda: x.fill(3.0),
        lambda: context.synchronize(),
        lambda: one[1, SMALL](x),
    ):
        fresh(action)
    np.testing.assert_array_equal(found, host)
    assert x.numpy()[0] == (3.0 if driver.stand_in else 1.0)


def test_an_error_of_the_driver_is_raised_and_not_tried_away(driver, context):
    if driver.stand_in is None:
        pytest.skip("a device that works makes no such error")
    x, host = context.zeros(SMALL, gc.f32), np.ones(SMALL, np.float32)
    driver.stand_in.failure = cu.CUresult.CUDA_ERROR_INVALID_VALUE
    try:
        for action in (
            lambda: x.copy_from(host),
            lambda: x.numpy(),
            lambda: x.fill(1.0),
            context.synchronize,
        ):
            with pytest.raises(gc.DeviceError, match="CUDA_ERROR_INVALID_VALUE"):
                action()
    finally:
        driver.stand_in.failure = cu.CUresult.CUDA_SUCCESS
