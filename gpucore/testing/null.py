"""The null backend: a complete plugin on host memory that runs kernels with the interpreter.

It needs no driver and no compiler, and is the worked example of ``docs/plugin-authors.md``: every required
hook of :mod:`gpucore.hookspecs`, each as small as it can be.  Compiling prints the IR, loading parses it,
launching interprets it.  Streams do their work at once, which is one legal way to keep their order.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gpucore.errors import DeviceError, NotSupportedError, OutOfMemoryError
from gpucore.hookspecs import (
    API_VERSION,
    IR_VERSION,
    BackendInfo,
    CompileOptions,
    DeviceCapabilities,
    DeviceInfo,
    LaunchConfig,
    MemoryInfo,
    ObjectCode,
    ProbeResult,
    StreamOptions,
    Target,
    hookimpl,
)
from gpucore.ir.dtypes import ALL
from gpucore.ir.nodes import Memory, Module
from gpucore.ir.text import parse
from gpucore.plugin_api import distribution_version

GPUCORE_API = (API_VERSION, IR_VERSION)

TOTAL = 1 << 30
_DTYPES = [dtype for dtype in ALL if dtype.name != "index"]


# --- handles ---------------------------------------------------------------------------------------
@dataclass(eq=False)
class Device:
    """An opened device; counts what is taken from it, so that tests can see leaks."""

    ordinal: int
    used: int = 0
    open: dict[str, int] = field(
        default_factory=lambda: {"allocations": 0, "streams": 0, "events": 0, "kernels": 0}
    )


class Allocation:
    """Host memory: ``address`` and ``host`` are one.  ``owner`` holds memory that came from outside.

    Counted by its device until it is freed, or dropped: an interrupt may come before core has it.
    """

    device: Device | None = None

    def __init__(self, memory: npt.NDArray[np.uint8], owner: object = None) -> None:
        self.nbytes = memory.size
        self.bytes: npt.NDArray[np.uint8] | None = memory
        self.owner = owner
        self.address: int = memory.ctypes.data
        self.host: int = self.address

    def view(self) -> npt.NDArray[np.uint8]:
        """The bytes; an error once they were freed."""
        if self.bytes is None:
            raise DeviceError("the memory was freed", name="NULL_USE_AFTER_FREE")
        return self.bytes

    def count(self, device: Device) -> None:
        """Be counted, in one step."""
        used, allocations = device.used + self.nbytes, device.open["allocations"] + 1
        self.device, device.used, device.open["allocations"] = device, used, allocations

    def release(self) -> None:
        """Be counted no more; twice does nothing."""
        if (device := self.device) is not None:
            used, allocations = device.used - self.nbytes, device.open["allocations"] - 1
            self.device, device.used, device.open["allocations"] = None, used, allocations

    def __del__(self) -> None:
        self.release()


@dataclass(eq=False)
class Stream:
    """A queue that is always empty: work is done when it is enqueued."""

    options: StreamOptions
    alive: bool = True


@dataclass(eq=False)
class Event:
    """A point in time, None before the first record."""

    timing: bool
    seconds: float | None = None


# --- identity --------------------------------------------------------------------------------------
@hookimpl
def backend_info() -> BackendInfo:
    return BackendInfo(
        "null",
        "interprets kernels on the host; for tests",
        priority=-100,
        versions={"gpucore.testing.null": distribution_version("gpucore")},
        install_hint="part of gpucore",
    )


@hookimpl
def probe() -> ProbeResult:
    info = DeviceInfo(
        0,
        "interpreter",
        None,
        "software",
        driver=f"gpucore {distribution_version('gpucore')}",
        backend="null",
    )
    return ProbeResult(True, devices=(info,))


@hookimpl
def open_device(ordinal: int, options: Mapping[str, Any]) -> Device:
    return Device(ordinal)


@hookimpl
def close_device(device: Device) -> None:
    """Nothing to do: core has freed everything."""


@hookimpl
def capabilities(device: Device) -> DeviceCapabilities:
    everything = frozenset({"storage", "arithmetic", "atomic", "shared", "subgroup"})
    return DeviceCapabilities(
        names=frozenset(
            {
                "strict",
                "fast",
                "host_addressable",
                "pinned_memory",
                "unified_memory",
                "import_memory",
                "process_memory",
            }
        ),
        dtypes={dtype.name: everything for dtype in _DTYPES},
        atomics=_target().atomics,
        subgroup_sizes=(32, 1, 2, 4, 8, 16, 64),
        max_block=(64, 1024, 1024),
        max_threads_per_block=1024,
        shared_memory=48 << 10,
        preferred_block=64,
        range_items=4,
        dlpack=(1, 0),
    )


@hookimpl
def target(device: Device | None) -> Target:
    return _target()


def _target() -> Target:
    # no operation beyond the baseline is native: core expands everything else, which tests the expansion
    integers = [dtype.name for dtype in _DTYPES if dtype.is_integer and dtype.bits >= 32]
    ops = ("add", "sub", "min", "max", "and", "or", "xor", "exchange", "cas")
    atomics = frozenset(f"{op}.{name}" for op in ops for name in integers)
    return Target("null", "interpreter", atomics=atomics)


# --- memory ----------------------------------------------------------------------------------------
@hookimpl
def alloc(device: Device, nbytes: int, kind: str, stream: Stream | None) -> Allocation:
    if device.used + nbytes > TOTAL:
        raise OutOfMemoryError(f"the null device has {TOTAL:,} bytes", requested=nbytes, used=device.used)
    raw = np.zeros(nbytes + 256, np.uint8)
    start = -raw.ctypes.data % 256  # the contract wants 256-byte alignment
    allocation = Allocation(raw[start : start + nbytes])
    allocation.count(device)
    return allocation


@hookimpl
def import_memory(device: Device, address: int, nbytes: int, owner: object) -> Allocation:
    raw = (ctypes.c_uint8 * nbytes).from_address(address)
    return Allocation(np.frombuffer(memoryview(raw), np.uint8), owner)


@hookimpl
def free(device: Device, allocation: Allocation, stream: Stream | None) -> None:
    allocation.view()
    allocation.bytes = None  # a later use is an error, not a crash
    allocation.owner = None
    allocation.release()


@hookimpl
def memory_info(device: Device) -> MemoryInfo:
    return MemoryInfo(TOTAL - device.used, TOTAL)


@hookimpl
def process_memory(device: Device) -> int:
    return device.used


# --- copies ----------------------------------------------------------------------------------------
def _bytes(side: Allocation | memoryview, offset: int, nbytes: int) -> npt.NDArray[np.uint8]:
    whole = side.view() if isinstance(side, Allocation) else np.frombuffer(side, np.uint8)
    if not 0 <= offset <= offset + nbytes <= whole.size:
        raise DeviceError(f"bytes {offset} to {offset + nbytes} of {whole.size}", name="NULL_OUT_OF_BOUNDS")
    return whole[offset : offset + nbytes]


@hookimpl
def copy(
    device: Device,
    dst: Allocation | memoryview,
    dst_offset: int,
    src: Allocation | memoryview,
    src_offset: int,
    nbytes: int,
    stream: Stream,
) -> None:
    _alive(stream)
    _bytes(dst, dst_offset, nbytes)[:] = _bytes(src, src_offset, nbytes)


@hookimpl
def fill(device: Device, dst: Allocation, offset: int, nbytes: int, pattern: bytes, stream: Stream) -> None:
    _alive(stream)
    _bytes(dst, offset, nbytes).reshape(-1, len(pattern))[:] = np.frombuffer(pattern, np.uint8)


# --- streams and events ----------------------------------------------------------------------------
def _alive(stream: Stream) -> None:
    if not stream.alive:
        raise DeviceError("the stream was destroyed", name="NULL_USE_AFTER_FREE")


@hookimpl
def create_stream(device: Device, options: StreamOptions) -> Stream:
    device.open["streams"] += 1
    return Stream(options)


@hookimpl
def destroy_stream(device: Device, stream: Stream) -> None:
    _alive(stream)
    stream.alive = False
    device.open["streams"] -= 1


@hookimpl
def synchronize_stream(device: Device, stream: Stream) -> None:
    _alive(stream)


@hookimpl
def query_stream(device: Device, stream: Stream) -> bool:
    _alive(stream)
    return True


@hookimpl
def create_event(device: Device, timing: bool) -> Event:
    device.open["events"] += 1
    return Event(timing)


@hookimpl
def destroy_event(device: Device, event: Event) -> None:
    device.open["events"] -= 1


@hookimpl
def record_event(device: Device, event: Event, stream: Stream) -> None:
    _alive(stream)
    event.seconds = time.perf_counter()


@hookimpl
def wait_event(device: Device, stream: Stream, event: Event) -> None:
    _alive(stream)


@hookimpl
def query_event(device: Device, event: Event) -> bool:
    return True


@hookimpl
def synchronize_event(device: Device, event: Event) -> None:
    """What an event marks is always done."""


@hookimpl
def elapsed_time(device: Device, start: Event, end: Event) -> float:
    if not (start.timing and end.timing) or start.seconds is None or end.seconds is None:
        raise NotSupportedError("both events must be recorded and made for timing", capability="timing")
    return (end.seconds - start.seconds) * 1e3


# --- compile and launch ----------------------------------------------------------------------------
@dataclass(eq=False)
class Executable:
    """A loaded kernel."""

    module: Module


@hookimpl
def render(target: Target, module: Module, options: CompileOptions) -> str:
    return str(module)


@hookimpl
def compile(target: Target, module: Module, options: CompileOptions) -> ObjectCode:
    return ObjectCode(str(module).encode(), module.kernel.name, "gpucore-ir")


@hookimpl
def load(device: Device, object_code: ObjectCode) -> Executable:
    executable = Executable(parse(object_code.data.decode()))
    device.open["kernels"] += 1
    return executable


@hookimpl
def unload(device: Device, executable: Executable) -> None:
    device.open["kernels"] -= 1


@hookimpl
def prepare(device: Device, executable: Executable, config: LaunchConfig) -> Callable[..., None]:
    from gpucore.ir.interpreter import interpret

    module = executable.module
    rank_of = [
        (param.dtype.numpy, param.rank, param.layout) if isinstance(param, Memory) else None
        for param in module.kernel.params
    ]

    def call(stream: Stream, *slots: Any) -> None:
        _alive(stream)
        rest = iter(slots)
        args: list[Any] = []
        for array in rank_of:
            if array is None:
                args.append(next(rest))
                continue
            dtype, rank, layout = array
            allocation, offset = next(rest), next(rest)
            shape = tuple(next(rest) for _ in range(rank))
            strides: tuple[int, ...] | None = None
            if layout != "contiguous":
                axes = (rank - 1) // 2
                strides = tuple(stride * dtype.itemsize for stride in shape[axes:-1])
                offset += shape[-1] * dtype.itemsize
                shape = shape[:axes]
            buffer = b"" if allocation is None else allocation.view().data
            args.append(np.ndarray(shape, dtype, buffer, offset, strides))
        interpret(module, config.grid, config.block, args, detect_races=False)

    return call


@hookimpl
def launch(
    device: Device, executable: Executable, config: LaunchConfig, stream: Stream, slots: tuple[Any, ...]
) -> None:
    prepare(device, executable, config)(stream, *slots)
