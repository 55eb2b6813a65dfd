"""Which functions of Vulkan launches, copies and submissions enter, counted at the binding."""

from __future__ import annotations

import os

import numpy as np
import pytest

pytest.importorskip("gpucore_vulkan")

import gpucore_vulkan as plugin
from gpucore.hookspecs import CompileOptions, LaunchConfig
from gpucore.ir import Function, Load, Memory, Module, Op, Store, ThreadIndex, Value, i32
from gpucore_vulkan.loader import Functions

N = 256


class Entries:
    """The names of Vulkan functions in the order of their calls."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def of(self, action) -> list[str]:
        """What one action enters; a wait that looks several times before it sleeps looks once here."""
        self.names.clear()
        action()
        look, before = "vkGetSemaphoreCounterValue", ["", *self.names]
        return [n for n, last in zip(self.names, before, strict=False) if n != look or last != look]


@pytest.fixture
def entries(monkeypatch, vulkan_device):
    """Every function that is looked up from here on is written down when called."""
    found, plain = Entries(), Functions.__getattr__

    def look(self, name):
        function = plain(self, name)

        def call(*args):
            found.names.append(name)
            return function(*args)

        setattr(self, name, call)
        return call

    monkeypatch.setattr(Functions, "__getattr__", look)
    return found


@pytest.fixture
def counted(entries, vulkan_device):
    """A device of its own, whose functions are all looked up anew."""
    from bench import Bench

    device = plugin.open_device(int(os.environ.get("GPUCORE_VULKAN_TEST_DEVICE", "0")), {})
    made = Bench(device)
    yield made
    plugin.destroy_stream(device, made.stream)
    plugin.close_device(device)


@pytest.fixture
def launch(counted):
    """``launch(a)`` runs ``x[i] = x[i] + a`` on the device's stream."""
    x, a = Memory("x", i32, "global"), Value("a", i32)
    i, v, r = (Value(n, i32) for n in ("i", "v", "r"))
    body = (ThreadIndex(i, "global_id", 0), Load(v, x, (i,)), Op(r, "add", (v, a)), Store(x, (i,), r))
    module = Module(Function("step", (x, a), None, (), (), body))
    executable = plugin.load(counted.device, plugin.compile(counted.target, module, CompileOptions()))
    piece = counted.upload(np.zeros(N, np.int32))
    call = plugin.prepare(counted.device, executable, LaunchConfig((N // 64,), (64,)))
    yield lambda value=1: call(counted.stream, piece, 0, N, value)
    plugin.synchronize_stream(counted.device, counted.stream)
    plugin.free(counted.device, piece, None)
    plugin.unload(counted.device, executable)


BATCH = {"vkBeginCommandBuffer", "vkEndCommandBuffer", "vkQueueSubmit2", "vkGetSemaphoreCounterValue"}
"""What a launch or copy may enter besides its own commands, every now and then: a batch begins, and is sent off."""


def test_a_launch_inside_a_batch_is_a_barrier_its_arguments_and_a_dispatch(entries, launch):
    for _ in range(3):
        launch()
    counts = [entries.of(launch) for _ in range(200)]
    inside = [names for names in counts if not BATCH & set(names)]
    assert len(inside) > 150
    for names in inside:
        assert names == ["vkCmdPipelineBarrier2", "vkCmdPushConstants", "vkCmdDispatch"]


def test_the_launches_of_a_batch_share_one_submission_and_nothing_is_made(entries, counted, launch):
    for _ in range(300):
        launch()
    plugin.synchronize_stream(counted.device, counted.stream)
    launches = 200
    seen = entries.of(lambda: [launch() for _ in range(launches)])
    assert seen.count("vkCmdDispatch") == launches
    assert seen.count("vkCmdPushConstants") == launches
    submissions = seen.count("vkQueueSubmit2")
    assert submissions <= launches // 16
    # a barrier before each launch but the first of all, and one at the end of each batch
    assert seen.count("vkCmdPipelineBarrier2") <= launches + submissions
    assert seen.count("vkCmdBindPipeline") <= submissions + 1
    commands = {"vkCmdDispatch", "vkCmdPushConstants", "vkCmdPipelineBarrier2", "vkCmdBindPipeline"}
    assert set(seen) <= commands | BATCH


def test_nothing_lies_between_a_launch_and_the_mark_of_its_end(entries, counted, launch):
    if "timestamps" not in plugin.capabilities(counted.device).names:
        pytest.skip("the device's clock cannot be read together with the host's")

    def timed():
        marks = [plugin.record_timestamp(counted.device, counted.stream, True)]
        launch()
        marks.append(plugin.record_timestamp(counted.device, counted.stream, False))
        return marks

    for _ in range(3):
        plugin.read_timestamps(counted.device, timed())
    marks = []
    seen = [name for name in entries.of(lambda: marks.extend(timed())) if name.startswith("vkCmd")]
    assert seen[seen.index("vkCmdWriteTimestamp2") :][-2:] == ["vkCmdDispatch", "vkCmdWriteTimestamp2"]
    first, last = plugin.read_timestamps(counted.device, marks)
    assert first < last


def test_waiting_is_one_submission_and_one_wait(entries, counted, launch):
    for _ in range(3):
        launch()
    seen = entries.of(lambda: plugin.synchronize_stream(counted.device, counted.stream))
    assert seen.count("vkQueueSubmit2") <= 1
    assert seen.count("vkWaitSemaphores") <= 1
    assert len(seen) <= 5, seen
    idle = entries.of(lambda: plugin.synchronize_stream(counted.device, counted.stream))
    assert "vkQueueSubmit2" not in idle
    assert len(idle) <= 2, idle


def test_small_copies_and_fills_make_no_object_of_the_driver(entries, counted):
    device, stream = counted.device, counted.stream
    first, second = (plugin.alloc(device, 4 * N, "device", stream) for _ in range(2))
    host = memoryview(bytearray(4 * N))
    copies = {
        "from the host": lambda: plugin.copy(device, first, 0, host, 0, 4 * N, stream),
        "to the host": lambda: plugin.copy(device, host, 0, first, 0, 4 * N, stream),
        "on the device": lambda: plugin.copy(device, second, 0, first, 0, 4 * N, stream),
        "fill": lambda: plugin.fill(device, first, 0, 4 * N, b"abcd", stream),
    }
    for name, copy in copies.items():
        for _ in range(100):
            copy()
        plugin.synchronize_stream(device, stream)
        copy()
        seen = min((entries.of(copy) for _ in range(8)), key=len)
        assert not [called for called in seen if called.startswith(("vkAllocate", "vkCreate", "vkMap"))], name
        # a barrier and the commands; a copy to the host also waits for them
        assert len(seen) <= (10 if name == "to the host" else 5), (name, seen)
    plugin.synchronize_stream(device, stream)
    for piece in (first, second):
        plugin.free(device, piece, None)


@pytest.mark.parametrize("spin", [0.0, 0.01], ids=["sleeping", "spinning"])
@pytest.mark.parametrize("timeouts", [0, 1, 50])
def test_a_copy_to_the_host_is_as_many_python_calls_however_long_it_waits(
    bench, count, monkeypatch, spin, timeouts
):
    device, stream = bench.device, bench.stream
    piece = plugin.alloc(device, 4 * N, "device", stream)
    # as where memory is a card's own: by way of staging memory
    monkeypatch.setattr(piece, "mapped", None)
    monkeypatch.setattr(stream, "_spin", spin)
    wait, look, left, slept = stream._wait_semaphores, stream._get_counter, 0, 0

    def slow_wait(*args):
        nonlocal left, slept
        left, slept = left - 1, slept + 1
        return 2 if left >= 0 else wait(*args)  # VK_TIMEOUT

    def slow_look(handle, semaphore, value):
        code = look(handle, semaphore, value)
        if left > 0:
            value[0] = 0
        return code

    monkeypatch.setattr(stream, "_wait_semaphores", slow_wait)
    monkeypatch.setattr(stream, "_get_counter", slow_look)
    host = memoryview(bytearray(4 * N))

    def copy():
        nonlocal left
        left = timeouts
        plugin.copy(device, host, 0, piece, 0, 4 * N, stream)

    driver = {"slow_wait", "slow_look"}  # no Python functions but here
    calls = [[name for name in count.calls(copy).python if name not in driver] for _ in range(8)]
    assert slept >= timeouts * 8
    assert len(min(calls, key=len)) <= 15, calls
    plugin.free(device, piece, None)
