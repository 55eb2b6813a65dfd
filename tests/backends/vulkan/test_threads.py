"""Threads beside one another: waits that end, queues that do not grow, devices that close under others' feet."""

from __future__ import annotations

import faulthandler
import subprocess
import sys
import threading

import numpy as np
import pytest

import gpucore as gc
import gpucore_vulkan as plugin
from gpucore.errors import GpucoreError
from gpucore.hookspecs import CompileOptions, LaunchConfig, StreamOptions
from gpucore.ir.text import parse
from gpucore_vulkan.streams import BATCH, MOST_FLYING

LONG = parse("""\
module ir=1 ndim=1 math=strict

kernel @k(&x: u32[?], %n: i32) {
  var !v: u32
  %i: i32 = global_id 0
  %zero: i32 = const 0
  %one: i32 = const 1
  %a: u32 = const 1664525
  %first: u32 = load &x[%i]
  set !v, %first
  for %k: i32 = %zero to %n step %one {
    %old: u32 = get !v
    %new: u32 = mul %old, %a
    set !v, %new
  }
  %last: u32 = get !v
  store &x[%i], %last
}
""")


@pytest.fixture(autouse=True)
def patience():
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@gc.kernel
def add(x: gc.Array[gc.i32], a: gc.i32):
    i = gc.global_id(0)
    if i < x.shape[0]:
        x[i] += a


def test_waits_end_while_another_thread_enqueues():
    go, started = True, threading.Event()
    with gc.Context("vulkan") as ctx:
        x, y = ctx.zeros(1 << 12, gc.i32), ctx.zeros(16, gc.i32)

        def enqueue():
            while go:
                add.over(1 << 12)(x, 1)
                started.set()

        thread = threading.Thread(target=enqueue)
        thread.start()
        started.wait()
        try:
            for _ in range(5):
                ctx.synchronize()
                assert x.numpy()[0] > 0
                y.copy_from(np.full(16, 3, np.int32))
                assert (y.numpy() == 3).all()
        finally:
            go = False
            thread.join()


def test_the_queue_does_not_grow_without_end(bench):
    device = bench.device
    stream = plugin.create_stream(device, StreamOptions())
    executable = plugin.load(device, plugin.compile(bench.target, LONG, CompileOptions()))
    piece = bench.upload(np.ones(64, np.uint32))
    launch = plugin.prepare(device, executable, LaunchConfig((1,), (64,)))
    most = 0
    for _ in range((MOST_FLYING + 40) * BATCH):
        launch(stream, piece, 0, 64, 2000)
        most = max(most, len(stream._flying))
    assert most <= MOST_FLYING + 1
    plugin.synchronize_stream(device, stream)
    plugin.unload(device, executable)
    plugin.free(device, piece, None)
    plugin.destroy_stream(device, stream)


def test_marks_alone_do_not_fill_the_queue_either(bench):
    device = bench.device
    stream = plugin.create_stream(device, StreamOptions())
    event = plugin.create_event(device, False)
    host = np.zeros(4, np.uint8)
    piece = bench.upload(host)
    for _ in range(3 * MOST_FLYING):
        plugin.fill(device, piece, 0, 4, b"\1", stream)
        plugin.record_event(device, event, stream)
        assert len(stream._flying) <= MOST_FLYING + 1
    plugin.synchronize_stream(device, stream)
    plugin.free(device, piece, None)
    plugin.destroy_stream(device, stream)


@pytest.mark.parametrize("how", ["copies", "staged copies", "waits"])
def test_a_device_closes_while_other_threads_use_it(layered, how):
    device = plugin.open_device(0, {"validation": layered})
    nbytes = 4 << 20
    ends: list[BaseException | None] = []
    begun = threading.Barrier(4)

    def use():
        stream = plugin.create_stream(device, StreamOptions())
        piece = device.memory.alloc(nbytes, "device")
        host = np.zeros(nbytes, np.uint8)
        begun.wait()
        try:
            while True:
                if how == "copies":
                    plugin.copy(device, piece, 0, host.data, 0, nbytes, stream)
                    plugin.copy(device, host.data, 0, piece, 0, nbytes, stream)
                elif how == "staged copies":
                    address, keep = device.bound.address_of(host)
                    device.logical.alive()
                    plugin.fill(device, piece, 0, 4, b"\1", stream)
                    with piece.lock:
                        device.logical.copying[threading.get_ident()] = None
                        try:
                            device.logical.alive()
                            device.staging.download(address, piece, 0, nbytes, stream, keep)
                        finally:
                            device.logical.copying.pop(threading.get_ident(), None)
                else:
                    plugin.fill(device, piece, 0, 4, b"\1", stream)
                    plugin.synchronize_stream(device, stream)
        except GpucoreError as error:
            ends.append(error)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    begun.wait()
    plugin.close_device(device)
    for thread in threads:
        thread.join()
    assert len(ends) == 3
    assert all("closed" in str(error) for error in ends), ends


def test_memory_is_freed_after_the_copy_that_uses_it(bench):
    device, freed = bench.device, threading.Event()
    piece = device.memory.alloc(1 << 20, "device")
    block = piece.block

    def free():
        plugin.free(device, piece, None)
        freed.set()

    with piece.lock:  # as a copy has it
        thread = threading.Thread(target=free)
        thread.start()
        assert not freed.wait(0.1)
        assert block.pieces
    thread.join()
    assert freed.is_set() and piece.freed
    stream = plugin.create_stream(device, StreamOptions())
    with pytest.raises(GpucoreError, match="freed by another thread"):
        plugin.copy(device, piece, 0, memoryview(bytes(16)), 0, 16, stream)
    plugin.destroy_stream(device, stream)


EXIT = """
import threading, time
import numpy as np
import gpucore as gc

ctx = gc.Context("vulkan")
arrays = [ctx.zeros(1 << 22, gc.f32) for _ in range(3)]

def read():
    while True: arrays[0].numpy()

def write():
    host = np.zeros(1 << 22, np.float32)
    while True: arrays[1].copy_from(host)

def wait():
    while True:
        arrays[2].fill(1.0)
        ctx.synchronize()

def guarded(function):
    def run():
        try: function()
        except gc.GpucoreError: pass  # the context was closed
    return run

for function in (read, write, wait):
    threading.Thread(target=guarded(function), daemon=True).start()
time.sleep(0.1)
END
print("end", flush=True)
"""


@pytest.mark.parametrize("end", ["", "ctx.close()"], ids=["exit", "close"])
def test_a_process_ends_while_daemon_threads_copy(end, tmp_path):
    script = tmp_path / "program.py"
    script.write_text(EXIT.replace("END", end), "utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "end"), done
