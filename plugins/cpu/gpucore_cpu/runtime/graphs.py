"""Graphs: recorded work as a list of steps, in which kernels in a row are few native calls, once their work is known."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Mapping, Sequence

from gpucore.hookspecs import GraphCopy, GraphFill, GraphLaunch, GraphNode
from gpucore_cpu.runtime import copies
from gpucore_cpu.runtime.launch import CALLER_NS, BoundLaunch, PreparedLaunch
from gpucore_cpu.runtime.memory import Allocation
from gpucore_cpu.runtime.pool import Task
from gpucore_cpu.runtime.streams import Stream

__all__ = ["Graph"]

Node = GraphNode[Allocation]
Step = Callable[[Stream], None]
MOST_SCRATCH = 1 << 20
"""Bytes of scratch memory a thread that a graph keeps for a kernel at most; others are launched by themselves."""
LOOKED_AT_AGAIN = 64
"""So many times a graph is launched before its kernels are launched one by one again, which measures them anew."""


class _Piece:
    """Kernels that one native call runs, one after another: their tasks, packed arguments, and the addresses of both.

    Attributes
    ----------
    start, count : int
        The first of them in its run, and how many.
    """

    __slots__ = ("_items", "_packed", "_tasks", "_tasks_kept", "count", "start")

    def __init__(self, start: int, tasks: Sequence[Task | None], packed: list[bytes]) -> None:
        self.start, self.count = start, len(packed)
        self._packed, self._tasks_kept = packed, tasks
        self._items = (ctypes.c_char_p * self.count)(*packed)
        self._tasks = (ctypes.c_void_p * self.count)(*(task.address if task else 0 for task in tasks))

    def copy(self) -> _Piece:
        """The same kernels with the same arguments."""
        made = object.__new__(_Piece)
        made.start, made.count = self.start, self.count
        made._tasks, made._tasks_kept = self._tasks, self._tasks_kept
        made._packed = self._packed.copy()
        made._items = type(self._items).from_buffer_copy(self._items)
        return made

    def put(self, number: int, packed: bytes) -> None:
        """Other arguments for a kernel, before anybody launches this."""
        self._packed[number - self.start] = self._items[number - self.start] = packed

    def __call__(self, stream: Stream) -> None:
        if stream.items or stream.native.try_graph(stream.gate, self._tasks, self._items, self.count):
            stream.submit(functools.partial(self._queued, stream), exclusive=True)

    def _queued(self, stream: Stream) -> None:
        stream.native.run_graph(self._tasks, self._items, self.count)


_Part = _Piece | int
"""A kernel that is launched by itself is its number."""


class _Run:
    """Kernels, one after another.

    Each is launched by itself until it is known how much work it is; then native calls run as many at a time as the caller may
    wait for, and what is more work than that is still launched by itself. Arguments do not change: what waits in a stream's
    queue keeps the values that it was launched with.
    """

    __slots__ = ("_changes", "_latest", "_launches", "_turn")

    def __init__(self, nodes: Sequence[GraphLaunch[Allocation]]) -> None:
        self._launches = [_bound(node) for node in nodes]
        # what runs them on which stream, by numbers those launched by themselves: scratch memory in pieces is one stream's
        self._latest: tuple[Stream | None, Sequence[_Part]] = (None, ())
        self._turn = 0
        self._changes = not all(launch.latest[2].short for launch in self._launches)

    def copy(self) -> _Run:
        """The same kernels with the same arguments."""
        made = object.__new__(_Run)
        owner, parts = self._latest
        made._launches = self._launches.copy()
        made._latest = owner, [part if isinstance(part, int) else part.copy() for part in parts]
        made._turn, made._changes = self._turn, self._changes
        return made

    def put(self, number: int, node: GraphLaunch[Allocation]) -> None:
        """Other arguments for a kernel, before anybody launches this."""
        before = self._launches[number].latest[2]
        launch = self._launches[number] = _bound(node)
        _, packed, prepared = launch.latest
        if prepared is not before:
            self._latest = (None, ())
            self._changes = self._changes or not prepared.short
        for part in self._latest[1]:
            if not isinstance(part, int) and 0 <= number - part.start < part.count:
                part.put(number, packed)

    def __call__(self, stream: Stream) -> None:
        owner, parts = self._latest
        self._turn += 1
        if self._changes and self._turn % LOOKED_AT_AGAIN == 0:
            owner, parts = stream, ()
        elif owner is not stream:
            parts = self._parts()
        self._latest = (stream, parts) if parts else (None, ())
        for part in parts or range(len(self._launches)):
            work = self._launches[part] if isinstance(part, int) else part
            work(stream)

    def _parts(self) -> Sequence[_Part]:
        """All kernels, in pieces but for those that are too much for the caller's thread; none while one's work is not known."""
        if sys.platform == "win32":
            return ()  # whose threads are Python's
        parts: list[_Part] = []
        tasks: list[Task | None] = []
        packed: list[bytes] = []
        work = 0
        for number, launch in enumerate(self._launches):
            _, arguments, prepared = launch.latest
            if prepared.work is None:
                return ()
            alone = prepared.work > CALLER_NS or prepared.scratch > MOST_SCRATCH
            if tasks and (alone or work + prepared.work > CALLER_NS):
                parts.append(_Piece(number - len(tasks), tasks, packed))
                tasks, packed, work = [], [], 0
            if alone:
                parts.append(number)
                continue
            tasks.append(prepared.task())
            packed.append(arguments)
            work += prepared.work
        if tasks:
            parts.append(_Piece(len(self._launches) - len(tasks), tasks, packed))
        return parts


class Graph:
    """Recorded work in its order, which is one way to keep what nodes say of theirs."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._steps: list[Step] = []
        self._step_of: list[int] = []  # for each node
        self._runs: list[tuple[int, int]] = []  # first node and end of each step
        start = 0
        while start < len(nodes):
            end = start + 1
            if isinstance(nodes[start], GraphLaunch):
                while end < len(nodes) and isinstance(nodes[end], GraphLaunch):
                    end += 1
            self._step_of += [len(self._runs)] * (end - start)
            self._runs.append((start, end))
            start = end
        for start, end in self._runs:
            first = nodes[start]
            if isinstance(first, GraphLaunch):
                self._steps.append(_Run([n for n in nodes[start:end] if isinstance(n, GraphLaunch)]))
            else:
                self._steps.append(_work(first))

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
                assert not isinstance(node, GraphLaunch)
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


def _work(node: GraphCopy[Allocation] | GraphFill[Allocation]) -> Step:
    """What enqueues a copy or a fill."""
    if isinstance(node, GraphCopy):
        return functools.partial(
            copies.copy, node.dst, node.dst_offset, node.src, node.src_offset, node.nbytes
        )
    return functools.partial(copies.fill, node.dst, node.offset, node.nbytes, node.pattern)
