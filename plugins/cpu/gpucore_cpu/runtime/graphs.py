"""Graphs: recorded work as a list of steps, in which short kernels in a row are one native call."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Mapping, Sequence

from gpucore.hookspecs import GraphCopy, GraphLaunch, GraphNode
from gpucore_cpu.runtime import copies
from gpucore_cpu.runtime.launch import BoundLaunch, PreparedLaunch
from gpucore_cpu.runtime.memory import Allocation
from gpucore_cpu.runtime.streams import Stream

__all__ = ["Graph"]

Node = GraphNode[Allocation]
Step = Callable[[Stream], None]


class _Run:
    """Short kernels, one after another: their packed arguments, and the addresses of these.

    It does not change: what waits in a stream's queue keeps the values that it was launched with.
    """

    __slots__ = ("_addresses", "_packed", "count")

    def __init__(self, nodes: Sequence[GraphLaunch[Allocation]]) -> None:
        self._packed = [_bound(node).latest[1] for node in nodes]
        self.count = len(nodes)
        self._addresses = (ctypes.c_char_p * self.count)(*self._packed)

    def copy(self) -> _Run:
        """The same kernels with the same arguments."""
        made = object.__new__(_Run)
        made.count = self.count
        made._packed = self._packed.copy()
        made._addresses = type(self._addresses).from_buffer_copy(self._addresses)
        return made

    def put(self, number: int, node: GraphLaunch[Allocation]) -> None:
        """Other arguments for a kernel, before anybody launches this."""
        self._packed[number] = self._addresses[number] = _bound(node).latest[1]

    def __call__(self, stream: Stream) -> None:
        if stream.items or stream.native.try_graph(stream.gate, self._addresses, self.count):
            stream.submit(functools.partial(self._queued, stream), exclusive=True)

    def _queued(self, stream: Stream) -> None:
        stream.native.run_graph(self._addresses, self.count)


class Graph:
    """Recorded work in its order, which is one way to keep what nodes say of theirs."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._steps: list[Step] = []
        self._step_of: list[int] = []  # for each node
        self._runs: list[tuple[int, int]] = []  # first node and end of each step
        start = 0
        while start < len(nodes):
            end = start + 1
            if _is_short(nodes[start]):
                while end < len(nodes) and _is_short(nodes[end]):
                    end += 1
            self._step_of += [len(self._runs)] * (end - start)
            self._runs.append((start, end))
            start = end
        for start, end in self._runs:
            kernels = [node for node in nodes[start:end] if isinstance(node, GraphLaunch)]
            short = _is_short(nodes[start])
            self._steps.append(_Run(kernels) if short else _work(nodes[start]))

    def update(self, changes: Mapping[int, Node]) -> None:
        """Put other nodes in the place of some; all or none."""
        made: dict[int, Step] = {}
        for number, node in changes.items():
            step = self._step_of[number]
            old = made.get(step) or self._steps[step]
            if isinstance(old, _Run):
                assert isinstance(node, GraphLaunch)
                if step not in made:
                    old = made[step] = old.copy()
                old.put(number - self._runs[step][0], node)
            else:
                made[step] = _work(node)
        for step, work in made.items():
            self._steps[step] = work

    def launch(self, stream: Stream) -> None:
        """Enqueue all steps."""
        for step in self._steps:
            step(stream)


def _bound(node: GraphLaunch[Allocation]) -> BoundLaunch:
    call = node.call
    assert isinstance(call, PreparedLaunch)
    return call.bind(*node.slots)


def _work(node: Node) -> Step:
    """What enqueues one node."""
    if isinstance(node, GraphLaunch):
        return _bound(node)
    if isinstance(node, GraphCopy):
        return functools.partial(
            copies.copy, node.dst, node.dst_offset, node.src, node.src_offset, node.nbytes
        )
    return functools.partial(copies.fill, node.dst, node.offset, node.nbytes, node.pattern)


def _is_short(node: Node) -> bool:
    """Whether a kernel is not worth more than a call: without loops, of few threads, without memory of its own."""
    return isinstance(node, GraphLaunch) and bool(getattr(node.call, "short", False))
