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

# The public names and where they live, stated once: type checkers read this block, and so does _read_names below.
if TYPE_CHECKING:
    # fmt: off
    # isort: off
    from gpucore._static_types import (
        Array1 as Array1, Array2 as Array2, Array3 as Array3, Array4 as Array4, bf16 as bf16,
        bool_ as bool_, complex64 as complex64, complex128 as complex128, constexpr as constexpr,
        f16 as f16, f32 as f32, f64 as f64, i16 as i16, i32 as i32, i64 as i64, i8 as i8, index as index,
        Strided as Strided, Strided1 as Strided1, Strided2 as Strided2, Strided3 as Strided3,
        Strided4 as Strided4,
        local as local, shared as shared, struct as struct, u16 as u16, u32 as u32, u64 as u64, u8 as u8,
        vec2 as vec2, vec3 as vec3, vec4 as vec4,
    )
    from gpucore.backends.selection import (
        backends as backends, BackendStatus as BackendStatus, devices as devices,
    )
    from gpucore.compile.capabilities import Capabilities as Capabilities
    from gpucore.errors import (
        BackendNotFoundError as BackendNotFoundError,
        BackendUnavailableError as BackendUnavailableError,
        BarrierDivergenceError as BarrierDivergenceError, CompileError as CompileError,
        ConfigError as ConfigError, DataRaceError as DataRaceError, DeviceError as DeviceError,
        DeviceLostError as DeviceLostError, GpucoreError as GpucoreError,
        KernelAssertionError as KernelAssertionError, KernelBoundsError as KernelBoundsError,
        KernelDivisionError as KernelDivisionError, KernelRuntimeError as KernelRuntimeError,
        KernelSyntaxError as KernelSyntaxError, KernelTypeError as KernelTypeError,
        LaunchError as LaunchError, NotSupportedError as NotSupportedError,
        OutOfMemoryError as OutOfMemoryError, PluginError as PluginError,
    )
    from gpucore.hookspecs import (
        DeviceHealth as DeviceHealth, DeviceInfo as DeviceInfo, MemoryInfo as MemoryInfo,
    )
    from gpucore.ir import IRModule as IRModule
    from gpucore.ir.dtypes import DType as DType
    from gpucore.lang import func as func, tile as tile
    from gpucore.lang.builtins import (
        abs as abs, atomic_add as atomic_add, atomic_and as atomic_and, atomic_cas as atomic_cas,
        atomic_exchange as atomic_exchange, atomic_max as atomic_max, atomic_min as atomic_min,
        atomic_or as atomic_or, atomic_sub as atomic_sub, atomic_xor as atomic_xor,
        barrier as barrier, bitcast as bitcast, block_dim as block_dim, block_id as block_id,
        cast as cast, cdiv as cdiv, ceil as ceil, clamp as clamp, clz as clz, dot4 as dot4, floor as floor,
        fma as fma, global_id as global_id, global_ids as global_ids, grid_dim as grid_dim,
        isinf as isinf, isnan as isnan, max as max, memory_fence as memory_fence, min as min,
        popcount as popcount, round as round, select as select, static_range as static_range,
        subgroup_all as subgroup_all, subgroup_any as subgroup_any,
        subgroup_ballot as subgroup_ballot, subgroup_broadcast as subgroup_broadcast,
        subgroup_exclusive_sum as subgroup_exclusive_sum,
        subgroup_inclusive_sum as subgroup_inclusive_sum, subgroup_lane as subgroup_lane,
        subgroup_max as subgroup_max, subgroup_min as subgroup_min,
        subgroup_shuffle as subgroup_shuffle, subgroup_shuffle_xor as subgroup_shuffle_xor,
        subgroup_size as subgroup_size, subgroup_sum as subgroup_sum, thread_id as thread_id,
        trunc as trunc,
    )
    from gpucore.lang.math_builtins import (
        acos as acos, acosh as acosh, asin as asin, asinh as asinh, atan as atan, atan2 as atan2,
        atanh as atanh, cbrt as cbrt, copysign as copysign, cos as cos, cosh as cosh, erf as erf, erfc as erfc, exp as exp,
        exp10 as exp10, exp2 as exp2, expm1 as expm1, fmax as fmax, fmin as fmin, fmod as fmod,
        frexp as frexp, hypot as hypot, ldexp as ldexp, lgamma as lgamma, log as log, log10 as log10, log1p as log1p,
        log2 as log2, nextafter as nextafter, pow as pow, remainder as remainder, rsqrt as rsqrt,
        sin as sin, sinh as sinh, sqrt as sqrt, tan as tan, tanh as tanh, tgamma as tgamma,
    )
    from gpucore.lang.builtins import (
        atomic_load as atomic_load, atomic_store as atomic_store, block_all as block_all, block_any as block_any,
        block_broadcast as block_broadcast, block_exclusive_sum as block_exclusive_sum,
        block_inclusive_sum as block_inclusive_sum, block_max as block_max, block_min as block_min,
        block_sum as block_sum,
    )
    from gpucore.lang.builtins import conj as conj, cross as cross, dot as dot, length as length
    from gpucore.math import random as random
    from gpucore.launch.configured import BoundLaunch as BoundLaunch
    from gpucore.launch.explain import AccessCheck as AccessCheck
    from gpucore.launch.group import Group as Group, Sharded as Sharded
    from gpucore.launch.kernel import ConfiguredKernel as ConfiguredKernel, Kernel as Kernel, kernel as kernel
    from gpucore.launch.native_module import Module as Module
    from gpucore.runtime.array import Array as Array
    from gpucore.runtime.context import Context as Context
    from gpucore.runtime.context_options import default_context as default_context
    from gpucore.runtime.device import Device as Device
    from gpucore.runtime.interchange import from_dlpack as from_dlpack
    from gpucore.runtime.stream import Event as Event
    from gpucore.runtime.graph import Graph as Graph, GraphNode as GraphNode
    from gpucore.runtime.graph_recorder import GraphRecorder as GraphRecorder
    from gpucore.runtime.memory_pool import Pool as Pool
    from gpucore.runtime.user_memory import MemoryPool as MemoryPool
    from gpucore.runtime.pipeline import Pipeline as Pipeline
    from gpucore.runtime.peer import peer_access as peer_access
    from gpucore.runtime.context_profile import ProfileEvent as ProfileEvent
    from gpucore.runtime.profiler import profile as profile, profile_range as profile_range
    from gpucore.runtime.stream import Stream as Stream
    # isort: on
    # fmt: on

# The end of the public names.

_MODULES = ("cache", "errors", "ir", "lang", "math", "plugins", "testing")
"""Public modules, imported when first used."""
if TYPE_CHECKING:  # the same, for type checkers
    from gpucore import cache as cache, errors as errors, ir as ir, lang as lang, math as math  # noqa: I001
    from gpucore import plugins as plugins, testing as testing


def _read_names() -> dict[str, tuple[str, str]]:
    """For each public name its module and its name there, from the block above."""
    loader = __spec__.loader if __spec__ is not None else None
    if loader is not None and hasattr(loader, "get_source"):
        source = str(loader.get_source(__name__))
    else:  # a loader such as pytest's, which rewrites modules
        with open(__file__, encoding="utf-8") as file:
            source = file.read()
    block = source.split("\nif TYPE_CHECKING:\n")[1].split("\n# The end of the public names.\n")[0]
    words = " ".join(line.split("#")[0] for line in block.splitlines())
    for sign in "(),":
        words = words.replace(sign, " ")
    found: dict[str, tuple[str, str]] = {}
    module = ""
    parts = iter(words.split())
    for word in parts:
        if word == "from":
            module = next(parts)
            next(parts)  # import
        else:
            next(parts)  # as
            found[next(parts)] = module, word
    return found


_HOME = _read_names()

__all__ = ["__version__", "cache", "errors", *sorted(_HOME)]


if not TYPE_CHECKING:  # a misspelt name is for type checkers to find

    def __getattr__(name: str) -> Any:
        home = _HOME.get(name)
        if home is not None:
            value = getattr(importlib.import_module(home[0]), home[1])
        elif name in _MODULES:
            value = importlib.import_module(f"gpucore.{name}")
        else:
            from gpucore._messages import LATER, later, public_hint

            if name in LATER:
                raise importlib.import_module("gpucore.errors").NotSupportedError(
                    later(name), capability=name
                )
            hint = "" if name.startswith("_") else public_hint(name, __all__)
            message = f"module 'gpucore' has no attribute {name!r}{'. ' + hint if hint else ''}"
            # where there is a hint, Python is not to add one of its own
            raise AttributeError(message, name=None if hint else name, obj=importlib.import_module(__name__))
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES, "__doc__", "__file__", "__name__", "__path__"})
