"""Graphs: recorded work as command buffers that are sent again and again.

Nodes that were never changed share command buffers; one that was changed has its own, with a few neighbours at most, so that the
next change records little. A command buffer that is replaced is used again once the launches that have it are done.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from gpucore.hookspecs import GraphCopy, GraphLaunch, GraphNode
from gpucore_vulkan.launching import PreparedLaunch
from gpucore_vulkan.memory import Piece
from gpucore_vulkan.transfers import copy_plan, fill_plan

if TYPE_CHECKING:
    from gpucore_vulkan.device import Device
    from gpucore_vulkan.streams import Stream

__all__ = ["Graph"]

Node = GraphNode[Piece]
MOST_CHANGED: Final = 8
"""Changed nodes in one command buffer: more of them take longer to record again, more buffers longer to send."""
_MANY_TIMES: Final = 0x4  # VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT


class _Part:
    """Consecutive nodes in one command buffer, and the memory that this uses."""

    __slots__ = ("buffer", "pieces", "span")

    def __init__(self, span: range, buffer: Any) -> None:
        self.span = span
        self.buffer = buffer
        self.pieces: list[Piece] = []


class Graph:
    """Recorded work, in its order."""

    def __init__(self, device: Device, nodes: Sequence[Node]) -> None:
        self._device = device
        self._logical = logical = device.logical
        logical.alive()
        self._nodes = list(nodes)
        self._changed: set[int] = set()
        self._lock = threading.RLock()
        self._spare: list[Any] = []
        self._retired: deque[tuple[Stream | None, int, _Part]] = deque()
        self._last: tuple[Stream | None, int] = (None, 0)
        self._begin_info = logical.bound.new(
            "VkCommandBufferBeginInfo", "COMMAND_BUFFER_BEGIN_INFO", flags=_MANY_TIMES
        )
        self._pool = _command_pool(device)
        device.graphs.add(self)
        self._parts: list[_Part] = []
        self._part_of: list[int] = []
        try:
            self._arrange(self._nodes, ())
        except BaseException:
            self.destroy()
            raise

    # --- recording
    def _arrange(self, nodes: list[Node], changes: Iterable[int]) -> None:
        """Make the parts anew where their borders moved or nodes in them changed, all or none."""
        new = set(changes)
        known = {part.span: part for part in self._parts}
        parts: list[_Part] = []
        made: list[_Part] = []
        try:
            for span in _spans(len(nodes), self._changed | new):
                part = known.get(span)
                if part is None or not new.isdisjoint(span):
                    part = self._record(nodes, span)
                    made.append(part)
                parts.append(part)
        except BaseException:
            for part in made:
                self._recycle(part)
            raise
        self._install(nodes, parts)
        self._changed |= new

    def _install(self, nodes: list[Node], parts: list[_Part]) -> None:
        kept = set(parts)
        replaced = [part for part in self._parts if part not in kept]
        bound = self._logical.bound
        infos = bound.ffi.new("VkCommandBufferSubmitInfo[]", max(len(parts), 1))
        for number, part in enumerate(parts):
            infos[number].sType = bound.lib.VK_STRUCTURE_TYPE_COMMAND_BUFFER_SUBMIT_INFO
            infos[number].commandBuffer = part.buffer
        self._infos, self._parts, self._nodes = infos, parts, nodes
        # now that no launch takes them any more
        self._retired.extend((*self._last, part) for part in replaced)
        self._part_of = [number for number, part in enumerate(parts) for _ in part.span]
        self._name = _name(nodes)

    def _record(self, nodes: Sequence[Node], span: range) -> _Part:
        """Record consecutive nodes: what comes after a node of the same stretch without barriers is preceded by one."""
        logical = self._logical
        vk, barrier = logical.vk, logical.barrier
        part = _Part(span, self._take())
        try:
            code = vk.vkBeginCommandBuffer(part.buffer, self._begin_info)
            logical.check(code, "vkBeginCommandBuffer")
            recorder = _Recorder(self._device, part)
            if span.start:
                vk.vkCmdPipelineBarrier2(part.buffer, barrier)
            unordered: set[int] = set()
            for number in span:
                if not unordered.isdisjoint(nodes[number].after):
                    vk.vkCmdPipelineBarrier2(part.buffer, barrier)
                    unordered.clear()
                recorder.put(nodes[number])
                unordered.add(number)
            if span.stop == len(nodes):
                vk.vkCmdPipelineBarrier2(part.buffer, logical.last_barrier)
            logical.check(vk.vkEndCommandBuffer(part.buffer), "vkEndCommandBuffer")
        except BaseException:
            self._recycle(part)
            raise
        return part

    def _take(self) -> Any:
        """A command buffer that no launch has."""
        while True:
            if not self._retired:
                break
            first = self._retired[0]
            stream, value, part = first
            if stream is not None and not stream.passed(value):
                break
            if self._retired and self._retired[0] is first:  # a finalizer may have taken it
                self._retired.popleft()
                self._recycle(part)
        if self._spare:
            return self._spare.pop()
        logical = self._logical
        out = logical.bound.ffi.new("VkCommandBuffer*")
        info = logical.bound.new(
            "VkCommandBufferAllocateInfo", "COMMAND_BUFFER_ALLOCATE_INFO", commandPool=self._pool, commandBufferCount=1
        )  # fmt: skip
        logical.check(
            logical.vk.vkAllocateCommandBuffers(logical.handle, info, out), "vkAllocateCommandBuffers"
        )
        return out[0]

    def _recycle(self, part: _Part) -> None:
        for piece in part.pieces:
            self._device.memory.free(piece)
        part.pieces.clear()
        self._spare.append(part.buffer)

    # --- the hooks
    def update(self, changes: Mapping[int, Node]) -> None:
        """Put other nodes in the place of some, all or none."""
        with self._lock:
            self._logical.alive()
            nodes = self._nodes.copy()
            for number, node in changes.items():
                nodes[number] = node
            if self._changed.issuperset(changes):
                self._replace(nodes, changes)
            else:
                self._arrange(nodes, changes)

    def _replace(self, nodes: list[Node], changes: Iterable[int]) -> None:
        """Record the parts of nodes that were changed before, whose borders stay."""
        made: dict[int, _Part] = {}
        try:
            for number in {self._part_of[node] for node in changes}:
                made[number] = self._record(nodes, self._parts[number].span)
        except BaseException:
            for part in made.values():
                self._recycle(part)
            raise
        for number, part in made.items():
            replaced = self._parts[number]
            self._parts[number] = part
            self._infos[number].commandBuffer = part.buffer
            self._retired.append((*self._last, replaced))
        self._nodes = nodes

    def launch(self, stream: Stream) -> None:
        """Enqueue all of it."""
        with self._lock, stream.lock:
            stream.alive()
            self._logical.recent.append(self._name)
            while True:
                stream._flush()
                # before it is sent: an interrupt must not hide that these buffers are in use
                self._last = last = (stream, stream.value + 1)
                if stream._send(self._infos, len(self._parts), last[1]):
                    break
            full = stream.is_full()
        if full:
            stream.make_room()

    def destroy(self) -> None:
        """Release it; no launch of it is pending."""
        with self._lock:
            if self in self._device.graphs:
                self._device.graphs.discard(self)
                for part in (*self._parts, *(part for _, _, part in self._retired)):
                    self._recycle(part)
                self.end()

    def end(self) -> None:
        """Give the command buffers back to the driver, whose device goes, too."""
        logical = self._logical
        self._parts = []
        self._retired.clear()
        logical.vk.vkDestroyCommandPool(logical.handle, self._pool, logical.null)


class _Recorder:
    """Records nodes into the command buffer of a part."""

    def __init__(self, device: Device, part: _Part) -> None:
        self._device = device
        self._part = part
        self._pipeline: Any = None

    def put(self, node: Node) -> None:
        """Record one node."""
        if isinstance(node, GraphLaunch):
            prepared = node.call
            assert isinstance(prepared, PreparedLaunch)
            self._launch(prepared, node.slots)
        elif isinstance(node, GraphCopy):
            self._copy(node.dst, node.dst_offset, node.src, node.src_offset, node.nbytes)
        elif node.nbytes:
            fill = fill_plan(self._device, node.dst, node.offset, node.nbytes, node.pattern)
            if isinstance(fill, int):
                self._device.logical.vk.vkCmdFillBuffer(
                    self._part.buffer, node.dst.buffer, node.dst.offset + node.offset, node.nbytes, fill
                )
            else:
                self._launch(*fill)

    def _launch(self, prepared: PreparedLaunch, slots: Sequence[Any]) -> None:
        executable, buffer = prepared.executable, self._part.buffer
        data = prepared.bind(*slots).data
        if prepared.pipeline is not self._pipeline:
            executable.logical.vk.vkCmdBindPipeline(buffer, 1, prepared.pipeline)
            self._pipeline = prepared.pipeline
        room = None
        if executable.meta["indirect"]:
            room = self._device.memory.alloc(len(data), "pinned")
            self._part.pieces.append(room)
        prepared.record(buffer, data, room)

    def _copy(self, dst: Piece, to: int, src: Piece, at: int, nbytes: int) -> None:
        first, second = src.offset + at, dst.offset + to
        if not nbytes or (src.buffer == dst.buffer and first == second):
            return
        if src.buffer == dst.buffer and abs(first - second) < nbytes:
            # Vulkan forbids overlapping regions: go through memory of our own
            through = self._device.memory.alloc(nbytes, "device")
            self._part.pieces.append(through)
            self._region(through, 0, src, at, nbytes)
            self._device.logical.vk.vkCmdPipelineBarrier2(self._part.buffer, self._device.logical.barrier)
            self._region(dst, to, through, 0, nbytes)
            return
        launches, done = copy_plan(self._device, dst, to, src, at, nbytes)
        for prepared, slots in launches:
            self._launch(prepared, slots)
        if done < nbytes:
            self._region(dst, to + done, src, at + done, nbytes - done)

    def _region(self, dst: Piece, to: int, src: Piece, at: int, nbytes: int) -> None:
        logical = self._device.logical
        region = logical.bound.new(
            "VkBufferCopy", srcOffset=src.offset + at, dstOffset=dst.offset + to, size=nbytes
        )
        logical.vk.vkCmdCopyBuffer(self._part.buffer, src.buffer, dst.buffer, 1, region)


def _command_pool(device: Device) -> Any:
    logical = device.logical
    info = logical.bound.new(
        "VkCommandPoolCreateInfo", "COMMAND_POOL_CREATE_INFO", flags=0x2, queueFamilyIndex=logical.queues[0].family
    )  # fmt: skip
    out = logical.bound.ffi.new("VkCommandPool*")
    logical.check(
        logical.vk.vkCreateCommandPool(logical.handle, info, logical.null, out), "vkCreateCommandPool"
    )
    return out[0]


def _spans(count: int, changed: set[int]) -> list[range]:
    """The nodes of each part: runs of those that were changed, cut where they are long, and of others."""
    starts: list[int] = []
    for number in range(count):
        is_changed = number in changed
        if (
            not starts
            or is_changed != (starts[-1] in changed)
            or (is_changed and number - starts[-1] >= MOST_CHANGED)
        ):
            starts.append(number)
    return [range(first, end) for first, end in itertools.pairwise([*starts, count])]


def _name(nodes: Sequence[Node]) -> str:
    """What the message about a lost device says was launched."""
    names = list(dict.fromkeys(_kernel(node.call) for node in nodes if isinstance(node, GraphLaunch)))
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"a graph of {', '.join(names[:4])}{more}" if names else "a graph of copies and fills"


def _kernel(call: Any) -> str:
    assert isinstance(call, PreparedLaunch)
    return call.executable.name
