"""What an opened device can do, as users and the core are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpucore.hookspecs import DeviceCapabilities
from gpucore_vulkan.device_features.physical_device import PhysicalDevice
from gpucore_vulkan.device_features.probed_target import device_target, probe_answers
from gpucore_vulkan.device_features.targets import native_atomics
from gpucore_vulkan.timestamps import can_calibrate

if TYPE_CHECKING:
    from gpucore_vulkan.device import Device

__all__ = ["device_capabilities", "dtype_table"]


def dtype_table(physical: PhysicalDevice, subgroups: bool) -> dict[str, frozenset[str]]:
    """For each dtype what the feature bits allow."""
    features = physical.features
    atomic = native_atomics(physical)
    table: dict[str, frozenset[str]] = {}

    def put(name: str, storage: bool, arithmetic: bool) -> None:
        operations = set()
        if storage:
            operations |= {"storage", "shared"} if arithmetic else {"storage"}
        if arithmetic:
            operations.add("arithmetic")
        if arithmetic and subgroups:
            operations.add("subgroup")
        width = {"f16": 0, "bf16": 0}.get(name, int("".join(c for c in name if c.isdigit()) or "8"))
        if arithmetic and f"cas.u{width}" in atomic:
            operations.add("atomic")
        if operations:
            table[name] = frozenset(operations)

    bytes_stored = "storageBuffer8BitAccess" in features
    halves_stored = "storageBuffer16BitAccess" in features
    int8, int16 = "shaderInt8" in features, "shaderInt16" in features
    put("bool", bytes_stored and int8, int8)
    for kind in ("i8", "u8"):
        put(kind, bytes_stored, int8)
    for kind in ("i16", "u16", "f16", "bf16"):
        # the floats are computed in f32 and kept as 16 bits
        put(kind, halves_stored, int16)
    for kind in ("i32", "u32", "f32", "i64", "u64", "index"):
        put(kind, True, True)
    put("f64", "shaderFloat64" in features, "shaderFloat64" in features)
    return table


def device_capabilities(device: Device) -> DeviceCapabilities:
    """What the opened device can do."""
    if device.capabilities is None:
        device.capabilities = _capabilities(device)
    return device.capabilities


def _capabilities(device: Device) -> DeviceCapabilities:
    physical = device.physical
    target, answers = device_target(device), probe_answers(device)
    names = {"fast", "source_spirv", "device_reset", "graphs"}
    if device.memory.types["pinned"] is not None:
        names.add("pinned_memory")
    if device.memory.types["unified"] is not None:
        names.add("unified_memory")
    if "VK_EXT_memory_budget" in physical.extensions:
        names.add("process_memory")
    if can_calibrate(device.instance, physical):
        names.add("timestamps")
    missing = ""
    if answers.wrong:
        missing = (
            f"{physical.info.name} ({physical.driver}) does not compute {', '.join(answers.wrong)} exactly as "
            "IEEE-754 wants"
        )
    subgroups = physical.has_subgroups and answers.subgroups
    if not missing:
        names.add("strict")
    counts, sizes = physical.group_counts, physical.group_sizes
    return DeviceCapabilities(
        names=frozenset(names),
        dtypes=dtype_table(physical, subgroups),
        atomics=target.atomics,
        subgroup_sizes=physical.subgroup_sizes if subgroups else (),
        max_block=(sizes[2], sizes[1], sizes[0]),
        max_threads_per_block=physical.invocations,
        shared_memory=physical.shared_memory,
        max_grid=(min(counts[2], 65535), min(counts[1], 65535), 2**31 - 1),
        preferred_block=min(256, physical.invocations),
        range_items=1 if physical.info.kind == "software" else 4,
        strict_missing=missing,
        loop_limit=target.loop_limit,
    )
