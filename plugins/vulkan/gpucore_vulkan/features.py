"""Feature bits to capabilities and targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gpucore.hookspecs import DeviceCapabilities, Target

if TYPE_CHECKING:
    from gpucore_vulkan.device import Device
    from gpucore_vulkan.physical import Physical

__all__ = ["FAST_NATIVE", "device_capabilities", "device_target", "static_target"]

FAST_NATIVE: Final = frozenset(
    f"{op}.f32"
    for op in (
        "div",
        "sqrt",
        "rsqrt",
        "fma",
        "exp",
        "exp2",
        "log",
        "log2",
        "log10",
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "sinh",
        "cosh",
        "tanh",
        "atan2",
        "pow",
        "floor",
        "ceil",
        "trunc",
        "round",
    )
) | {"div.f64", "sqrt.f64", "fma.f64"}
"""What ``math="fast"`` may leave to the driver."""

INTEGERS: Final = ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")
INTEGER_NATIVE: Final = frozenset(
    {f"{op}.{kind}" for op in ("min", "max", "abs", "popcount", "clz") for kind in INTEGERS}
    | {f"abs.{kind}" for kind in ("f32", "f64")}
)
"""What is emitted as exact integer instructions on every device."""

# VkSubgroupFeatureFlagBits
_BASIC, _VOTE, _BALLOT, _SHUFFLE = 1, 2, 8, 16
_SUBGROUP: Final = _BASIC | _VOTE | _BALLOT | _SHUFFLE


def static_target() -> Target:
    """A target that needs no device: nothing but the baseline is native."""
    return Target(
        "vulkan", "vulkan1.2", INTEGER_NATIVE, FAST_NATIVE, _integer_atomics(("i32", "u32")),
        frozenset({"PushConstants128", "SubgroupSize32"}),
    )  # fmt: skip


def _integer_atomics(kinds: tuple[str, ...]) -> frozenset[str]:
    operations = ("add", "sub", "min", "max", "and", "or", "xor", "exchange", "cas")
    return frozenset(f"{op}.{kind}" for op in operations for kind in kinds)


def atomics(physical: Physical) -> frozenset[str]:
    """Native atomics, those that work both in global and in shared memory."""
    features = physical.features
    found = _integer_atomics(("i32", "u32"))
    if {"shaderBufferInt64Atomics", "shaderSharedInt64Atomics"} <= features:
        found |= _integer_atomics(("i64", "u64"))
    for bits in (32, 64):
        if {f"shaderBufferFloat{bits}AtomicAdd", f"shaderSharedFloat{bits}AtomicAdd"} <= features:
            found |= {f"add.f{bits}"}
    return found


def has_subgroups(physical: Physical) -> bool:
    """Whether votes, ballots and shuffles work in compute shaders."""
    return physical.subgroup_operations & _SUBGROUP == _SUBGROUP and max(physical.subgroup_sizes) <= 64


def dtype_table(physical: Physical, subgroups: bool) -> dict[str, frozenset[str]]:
    """For each dtype what the feature bits allow."""
    features = physical.features
    atomic = atomics(physical)
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


def _quirks(physical: Physical) -> set[str]:
    """Faults of compilers that no probe can show in safety, by the driver's own name of itself."""
    quirks: set[str] = set()
    if "Mesa" in physical.driver:
        # NIR unrolls loops with two ways out wrongly when a condition is a conjunction, and undoes loops that
        # never repeat wrongly when they hold another that threads leave one by one (both seen in 22.3.6)
        quirks |= {"DontUnroll", "OpaqueBreaks"}
    if physical.driver.startswith("NVIDIA"):
        # seen in 580.159, all in some kernels and not in others: expressions of two 64-bit quotients are taken for the
        # same one; numbers of 64 bits and floats converted into each other mix with others, or are never made; narrow
        # integers keep bits above their dtype's
        quirks |= {"OwnDivision64", "SplitConversions", "OpaqueNarrowing"}
    if physical.driver.startswith("llvmpipe"):
        # an atomic whose operand was a float before a bitcast aborts the process (seen in 22.3.6)
        quirks.add("OpaqueAtomics")
    return quirks


def device_target(device: Device, probed: bool = True) -> Target:
    """What code for the device is compiled for; unprobed, only the baseline is native."""
    physical = device.physical
    features = {
        f"PushConstants{min(physical.push_constants, 256)}", f"SubgroupSize{physical.subgroup_sizes[0]}",
        *physical.float_controls,
    }  # fmt: skip
    features |= _quirks(physical)
    arch = f"vulkan{physical.version >> 22}.{physical.version >> 12 & 1023}"
    base = Target("vulkan", arch, INTEGER_NATIVE, FAST_NATIVE, atomics(physical), frozenset(features))
    if not probed:
        return base
    if device._target is None:
        from gpucore_vulkan.findings import probe_target

        device._target = probe_target(device, base)
    return device._target


def device_capabilities(device: Device) -> DeviceCapabilities:
    """What the opened device can do."""
    if device._capabilities is None:
        device._capabilities = _capabilities(device)
    return device._capabilities


def _capabilities(device: Device) -> DeviceCapabilities:
    physical = device.physical
    target = device_target(device)
    names = {"fast", "source_spirv", "device_reset"}
    if device.memory.types["pinned"] is not None:
        names.add("pinned_memory")
    if device.memory.types["unified"] is not None:
        names.add("unified_memory")
    if "VK_EXT_memory_budget" in physical.extensions:
        names.add("process_memory")
    missing = device.strict_missing
    subgroups = has_subgroups(physical) and device.lanes_in_order
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
