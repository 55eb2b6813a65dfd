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

    def __call__(self, stream: Stream) -> None:
        if stream.items or stream.native.try_graph(stream.gate, self._addresses, self.count):
            stream.submit(functools.partial(self._queued, stream), exclusive=True)

    def _queued(self, stream: Stream) -> None:
        stream.native.run_graph(self._addresses, self.count)


class Graph:
    """Recorded work in its order, which is one way to keep what nodes say of theirs."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = list(nodes)
        self._steps: list[Step] = []
        self._step_of: list[int] = []  # for each node
        self._runs: list[tuple[int, int]] = []  # first node and end of each step
        start = 0
        while start < len(self._nodes):
            end = start + 1
            if _is_short(self._nodes[start]):
                while end < len(self._nodes) and _is_short(self._nodes[end]):
                    end += 1
            self._step_of += [len(self._runs)] * (end - start)
            self._runs.append((start, end))
            start = end
        self._steps = [self._make(*run) for run in self._runs]

    def _make(self, start: int, end: int) -> Step:
        node = self._nodes[start]
        if isinstance(node, GraphLaunch):
            if _is_short(node):
                return _Run([one for one in self._nodes[start:end] if isinstance(one, GraphLaunch)])
            return _bound(node)
        if isinstance(node, GraphCopy):
            return functools.partial(
                copies.copy, node.dst, node.dst_offset, node.src, node.src_offset, node.nbytes
            )
        return functools.partial(copies.fill, node.dst, node.offset, node.nbytes, node.pattern)

    def update(self, changes: Mapping[int, Node]) -> None:
        """Put other nodes in the place of some; all or none."""
        before = self._nodes
        self._nodes = [changes.get(number, node) for number, node in enumerate(before)]
        try:
            made = {
                step: self._make(*self._runs[step]) for step in {self._step_of[number] for number in changes}
            }
        except BaseException:
            self._nodes = before
            raise
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


def _is_short(node: Node) -> bool:
    """Whether a kernel is not worth more than a call: without loops, of few threads, without memory of its own."""
    return isinstance(node, GraphLaunch) and bool(getattr(node.call, "short", False))
