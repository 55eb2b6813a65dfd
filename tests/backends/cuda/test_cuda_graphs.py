"""Graphs on CUDA: which calls of the driver they make, and what these do, on a stand-in for the driver."""

from __future__ import annotations

import ctypes
import threading

import numpy as np
import pytest

import gpucore as gc

cu = pytest.importorskip("cuda.bindings.driver", reason="cuda-python is not installed")

N = 256


@gc.kernel
def plus(x: gc.Array[gc.f32], a: gc.f32):
    i = gc.global_id(0)
    if i < x.shape[0]:
        x[i] = x[i] + a


def plus_on_the_host(address, extent, a):
    np.frombuffer((ctypes.c_float * extent).from_address(address), np.float32)[:] += np.float32(a)


class Driver:
    """The stand-in, and the names of the driver's functions in the order of their calls."""

    def __init__(self, stand_in):
        self.stand_in = stand_in
        self.calls = []

    def of(self, action):
        self.calls.clear()
        action()
        return [call for call in self.calls if call != "cuCtxGetCurrent"]


@pytest.fixture(scope="module")
def driver():
    from stand_in import StandIn, installed

    stand_in = StandIn()
    stand_in.kernels["plus"] = ("Qif", plus_on_the_host)
    found = Driver(stand_in)

    with installed(stand_in.functions(), found.calls):
        yield found


@pytest.fixture(scope="module")
def shared_context(driver):
    with gc.Context("cuda") as context:
        yield context


@pytest.fixture
def context(driver, shared_context):
    yield shared_context
    shared_context.synchronize()
    shared_context._state.drain()
    assert not driver.stand_in.graphs, "a test left a graph"
    driver.stand_in.refused.clear()
    driver.stand_in.failure = cu.CUresult.CUDA_SUCCESS


def test_a_launch_is_one_call_of_the_driver_whatever_the_number_of_nodes(driver, context):
    x, y = context.zeros(N, gc.f32), context.zeros(N, gc.f32)
    pinned = context.pinned(N, gc.f32)
    with context.graph() as g:
        x.fill(1.0)
        for _ in range(50):
            plus[1, N](x, 2.0)
        y.copy_from(x)
        y.copy_to(pinned)
    assert g.native
    assert np.all(x.numpy() == 0)
    assert driver.of(g.launch) == ["cuGraphLaunch"]
    assert np.all(pinned == 101)
    assert driver.of(lambda: g.launch(context.stream()))[-1] == "cuGraphLaunch"


def test_nodes_come_after_those_that_they_wait_for_and_no_others(driver, context):
    x, y = context.zeros(N, gc.f32), context.zeros(N, gc.f32)
    side = context.stream()
    with context.graph() as g:
        x.fill(1.0)
        side.wait(g.stream)
        y.fill(3.0, stream=side)
        plus[1, N](x, 2.0)
        g.stream.wait(side)
        y.copy_from(x)
    (nodes,) = driver.stand_in.graphs.values()
    numbers = {handle: number for number, handle in enumerate(nodes)}
    assert [node.kind for node in nodes.values()] == ["fill", "fill", "kernel", "copy"]
    assert [{numbers[handle] for handle in node.after} for node in nodes.values()] == [
        set(node.after) for node in g.nodes
    ]
    assert {numbers[handle] for handle in list(nodes.values())[3].after} == {1, 2}


def test_an_update_of_a_scalar_is_one_call_of_the_driver(driver, context):
    x = context.zeros(N, gc.f32)
    with context.graph() as g:
        plus[1, N](x, g.scalar("a", 2.0))
        plus[1, N](x, 10.0)
    g.launch()
    assert driver.of(lambda: g.update(a=3.0)) == ["cuGraphExecKernelNodeSetParams"]
    g.launch()
    np.testing.assert_array_equal(x.numpy(), np.full(N, 12 + 13, np.float32))


def test_inputs_change_in_kernels_copies_and_fills(driver, context):
    x, y, z = (context.zeros(N, gc.f32) for _ in range(3))
    with context.graph() as g:
        batch = g.input("batch", x)
        batch.fill(1.0)
        plus[1, N](batch, 1.0)
        z.copy_from(batch)
        plus[1, N](z, 1.0)
    g.update(batch=y)
    g.launch()
    assert [np.unique(array.numpy()).tolist() for array in (x, y, z)] == [[0], [2], [3]]


def test_what_the_driver_does_not_change_in_place_is_instantiated_anew(driver, context):
    x, y, z = (context.zeros(N, gc.f32) for _ in range(3))
    with context.graph() as g:
        batch = g.input("batch", x)
        plus[1, N](batch, g.scalar("a", 5.0))
        z.copy_from(batch)
    driver.stand_in.refused.add("copy")
    calls = driver.of(lambda: g.update(batch=y, a=7.0))
    assert calls.count("cuGraphInstantiate") == 1
    assert calls.count("cuGraphExecDestroy") == 1
    g.launch()
    assert [np.unique(array.numpy()).tolist() for array in (x, y, z)] == [[0], [7], [7]]


def test_an_update_that_fails_leaves_the_graph_as_it_was(driver, context, monkeypatch):
    x, y, z = (context.zeros(N, gc.f32) for _ in range(3))
    with context.graph() as g:
        batch = g.input("batch", x)
        plus[1, N](batch, 1.0)
        z.copy_from(batch)
    lost = cu.CUresult.CUDA_ERROR_UNKNOWN
    monkeypatch.setattr(cu, "cuGraphExecMemcpyNodeSetParams", lambda *args: (lost,))
    with pytest.raises(gc.DeviceError, match="CUDA_ERROR_UNKNOWN"):
        g.update(batch=y)
    g.launch()
    assert [np.unique(array.numpy()).tolist() for array in (x, y, z)] == [[1], [0], [1]]


def test_a_driver_that_refuses_the_work_leaves_a_graph_of_single_launches(driver, context, monkeypatch):
    x = context.zeros(N, gc.f32)
    monkeypatch.setattr(cu, "cuGraphInstantiate", lambda *args: (cu.CUresult.CUDA_ERROR_NOT_SUPPORTED, None))
    with context.graph() as g:
        plus[1, N](x, 1.0)
        plus[1, N](x, 2.0)
    assert not g.native
    assert not driver.stand_in.graphs
    g.launch()
    assert np.all(x.numpy() == 3)


def test_fills_with_eight_bytes_are_kernels(driver, context):
    x = context.zeros(N, gc.f64)
    driver.stand_in.kernels["fill8"] = (
        "QQQ",
        lambda address, count, value: ctypes.memmove(address, value.to_bytes(8, "little") * count, 8 * count),
    )
    with context.graph() as g:
        batch = g.input("batch", x)
        batch.fill(0.1)
    assert g.native
    g.launch()
    assert np.all(x.numpy() == 0.1)
    y = context.zeros(N, gc.f64)
    g.update(batch=y)
    g.launch()
    assert np.all(y.numpy() == 0.1)


def test_a_closed_graph_leaves_nothing_in_the_driver(driver, context):
    x = context.zeros(N, gc.f32)
    with context.graph() as g:
        plus[1, N](x, 1.0)
    assert driver.stand_in.instances
    g.launch()
    g.close()
    assert not driver.stand_in.instances
    assert not driver.stand_in.graphs


def test_a_thread_without_a_current_context_updates_and_launches(driver, context):
    x = context.zeros(N, gc.f32)
    with context.graph() as g:
        plus[1, N](x, g.scalar("a", 1.0))

    def work():
        g.update(a=4.0)
        g.launch()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert np.all(x.numpy() == 4)


@pytest.mark.parametrize("stage", ["build", "update", "launch", "wait"])
def test_a_device_that_is_lost_in_a_graph_fails_fast_from_there_on(stage):
    """At any of its steps: the error names what ran, nothing waits, and everything can be closed."""
    from stand_in import StandIn, installed

    stand_in = StandIn()
    lost = (cu.CUresult.CUDA_ERROR_ILLEGAL_ADDRESS,)
    functions = stand_in.functions()
    calls = {"build": "cuGraphInstantiate", "update": "cuGraphExecKernelNodeSetParams"}
    calls |= {"launch": "cuGraphLaunch", "wait": "cuStreamSynchronize"}
    real, falls = functions[calls[stage]], []
    functions[calls[stage]] = lambda *args: (
        (*lost, None)[: 2 if stage == "build" else 1] if falls else real(*args)
    )
    with installed(functions):
        context = gc.Context("cuda")
        x, pinned = context.zeros(N, gc.f32), context.pinned(N, gc.f32)

        def record():
            with context.graph() as g:
                plus[1, N](x, g.scalar("a", 1.0))
                x.copy_to(pinned)
            return g

        graph = record()
        graph.update(a=2.0)
        graph.launch()
        falls.append(stage)
        steps = {
            "build": record, "update": lambda: graph.update(a=3.0), "launch": graph.launch, "wait": context.synchronize
        }  # fmt: skip
        with pytest.raises(gc.DeviceLostError, match="ILLEGAL_ADDRESS.*a graph of plus") as caught:
            steps[stage]()
        assert caught.value.name == "CUDA_ERROR_ILLEGAL_ADDRESS"
        for step in (*steps.values(), x.numpy, lambda: context.zeros(4, gc.f32), lambda: x.fill(1)):
            with pytest.raises(gc.DeviceLostError):
                step()
        graph.close()
        context.close()
