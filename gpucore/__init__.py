"""gpucore: one kernel, written once in Python, runs on any device with the same bits.

    import numpy as np, gpucore as gc

    @gc.kernel
    def saxpy(x: gc.Array[gc.f32], y: gc.Array[gc.f32], a: gc.f32) -> None:
        i = gc.global_id(0)
        if i < y.shape[0]:
            y[i] = a * x[i] + y[i]

    with gc.Context() as ctx:
        x, y = ctx.array(np.arange(1000, dtype=np.float32)), ctx.ones(1000, gc.f32)
        saxpy[gc.cdiv(1000, 256), 256](x, y, 2.0)
        y.numpy()

Names are loaded when they are first used: importing gpucore touches no plugin and no driver.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gpucore._version import __version__

if TYPE_CHECKING:
    from gpucore import cache, errors
    from gpucore._static_types import (
        bf16,
        bool_,
        constexpr,
        f16,
        f32,
        f64,
        i8,
        i16,
        i32,
        i64,
        index,
        local,
        shared,
        u8,
        u16,
        u32,
        u64,
    )  # fmt: skip
    from gpucore.backends.selection import BackendStatus, backends, devices
    from gpucore.compile.capabilities import Capabilities
    from gpucore.errors import (
        BackendNotFoundError,
        BackendUnavailableError,
        BarrierDivergenceError,
        CompileError,
        ConfigError,
        DataRaceError,
        DeviceError,
        DeviceLostError,
        GpucoreError,
        KernelAssertionError,
        KernelBoundsError,
        KernelDivisionError,
        KernelRuntimeError,
        KernelSyntaxError,
        KernelTypeError,
        LaunchError,
        NotSupportedError,
        OutOfMemoryError,
        PluginError,
    )
    from gpucore.hookspecs import DeviceHealth, DeviceInfo, MemoryInfo
    from gpucore.ir import Module as IRModule
    from gpucore.ir.dtypes import DType
    from gpucore.lang import func
    from gpucore.lang.builtins import (
        abs,
        acos,
        asin,
        atan,
        atan2,
        atomic_add,
        atomic_and,
        atomic_cas,
        atomic_exchange,
        atomic_max,
        atomic_min,
        atomic_or,
        atomic_sub,
        atomic_xor,
        barrier,
        bitcast,
        block_dim,
        block_id,
        cast,
        cdiv,
        ceil,
        clamp,
        clz,
        cos,
        cosh,
        exp,
        exp2,
        floor,
        fma,
        global_id,
        global_ids,
        grid_dim,
        isinf,
        isnan,
        log,
        log2,
        log10,
        max,
        memory_fence,
        min,
        popcount,
        pow,
        round,
        rsqrt,
        select,
        sin,
        sinh,
        sqrt,
        static_range,
        subgroup_all,
        subgroup_any,
        subgroup_ballot,
        subgroup_broadcast,
        subgroup_exclusive_sum,
        subgroup_inclusive_sum,
        subgroup_lane,
        subgroup_max,
        subgroup_min,
        subgroup_shuffle,
        subgroup_shuffle_xor,
        subgroup_size,
        subgroup_sum,
        tan,
        tanh,
        thread_id,
        trunc,
    )
    from gpucore.launch.bound import BoundLaunch
    from gpucore.launch.kernel import ConfiguredKernel, Kernel, kernel
    from gpucore.launch.native_module import Module
    from gpucore.runtime.array import Array
    from gpucore.runtime.array import Array as Array1
    from gpucore.runtime.array import Array as Array2
    from gpucore.runtime.array import Array as Array3
    from gpucore.runtime.array import Array as Array4
    from gpucore.runtime.context import Context, default_context
    from gpucore.runtime.device import Device
    from gpucore.runtime.dlpack import from_dlpack
    from gpucore.runtime.event import Event
    from gpucore.runtime.memory_pool import Pool
    from gpucore.runtime.stream import Stream

# where the public names live
_HOMES: dict[str, str] = {
    "gpucore.runtime.array": "Array Array1 Array2 Array3 Array4",
    "gpucore.launch.bound": "BoundLaunch",
    "gpucore.runtime.context": "Context default_context",
    "gpucore.compile.capabilities": "Capabilities",
    "gpucore.runtime.device": "Device",
    "gpucore.runtime.dlpack": "from_dlpack",
    "gpucore.errors": (
        "BackendNotFoundError BackendUnavailableError BarrierDivergenceError CompileError "
        "ConfigError DataRaceError DeviceError DeviceLostError GpucoreError KernelAssertionError "
        "KernelBoundsError KernelDivisionError KernelRuntimeError KernelSyntaxError KernelTypeError "
        "LaunchError NotSupportedError OutOfMemoryError PluginError"
    ),
    "gpucore.runtime.event": "Event",
    "gpucore.hookspecs": "DeviceHealth DeviceInfo MemoryInfo",
    "gpucore.ir.dtypes": "DType bool_ i8 i16 i32 i64 u8 u16 u32 u64 f16 bf16 f32 f64 index",
    "gpucore.launch.kernel": "ConfiguredKernel Kernel kernel",
    "gpucore.lang": "func",
    "gpucore.lang.builtins": (
        "constexpr global_id thread_id block_id block_dim grid_dim global_ids barrier memory_fence "
        "shared local static_range atomic_add atomic_sub atomic_min atomic_max atomic_and atomic_or "
        "atomic_xor atomic_exchange atomic_cas subgroup_size subgroup_lane subgroup_sum "
        "subgroup_min subgroup_max subgroup_inclusive_sum subgroup_exclusive_sum subgroup_any "
        "subgroup_all subgroup_ballot subgroup_broadcast subgroup_shuffle subgroup_shuffle_xor "
        "select cast bitcast fma min max abs clamp popcount clz isnan isinf floor ceil trunc round "
        "sqrt rsqrt exp exp2 log log2 log10 sin cos tan asin acos atan atan2 sinh cosh tanh pow cdiv"
    ),
    "gpucore.runtime.memory_pool": "Pool",
    "gpucore.launch.native_module": "Module",
    "gpucore.backends.selection": "BackendStatus backends devices",
    "gpucore.runtime.stream": "Stream",
    "gpucore.ir.nodes": "IRModule",
}
_MODULES = ("cache", "errors", "ir", "lang", "math", "plugins", "testing")
_HOME: dict[str, str] = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "Array",
    "Array1",
    "Array2",
    "Array3",
    "Array4",
    "BackendNotFoundError",
    "BackendStatus",
    "BackendUnavailableError",
    "BarrierDivergenceError",
    "BoundLaunch",
    "Capabilities",
    "CompileError",
    "ConfigError",
    "ConfiguredKernel",
    "Context",
    "DType",
    "DataRaceError",
    "Device",
    "DeviceError",
    "DeviceHealth",
    "DeviceInfo",
    "DeviceLostError",
    "Event",
    "GpucoreError",
    "IRModule",
    "Kernel",
    "KernelAssertionError",
    "KernelBoundsError",
    "KernelDivisionError",
    "KernelRuntimeError",
    "KernelSyntaxError",
    "KernelTypeError",
    "LaunchError",
    "MemoryInfo",
    "Module",
    "NotSupportedError",
    "OutOfMemoryError",
    "PluginError",
    "Pool",
    "Stream",
    "__version__",
    "abs",
    "acos",
    "asin",
    "atan",
    "atan2",
    "atomic_add",
    "atomic_and",
    "atomic_cas",
    "atomic_exchange",
    "atomic_max",
    "atomic_min",
    "atomic_or",
    "atomic_sub",
    "atomic_xor",
    "backends",
    "barrier",
    "bf16",
    "bitcast",
    "block_dim",
    "block_id",
    "bool_",
    "cache",
    "cast",
    "cdiv",
    "ceil",
    "clamp",
    "clz",
    "constexpr",
    "cos",
    "cosh",
    "default_context",
    "devices",
    "errors",
    "exp",
    "exp2",
    "f16",
    "f32",
    "f64",
    "floor",
    "fma",
    "from_dlpack",
    "func",
    "global_id",
    "global_ids",
    "grid_dim",
    "i8",
    "i16",
    "i32",
    "i64",
    "index",
    "isinf",
    "isnan",
    "kernel",
    "local",
    "log",
    "log2",
    "log10",
    "max",
    "memory_fence",
    "min",
    "popcount",
    "pow",
    "round",
    "rsqrt",
    "select",
    "shared",
    "sin",
    "sinh",
    "sqrt",
    "static_range",
    "subgroup_all",
    "subgroup_any",
    "subgroup_ballot",
    "subgroup_broadcast",
    "subgroup_exclusive_sum",
    "subgroup_inclusive_sum",
    "subgroup_lane",
    "subgroup_max",
    "subgroup_min",
    "subgroup_shuffle",
    "subgroup_shuffle_xor",
    "subgroup_size",
    "subgroup_sum",
    "tan",
    "tanh",
    "thread_id",
    "trunc",
    "u8",
    "u16",
    "u32",
    "u64",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is not None:
        value = getattr(importlib.import_module(home), "Module" if name == "IRModule" else name)
    elif name in _MODULES:
        value = importlib.import_module(f"gpucore.{name}")
    else:
        from gpucore._suggestions import LATER, later, public_hint

        if name in LATER:
            raise importlib.import_module("gpucore.errors").NotSupportedError(later(name), capability=name)
        hint = "" if name.startswith("_") else public_hint(name, __all__)
        raise AttributeError(f"module 'gpucore' has no attribute {name!r}{'. ' + hint if hint else ''}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
