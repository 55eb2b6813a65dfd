"""What a physical device is and has, read once: identity, limits, features, queues, memory types."""

from __future__ import annotations

import uuid as uuid_module
from dataclasses import dataclass
from typing import Any, Final

from gpucore.hookspecs import DeviceInfo, DeviceKind
from gpucore_vulkan.instance import Instance

__all__ = ["FEATURE_STRUCTS", "PhysicalDevice", "feature_chain", "inspect"]

_KINDS: Final[dict[int, DeviceKind]] = {
    1: "integrated",
    2: "discrete",
    3: "discrete",
    4: "software",
    0: "discrete",
}

FEATURE_STRUCTS: Final[dict[str, tuple[str, str, str | None]]] = {
    # struct, sType, the extension it needs below Vulkan 1.3 (None: Vulkan 1.2 has it)
    "v11": ("VkPhysicalDeviceVulkan11Features", "PHYSICAL_DEVICE_VULKAN_1_1_FEATURES", None),
    "v12": ("VkPhysicalDeviceVulkan12Features", "PHYSICAL_DEVICE_VULKAN_1_2_FEATURES", None),
    "sync2": (
        "VkPhysicalDeviceSynchronization2Features",
        "PHYSICAL_DEVICE_SYNCHRONIZATION_2_FEATURES",
        "VK_KHR_synchronization2",
    ),
    "subgroup_size": (
        "VkPhysicalDeviceSubgroupSizeControlFeatures",
        "PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES",
        "VK_EXT_subgroup_size_control",
    ),
    "maintenance4": (
        "VkPhysicalDeviceMaintenance4Features",
        "PHYSICAL_DEVICE_MAINTENANCE_4_FEATURES",
        "VK_KHR_maintenance4",
    ),
    "dot_product": (
        "VkPhysicalDeviceShaderIntegerDotProductFeatures",
        "PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES",
        "VK_KHR_shader_integer_dot_product",
    ),
    "atomic_float": (
        "VkPhysicalDeviceShaderAtomicFloatFeaturesEXT",
        "PHYSICAL_DEVICE_SHADER_ATOMIC_FLOAT_FEATURES_EXT",
        "VK_EXT_shader_atomic_float",
    ),
}
_ALWAYS_EXTENSION: Final = frozenset({"atomic_float"})

_WANTED: Final[dict[str, tuple[str, ...]]] = {
    "core": ("shaderInt64", "shaderFloat64", "shaderInt16", "sparseBinding"),
    "v11": ("storageBuffer16BitAccess", "uniformAndStorageBuffer16BitAccess"),
    "v12": (
        "storageBuffer8BitAccess", "uniformAndStorageBuffer8BitAccess", "shaderBufferInt64Atomics",
        "shaderSharedInt64Atomics", "shaderFloat16", "shaderInt8", "timelineSemaphore", "bufferDeviceAddress",
        "shaderSubgroupExtendedTypes", "scalarBlockLayout", "hostQueryReset",
    ),
    "sync2": ("synchronization2",),
    "subgroup_size": ("subgroupSizeControl", "computeFullSubgroups"),
    "maintenance4": ("maintenance4",),
    "dot_product": ("shaderIntegerDotProduct",),
    "atomic_float": (
        "shaderBufferFloat32Atomics", "shaderBufferFloat32AtomicAdd", "shaderBufferFloat64Atomics",
        "shaderBufferFloat64AtomicAdd", "shaderSharedFloat32Atomics", "shaderSharedFloat32AtomicAdd",
        "shaderSharedFloat64Atomics", "shaderSharedFloat64AtomicAdd",
    ),
}  # fmt: skip

REQUIRED: Final = ("bufferDeviceAddress", "timelineSemaphore", "synchronization2", "shaderInt64")


@dataclass(frozen=True)
class PhysicalDevice:
    """A physical device.

    Attributes
    ----------
    features : frozenset[str]
        Those of interest that it has.
    families : tuple[tuple[int, int, int], ...]
        Flags, queues and valid timestamp bits of every queue family.
    memory_types : tuple[tuple[int, int], ...]
        Property flags and heap of every memory type.
    heaps : tuple[tuple[int, int], ...]
        Bytes and flags of every heap.
    float_controls : frozenset[str]
        The float controls that it advertises, such as ``"DenormPreserve32"``.
    problem : tuple[str, str] | None
        Why it cannot be used, and the fix.
    """

    handle: Any
    info: DeviceInfo
    version: int
    driver_version: int
    vendor: int
    pipeline_cache_uuid: str
    driver: str
    features: frozenset[str]
    extensions: frozenset[str]
    families: tuple[tuple[int, int, int], ...]
    memory_types: tuple[tuple[int, int], ...]
    heaps: tuple[tuple[int, int], ...]
    float_controls: frozenset[str]
    push_constants: int
    group_counts: tuple[int, int, int]
    group_sizes: tuple[int, int, int]
    invocations: int
    shared_memory: int
    timestamp_period: float
    subgroup_sizes: tuple[int, ...]
    subgroup_operations: int
    max_allocation: int
    max_buffer: int
    problem: tuple[str, str] | None

    @property
    def has_subgroups(self) -> bool:
        """Whether votes, ballots and shuffles work in compute shaders."""
        return self.subgroup_operations & _SUBGROUP == _SUBGROUP and max(self.subgroup_sizes) <= 64


# VkSubgroupFeatureFlagBits
_BASIC, _VOTE, _BALLOT, _SHUFFLE = 1, 2, 8, 16
_SUBGROUP: Final = _BASIC | _VOTE | _BALLOT | _SHUFFLE


def feature_chain(instance: Instance, version: int, extensions: frozenset[str]) -> tuple[Any, dict[str, Any]]:
    """A VkPhysicalDeviceFeatures2 and the structs chained behind it, all zero."""
    bound = instance.bound
    first = bound.new("VkPhysicalDeviceFeatures2", "PHYSICAL_DEVICE_FEATURES_2")
    structs: dict[str, Any] = {"core": first.features}
    last = first
    for name, (kind, stype, extension) in FEATURE_STRUCTS.items():
        core = extension is None or (version >= (1 << 22 | 3 << 12) and name not in _ALWAYS_EXTENSION)
        if not core and extension not in extensions:
            continue
        structs[name] = made = bound.new(kind, stype)
        last.pNext = made
        last = made
    return first, structs


def enable(structs: dict[str, Any], features: frozenset[str]) -> None:
    """Set the wanted features that the device has."""
    for name, fields in _WANTED.items():
        if name in structs:
            for field in fields:
                if field in features:
                    setattr(structs[name], field, 1)


def _uuid(raw: Any) -> str:
    return str(uuid_module.UUID(bytes=bytes(bytearray(raw))))


def _version(number: int, vendor: int) -> str:
    if vendor == 0x10DE:
        return f"{number >> 22}.{number >> 14 & 0xFF}.{number >> 6 & 0xFF}"
    return f"{number >> 22}.{number >> 12 & 0x3FF}.{number & 0xFFF}"


def _problem(version: int, features: frozenset[str], compute: bool, name: str) -> tuple[str, str] | None:
    fix = "Bring its graphics driver up to date."
    if version < (1 << 22 | 2 << 12):
        return f"{name} has Vulkan {version >> 22}.{version >> 12 & 1023}, 1.2 is needed.", fix
    missing = [feature for feature in REQUIRED if feature not in features]
    if missing:
        return f"{name} lacks the Vulkan feature {', '.join(missing)}.", fix
    if not compute:
        return f"{name} has no queue for compute.", fix
    return None


def inspect(instance: Instance, handle: Any, ordinal: int) -> PhysicalDevice:
    """Read everything of a device."""
    bound, vk = instance.bound, instance.vk
    ffi = bound.ffi
    basic = bound.new("VkPhysicalDeviceProperties")
    vk.vkGetPhysicalDeviceProperties(handle, basic)
    version = min(int(basic.apiVersion) & ~0xFFF, instance.api & ~0xFFF)
    name = ffi.string(basic.deviceName).decode(errors="replace")
    extensions = _device_extensions(instance, handle)
    found: set[str] = set()
    controls: set[str] = set()
    uuid, driver, subgroup_operations = None, "", 0
    sizes: tuple[int, ...] = ()
    max_allocation, max_buffer = 1 << 30, (1 << 64) - 1
    if version >= (1 << 22 | 2 << 12):
        first, structs = feature_chain(instance, version, extensions)
        vk.vkGetPhysicalDeviceFeatures2(handle, first)
        for struct, fields in _WANTED.items():
            if struct in structs:
                found |= {field for field in fields if getattr(structs[struct], field)}
        p11 = bound.new("VkPhysicalDeviceVulkan11Properties", "PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES")
        p12 = bound.new(
            "VkPhysicalDeviceVulkan12Properties", "PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES", pNext=p11
        )
        last = p11
        control = limits4 = None
        if "subgroup_size" in structs:
            control = bound.new(
                "VkPhysicalDeviceSubgroupSizeControlProperties",
                "PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES",
            )
            last.pNext = last = control
        if "maintenance4" in structs:
            limits4 = bound.new(
                "VkPhysicalDeviceMaintenance4Properties", "PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES"
            )
            last.pNext = limits4
        properties = bound.new("VkPhysicalDeviceProperties2", "PHYSICAL_DEVICE_PROPERTIES_2", pNext=p12)
        if control is not None:
            p11.pNext = control
            control.pNext = limits4 if limits4 is not None else ffi.NULL
        elif limits4 is not None:
            p11.pNext = limits4
        vk.vkGetPhysicalDeviceProperties2(handle, properties)
        uuid = _uuid(p11.deviceUUID)
        driver = f"{ffi.string(p12.driverName).decode()} {ffi.string(p12.driverInfo).decode()}".strip()
        max_allocation = int(p11.maxMemoryAllocationSize)
        max_buffer = int(limits4.maxBufferSize) if limits4 is not None else max_buffer
        subgroup_operations = int(p11.subgroupSupportedOperations)
        if not p11.subgroupSupportedStages & 0x20:
            subgroup_operations = 0
        sizes = (int(p11.subgroupSize),)
        if (
            control is not None
            and "subgroupSizeControl" in found
            and control.requiredSubgroupSizeStages & 0x20
        ):
            size = int(control.minSubgroupSize)
            while size <= control.maxSubgroupSize:
                sizes += () if size in sizes else (size,)
                size *= 2
        for mode, field in (
            ("DenormPreserve", "shaderDenormPreserveFloat"),
            ("SignedZeroInfNanPreserve", "shaderSignedZeroInfNanPreserveFloat"),
            ("RoundingModeRTE", "shaderRoundingModeRTEFloat"),
        ):
            controls |= {f"{mode}{bits}" for bits in (16, 32, 64) if getattr(p12, f"{field}{bits}")}
    families = _queue_families(instance, handle)
    memory = bound.new("VkPhysicalDeviceMemoryProperties")
    vk.vkGetPhysicalDeviceMemoryProperties(handle, memory)
    limits = basic.limits
    features = frozenset(found)
    vendor = int(basic.vendorID)
    text = driver or _version(int(basic.driverVersion), vendor)
    return PhysicalDevice(
        handle=handle,
        info=DeviceInfo(
            ordinal,
            name,
            uuid,
            _KINDS.get(int(basic.deviceType), "discrete"),
            f"{text}, Vulkan {version >> 22}.{version >> 12 & 1023}.{int(basic.apiVersion) & 0xFFF}",
            "vulkan",
        ),
        version=version,
        driver_version=int(basic.driverVersion),
        vendor=vendor,
        pipeline_cache_uuid=bytes(bytearray(basic.pipelineCacheUUID)).hex(),
        driver=text,
        features=features,
        extensions=extensions,
        families=families,
        memory_types=tuple(
            (int(memory.memoryTypes[n].propertyFlags), int(memory.memoryTypes[n].heapIndex))
            for n in range(memory.memoryTypeCount)
        ),
        heaps=tuple(
            (int(memory.memoryHeaps[n].size), int(memory.memoryHeaps[n].flags))
            for n in range(memory.memoryHeapCount)
        ),
        float_controls=frozenset(controls),
        push_constants=int(limits.maxPushConstantsSize),
        group_counts=_three(limits.maxComputeWorkGroupCount),
        group_sizes=_three(limits.maxComputeWorkGroupSize),
        invocations=int(limits.maxComputeWorkGroupInvocations),
        shared_memory=int(limits.maxComputeSharedMemorySize),
        timestamp_period=float(limits.timestampPeriod),
        subgroup_sizes=sizes,
        subgroup_operations=subgroup_operations,
        max_allocation=max_allocation,
        max_buffer=max_buffer,
        problem=_problem(version, features, any(flags & 2 for flags, _, _ in families), name),
    )


def _three(values: Any) -> tuple[int, int, int]:
    return int(values[0]), int(values[1]), int(values[2])


def _device_extensions(instance: Instance, handle: Any) -> frozenset[str]:
    ffi, vk = instance.bound.ffi, instance.vk
    count = ffi.new("uint32_t*")
    vk.vkEnumerateDeviceExtensionProperties(handle, ffi.NULL, count, ffi.NULL)
    items = ffi.new("VkExtensionProperties[]", max(count[0], 1))
    vk.vkEnumerateDeviceExtensionProperties(handle, ffi.NULL, count, items)
    return frozenset(ffi.string(items[n].extensionName).decode() for n in range(count[0]))


def _queue_families(instance: Instance, handle: Any) -> tuple[tuple[int, int, int], ...]:
    ffi, vk = instance.bound.ffi, instance.vk
    count = ffi.new("uint32_t*")
    vk.vkGetPhysicalDeviceQueueFamilyProperties(handle, count, ffi.NULL)
    items = ffi.new("VkQueueFamilyProperties[]", max(count[0], 1))
    vk.vkGetPhysicalDeviceQueueFamilyProperties(handle, count, items)
    return tuple(
        (int(items[n].queueFlags), int(items[n].queueCount), int(items[n].timestampValidBits))
        for n in range(count[0])
    )
