"""Kernels that read the memory of several devices, and the proof that a pair of devices can."""

from __future__ import annotations

import logging
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

import gpucore.lang.builtins as gc
from gpucore.errors import DeviceError, DeviceLostError, OutOfMemoryError
from gpucore.ir.dtypes import u32
from gpucore.lang.types import ArrayType
from gpucore.launch.calls import preparer
from gpucore.launch.kernel import Kernel, kernel
from gpucore.launch.shapes import LaunchShapes
from gpucore.runtime import peer

if TYPE_CHECKING:
    from gpucore.ir.dtypes import DType
    from gpucore.launch.calls import Call
    from gpucore.runtime.context import Context
    from gpucore.runtime.device import Device

__all__ = ["FOLDS", "MOST_PARTS", "prepare_call", "reaches"]

log = logging.getLogger("gpucore")

MOST_PARTS = 4
"""Arrays that one launch combines."""
_SMALL = 2**31


@kernel
def _sum2(out, a, b):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    out[i] = a[i] + b[i]


@kernel
def _sum3(out, a, b, c):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    out[i] = (a[i] + b[i]) + c[i]


@kernel
def _sum4(out, a, b, c, d):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    out[i] = ((a[i] + b[i]) + c[i]) + d[i]


@kernel
def _min2(out, a, b):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    out[i] = gc.min(a[i], b[i])


@kernel
def _min3(out, a, b, c):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    out[i] = gc.min(gc.min(a[i], b[i]), c[i])


@kernel
def _min4(out, a, b, c, d):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    out[i] = gc.min(gc.min(gc.min(a[i], b[i]), c[i]), d[i])


@kernel
def _max2(out, a, b):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    out[i] = gc.max(a[i], b[i])


@kernel
def _max3(out, a, b, c):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    out[i] = gc.max(gc.max(a[i], b[i]), c[i])


@kernel
def _max4(out, a, b, c, d):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    out[i] = gc.max(gc.max(gc.max(a[i], b[i]), c[i]), d[i])


@kernel
def _copy(out, a):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    out[i] = a[i]


FOLDS: dict[str, dict[int, Kernel]] = {
    "sum": {2: _sum2, 3: _sum3, 4: _sum4},
    "min": {2: _min2, 3: _min3, 4: _min4},
    "max": {2: _max2, 3: _max3, 4: _max4},
}
"""By operation and number of arrays: kernels ``(out, a, b, ...)`` that combine them from left to right."""


def prepare_call(context: Context, kernel: Kernel, dtype: DType, size: int, *, noalias: bool = True) -> Call:
    """The backend's call of a kernel on arrays of one axis, each with ``size`` elements of ``dtype``, launched over them.

    The arrays are given packed, as allocation, byte offset and size; after the last comes the size once more, which is the
    range. Allocations of a device that ``context``'s reaches are as good as its own: what launch functions check of arrays,
    whose they are above all, has to be known here.
    """
    state = context._state
    types = (ArrayType(dtype, 1),) * len(kernel.parameters)
    specialization = kernel.kernel_source.specialize(types, 1, "strict", state.device._target)
    shapes = LaunchShapes(
        kernel.__name__, specialization, state.device, check=False, small=size < _SMALL, is_range=True
    )
    shape = shapes.of((), (), (size,))
    program = specialization.program(state, shapes.variant(shape, noalias))
    return preparer(state, program)(shape.config)


# --- what was found -----------------------------------------------------------------------------------
class _Reach:
    """Which devices were seen to read which others' memory in kernels."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.pairs: weakref.WeakKeyDictionary[Device, weakref.WeakKeyDictionary[Device, bool]] = (
            weakref.WeakKeyDictionary()
        )


_reach = _Reach()


def reaches(here: Context, there: Context) -> bool:
    """Whether kernels on the one device may read the other's memory: tried once a pair, with a pattern that is compared."""
    one, other = here.device, there.device
    if one is other:
        return True
    if not all("peer_memory" in device.capabilities for device in (one, other)):
        return False
    with _reach.lock:
        table = _reach.pairs.setdefault(one, weakref.WeakKeyDictionary())
        found = table.get(other)
        if found is None:
            try:
                found = peer.access(here._state, there._state).kind == "direct" and _try(here, there)
            except OutOfMemoryError:
                return False  # this time
            table[other] = found
        return found


def _try(here: Context, there: Context) -> bool:
    """Read a pattern in the other device's memory by a kernel."""
    state, other = here._state, there._state
    seed = [here.device.ordinal, there.device.ordinal, 1]
    pattern = np.random.default_rng(seed).integers(0, 2**32, peer.PATTERN_BYTES // 4, np.uint32)
    with_pattern, result = there.array(pattern), here.array(np.invert(pattern))
    there.default_stream._wait_idle()
    try:
        state.call(state.hooks.enable_peer_access, here.device._handle, other.device._handle)
        call = prepare_call(here, _copy, u32, pattern.size)
        packed = [part for array in (result, with_pattern) for part in array._packed]
        call(here.default_stream._handle, *packed, pattern.size)
        found: Any = result.numpy()
    except (DeviceLostError, OutOfMemoryError):
        raise
    except DeviceError as error:
        log.warning(
            "kernels on %s cannot read the memory of %s: %s",
            peer.of_device(here.device),
            peer.of_device(there.device),
            error,
        )
        return False
    finally:
        if here.device._dead is None:
            with_pattern.free()
            result.free()
    return bool((found == pattern).all())
