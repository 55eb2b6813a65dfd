"""What code is compiled for: what every device does, and what the driver says of one."""

from __future__ import annotations

from typing import Final

from gpucore.hookspecs import Target
from gpucore_vulkan.device_features.driver_faults import known_faults
from gpucore_vulkan.device_features.physical_device import PhysicalDevice

__all__ = [
    "FAST_NATIVE",
    "INTEGER_NATIVE",
    "advertised_target",
    "chosen_code",
    "native_atomics",
    "static_target",
]

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


def static_target() -> Target:
    """A target that needs no device: nothing but the baseline is native."""
    return Target(
        "vulkan", "vulkan1.2", INTEGER_NATIVE, FAST_NATIVE, _integer_atomics(("i32", "u32")),
        frozenset({"PushConstants128", "SubgroupSize32"}),
    )  # fmt: skip


def _integer_atomics(kinds: tuple[str, ...]) -> frozenset[str]:
    operations = ("add", "sub", "min", "max", "and", "or", "xor", "exchange", "cas")
    return frozenset(f"{op}.{kind}" for op in operations for kind in kinds)


def native_atomics(physical: PhysicalDevice) -> frozenset[str]:
    """Native atomics, those that work both in global and in shared memory."""
    features = physical.features
    found = _integer_atomics(("i32", "u32"))
    if {"shaderBufferInt64Atomics", "shaderSharedInt64Atomics"} <= features:
        found |= _integer_atomics(("i64", "u64"))
    for bits in (32, 64):
        if {f"shaderBufferFloat{bits}AtomicAdd", f"shaderSharedFloat{bits}AtomicAdd"} <= features:
            found |= {f"add.f{bits}"}
    return found


def chosen_code(physical: PhysicalDevice) -> frozenset[str]:
    """The features that choose code of a device whose lanes are known to be right.

    Sums and scans of blocks by shuffles want subgroups of 32 threads in kernels that ask for none. They are for NVIDIA's
    devices, where they were measured to be faster; on lavapipe they are slower.
    """
    if physical.subgroup_sizes[0] == 32 and physical.driver.startswith("NVIDIA"):
        return frozenset({"sums=lanes", "scans=lanes"})
    return frozenset()


def advertised_target(physical: PhysicalDevice) -> Target:
    """What code for a device is compiled for before it was probed: nothing but the baseline is native."""
    features = {
        f"PushConstants{min(physical.push_constants, 256)}", f"SubgroupSize{physical.subgroup_sizes[0]}",
        *physical.float_controls, *known_faults(physical.driver),
    }  # fmt: skip
    arch = f"vulkan{physical.version >> 22}.{physical.version >> 12 & 1023}"
    native = INTEGER_NATIVE
    if "shaderIntegerDotProduct" in physical.features:
        native |= {f"dot4_{signs}.u32" for signs in ("signed", "unsigned", "mixed")}
    return Target("vulkan", arch, native, FAST_NATIVE, native_atomics(physical), frozenset(features))
