"""A CUDA driver that is not there: the functions of ``cuda.bindings.driver`` over the host's memory.

Copies and fills are done. Kernels are only counted, but for those that a test has written in Python. As with the driver, a
thread has a current context or none, and what is enqueued without one fails.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import re
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
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


@contextlib.contextmanager
def installed(functions: dict[str, Any], calls: list[str] | None = None) -> Iterator[None]:
    """Functions in place of the driver's, their names written to a list.

    Contexts open devices of their own: one that the process has open already holds handles of another driver, and these end
    the process where they are memory here.
    """

    def written_down(name: str, function: Any) -> Any:
        def call(*args: Any) -> Any:
            if calls is not None:
                calls.append(name)
            return function(*args)

        call.__name__ = name
        return call

    from gpucore.runtime.device import (
        open_devices,
    )  # benchmarks use the functions with versions that have it elsewhere

    with pytest.MonkeyPatch.context() as patch:
        own: dict[Any, Any] = {}
        patch.setattr(open_devices, "devices", own)
        for name, function in functions.items():
            patch.setattr(cu, name, written_down(name, function))
        yield
        assert not own, "a context outlives the driver that it was opened with"


@dataclass(frozen=True)
class GraphNode:
    """A node of a graph: what it does when its turn comes, and after which others that is."""

    kind: str
    after: tuple[int, ...]
    work: Callable[[], None]


class StandIn:
    """The driver's state.

    Attributes
    ----------
    failure : CUresult
        What every call that enqueues answers, SUCCESS as long as nothing is wrong.
    kernels : dict
        Kernels that are run: for a part of the name the codes of the parameters, as in :mod:`struct`, and a function of their
        values.
    graphs : dict
        For each graph its nodes by their handles.
    instances : dict
        The same of what was instantiated.
    refused : set[str]
        Kinds of nodes that cannot be changed once they are instantiated.
    """

    CONTEXT = 0x1000

    def __init__(self) -> None:
        self.failure = SUCCESS
        self._current = threading.local()
        self._numbers = itertools.count(0x2000, 16)
        self._memory: dict[int, Any] = {}
        self._names: dict[int, str] = {}
        self.kernels: dict[str, tuple[str, Callable[..., None]]] = {}
        self.graphs: dict[int, dict[int, GraphNode]] = {}
        self.instances: dict[int, dict[int, GraphNode]] = {}
        self.refused: set[str] = set()

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
    cuModuleLoadData = cuModuleLoadDataEx = _made

    def cuModuleGetFunction(self, module: Any, name: bytes) -> Any:
        function = next(self._numbers)
        self._names[function] = name.decode()
        return SUCCESS, function

    def cuStreamSynchronize(self, stream: Any) -> Any:
        return self._enqueue()

    def cuFuncGetAttribute(self, attribute: Any, function: Any) -> Any:
        return SUCCESS, 1024 if "MAX_THREADS" in attribute.name else 0

    def cuFuncGetParamInfo(self, function: Any, number: int) -> Any:
        return INVALID_VALUE, 0, 0

    def cuLaunchKernel(self, function: Any, *args: Any) -> Any:
        answer = self._enqueue()
        if not answer[0]:
            self._kernel(int(function), args[-2])()
        return answer

    def _kernel(self, function: int, parameters: int) -> Callable[[], None]:
        """The call of a kernel with the values that its parameters have now."""
        for name, (codes, run) in self.kernels.items():
            if name in self._names[function]:
                pointers = (ctypes.c_void_p * len(codes)).from_address(parameters)
                values = [
                    struct.unpack(code, ctypes.string_at(at, struct.calcsize(code)))[0]
                    for code, at in zip(codes, pointers)
                ]
                return lambda: run(*values)
        return lambda: None

    # graphs
    def cuGraphCreate(self, flags: int) -> Any:
        graph = next(self._numbers)
        self.graphs[graph] = {}
        return SUCCESS, graph

    def _add(self, graph: int, after: list[int], count: int, node: tuple[str, Callable[[], None]]) -> Any:
        assert len(after) == count
        assert set(after) <= set(self.graphs[graph])
        handle = next(self._numbers)
        self.graphs[graph][handle] = GraphNode(node[0], tuple(after), node[1])
        return SUCCESS, handle

    def cuGraphAddKernelNode(self, graph: int, after: list[int], count: int, value: Any) -> Any:
        return self._add(graph, after, count, self._kernel_node(value))

    def cuGraphAddMemcpyNode(self, graph: int, after: list[int], count: int, value: Any, context: int) -> Any:
        return self._add(graph, after, count, self._copy_node(value, context))

    def cuGraphAddMemsetNode(self, graph: int, after: list[int], count: int, value: Any, context: int) -> Any:
        return self._add(graph, after, count, self._fill_node(value, context))

    def _kernel_node(self, value: Any) -> tuple[str, Callable[[], None]]:
        return "kernel", self._kernel(int(value.func), int(value.kernelParams))

    def _copy_node(self, value: Any, context: int) -> tuple[str, Callable[[], None]]:
        assert context == self.CONTEXT
        assert (value.Height, value.Depth) == (1, 1)
        target, source, nbytes = int(value.dstDevice), int(value.srcDevice), value.WidthInBytes

        def work() -> None:
            ctypes.memmove(target, source, nbytes)

        return "copy", work

    def _fill_node(self, value: Any, context: int) -> tuple[str, Callable[[], None]]:
        assert context == self.CONTEXT
        pattern, address, count = (
            value.value.to_bytes(value.elementSize, "little"),
            int(value.dst),
            value.width * value.height,
        )

        def work() -> None:
            ctypes.memmove(address, pattern * count, len(pattern) * count)

        return "fill", work

    def cuGraphInstantiate(self, graph: int, flags: int) -> Any:
        instance = next(self._numbers)
        self.instances[instance] = dict(self.graphs[graph])
        return SUCCESS, instance

    def _change(self, what: str, instance: int, handle: int, node: tuple[str, Callable[[], None]]) -> Any:
        if what in self.refused:
            return (INVALID_VALUE,)
        old = self.instances[instance][handle]
        assert old.kind == node[0]
        self.instances[instance][handle] = replace(old, work=node[1])
        return (SUCCESS,)

    def cuGraphExecKernelNodeSetParams(self, instance: int, handle: int, value: Any) -> Any:
        return self._change("kernel", instance, handle, self._kernel_node(value))

    def cuGraphExecMemcpyNodeSetParams(self, instance: int, handle: int, value: Any, context: int) -> Any:
        return self._change("copy", instance, handle, self._copy_node(value, context))

    def cuGraphExecMemsetNodeSetParams(self, instance: int, handle: int, value: Any, context: int) -> Any:
        return self._change("fill", instance, handle, self._fill_node(value, context))

    def cuGraphLaunch(self, instance: int, stream: Any) -> Any:
        answer = self._enqueue()
        if not answer[0]:
            for node in self.instances[instance].values():
                node.work()
        return answer

    def cuGraphDestroy(self, graph: int) -> Any:
        del self.graphs[graph]
        return (SUCCESS,)

    def cuGraphExecDestroy(self, instance: int) -> Any:
        del self.instances[instance]
        return (SUCCESS,)

    def cuGetErrorString(self, code: Any) -> Any:
        return SUCCESS, b"said by the stand-in"
