"""What is kept on disk: the driver's pipeline cache and the results of probing, both tied to device and
driver.

Files carry their own checksum, are written beside their place and renamed; a bad one is a miss, a folder
that cannot be written means nothing is kept.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpucore.plugin_api import plugin_folder, read_kept, write_kept

if TYPE_CHECKING:
    from gpucore_vulkan.device_features.physical_device import PhysicalDevice
    from gpucore_vulkan.logical_device import LogicalDevice

_MOST_PIPELINES = 2048
"""How many the driver's cache is asked to keep: each takes some 7 KB of an H200's process, for as long as the cache lives."""
_MOST_BYTES = 64 << 20
"""A larger file, which takes long to read, is begun anew."""

__all__ = ["PipelineCache", "device_key", "folder", "read", "write"]


def folder() -> Path | None:
    """Where files go: a folder of the cache of compiled kernels, None where nothing is kept."""
    return plugin_folder("vulkan")


def device_key(physical: PhysicalDevice) -> str:
    """What ties a file to one device and driver."""
    parts = (
        physical.info.uuid,
        physical.info.name,
        physical.driver,
        physical.driver_version,
        physical.version,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def read(name: str) -> bytes | None:
    """A file's contents, or None."""
    place = folder()
    return None if place is None else read_kept(place / name)


def write(name: str, data: bytes, place: Path | None) -> None:
    """Keep a file in a folder, if it can be kept."""
    if place is not None:
        write_kept(place / name, data)


def _save(ffi: Any, get: Callable[..., int], name: str, before: int, place: Path | None) -> None:
    """Write a pipeline cache to disk where it grew."""
    size = ffi.new("size_t*")
    if get(size, ffi.NULL) < 0 or size[0] <= before:
        return
    data = ffi.new("char[]", size[0])
    if get(size, data) == 0:
        write(name, bytes(ffi.buffer(data, size[0])), place)


class PipelineCache:
    """The device's VkPipelineCache, filled from and written to disk."""

    def __init__(self, device: LogicalDevice) -> None:
        self._logical = device
        bound = device.bound
        self._name = f"pipelines-{device_key(device.physical)}-{device.physical.pipeline_cache_uuid}.bin"
        kept = read(self._name) or b""
        if len(kept) > _MOST_BYTES:
            kept = b""
        self._made = 0
        self._before = len(kept)
        info = bound.new("VkPipelineCacheCreateInfo", "PIPELINE_CACHE_CREATE_INFO", initialDataSize=len(kept))
        data = bound.ffi.new("char[]", kept) if kept else None
        if data is not None:
            info.pInitialData = data
        out = bound.ffi.new("VkPipelineCache*")
        device.check(
            device.vk.vkCreatePipelineCache(device.handle, info, device.null, out), "vkCreatePipelineCache"
        )
        self.handle: Any = out[0]
        # also when the process ends, or the device is dropped, without close
        get, handle, cache = device.vk.vkGetPipelineCacheData, device.handle, self.handle
        self._finalizer = weakref.finalize(
            device,
            _save,
            bound.ffi,
            lambda *rest: get(handle, cache, *rest),
            self._name,
            self._before,
            folder(),
        )

    def for_pipeline(self) -> Any:
        """The cache for one more pipeline; none past :data:`_MOST_PIPELINES`."""
        self._made += 1
        return self.handle if self._made <= _MOST_PIPELINES else self._logical.null

    def close(self) -> None:
        """Save and destroy."""
        if self._logical.lost is None:
            self._finalizer()
        self._finalizer.detach()
        self._logical.vk.vkDestroyPipelineCache(self._logical.handle, self.handle, self._logical.null)
