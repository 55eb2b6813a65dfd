"""A CUDA driver that is not there: the functions of ``cuda.bindings.driver`` over the host's memory.

Copies and fills are done, kernels are only counted.  As with the driver, a thread has a current context or none, and
what is enqueued without one fails.
"""

from __future__ import annotations

import ctypes
import itertools
import re
import threading
from typing import Any

from cuda.bindings import driver as cu

SUCCESS = cu.CUresult.CUDA_SUCCESS
INVALID_VALUE = cu.CUresult.CUDA_ERROR_INVALID_VALUE
INVALID_CONTEXT = cu.CUresult.CUDA_ERROR_INVALID_CONTEXT
ATTRIBUTES = {
    "COMPUTE_CAPABILITY_MAJOR": 9,
    "COMPUTE_CAPABILITY_MINOR": 0,
    "MAX_THREADS_PER_BLOCK": 1024,
    "MAX_BLOCK_DIM_X": 1024,
    "MAX_BLOCK_DIM_Y": 1024,
    "MAX_BLOCK_DIM_Z": 64,
    "MAX_GRID_DIM_X": 2**31 - 1,
    "MAX_GRID_DIM_Y": 65535,
    "MAX_GRID_DIM_Z": 65535,
    "MAX_SHARED_MEMORY_PER_BLOCK": 48 << 10,
    "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN": 227 << 10,
    "WARP_SIZE": 32,
}


def driver_functions() -> dict[str, Any]:
    """The functions of the bindings, by name."""
    return {
        name: value
        for name, value in vars(cu).items()
        if re.match("cu[A-Z]", name) and not isinstance(value, type)
    }


class StandIn:
    """The driver's state.

    Attributes
    ----------
    failure : CUresult
        What every call that enqueues answers, SUCCESS as long as nothing is wrong.
    """

    CONTEXT = 0x1000

    def __init__(self) -> None:
        self.failure = SUCCESS
        self._current = threading.local()
        self._numbers = itertools.count(0x2000, 16)
        self._memory: dict[int, Any] = {}

    def functions(self) -> dict[str, Any]:
        """What replaces the functions of the module, by name; those not named here answer SUCCESS alone."""
        return {name: getattr(self, name, lambda *args: (SUCCESS,)) for name in driver_functions()}

    def _enqueue(self) -> tuple[Any]:
        return (self.failure if getattr(self._current, "context", 0) else INVALID_CONTEXT,)

    # devices and contexts
    def cuDriverGetVersion(self) -> Any:
        return SUCCESS, 13000

    def cuDeviceGetCount(self) -> Any:
        return SUCCESS, 1

    def cuDeviceGet(self, ordinal: int) -> Any:
        return SUCCESS, ordinal

    def cuDeviceGetName(self, length: int, device: int) -> Any:
        return SUCCESS, b"a stand-in\0"

    def cuDeviceGetUuid(self, device: int) -> Any:
        return SUCCESS, bytes(range(16))

    cuDeviceGetUuid_v2 = cuDeviceGetUuid

    def cuDeviceTotalMem(self, device: int) -> Any:
        return SUCCESS, 1 << 34

    def cuDeviceGetAttribute(self, attribute: Any, device: int) -> Any:
        return SUCCESS, ATTRIBUTES.get(attribute.name.removeprefix("CU_DEVICE_ATTRIBUTE_"), 1)

    def cuDevicePrimaryCtxRetain(self, device: int) -> Any:
        return SUCCESS, self.CONTEXT

    def cuCtxGetCurrent(self) -> Any:
        return SUCCESS, getattr(self._current, "context", 0)

    def cuCtxSetCurrent(self, context: Any) -> Any:
        self._current.context = int(context)
        return (SUCCESS,)

    def cuCtxGetStreamPriorityRange(self) -> Any:
        return SUCCESS, 0, -5

    # memory
    def cuMemAlloc(self, nbytes: int) -> Any:
        memory = ctypes.create_string_buffer(nbytes + 256)
        address = -(-ctypes.addressof(memory) // 256) * 256
        self._memory[address] = memory
        return SUCCESS, address

    def cuMemHostAlloc(self, nbytes: int, flags: int) -> Any:
        return self.cuMemAlloc(nbytes)

    def cuMemFree(self, address: int) -> Any:
        del self._memory[int(address)]
        return (SUCCESS,)

    cuMemFreeHost = cuMemFree

    def cuMemGetInfo(self) -> Any:
        return SUCCESS, 1 << 34, 1 << 34

    def cuPointerGetAttribute(self, attribute: Any, address: int) -> Any:
        return INVALID_VALUE, None  # the driver does not know pageable memory

    def cuMemcpyAsync(self, target: int, source: int, nbytes: int, stream: Any) -> Any:
        answer = self._enqueue()
        if not answer[0]:
            ctypes.memmove(target, source, nbytes)
        return answer

    def cuMemsetD8Async(self, address: int, value: int, count: int, stream: Any) -> Any:
        return self._set(address, value.to_bytes(1, "little"), count)

    def cuMemsetD16Async(self, address: int, value: int, count: int, stream: Any) -> Any:
        return self._set(address, value.to_bytes(2, "little"), count)

    def cuMemsetD32Async(self, address: int, value: int, count: int, stream: Any) -> Any:
        return self._set(address, value.to_bytes(4, "little"), count)

    def _set(self, address: int, pattern: bytes, count: int) -> Any:
        answer = self._enqueue()
        if not answer[0]:
            ctypes.memmove(address, pattern * count, len(pattern) * count)
        return answer

    # streams, events, kernels
    def _made(self, *args: Any) -> Any:
        return SUCCESS, next(self._numbers)

    cuStreamCreateWithPriority = cuEventCreate = _made
    cuModuleLoadData = cuModuleLoadDataEx = cuModuleGetFunction = _made

    def cuStreamSynchronize(self, stream: Any) -> Any:
        return self._enqueue()

    def cuFuncGetAttribute(self, attribute: Any, function: Any) -> Any:
        return SUCCESS, 1024 if "MAX_THREADS" in attribute.name else 0

    def cuLaunchKernel(self, *args: Any) -> Any:
        return self._enqueue()

    def cuGetErrorString(self, code: Any) -> Any:
        return SUCCESS, b"said by the stand-in"
