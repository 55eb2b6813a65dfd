"""The conformance suite tells broken backends from whole ones: one fault each, caught by the case that is about it."""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpucore as gc
from gpucore.backends import discovery
from gpucore.hookspecs import hookimpl
from gpucore.testing import null
from gpucore.testing.conformance import cases, open_fixture, run, run_case

sys.path.insert(0, str(Path(__file__).parent))

import deferred  # noqa: E402

CONTROLS = (
    "identity.target_is_picklable",
    "compile.renders_source_for_people",
    "stream.empty_stream_is_done",
)
"""Cases that no fault here touches: they pass, so that a verdict is about the fault and not about the wrapping."""


def backend(**hooks: Callable[..., Any]) -> types.ModuleType:
    """The null backend with queues, and some hooks in place of its own."""
    module = types.ModuleType("broken")
    hooks.setdefault("backend_info", lambda: replace(null.backend_info(), name="broken"))
    for source in (null, deferred):
        module.__dict__.update({k: v for k, v in vars(source).items() if not k.startswith("__")})
    module.__dict__.update({name: hookimpl(function) for name, function in hooks.items()})
    return module


@dataclass(frozen=True)
class Fault:
    """What a backend does wrong, and the case that should say so."""

    name: str
    case: str
    hooks: Callable[[], dict[str, Callable[..., Any]]]

    def __str__(self) -> str:
        return self.name


FAULTS: list[Fault] = []


def fault(case: str) -> Callable[[Callable[[], dict[str, Callable[..., Any]]]], Callable[[], Any]]:
    """Register a fault, which the decorated function gives as hooks, with the case that should catch it."""

    def register(hooks: Callable[[], dict[str, Callable[..., Any]]]) -> Callable[[], Any]:
        FAULTS.append(Fault(hooks.__name__, case, hooks))
        return hooks

    return register


# --- copies and fills --------------------------------------------------------------------------------------
@fault("copy.device_to_device")
def a_copy_between_allocations_is_dropped():
    def copy(device, dst, dst_offset, src, src_offset, nbytes, stream):
        if isinstance(dst, memoryview) or isinstance(src, memoryview):
            deferred.copy(device, dst, dst_offset, src, src_offset, nbytes, stream)

    return {"copy": copy}


@fault("copy.source_may_change_once_the_call_returns")
def a_blocking_copy_reads_its_source_late():
    def copy(device, dst, dst_offset, src, src_offset, nbytes, stream):
        if isinstance(src, memoryview) and not isinstance(dst, memoryview):
            stream.add(lambda: null.copy(device, dst, dst_offset, src, src_offset, nbytes, stream))
        else:
            deferred.copy(device, dst, dst_offset, src, src_offset, nbytes, stream)

    return {"copy": copy}


@fault("copy.to_the_host_waits_for_the_stream")
def a_copy_to_the_host_does_not_wait():
    def copy(device, dst, dst_offset, src, src_offset, nbytes, stream):
        if isinstance(dst, memoryview):
            null.copy(device, dst, dst_offset, src, src_offset, nbytes, stream)
        else:
            deferred.copy(device, dst, dst_offset, src, src_offset, nbytes, stream)

    return {"copy": copy}


@fault("copy.keeps_offsets")
def a_copy_takes_the_source_from_its_start():
    def copy(device, dst, dst_offset, src, src_offset, nbytes, stream):
        deferred.copy(device, dst, dst_offset, src, 0, nbytes, stream)

    return {"copy": copy}


@fault("copy.on_the_device_keeps_both_offsets")
def a_copy_on_the_device_takes_the_source_from_its_start():
    def copy(device, dst, dst_offset, src, src_offset, nbytes, stream):
        on_device = not isinstance(dst, memoryview) and not isinstance(src, memoryview)
        deferred.copy(device, dst, dst_offset, src, 0 if on_device else src_offset, nbytes, stream)

    return {"copy": copy}


@fault("copy.on_the_device_keeps_both_offsets")
def a_copy_within_an_allocation_goes_to_its_start():
    def copy(device, dst, dst_offset, src, src_offset, nbytes, stream):
        deferred.copy(device, dst, 0 if dst is src else dst_offset, src, src_offset, nbytes, stream)

    return {"copy": copy}


@fault("copy.fills_with_patterns")
def a_fill_knows_four_bytes_of_its_pattern():
    def fill(device, dst, offset, nbytes, pattern, stream):
        pattern = pattern[:4] * (len(pattern) // len(pattern[:4]))
        deferred.fill(device, dst, offset, nbytes, pattern, stream)

    return {"fill": fill}


# --- streams and events ------------------------------------------------------------------------------------
@fault("copy.copies_keep_the_order_of_the_stream")
def a_stream_has_no_order():
    @dataclass(eq=False)
    class Unordered(deferred.Stream):
        def run(self, count=None):
            with deferred._lock:
                while self.queue and (count is None or self.done < count):
                    work = self.queue.pop()  # the newest first
                    self.done += 1
                    work()

    def create_stream(device, options):
        device.open["streams"] += 1
        device.streams.append(Unordered(options))
        return device.streams[-1]

    return {"create_stream": create_stream}


@fault("event.passed_once_synchronised")
def an_event_lies():
    return {"query_event": lambda device, event: True, "synchronize_event": lambda device, event: None}


@fault("event.orders_two_streams")
def an_event_is_recorded_early():
    def record_event(device, event, stream):
        deferred.record_event(device, event, stream)
        event.count = max(0, event.count - 2)  # the last thing before it is left out

    return {"record_event": record_event}


@fault("event.orders_two_streams")
def a_stream_does_not_wait_for_an_event():
    return {"wait_event": lambda device, stream, event: None}


@fault("event.recording_again_moves_the_mark")
def the_first_mark_of_an_event_stays():
    def record_event(device, event, stream):
        if event.stream is None:
            deferred.record_event(device, event, stream)

    return {"record_event": record_event}


@fault("event.never_recorded_is_no_obstacle")
def an_event_that_was_never_recorded_is_pending():
    def query_event(device, event):
        return event.stream is not None and deferred.query_event(device, event)

    return {"query_event": query_event}


@fault("stream.work_survives_its_stream")
def destroying_a_stream_drops_its_work():
    def destroy_stream(device, stream):
        stream.queue.clear()
        deferred.destroy_stream(device, stream)

    return {"destroy_stream": destroy_stream}


@fault("event.elapsed_time_is_not_negative")
def time_runs_backwards():
    return {"elapsed_time": lambda device, start, end: deferred.elapsed_time(device, end, start)}


@fault("event.elapsed_time_is_in_milliseconds")
def time_is_in_seconds():
    return {"elapsed_time": lambda device, start, end: deferred.elapsed_time(device, start, end) / 1e3}


@fault("event.elapsed_time_is_in_milliseconds")
def time_is_in_microseconds():
    return {"elapsed_time": lambda device, start, end: deferred.elapsed_time(device, start, end) * 1e3}


@fault("event.elapsed_time_is_in_milliseconds")
def time_is_made_up():
    return {"elapsed_time": lambda device, start, end: 1.0}


# --- memory ------------------------------------------------------------------------------------------------
@fault("memory.allocations_are_aligned")
def memory_is_aligned_to_128_bytes():
    def alloc(device, nbytes, kind, stream):
        whole = null.alloc(device, nbytes + 256, kind, stream)
        whole.address += 128
        whole.nbytes = nbytes
        return whole

    return {"alloc": alloc}


@fault("memory.an_allocation_has_all_of_its_bytes")
def an_allocation_claims_too_much():
    def alloc(device, nbytes, kind, stream):
        allocation = null.alloc(device, nbytes, kind, stream)
        allocation.nbytes += 256
        device.used += 256
        return allocation

    def fill(device, dst, offset, nbytes, pattern, stream):
        if offset + nbytes > dst.bytes.size:
            raise gc.DeviceError(f"{nbytes} bytes at {offset} of an allocation of {dst.bytes.size}")
        deferred.fill(device, dst, offset, nbytes, pattern, stream)

    return {"alloc": alloc, "fill": fill}


@fault("memory.an_allocation_has_all_of_its_bytes")
def allocations_claim_what_is_anothers():
    memory = np.zeros(8 << 20, np.uint8)
    memory = memory[-memory.ctypes.data % 256 :]
    used = 0

    def alloc(device, nbytes, kind, stream):
        nonlocal used
        start, used = used, used + -(-nbytes // 256) * 256
        device.used += nbytes + 512
        device.open["allocations"] += 1
        return null.Allocation(memory[start : start + nbytes + 512])

    return {"alloc": alloc}


@fault("memory.freed_memory_can_be_had_again")
def free_leaks():
    def free(device, allocation, stream):
        used = device.used
        deferred.free(device, allocation, stream)
        device.used = used

    return {"free": free}


@fault("memory.freed_memory_can_be_had_again")
def free_leaks_on_a_device_with_much_memory():
    # too much of it for a hundred allocations to run out
    def free(device, allocation, stream):
        used = device.used
        deferred.free(device, allocation, stream)
        device.used = used

    def alloc(device, nbytes, kind, stream):
        used, device.used = device.used, 0
        try:
            return null.alloc(device, nbytes, kind, stream)
        finally:
            device.used += used

    def memory_info(device):
        return replace(null.memory_info(device), free=(64 << 30) - device.used, total=64 << 30)

    return {"alloc": alloc, "free": free, "memory_info": memory_info}


@fault("memory.running_out_is_an_out_of_memory_error_and_not_the_end")
def running_out_of_memory_goes_unsaid():
    def alloc(device, nbytes, kind, stream):
        return null.alloc(device, min(nbytes, 1 << 20), kind, stream)

    return {"alloc": alloc}


@fault("memory.allocations_do_not_overlap")
def allocations_share_memory():
    memory = np.zeros((4 << 20) + 256, np.uint8)
    memory = memory[-memory.ctypes.data % 256 :]

    def alloc(device, nbytes, kind, stream):
        device.used += nbytes
        device.open["allocations"] += 1
        return null.Allocation(memory[:nbytes])

    return {"alloc": alloc}


# --- what a device says of itself --------------------------------------------------------------------------
@fault("identity.optional_hooks_match_the_capabilities")
def a_capability_is_promised_without_its_hook():
    def capabilities(device):
        found = null.capabilities(device)
        return replace(found, names=found.names | {"device_health"})

    return {"capabilities": capabilities}


@fault("identity.capabilities_speak_of_known_dtypes")
def atomics_on_u32_are_missing():
    def capabilities(device):
        found = null.capabilities(device)
        return replace(found, dtypes={**found.dtypes, "u32": found.dtypes["u32"] - {"atomic"}})

    return {"capabilities": capabilities}


# --- kernels -------------------------------------------------------------------------------------------------
@fault("launch.every_thread_runs_once")
def a_launch_ignores_the_last_block():
    def prepare(device, executable, config):
        *others, last = config.grid
        return deferred.prepare(device, executable, replace(config, grid=(*others, max(last - 1, 1))))

    return {"prepare": prepare}


@fault("launch.extents_and_offsets_arrive")
def a_launch_ignores_byte_offsets():
    def prepare(device, executable, config):
        run = deferred.prepare(device, executable, config)

        def call(stream, *slots):
            kept = [
                0 if n and isinstance(slots[n - 1], null.Allocation) else slot for n, slot in enumerate(slots)
            ]
            run(stream, *kept)

        return call

    return {"prepare": prepare}


@fault("compile.garbage_is_refused")
def an_error_is_swallowed():
    def load(device, object_code):
        with contextlib.suppress(Exception):
            return null.load(device, object_code)
        device.open["kernels"] += 1
        return null.Executable(None)

    return {"load": load}


@fault("compile.object_code_is_plain_data")
def object_code_holds_more_than_data():
    def compile_(target, module, options):
        return replace(null.compile(target, module, options), metadata={"lock": object()})

    return {"compile": compile_}


# --- the suite -----------------------------------------------------------------------------------------------
@pytest.fixture
def fixture_of():
    with contextlib.ExitStack() as stack:

        def make(plugin: types.ModuleType):
            stack.enter_context(discovery.register("broken", plugin))
            fixture = open_fixture("broken")
            stack.callback(fixture.close)
            return fixture

        yield make


def test_the_backend_with_queues_conforms():
    with discovery.register("broken", backend()):
        report = run("broken", semantics=False)
    assert report.failures() == []
    assert report.counts()["passed"] > 50


@pytest.mark.parametrize("broken", FAULTS, ids=str)
def test_a_fault_is_caught_by_the_case_that_is_about_it(broken: Fault, fixture_of):
    fixture = fixture_of(backend(**broken.hooks()))
    verdict = run_case(fixture, cases()[broken.case])
    assert verdict.outcome == "failed", f"{broken.name} passed {broken.case}"
    assert verdict.reason
    for control in CONTROLS:
        assert run_case(fixture, cases()[control]).outcome == "passed", control


def test_there_are_many_faults_and_each_names_a_case():
    assert len(FAULTS) >= 12
    assert {broken.case for broken in FAULTS} <= set(cases())


# --- wrong results -------------------------------------------------------------------------------------------
def wrong(change: Callable[[dict[str, Any]], None]) -> types.ModuleType:
    """A backend that changes a kernel's arrays after it ran."""

    def prepare(device, executable, config):
        call = null.prepare(device, executable, config)

        def run(stream, *slots):
            call(stream, *slots)
            change(arrays_of(executable.module, slots))

        return run

    module = types.ModuleType("broken")
    module.__dict__.update({k: v for k, v in vars(null).items() if not k.startswith("__")})
    module.__dict__["prepare"] = hookimpl(prepare)
    return module


def arrays_of(module, slots):
    """The arrays of a launch by the names of their parameters."""
    rest, found = iter(slots), {}
    for param in module.kernel.params:
        if not hasattr(param, "rank"):
            next(rest)
            continue
        allocation, offset = next(rest), next(rest)
        shape = tuple(next(rest) for _ in range(param.rank))
        found[param.name] = np.ndarray(shape, param.dtype.numpy, allocation.view().data, offset)
    return found


def a_denormal_is_flushed(arrays):
    for name, array in arrays.items():
        if name.startswith("r") and array.dtype.kind == "f":
            array[np.abs(array) < np.finfo(array.dtype).tiny] = 0


def a_remainder_has_the_sign_of_the_dividend(arrays):
    result = arrays["r0"]
    if result.dtype == np.int32:
        x, y = arrays["x0"].astype(np.int64), arrays["x1"].astype(np.int64)
        result[...] = np.where(y == 0, 0, np.fmod(x, np.where(y == 0, 1, y)))


def a_narrow_result_keeps_a_bit_too_many(arrays):
    if arrays["x0"].dtype == np.int8 and arrays["r0"].dtype == np.int64:
        arrays["r0"][...] = -arrays["x0"].astype(np.int64)


@pytest.mark.parametrize(
    ("change", "keys", "failing"),
    [
        (a_denormal_is_flushed, ["mul.f32", "add.i32", "div.f64"], {"mul.f32", "div.f64"}),
        (a_remainder_has_the_sign_of_the_dividend, ["mod.i32", "add.f32"], {"mod.i32"}),
        (a_narrow_result_keeps_a_bit_too_many, ["neg.i8", "pair.neg.i8.i64"], {"pair.neg.i8.i64"}),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_wrong_result_is_named_by_the_table(change, keys, failing):
    with discovery.register("broken", wrong(change)):
        report = run("broken", groups=keys)
    assert {key for key, result in report.semantics.everything().items() if result.failed} == failing
    assert not report.conforms
    assert all(any(key in line for line in report.failures()) for key in failing)
