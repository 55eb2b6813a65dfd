"""Waiting is for what was enqueued so far, and enqueueing waits where too much is queued."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucore.errors import DeviceError
from gpucore.hookspecs import StreamOptions
from gpucore_cpu.runtime.streams import MOST


@pytest.fixture
def stream(cpu: Any) -> Any:
    stream = cpu.plugin.create_stream(cpu.device, StreamOptions())
    yield stream
    cpu.plugin.synchronize_stream(cpu.device, stream)
    cpu.plugin.destroy_stream(cpu.device, stream)


@pytest.fixture
def producer(stream: Any) -> Any:
    """A thread that adds work faster than it is done, and what it has counted."""
    ended = threading.Event()
    counted = {"added": 0, "done": 0}

    def work() -> None:
        time.sleep(0.0005)
        counted["done"] += 1

    def add() -> None:
        while not ended.is_set():
            stream.submit(work)
            counted["added"] += 1
            time.sleep(0)

    thread = threading.Thread(target=add)
    thread.start()
    while len(stream.items) < 20:
        time.sleep(0.001)
    yield counted
    ended.set()
    thread.join()


@pytest.mark.parametrize("way", ["synchronize", "event", "download", "upload"])
def test_a_wait_ends_though_another_thread_goes_on_enqueueing(
    cpu: Any, stream: Any, producer: dict[str, int], way: str
) -> None:
    plugin, device = cpu.plugin, cpu.device
    memory = plugin.alloc(device, 256, "device", None)
    before = producer["added"]
    if way == "synchronize":
        plugin.synchronize_stream(device, stream)
    elif way == "event":
        event = plugin.create_event(device, False)
        plugin.record_event(device, event, stream)
        plugin.synchronize_event(device, event)
    elif way == "download":
        plugin.copy(device, memoryview(bytearray(256)), 0, memory, 0, 256, stream)
    else:
        plugin.copy(device, memory, 0, memoryview(bytes(256)), 0, 256, stream)
    assert producer["done"] >= before
    assert len(stream.items) > 0  # the other thread did go on
    plugin.free(device, memory, None)


def test_the_queue_is_bounded_and_an_enqueueing_thread_goes_on_once_half_of_it_is_done(stream: Any) -> None:
    go = threading.Event()
    stream.submit(go.wait)
    longest = 0

    def add() -> None:
        nonlocal longest
        for _ in range(3 * MOST):
            stream.submit(lambda: None)
            longest = max(longest, len(stream.items))

    thread = threading.Thread(target=add)
    thread.start()
    time.sleep(0.3)
    assert thread.is_alive()
    assert len(stream.items) <= MOST
    go.set()
    thread.join(30)
    assert not thread.is_alive()
    assert longest <= MOST


def test_work_that_adds_work_does_not_wait_for_room_that_only_it_can_make(stream: Any) -> None:
    seen: list[int] = []

    def add_much() -> None:
        for number in range(MOST + 10):
            stream.submit(lambda number=number: seen.append(number))  # type: ignore[misc]

    stream.submit(add_much)
    stream.synchronize()
    stream.synchronize()
    assert seen == list(range(MOST + 10))


def test_full_queues_that_wait_for_each_other_come_to_an_end(cpu: Any) -> None:
    plugin, device = cpu.plugin, cpu.device
    streams = [plugin.create_stream(device, StreamOptions()) for _ in range(2)]
    done = []

    def weave() -> None:
        event = plugin.create_event(device, False)
        for number in range(2 * MOST):
            here, there = streams[number % 2], streams[1 - number % 2]
            here.submit(lambda: None)
            plugin.record_event(device, event, here)
            plugin.wait_event(device, there, event)
        for stream in streams:
            plugin.synchronize_stream(device, stream)
        done.append(True)

    thread = threading.Thread(target=weave, daemon=True)
    thread.start()
    thread.join(60)
    assert done
    for stream in streams:
        plugin.destroy_stream(device, stream)


def test_an_event_that_was_passed_means_that_what_was_before_it_is_done(cpu: Any, stream: Any) -> None:
    plugin, device = cpu.plugin, cpu.device
    event = plugin.create_event(device, False)
    for _ in range(200):
        stream.submit(lambda: None)
        plugin.record_event(device, event, stream)
        plugin.synchronize_event(device, event)
        assert plugin.query_stream(device, stream)


def test_work_in_callers_threads_is_waited_for_and_excludes_other_work_of_the_stream(
    cpu: Any, stream: Any
) -> None:
    plugin, device = cpu.plugin, cpu.device
    size = 1 << 26
    memory = plugin.alloc(device, size, "device", None)
    source = np.ones(size, np.uint8)
    began = threading.Event()

    def upload() -> None:
        began.set()
        plugin.copy(device, memory, 0, memoryview(source), 0, size, stream)

    for _ in range(5):
        plugin.fill(device, memory, 0, size, b"\0", stream)
        plugin.synchronize_stream(device, stream)
        began.clear()
        thread = threading.Thread(target=upload)
        thread.start()
        began.wait()
        while not stream.held[0] and thread.is_alive():
            pass
        assert not plugin.query_stream(device, stream) or not thread.is_alive()
        plugin.fill(device, memory, 0, size, b"\2", stream)  # in order after the copy, never amid it
        seen = bytearray(size)
        plugin.copy(device, memoryview(seen), 0, memory, 0, size, stream)
        assert seen == b"\2" * size
        thread.join()
    plugin.free(device, memory, None)


def test_a_stream_that_was_destroyed_takes_no_work_and_lets_nobody_wait(cpu: Any) -> None:
    plugin, device = cpu.plugin, cpu.device
    memory = plugin.alloc(device, 256, "device", None)
    for used in (False, True):
        stream = plugin.create_stream(device, StreamOptions())
        if used:
            stream.submit(lambda: None)
        plugin.destroy_stream(device, stream)
        stream.join()
        with pytest.raises(DeviceError, match="destroyed"):
            plugin.fill(device, memory, 0, 256, b"\0", stream)
        with pytest.raises(DeviceError, match="destroyed"):
            plugin.copy(device, memoryview(bytearray(256)), 0, memory, 0, 256, stream)
        plugin.synchronize_stream(device, stream)
        event = plugin.create_event(device, False)
        plugin.record_event(device, event, stream)
        plugin.synchronize_event(device, event)
    plugin.free(device, memory, None)


def test_memory_is_freed_after_the_work_of_streams_that_were_destroyed(cpu: Any) -> None:
    plugin, device = cpu.plugin, cpu.device
    stream = plugin.create_stream(device, StreamOptions())
    memory = plugin.alloc(device, 256, "device", None)
    done = []

    def late() -> None:
        time.sleep(0.1)
        done.append(memory.owner is not None)

    stream.submit(late)
    plugin.destroy_stream(device, stream)
    plugin.free(device, memory, None)
    assert done == [True]


def test_a_copy_of_memory_that_was_freed_is_an_error(cpu: Any, stream: Any) -> None:
    plugin, device = cpu.plugin, cpu.device
    memory = plugin.alloc(device, 256, "device", None)
    plugin.free(device, memory, None)
    with pytest.raises(DeviceError, match="freed"):
        plugin.copy(device, memoryview(bytearray(256)), 0, memory, 0, 256, stream)
    with pytest.raises(DeviceError, match="freed"):
        plugin.fill(device, memory, 0, 256, b"\0", stream)


BUSY = """
import sys, threading, time
import numpy as np
import gpucore as gc

@gc.kernel
def add(x: gc.Array[gc.f32], a: gc.f32):
    i = gc.global_id(0)
    if i < x.shape[0]:
        x[i] += a

SIZE = 1 << 22
ctx = gc.Context("cpu")
x, y = ctx.zeros(SIZE, gc.f32), ctx.zeros(256, gc.f32)
host = np.ones(SIZE, np.float32)
actions = {
    "numpy": lambda: x.numpy(),
    "copy_from": lambda: x.copy_from(host),
    "fill": lambda: y.fill(1.0),
    "launch": lambda: add.over(1 << 15)(x, 1.0),
    "short launch": lambda: add[1, 256](y, 1.0),
}
action, ending = actions[sys.argv[1]], sys.argv[2]
action()
began = threading.Event()

def go_on():
    for turn in range(1_000_000_000):
        action()
        if turn == 2:
            began.set()

def until_closed():
    try:
        go_on()
    except gc.GpucoreError:
        pass

threading.Thread(target=until_closed, daemon=True).start()
began.wait()
if ending == "close":
    ctx.close()
    time.sleep(0.01)
print("end")
"""


@pytest.mark.parametrize("ending", ["close", "exit"])
@pytest.mark.parametrize("action", ["numpy", "copy_from", "fill", "launch", "short launch"])
def test_a_daemon_thread_may_be_busy_when_all_ends(action: str, ending: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(BUSY, "utf-8")
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py", action, ending], capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr
