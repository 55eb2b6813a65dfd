"""What an opened CUDA device can do."""

from __future__ import annotations

from gpucore.errors import NotSupportedError
from gpucore.hookspecs import DeviceCapabilities, Target
from gpucore_cuda.device import CudaDevice
from gpucore_cuda.memory import supports_unified
from gpucore_cuda.targets import ATOMICS, make_target

_ALWAYS = (
    "strict", "fast", "pinned_memory", "import_memory", "import_stream", "peer_copy", "peer_memory", "peer_events",
    "graphs", "source_cuda_cpp", "source_ptx", "source_cubin",
)  # fmt: skip
_ALL = ("bool", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f16", "bf16", "f32", "f64", "index")
_ATOMIC = ("i32", "u32", "i64", "u64", "f32", "f64")


def capabilities(device: CudaDevice) -> DeviceCapabilities:
    """The device's limits and features, as the driver gives them."""
    names = set(_ALWAYS)
    if supports_unified(device):
        names |= {"unified_memory", "unified_prefetch"}
    names |= _monitored(device)
    attribute = device.attribute
    target = make_target(device.arch)
    operations = frozenset({"storage", "arithmetic", "shared", "subgroup"})
    return DeviceCapabilities(
        names=frozenset(names),
        dtypes={d: operations | _further(d, target) for d in _ALL},
        atomics=ATOMICS,
        subgroup_sizes=(32,),
        max_block=(attribute("MAX_BLOCK_DIM_Z"), attribute("MAX_BLOCK_DIM_Y"), attribute("MAX_BLOCK_DIM_X")),
        max_threads_per_block=attribute("MAX_THREADS_PER_BLOCK"),
        shared_memory=max(
            attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"), attribute("MAX_SHARED_MEMORY_PER_BLOCK")
        ),
        max_grid=(attribute("MAX_GRID_DIM_Z"), attribute("MAX_GRID_DIM_Y"), attribute("MAX_GRID_DIM_X")),
        preferred_block=256,
        range_items=4,
        dlpack=(2, device.ordinal),
        array_interface="__cuda_array_interface__",
    )


def _further(dtype: str, target: Target) -> frozenset[str]:
    """What the device does on some dtypes alone."""
    found = {"atomic"} if dtype in _ATOMIC else set()
    if f"tile.{dtype}" in target.features:
        found.add("tile")
    return frozenset(found)


def _monitored(device: CudaDevice) -> set[str]:
    """What the management library can tell here; in some containers and on some platforms it cannot."""
    from gpucore_cuda import health

    names = set()
    for name, ask in (("device_health", health.device_health), ("process_memory", health.process_memory)):
        try:
            ask(device)
        except NotSupportedError:
            continue
        names.add(name)
    return names
