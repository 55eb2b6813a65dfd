"""Launches of kernels on the memory of several devices, and the proof that a pair of devices can use each other's."""

from __future__ import annotations

import logging
import threading
import weakref
from typing import TYPE_CHECKING

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

__all__ = ["prepare_call", "reaches"]

log = logging.getLogger("gpucore")

_SMALL = 2**31


@kernel
def _copy(out, a):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    out[i] = a[i]


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
    """Which devices were seen to use which others' memory in kernels."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.pairs: weakref.WeakKeyDictionary[Device, weakref.WeakKeyDictionary[Device, bool]] = (
            weakref.WeakKeyDictionary()
        )


_reach = _Reach()


def reaches(here: Context, there: Context) -> bool:
    """Whether kernels on the one device may use the other's memory: tried once a pair, with patterns that are compared."""
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
    """Copy a pattern from the other device's memory, and another into it, by a kernel."""
    state, other = here._state, there._state
    seed = [here.device.ordinal, there.device.ordinal, 1]
    pattern = np.random.default_rng(seed).integers(0, 2**32, peer.PATTERN_BYTES // 4, np.uint32)
    back = pattern[::-1].copy()
    arrays = [there.array(pattern), here.array(back), here.array(back), there.array(pattern)]
    with_pattern, result, with_back, written = arrays
    there.default_stream._wait_idle()
    try:
        state.call(state.hooks.enable_peer_access, here.device._handle, other.device._handle)
        call = prepare_call(here, _copy, u32, pattern.size)
        stream = here.default_stream
        for target, source in ((result, with_pattern), (written, with_back)):
            call(stream._handle, *target._packed, *source._packed, pattern.size)
        stream._wait_idle()
        return bool((result.numpy() == pattern).all() and (written.numpy() == back).all())
    except (DeviceLostError, OutOfMemoryError):
        raise
    except DeviceError as error:
        log.warning(
            "kernels on %s cannot use the memory of %s: %s",
            peer.of_device(here.device),
            peer.of_device(there.device),
            error,
        )
        return False
    finally:
        if here.device._dead is None and there.device._dead is None:
            for array in arrays:
                array.free()
