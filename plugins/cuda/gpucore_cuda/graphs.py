"""Graphs: recorded work as one CUgraphExec.

Nodes are added one by one rather than captured from a stream, since an update needs the handle of each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cuda.bindings import driver as cu

from gpucore.errors import DeviceError, DeviceLostError, NotSupportedError
from gpucore.hookspecs import GraphCopy, GraphLaunch, GraphNode
from gpucore_cuda.device import CudaDevice
from gpucore_cuda.handles import CudaAllocation, CudaStream
from gpucore_cuda.launching import Frame, PreparedLaunch
from gpucore_cuda.memory import fill8_launch, memset_value, shortest_pattern

__all__ = ["CudaGraph"]

Node = GraphNode[CudaAllocation]
_UNIFIED = cu.CUmemorytype.CU_MEMORYTYPE_UNIFIED
_CANNOT_CHANGE = frozenset(
    int(getattr(cu.CUresult, f"CUDA_ERROR_{name}"))
    for name in ("INVALID_VALUE", "NOT_SUPPORTED", "GRAPH_EXEC_UPDATE_FAILURE")
)
"""What the driver answers where an instantiated node cannot become the new one, as when a copy gets memory of another kind."""


@dataclass(frozen=True, slots=True)
class _Parameters:
    """A node as the driver takes it.

    Attributes
    ----------
    add, change : Callable
        The driver's functions that add the node to a graph, and put it in the place of one of its kind.
    value : object
        CUDA_KERNEL_NODE_PARAMS, CUDA_MEMCPY3D or CUDA_MEMSET_NODE_PARAMS.
    context : tuple
        What follows the parameters: the context, but for kernels.
    frame : Frame or None
        The packed arguments of a kernel, to which its parameters point.
    prepared : PreparedLaunch or None
        The kernel with its launch shape.
    """

    add: Callable[..., Any]
    change: Callable[..., Any]
    value: Any
    context: tuple[Any, ...] = ()
    frame: Frame | None = None
    prepared: PreparedLaunch | None = None


class CudaGraph:
    """Recorded work, instantiated.

    The driver copies what it is given, so that launches which are enqueued keep their values when nodes change.
    """

    __slots__ = ("_device", "_exec", "_graph", "_handles", "_made", "_name", "_nodes")

    def __init__(self, device: CudaDevice, nodes: Sequence[Node]) -> None:
        self._device = device
        self._nodes = list(nodes)
        self._name = _names(nodes)
        self._build([_parameters(device, node) for node in nodes])

    def _build(self, made: list[_Parameters]) -> None:
        """Add the nodes to a new graph and instantiate it.

        Raises
        ------
        NotSupportedError
            Where the driver refuses a node.
        OutOfMemoryError, DeviceLostError
        """
        call = self._device.call
        graph = call(cu.cuGraphCreate, 0)
        handles: list[Any] = []
        try:
            for node, new in zip(self._nodes, made, strict=True):
                after = [handles[number] for number in node.after]
                handles.append(call(new.add, graph, after, len(after), new.value, *new.context))
            executable = call(cu.cuGraphInstantiate, graph, 0)
        except BaseException as error:
            with contextlib.suppress(DeviceError):
                self._device.quiet(cu.cuGraphDestroy, graph)
            if isinstance(error, DeviceError) and not isinstance(error, DeviceLostError):
                raise NotSupportedError(
                    f"the driver does not take this work as a graph: {error}", capability="graphs"
                ) from error
            raise
        self._graph, self._exec, self._handles, self._made = graph, executable, handles, made

    def launch(self, stream: CudaStream) -> None:
        """Enqueue all of it."""
        stream.last = self._name
        answer = cu.cuGraphLaunch(self._exec, stream.handle)
        if answer[0]:
            self._device.again(answer, cu.cuGraphLaunch, self._exec, stream.handle)

    def update(self, changes: Mapping[int, Node]) -> None:
        """Put other nodes in the place of some, all or none."""
        if len(changes) == 1:
            ((number, node),) = changes.items()
            made = self._made[number]
            frame = made.frame
            if node.__class__ is GraphLaunch and node.call is made.prepared and frame is not None:
                # as _change(), without its calls
                node.call.repack(frame, *node.slots)
                if not made.change(self._exec, self._handles[number], made.value)[0]:
                    self._nodes[number] = node
                    return
            if self._change(number, node):
                self._nodes[number] = node
            else:
                self._rebuild(changes)
            return
        done: list[int] = []
        try:
            for number, node in changes.items():
                if not self._change(number, node):
                    self._rebuild(changes)
                    return
                done.append(number)
        except BaseException:
            for number in done:
                self._change(number, self._nodes[number])
            raise
        for number, node in changes.items():
            self._nodes[number] = node

    def _change(self, number: int, node: Node) -> bool:
        """Change one node in place; whether the driver can."""
        new = old = self._made[number]
        frame = old.frame
        if isinstance(node, GraphLaunch) and node.call is old.prepared and frame is not None:
            # its parameters point to its frame, which the driver has read
            node.call.repack(frame, *node.slots)
            arguments: tuple[Any, ...] = (self._exec, self._handles[number], old.value)
        else:
            new = _parameters(self._device, node)
            if new.add is not old.add:
                return False
            arguments = (self._exec, self._handles[number], new.value, *new.context)
        answer = new.change(*arguments)
        if answer[0]:
            answer = self._device.attempt(new.change, *arguments)
            if int(answer[0]) in _CANNOT_CHANGE:
                return False
            if answer[0]:
                raise self._device.error(answer[0], new.change.__name__)
        self._made[number] = new
        return True

    def _rebuild(self, changes: Mapping[int, Node]) -> None:
        """Instantiate anew; the driver lets launches of the old one end."""
        graph, executable = self._graph, self._exec
        before, made = self._nodes, self._made
        self._nodes = [changes.get(number, node) for number, node in enumerate(before)]
        try:
            self._build([_parameters(self._device, node) for node in self._nodes])
        except BaseException:
            # the old one may have taken some of the changes
            self._nodes, self._made = before, made
            for number in changes:
                self._change(number, before[number])
            raise
        self._release(graph, executable)

    def _release(self, graph: Any, executable: Any) -> None:
        self._device.quiet(cu.cuGraphExecDestroy, executable)
        self._device.quiet(cu.cuGraphDestroy, graph)

    def destroy(self) -> None:
        """Release it."""
        self._release(self._graph, self._exec)


def _parameters(device: CudaDevice, node: Node) -> _Parameters:
    if isinstance(node, GraphLaunch):
        prepared = node.call
        assert isinstance(prepared, PreparedLaunch)
        return _kernel(prepared, node.slots)
    if isinstance(node, GraphCopy):
        copy = cu.CUDA_MEMCPY3D()
        copy.srcMemoryType = copy.dstMemoryType = _UNIFIED
        copy.srcDevice, copy.dstDevice = (
            node.src.address + node.src_offset,
            node.dst.address + node.dst_offset,
        )
        copy.WidthInBytes, copy.Height, copy.Depth = node.nbytes, 1, 1
        return _Parameters(
            cu.cuGraphAddMemcpyNode, cu.cuGraphExecMemcpyNodeSetParams, copy, (device.context,)
        )
    address, pattern = node.dst.address + node.offset, shortest_pattern(node.pattern)
    width = len(pattern)
    if width == 8:
        return _kernel(*fill8_launch(device, address, pattern, node.nbytes))
    fill = cu.CUDA_MEMSET_NODE_PARAMS()
    fill.dst, fill.value, fill.elementSize = address, memset_value(pattern), width
    fill.width, fill.height, fill.pitch = node.nbytes // width, 1, 0
    return _Parameters(cu.cuGraphAddMemsetNode, cu.cuGraphExecMemsetNodeSetParams, fill, (device.context,))


def _kernel(prepared: PreparedLaunch, slots: Sequence[Any]) -> _Parameters:
    frame = prepared.bind(*slots).frame
    value = cu.CUDA_KERNEL_NODE_PARAMS()
    value.func = prepared.function
    value.gridDimX, value.gridDimY, value.gridDimZ, value.blockDimX, value.blockDimY, value.blockDimZ = (
        prepared.shape
    )
    value.sharedMemBytes = prepared.dynamic_shared
    value.kernelParams = frame.address
    return _Parameters(
        cu.cuGraphAddKernelNode,
        cu.cuGraphExecKernelNodeSetParams,
        value,
        frame=frame,
        prepared=prepared,
    )


def _names(nodes: Sequence[Node]) -> str:
    """What the message about a lost device says was launched."""
    kernels = dict.fromkeys(node.call.name for node in nodes if isinstance(node, GraphLaunch))  # type: ignore[attr-defined]
    names = list(kernels)
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"a graph of {', '.join(names[:4])}{more}" if names else "a graph of copies and fills"
