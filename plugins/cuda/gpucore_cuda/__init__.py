"""The CUDA backend of gpucore: hooks that import the real work when they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gpucore.hookspecs import API_VERSION, IR_VERSION, hookimpl

if TYPE_CHECKING:
    from gpucore.hookspecs import (
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
    )  # fmt: skip
    from gpucore.ir import Module
    from gpucore_cuda.device import CudaDevice
    from gpucore_cuda.graphs import CudaGraph
    from gpucore_cuda.handles import CudaAllocation, CudaEvent, CudaStream
    from gpucore_cuda.launching import PreparedLaunch
    from gpucore_cuda.loading import CudaExecutable

GPUCORE_API = (API_VERSION, IR_VERSION)


# identity
@hookimpl
def backend_info() -> BackendInfo:
    from gpucore_cuda.versions import backend_info as info

    return info()


@hookimpl
def probe() -> ProbeResult:
    from gpucore_cuda.probing import probe as look

    return look()


@hookimpl
def open_device(ordinal: int, options: Mapping[str, Any]) -> CudaDevice:
    from gpucore_cuda.opening import open_device as opened

    return opened(ordinal)


@hookimpl
def close_device(device: CudaDevice) -> None:
    device.close()


@hookimpl
def capabilities(device: CudaDevice) -> DeviceCapabilities:
    from gpucore_cuda.features import capabilities as known

    return known(device)


@hookimpl
def target(device: CudaDevice | None) -> Target:
    from gpucore_cuda.targets import make_target

    return make_target() if device is None else make_target(device.arch)


# memory
@hookimpl
def alloc(device: CudaDevice, nbytes: int, kind: MemoryKind, stream: CudaStream | None) -> CudaAllocation:
    return device.memory.alloc(device, nbytes, kind)


@hookimpl
def free(device: CudaDevice, allocation: CudaAllocation, stream: CudaStream | None) -> None:
    device.memory.free(device, allocation, stream)


@hookimpl
def memory_info(device: CudaDevice) -> MemoryInfo:
    return device.memory.memory_info(device)


@hookimpl
def import_memory(device: CudaDevice, address: int, nbytes: int, owner: object) -> CudaAllocation:
    from gpucore_cuda.handles import CudaAllocation

    return CudaAllocation(nbytes, address, None, "outside", owner)


@hookimpl
def prefetch_memory(
    device: CudaDevice,
    allocation: CudaAllocation,
    offset: int,
    nbytes: int,
    to_host: bool,
    stream: CudaStream,
) -> None:
    device.memory.prefetch(device, allocation, offset, nbytes, to_host, stream)


# copy
@hookimpl
def copy(
    device: CudaDevice, dst: CudaAllocation | HostBuffer, dst_offset: int, src: CudaAllocation | HostBuffer,
    src_offset: int, nbytes: int, stream: CudaStream,
) -> None:  # fmt: skip
    device.memory.copy(device, dst, dst_offset, src, src_offset, nbytes, stream)


@hookimpl
def fill(
    device: CudaDevice, dst: CudaAllocation, offset: int, nbytes: int, pattern: bytes, stream: CudaStream
) -> None:
    device.memory.fill(device, dst, offset, nbytes, pattern, stream)


@hookimpl
def copy_peer(
    device: CudaDevice, dst: CudaAllocation, dst_offset: int, src_device: CudaDevice, src: CudaAllocation,
    src_offset: int, nbytes: int, stream: CudaStream,
) -> None:  # fmt: skip
    device.memory.copy_peer(device, dst, dst_offset, src_device, src, src_offset, nbytes, stream)


@hookimpl
def can_access_peer(device: CudaDevice, other: CudaDevice) -> bool:
    return device.memory.can_access_peer(device, other)


@hookimpl
def enable_peer_access(device: CudaDevice, other: CudaDevice) -> None:
    device.memory.enable_peer(device, other)


# streams
@hookimpl
def create_stream(device: CudaDevice, options: StreamOptions) -> CudaStream:
    return device.queues.create_stream(device, options.priority)


@hookimpl
def import_stream(device: CudaDevice, handle: int) -> CudaStream:
    return device.queues.import_stream(device, handle)


@hookimpl
def destroy_stream(device: CudaDevice, stream: CudaStream) -> None:
    device.queues.destroy_stream(device, stream)


@hookimpl
def synchronize_stream(device: CudaDevice, stream: CudaStream) -> None:
    device.queues.synchronize_stream(device, stream)


@hookimpl
def query_stream(device: CudaDevice, stream: CudaStream) -> bool:
    return device.queues.query_stream(device, stream)


# events
@hookimpl
def create_event(device: CudaDevice, timing: bool) -> CudaEvent:
    return device.queues.create_event(device, timing)


@hookimpl
def destroy_event(device: CudaDevice, event: CudaEvent) -> None:
    device.queues.destroy_event(device, event)


@hookimpl
def record_event(device: CudaDevice, event: CudaEvent, stream: CudaStream) -> None:
    device.queues.record_event(device, event, stream)


@hookimpl
def wait_event(device: CudaDevice, stream: CudaStream, event: CudaEvent) -> None:
    device.queues.wait_event(device, stream, event)


@hookimpl
def query_event(device: CudaDevice, event: CudaEvent) -> bool:
    return device.queues.query_event(device, event)


@hookimpl
def synchronize_event(device: CudaDevice, event: CudaEvent) -> None:
    device.queues.synchronize_event(device, event)


@hookimpl
def elapsed_time(device: CudaDevice, start: CudaEvent, end: CudaEvent) -> float:
    return device.queues.elapsed_time(device, start, end)


# compile
@hookimpl
def render(target: Target, module: Module, options: CompileOptions) -> str:
    from gpucore_cuda.renderer import render_module

    return render_module(target, module, options).source


@hookimpl
def compile(target: Target, module: Module, options: CompileOptions) -> ObjectCode:
    from gpucore_cuda.compiler import compile_module

    return compile_module(target, module, options)


@hookimpl
def load(device: CudaDevice, object_code: ObjectCode) -> CudaExecutable:
    from gpucore_cuda import loading

    return loading.load(device, object_code)


@hookimpl
def unload(device: CudaDevice, executable: CudaExecutable) -> None:
    executable.unload()


@hookimpl
def compile_source(
    target: Target,
    source: str | bytes,
    language: str,
    signature: Mapping[str, Sequence[Any]],
    options: CompileOptions,
) -> Mapping[str, ObjectCode]:
    from gpucore_cuda.compiler import compile_native

    return compile_native(target, source, language, signature, options)


# launch
@hookimpl
def prepare(device: CudaDevice, executable: CudaExecutable, config: LaunchConfig) -> PreparedLaunch:
    from gpucore_cuda import launching

    return launching.prepare(device, executable, config)


@hookimpl
def launch(
    device: CudaDevice,
    executable: CudaExecutable,
    config: LaunchConfig,
    stream: CudaStream,
    slots: tuple[Any, ...],
) -> None:
    from gpucore_cuda.launching import prepare

    prepare(device, executable, config)(stream, *slots)


# graphs
@hookimpl
def build_graph(device: CudaDevice, nodes: Sequence[GraphNode[CudaAllocation]]) -> CudaGraph:
    from gpucore_cuda.graphs import CudaGraph

    return CudaGraph(device, nodes)


@hookimpl
def update_graph(
    device: CudaDevice, graph: CudaGraph, changes: Mapping[int, GraphNode[CudaAllocation]]
) -> None:
    graph.update(changes)


@hookimpl
def launch_graph(device: CudaDevice, graph: CudaGraph, stream: CudaStream) -> None:
    graph.launch(stream)


@hookimpl
def destroy_graph(device: CudaDevice, graph: CudaGraph) -> None:
    graph.destroy()


# health
@hookimpl
def device_health(device: CudaDevice) -> DeviceHealth:
    from gpucore_cuda import health

    return health.device_health(device)


@hookimpl
def process_memory(device: CudaDevice) -> int:
    from gpucore_cuda import health

    return health.process_memory(device)
