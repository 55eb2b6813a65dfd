"""The Vulkan compute backend of gpucore: SPIR-V words straight from the IR.

The hooks are thin; what does the work is imported when it is first wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gpucore.hookspecs import (
    API_VERSION,
    IR_VERSION,
    BackendInfo,
    CompileOptions,
    DeviceCapabilities,
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

if TYPE_CHECKING:
    from gpucore.ir import Module
    from gpucore_vulkan.device import Device
    from gpucore_vulkan.events import Event
    from gpucore_vulkan.executables import Executable
    from gpucore_vulkan.graphs import Graph
    from gpucore_vulkan.memory import Piece
    from gpucore_vulkan.streams import Stream
    from gpucore_vulkan.timestamps import Timestamp

GPUCORE_API = (API_VERSION, IR_VERSION)


# --- identity ----------------------------------------------------------------------------------------
@hookimpl
def backend_info() -> BackendInfo:
    """Name, priority and versions."""
    from gpucore_vulkan.device_features.discovery import info

    return info()


@hookimpl
def probe() -> ProbeResult:
    """Look for devices; never raises."""
    from gpucore_vulkan.device_features.discovery import probe as look

    return look()


@hookimpl
def open_device(ordinal: int, options: Mapping[str, Any]) -> Device:
    """Open a device."""
    from gpucore_vulkan.device import Device

    return Device(ordinal, options)


@hookimpl
def close_device(device: Device) -> None:
    """Close a device."""
    device.close()


@hookimpl
def capabilities(device: Device) -> DeviceCapabilities:
    """What the device can do."""
    from gpucore_vulkan.device_features.capabilities import device_capabilities

    return device_capabilities(device)


@hookimpl
def target(device: Device | None) -> Target:
    """What code for the device is compiled for."""
    if device is None:
        from gpucore_vulkan.device_features.targets import static_target

        return static_target()
    from gpucore_vulkan.device_features.probed_target import device_target

    return device_target(device)


# --- memory ------------------------------------------------------------------------------------------
@hookimpl
def alloc(device: Device, nbytes: int, kind: MemoryKind, stream: Stream | None) -> Piece:
    """Allocate memory."""
    if device.memory.has_dropped:
        device.collect_memory()
    return device.memory.alloc(nbytes, kind)


@hookimpl
def free(device: Device, allocation: Piece, stream: Stream | None) -> None:
    """Give memory back."""
    device.memory.free(allocation)


@hookimpl
def memory_info(device: Device) -> MemoryInfo:
    """Free and total bytes of device memory."""
    from gpucore_vulkan.memory_figures import memory_info as read

    return read(device)


@hookimpl
def process_memory(device: Device) -> int:
    """Bytes of device memory that this process holds."""
    from gpucore_vulkan.memory_figures import process_memory as read

    return read(device)


@hookimpl
def reset_device(device: Device) -> None:
    """Make a lost device anew."""
    device.reset()


# --- copy --------------------------------------------------------------------------------------------
@hookimpl
def copy(
    device: Device,
    dst: Piece | HostBuffer,
    dst_offset: int,
    src: Piece | HostBuffer,
    src_offset: int,
    nbytes: int,
    stream: Stream,
) -> None:
    """Copy in stream order."""
    from gpucore_vulkan.transfers import copy as run

    run(device, dst, dst_offset, src, src_offset, nbytes, stream)


@hookimpl
def fill(device: Device, dst: Piece, offset: int, nbytes: int, pattern: bytes, stream: Stream) -> None:
    """Repeat a pattern in stream order."""
    from gpucore_vulkan.transfers import fill as run

    run(device, dst, offset, nbytes, pattern, stream)


# --- streams, events ---------------------------------------------------------------------------------
@hookimpl
def create_stream(device: Device, options: StreamOptions) -> Stream:
    """An ordered queue of work."""
    return device.create_stream()


@hookimpl
def destroy_stream(device: Device, stream: Stream) -> None:
    """Release a stream; its work still completes."""
    device.destroy_stream(stream)


@hookimpl
def synchronize_stream(device: Device, stream: Stream) -> None:
    """Block until a stream's work is done."""
    stream.synchronize()


@hookimpl
def query_stream(device: Device, stream: Stream) -> bool:
    """Whether a stream's work is done."""
    return stream.query()


@hookimpl
def create_event(device: Device, timing: bool) -> Event:
    """An event."""
    from gpucore_vulkan.events import Event as Made

    return Made(device.timestamps, timing)


@hookimpl
def destroy_event(device: Device, event: Event) -> None:
    """Release an event."""
    event.release()


@hookimpl
def record_event(device: Device, event: Event, stream: Stream) -> None:
    """Mark this point of the stream."""
    event.record(stream)


@hookimpl
def wait_event(device: Device, stream: Stream, event: Event) -> None:
    """Let later work of the stream wait for the mark."""
    event.wait(stream)


@hookimpl
def query_event(device: Device, event: Event) -> bool:
    """Whether the mark was passed."""
    return bool(event.query())


@hookimpl
def synchronize_event(device: Device, event: Event) -> None:
    """Block until the mark was passed."""
    event.synchronize()


@hookimpl
def elapsed_time(device: Device, start: Event, end: Event) -> float:
    """Milliseconds between two marks."""
    return float(start.until(end))


@hookimpl
def record_timestamp(device: Device, stream: Stream, begins: bool) -> Timestamp:
    """Mark this point of the stream for its time."""
    return device.clock.record(stream, begins)


@hookimpl
def read_timestamps(device: Device, timestamps: Sequence[Timestamp]) -> Sequence[int]:
    """When marks were passed, on the host's clock."""
    return device.clock.read(timestamps)


# --- compile, launch ---------------------------------------------------------------------------------
@hookimpl
def render(target: Target, module: Module, options: CompileOptions) -> str:
    """SPIR-V assembly of a low-level module."""
    from gpucore_vulkan.compiler import render as write

    return write(target, module, options)


@hookimpl
def compile(target: Target, module: Module, options: CompileOptions) -> ObjectCode:
    """SPIR-V words of a low-level module."""
    from gpucore_vulkan.compiler import compile_module

    return compile_module(target, module, options)


@hookimpl
def compile_source(
    target: Target,
    source: str | bytes,
    language: str,
    signature: Mapping[str, Sequence[Any]],
    options: CompileOptions,
) -> Mapping[str, ObjectCode]:
    """Native SPIR-V."""
    from gpucore_vulkan.compiler import compile_source as run

    return run(target, source, language, signature, options)


@hookimpl
def load(device: Device, object_code: ObjectCode) -> Executable:
    """Bring compiled code onto the device."""
    from gpucore.errors import CompileError
    from gpucore_vulkan.executables import Executable as Loaded

    if object_code.format != "spirv":
        raise CompileError(f"{object_code.entry}: SPIR-V was expected, not the format {object_code.format!r}")
    return Loaded(device.pipelines, object_code)


@hookimpl
def unload(device: Device, executable: Executable) -> None:
    """Release compiled code."""
    if not device.closed and device.lost is None:
        executable.close()


@hookimpl
def prepare(device: Device, executable: Executable, config: LaunchConfig) -> Callable[..., None]:
    """Bind a launch shape."""
    from gpucore_vulkan.launching import prepare_launch

    return prepare_launch(executable, config)


@hookimpl
def launch(
    device: Device, executable: Executable, config: LaunchConfig, stream: Stream, slots: tuple[Any, ...]
) -> None:
    """Prepare and call."""
    prepare(device, executable, config)(stream, *slots)


# --- graphs ------------------------------------------------------------------------------------------
@hookimpl
def build_graph(device: Device, nodes: Sequence[GraphNode[Piece]]) -> Graph:
    """Recorded work as command buffers."""
    from gpucore_vulkan.graphs import Graph as Made

    return Made(device, nodes)


@hookimpl
def update_graph(device: Device, graph: Graph, changes: Mapping[int, GraphNode[Piece]]) -> None:
    """Replace nodes in the launches from now on."""
    graph.update(changes)


@hookimpl
def launch_graph(device: Device, graph: Graph, stream: Stream) -> None:
    """Enqueue a graph as one piece of work."""
    graph.launch(stream)


@hookimpl
def destroy_graph(device: Device, graph: Graph) -> None:
    """Release a graph."""
    graph.destroy()
