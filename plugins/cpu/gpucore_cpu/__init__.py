"""The CPU backend of gpucore: kernels on LLVM, each gang of threads as vectors.

The hooks below are thin; the work is in :mod:`gpucore_cpu.spmd` (IR to LLVM IR), :mod:`gpucore_cpu.toolchain`
(LLVM IR to object code) and :mod:`gpucore_cpu.runtime` (memory, streams, launches), imported when first
needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from gpucore.hookspecs import (
    API_VERSION,
    IR_VERSION,
    BackendInfo,
    CompileOptions,
    DeviceCapabilities,
    DeviceHealth,
    GraphNode,
    HostBuffer,
    LaunchConfig,
    MemoryInfo,
    MemoryKind,
    ObjectCode,
    ProbeResult,
    StreamOptions,
    Target,
    hookimpl,
)  # fmt: skip
from gpucore.ir import Module
from gpucore.plugin_api import distribution_version

if TYPE_CHECKING:
    from gpucore_cpu.runtime.device import Device
    from gpucore_cpu.runtime.graphs import Graph
    from gpucore_cpu.runtime.launch import Executable, PreparedLaunch
    from gpucore_cpu.runtime.memory import Allocation
    from gpucore_cpu.runtime.streams import Event, Stream, Timestamp

GPUCORE_API = (API_VERSION, IR_VERSION)


# --- identity
@hookimpl
def backend_info() -> BackendInfo:
    return BackendInfo(
        name="cpu",
        description="the CPU, compiled with LLVM: gangs of threads as SIMD vectors, all cores",
        priority=100,
        versions={
            "gpucore-cpu": distribution_version("gpucore-cpu"),
            "llvmlite": distribution_version("llvmlite"),
        },
        install_hint="pip install gpucore-cpu",
    )


@hookimpl
def probe() -> ProbeResult:
    from gpucore.errors import ConfigError

    try:
        from gpucore_cpu.runtime.device import device_infos

        return ProbeResult(available=True, devices=device_infos())
    except ConfigError as error:
        return ProbeResult(
            available=False,
            reason=str(error),
            fix="set it to the number of devices that the CPU is to be shown as",
            misconfigured=True,
        )
    except Exception as error:  # noqa: BLE001  (a probe never raises)
        return ProbeResult(
            available=False,
            reason=f"llvmlite could not be loaded: {error}",
            fix="reinstall it with: pip install --force-reinstall llvmlite",
        )


@hookimpl
def open_device(ordinal: int, options: Mapping[str, Any]) -> Device:
    from gpucore.errors import BackendUnavailableError

    try:
        from gpucore_cpu.runtime.device import Device, device_count
    except ImportError as error:
        raise BackendUnavailableError(
            f"llvmlite could not be loaded: {error}; "
            "reinstall it with: pip install --force-reinstall llvmlite"
        ) from error
    count = device_count()
    if not 0 <= ordinal < count:
        has = "one device, number 0" if count == 1 else f"{count} devices, numbers 0 to {count - 1}"
        raise BackendUnavailableError(
            f"the CPU backend shows {has}, and not {ordinal}; GPUCORE_CPU_DEVICES says how many it shows"
        )
    return Device()


@hookimpl
def close_device(device: Device) -> None:
    device.close()


@hookimpl
def capabilities(device: Device) -> DeviceCapabilities:
    from gpucore_cpu.runtime import device as opened

    return opened.capabilities


@hookimpl
def target(device: Device | None) -> Target:
    from gpucore_cpu.host import host_target

    return host_target()


# --- memory
@hookimpl
def alloc(device: Device, nbytes: int, kind: MemoryKind, stream: Stream | None) -> Allocation:
    return device.heap.alloc(nbytes, kind)


@hookimpl
def free(device: Device, allocation: Allocation, stream: Stream | None) -> None:
    if stream is not None and not stream.query():
        stream.submit(lambda: device.heap.free(allocation))
    else:
        device.free(allocation)


@hookimpl
def memory_info(device: Device) -> MemoryInfo:
    from gpucore_cpu.runtime.memory import memory_info

    return memory_info()


@hookimpl
def import_memory(device: Device, address: int, nbytes: int, owner: object) -> Allocation:
    from gpucore_cpu.runtime.memory import Allocation

    return Allocation(address, nbytes, owner)


@hookimpl
def copy(
    device: Device,
    dst: Allocation | HostBuffer,
    dst_offset: int,
    src: Allocation | HostBuffer,
    src_offset: int,
    nbytes: int,
    stream: Stream,
) -> None:
    device.copies.copy(dst, dst_offset, src, src_offset, nbytes, stream)


@hookimpl
def fill(device: Device, dst: Allocation, offset: int, nbytes: int, pattern: bytes, stream: Stream) -> None:
    device.copies.fill(dst, offset, nbytes, pattern, stream)


@hookimpl
def copy_peer(
    device: Device,
    dst: Allocation,
    dst_offset: int,
    src_device: Device,
    src: Allocation,
    src_offset: int,
    nbytes: int,
    stream: Stream,
) -> None:
    device.copies.copy(dst, dst_offset, src, src_offset, nbytes, stream)


@hookimpl
def can_access_peer(device: Device, other: Device) -> bool:
    return True  # they are one machine


@hookimpl
def enable_peer_access(device: Device, other: Device) -> None:
    """Nothing to do: their memory is the process's."""


# --- streams and events
@hookimpl
def create_stream(device: Device, options: StreamOptions) -> Stream:
    return device.create_stream()


@hookimpl
def destroy_stream(device: Device, stream: Stream) -> None:
    device.end_stream(stream)


@hookimpl
def synchronize_stream(device: Device, stream: Stream) -> None:
    stream.synchronize()


@hookimpl
def query_stream(device: Device, stream: Stream) -> bool:
    return stream.query()


@hookimpl
def create_event(device: Device, timing: bool) -> Event:
    from gpucore_cpu.runtime.streams import Event

    return Event(timing)


@hookimpl
def destroy_event(device: Device, event: Event) -> None:
    event.mark = None


@hookimpl
def record_event(device: Device, event: Event, stream: Stream) -> None:
    event.mark = stream.record()


@hookimpl
def wait_event(device: Device, stream: Stream, event: Event) -> None:
    mark = event.mark
    if mark is not None and not mark.passed:
        stream.submit(mark.wait)


@hookimpl
def query_event(device: Device, event: Event) -> bool:
    return event.mark is None or event.mark.passed


@hookimpl
def synchronize_event(device: Device, event: Event) -> None:
    mark = event.mark
    if mark is not None:
        mark.wait()


@hookimpl
def elapsed_time(device: Device, start: Event, end: Event) -> float:
    from gpucore_cpu.runtime.streams import elapsed

    return elapsed(start, end)


@hookimpl
def record_timestamp(device: Device, stream: Stream, begins: bool) -> Timestamp:
    # the host's clock is the device's: on an idle stream now is the time
    return stream.record() if stream.items or stream.held[0] else perf_counter_ns()


@hookimpl
def read_timestamps(device: Device, timestamps: Sequence[Timestamp]) -> Sequence[int]:
    from gpucore_cpu.runtime.streams import passed_at

    return [passed_at(timestamp) for timestamp in timestamps]


# --- compile and launch
@hookimpl
def render(target: Target, module: Module, options: CompileOptions) -> str:
    from gpucore_cpu.spmd import lower

    return lower(target, module).text


@hookimpl
def compile(target: Target, module: Module, options: CompileOptions) -> ObjectCode:
    from gpucore_cpu.toolchain import compile_module

    return compile_module(target, module, options)


@hookimpl
def load(device: Device, object_code: ObjectCode) -> Executable:
    from gpucore.errors import CompileError
    from gpucore_cpu.runtime.launch import Executable

    if object_code.format != "object":
        raise CompileError(
            f"{object_code.entry}: an object file was expected, not the format {object_code.format!r}"
        )
    return Executable(object_code)


@hookimpl
def unload(device: Device, executable: Executable) -> None:
    device.unload(executable)


@hookimpl
def prepare(device: Device, executable: Executable, config: LaunchConfig) -> PreparedLaunch:
    return executable.launch_class(device.pool, executable, config)


@hookimpl
def launch(
    device: Device, executable: Executable, config: LaunchConfig, stream: Stream, slots: tuple[Any, ...]
) -> None:
    prepare(device, executable, config)(stream, *slots)


# --- graphs
@hookimpl
def build_graph(device: Device, nodes: Sequence[GraphNode[Allocation]]) -> Graph:
    from gpucore_cpu.runtime.graphs import Graph

    return Graph(nodes)


@hookimpl
def update_graph(device: Device, graph: Graph, changes: Mapping[int, GraphNode[Allocation]]) -> None:
    graph.update(changes)


@hookimpl
def launch_graph(device: Device, graph: Graph, stream: Stream) -> None:
    graph.launch(stream)


@hookimpl
def destroy_graph(device: Device, graph: Graph) -> None:
    pass  # it is an object of Python


# --- health
@hookimpl
def device_health(device: Device) -> DeviceHealth:
    from gpucore_cpu.runtime.device import health

    return health(device)


@hookimpl
def process_memory(device: Device) -> int:
    return device.heap.used
