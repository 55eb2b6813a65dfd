"""What mypy proves: the modules of the plugins keep the protocols of the backend contract.

The type parameters are the plugin's own classes of handles, so that a hook which takes or gives another is an error here.
"""

from __future__ import annotations

import gpucore_cpu
import gpucore_cuda
import gpucore_vulkan
from gpucore.hookspecs import (
    Backend,
    HealthBackend,
    ImportMemoryBackend,
    ImportStreamBackend,
    PeerBackend,
    PeerMemoryBackend,
    ProcessMemoryBackend,
    ResetBackend,
    SourceBackend,
    TimestampBackend,
)
from gpucore.testing import null
from gpucore_cpu.runtime.device import Device as CpuDevice
from gpucore_cpu.runtime.launch import Executable as CpuExecutable
from gpucore_cpu.runtime.memory import Allocation as CpuAllocation
from gpucore_cpu.runtime.streams import Event as CpuEvent
from gpucore_cpu.runtime.streams import Stream as CpuStream
from gpucore_cpu.runtime.streams import Timestamp as CpuTimestamp
from gpucore_cuda.device import CudaDevice
from gpucore_cuda.handles import CudaAllocation, CudaEvent, CudaStream
from gpucore_cuda.loading import CudaExecutable
from gpucore_vulkan.device import Device as VulkanDevice
from gpucore_vulkan.events import Event as VulkanEvent
from gpucore_vulkan.executables import Executable as VulkanExecutable
from gpucore_vulkan.memory import Piece
from gpucore_vulkan.streams import Stream as VulkanStream
from gpucore_vulkan.timestamps import Timestamp as VulkanTimestamp

null: Backend[null.Device, null.Stream, null.Event, null.Executable, null.Allocation] = null
null_import_memory: ImportMemoryBackend[
    null.Device, null.Stream, null.Event, null.Executable, null.Allocation
] = null
null_process_memory: ProcessMemoryBackend[
    null.Device, null.Stream, null.Event, null.Executable, null.Allocation
] = null

cpu: Backend[CpuDevice, CpuStream, CpuEvent, CpuExecutable, CpuAllocation] = gpucore_cpu
cpu_import_memory: ImportMemoryBackend[CpuDevice, CpuStream, CpuEvent, CpuExecutable, CpuAllocation] = (
    gpucore_cpu
)
cpu_peer: PeerBackend[CpuDevice, CpuStream, CpuEvent, CpuExecutable, CpuAllocation] = gpucore_cpu
cpu_peer_memory: PeerMemoryBackend[CpuDevice, CpuStream, CpuEvent, CpuExecutable, CpuAllocation] = gpucore_cpu
cpu_timestamp: TimestampBackend[
    CpuDevice, CpuStream, CpuEvent, CpuExecutable, CpuAllocation, CpuTimestamp
] = gpucore_cpu
cpu_health: HealthBackend[CpuDevice, CpuStream, CpuEvent, CpuExecutable, CpuAllocation] = gpucore_cpu
cpu_process_memory: ProcessMemoryBackend[CpuDevice, CpuStream, CpuEvent, CpuExecutable, CpuAllocation] = (
    gpucore_cpu
)

cuda: Backend[CudaDevice, CudaStream, CudaEvent, CudaExecutable, CudaAllocation] = gpucore_cuda
cuda_import_memory: ImportMemoryBackend[CudaDevice, CudaStream, CudaEvent, CudaExecutable, CudaAllocation] = (
    gpucore_cuda
)
cuda_import_stream: ImportStreamBackend[CudaDevice, CudaStream, CudaEvent, CudaExecutable, CudaAllocation] = (
    gpucore_cuda
)
cuda_peer: PeerBackend[CudaDevice, CudaStream, CudaEvent, CudaExecutable, CudaAllocation] = gpucore_cuda
cuda_peer_memory: PeerMemoryBackend[CudaDevice, CudaStream, CudaEvent, CudaExecutable, CudaAllocation] = (
    gpucore_cuda
)
cuda_source: SourceBackend[CudaDevice, CudaStream, CudaEvent, CudaExecutable, CudaAllocation] = gpucore_cuda
cuda_health: HealthBackend[CudaDevice, CudaStream, CudaEvent, CudaExecutable, CudaAllocation] = gpucore_cuda
cuda_process_memory: ProcessMemoryBackend[
    CudaDevice, CudaStream, CudaEvent, CudaExecutable, CudaAllocation
] = gpucore_cuda

vulkan: Backend[VulkanDevice, VulkanStream, VulkanEvent, VulkanExecutable, Piece] = gpucore_vulkan
vulkan_source: SourceBackend[VulkanDevice, VulkanStream, VulkanEvent, VulkanExecutable, Piece] = (
    gpucore_vulkan
)
vulkan_timestamp: TimestampBackend[
    VulkanDevice, VulkanStream, VulkanEvent, VulkanExecutable, Piece, VulkanTimestamp
] = gpucore_vulkan
vulkan_process_memory: ProcessMemoryBackend[
    VulkanDevice, VulkanStream, VulkanEvent, VulkanExecutable, Piece
] = gpucore_vulkan
vulkan_reset: ResetBackend[VulkanDevice, VulkanStream, VulkanEvent, VulkanExecutable, Piece] = gpucore_vulkan
