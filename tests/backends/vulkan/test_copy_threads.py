"""Threads that move the parts of copies: every byte, in any order of events, and none once a copy was given up."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from gpucore_vulkan import copy_threads
from gpucore_vulkan.copy_threads import CopyJob

PLUGINS = Path(__file__).parents[3] / "plugins"


@pytest.fixture(params=["machine code", "Python", "no threads"])
def threads(request):
    if request.param == "machine code":
        if copy_threads._code() is None:
            pytest.skip("the machine code is for another system")
        made = copy_threads.copy_threads("test-copy", 3)
        assert isinstance(made, copy_threads._NativeThreads)
    else:
        made = copy_threads._PythonThreads("test-copy", 3 if request.param == "Python" else 0)
    yield made
    made.end()
    made.close()


def upload(threads, host, nbytes, ring, part, slots, helps):
    """What a device has that takes parts from the ring."""
    device = np.zeros(nbytes, np.uint8)
    job = CopyJob(host.ctypes.data, ring.ctypes.data, nbytes, part, slots, up=True)
    sent = 0
    threads.begin(job, min(job.count, slots), host)
    while sent < job.count:
        if helps:
            threads.help()
        number = threads.moved(sent, wait=True)
        assert number > 0
        assert sent % slots + number <= slots
        at = sent * part
        size = min(number * part, nbytes - at)
        device[at : at + size] = ring[sent % slots * part :][:size]
        sent += number
        threads.publish(min(job.count, sent + slots))
    threads.end()
    return device


def download(threads, device, host, ring, part, slots, pause):
    nbytes = device.size
    job = CopyJob(host.ctypes.data, ring.ctypes.data, nbytes, part, slots, up=False)
    threads.begin(job, 0, host)
    ready = moved = 0
    while ready < job.count:
        until = min(job.count, moved + slots)
        for number in range(ready, until):
            piece = device[number * part : (number + 1) * part]
            ring[number % slots * part :][: piece.size] = piece
        ready = until
        time.sleep(pause)
        threads.publish(ready)
        moved += threads.moved(moved, wait=True)
    while moved < job.count:
        threads.help()
        moved += threads.moved(moved, wait=True)
    threads.end()


@pytest.mark.parametrize("nbytes", [1, 100, 4096, 70_001, 300_013])
def test_every_byte_is_moved_and_no_other(threads, nbytes):
    chance = random.Random(nbytes)
    ring = np.zeros(1 << 18, np.uint8)
    for part, slots in ((4096, 2), (4096, 64), (1 << 16, 4)):
        for offset in (0, 1, 15):
            given = np.random.default_rng(nbytes + offset).integers(0, 255, nbytes + 32, np.uint8)
            found = np.zeros(nbytes + 32, np.uint8)
            inside = slice(offset, offset + nbytes)
            device = upload(threads, given[inside], nbytes, ring, part, slots, helps=chance.random() < 0.5)
            np.testing.assert_array_equal(device, given[inside])
            download(threads, device, found[inside], ring, part, slots, chance.choice([0, 1e-3]))
            np.testing.assert_array_equal(found[inside], given[inside])
            found[inside] = 0
            assert not found.any()


@pytest.mark.parametrize("nbytes", [1, 4096, 70_001, 300_013])
@pytest.mark.parametrize("up", [True, False])
def test_a_job_that_the_caller_helps_with_is_done_when_it_says_so(threads, nbytes, up):
    """Piece by piece, or all at once, one job after the other."""
    for seed in range(20):
        given = np.random.default_rng(seed).integers(0, 255, nbytes, np.uint8)
        found, ring = np.zeros(nbytes, np.uint8), np.zeros(1 << 20, np.uint8)
        host = given if up else found
        if not up:
            ring[:nbytes] = given
        job = CopyJob(host.ctypes.data, ring.ctypes.data, nbytes, 4096, 256, up=up)
        threads.begin(job, job.count, host)
        target = ring if up else found
        half = job.count // 2
        if seed % 2:
            threads.move(0, half)
            np.testing.assert_array_equal(target[: half * 4096], given[: half * 4096])
        threads.finish()
        np.testing.assert_array_equal(target[:nbytes], given)
        target[:] = 7  # what a thread that is late would write over
    time.sleep(5e-3)
    assert (target == 7).all()


@pytest.mark.parametrize("nbytes", [300_013])
def test_a_job_whose_slots_are_used_again_is_finished(threads, nbytes):
    device, found, ring = (np.zeros(nbytes, np.uint8) for _ in range(3))
    device[:] = np.random.default_rng(5).integers(0, 255, nbytes, np.uint8)
    part, slots = 4096, 8
    job = CopyJob(found.ctypes.data, ring.ctypes.data, nbytes, part, slots, up=False)
    threads.begin(job, 0, found)
    moved = 0
    for ready in range(slots, job.count + slots, slots):
        ready = min(ready, job.count)
        for number in range(moved, ready):
            piece = device[number * part : (number + 1) * part]
            ring[number % slots * part :][: piece.size] = piece
        threads.publish(ready)
        if ready < job.count:
            threads.move(moved, ready)
        moved = ready
    threads.finish()
    np.testing.assert_array_equal(found, device)


def test_parts_that_are_not_ready_are_left_alone(threads):
    ring, given = np.zeros(1 << 16, np.uint8), np.ones(1 << 16, np.uint8)
    threads.begin(CopyJob(given.ctypes.data, ring.ctypes.data, 1 << 16, 4096, 16, up=True), 5, given)
    threads.help()
    for number in range(5):
        assert threads.moved(number, wait=True)
    time.sleep(5e-3)
    threads.help()
    assert not ring[5 * 4096 :].any()
    assert ring[: 5 * 4096].all()


def test_nothing_is_moved_once_a_copy_has_ended(threads):
    part = 4 << 20
    given, ring = np.ones(4 * part, np.uint8), np.zeros(4 * part, np.uint8)
    ends = ring[part - 1 :: part]
    job = CopyJob(given.ctypes.data, ring.ctypes.data, given.size, part, 4, up=True)
    for ready in (1, 2, 3, 4) * 5:
        threads.begin(job, ready, given)
        time.sleep(1e-4)
        threads.end()
        ends[:] = 7
        time.sleep(5e-3)
        assert (ends == 7).all()


def test_threads_that_wait_for_the_device_sleep(threads):
    ring, found = np.zeros(1 << 16, np.uint8), np.zeros(1 << 16, np.uint8)
    threads.begin(CopyJob(found.ctypes.data, ring.ctypes.data, 1 << 16, 4096, 16, up=False), 0, found)
    time.sleep(0.05)  # what they spin for is long over
    before = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - before < 0.1
    threads.publish(16)
    assert threads.moved(0, wait=True)


def test_closed_threads_end():
    made = copy_threads.copy_threads("test-closed", 2)
    assert sum(thread.name == "test-closed" for thread in threading.enumerate()) == 2
    made.close()
    end = time.monotonic() + 30
    while any(thread.name == "test-closed" for thread in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(1e-3)


def test_where_the_system_refuses_memory_for_code_the_threads_are_pythons(monkeypatch):
    def refuse(code):
        raise OSError("no")

    monkeypatch.setattr(copy_threads, "MachineCode", refuse)
    monkeypatch.setattr(copy_threads, "_code", copy_threads._code.__wrapped__)
    made = copy_threads.copy_threads("test-refused", 1)
    assert isinstance(made, copy_threads._PythonThreads)
    made.close()


@pytest.mark.parametrize("name", ["copy_threads.py", "machine_code.py"])
def test_the_plugins_for_cuda_and_vulkan_have_the_same_module(name):
    first, second = (
        (PLUGINS / plugin / f"gpucore_{plugin}" / name).read_text("utf-8") for plugin in ("cuda", "vulkan")
    )
    assert first.replace("gpucore_cuda", "gpucore_vulkan") == second
