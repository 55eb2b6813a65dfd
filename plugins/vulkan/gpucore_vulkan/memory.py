"""Device memory: large blocks of the driver's, cut into pieces, each with a device address.

A driver allocation costs tens of microseconds and some drivers allow only 4096 of them, so small requests
share blocks.  Every block is one VkDeviceMemory under one VkBuffer with a device address; host-visible ones
stay mapped.

An interrupt may come after any call.  So the driver writes what it makes where an object with a finalizer has it, and a range is
taken in one step by the piece that has it.  A piece or a block that nobody got, or that was dropped, is noted by its finalizer
and given back by the next call, once no work is pending.
"""

from __future__ import annotations

import bisect
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from gpucore.errors import GpucoreError, LaunchError, NotSupportedError, OutOfMemoryError
from gpucore_vulkan.loader import OUT_OF_MEMORY

if TYPE_CHECKING:
    from gpucore_vulkan.logical_device import LogicalDevice

__all__ = ["Block", "MemoryManager", "Piece"]

DEVICE_LOCAL: Final = 1
HOST_VISIBLE: Final = 2
HOST_COHERENT: Final = 4
HOST_CACHED: Final = 8

ALIGNMENT: Final = 256
BLOCK_BYTES: Final = {"device": 64 << 20, "unified": 64 << 20, "pinned": 16 << 20}


class Block:
    """One driver allocation and its free ranges, sorted by offset, never two adjacent.

    Another list takes the place of ``free`` with each change, so that a finalizer that allocates in between is noticed.

    Attributes
    ----------
    shared : bool
        Cut into pieces; else it is one piece.
    handles : Handles | None
        What the driver made for it.
    pieces : int
        How many pieces of it are taken.
    """

    __slots__ = (
        "address",
        "cached",
        "free",
        "handles",
        "heap",
        "kind",
        "mapped",
        "owner",
        "pieces",
        "shared",
        "size",
    )

    def __init__(
        self, kind: str, heap: int, size: int, handles: Handles | None = None, shared: bool = True
    ) -> None:
        self.owner: MemoryManager | None = None
        self.cached = False
        self.kind = kind
        self.heap = heap
        self.handles = handles
        self.address = 0
        self.mapped: int | None = None
        self.shared = shared
        self.size = size
        self.free: list[tuple[int, int]] = [(0, size)]
        self.pieces = 0

    def take(self, piece: Piece) -> bool:
        """Give a piece the best fitting range; False where none is large enough."""
        size = piece.size
        while True:
            free = self.free
            best = -1
            for number, (_, length) in enumerate(free):
                if length >= size and (best < 0 or length < free[best][1]):
                    best = number
            if best < 0:
                return False
            offset, length = free[best]
            rest = [] if length == size else [(offset + size, length - size)]
            changed = free[:best] + rest + free[best + 1 :]
            # in one step: see Stream for where others may come in between
            if self.free is free:
                piece.block, piece.offset = self, offset
                self.free, self.pieces, piece.holds = changed, self.pieces + 1, True
                return True

    def give(self, piece: Piece) -> None:
        """Take the range of a piece back and join it with its neighbours; twice does nothing."""
        while piece.holds:
            free, start, length = self.free, piece.offset, piece.size
            first = last = bisect.bisect_left(free, (start, 0))
            if last < len(free) and free[last][0] == start + length:
                length += free[last][1]
                last += 1
            if first > 0 and sum(free[first - 1]) == start:
                first -= 1
                start = free[first][0]
                length += free[first][1]
            changed = free[:first] + [(start, length)] + free[last:]
            if self.free is free and piece.holds:
                self.free, self.pieces, piece.holds = changed, self.pieces - 1, False

    def retire(self) -> bool:
        """Let nobody take from it any more; False where it is in use."""
        if self.pieces:
            return False
        self.free = []
        return True


class Handles:
    """A buffer and its memory, from before the driver makes them until they are destroyed.

    Whoever drops them before, as an interrupt does, leaves them to the manager.
    """

    __slots__ = ("_device", "_left", "buffer", "memory")

    def __init__(self, device: LogicalDevice, left: deque[Handles]) -> None:
        self._left = left
        self._device = device
        self.buffer = device.bound.ffi.new("VkBuffer*")
        self.memory = device.bound.ffi.new("VkDeviceMemory*")

    def destroy(self) -> None:
        """Give both back to the driver; twice does nothing."""
        device = self._device
        buffer, self.buffer = self.buffer, None
        if buffer is not None:
            device.vk.vkDestroyBuffer(device.handle, buffer[0], device.null)
        memory, self.memory = self.memory, None
        if memory is not None:
            device.vk.vkFreeMemory(device.handle, memory[0], device.null)

    def __del__(self) -> None:
        memory = getattr(self, "memory", None)  # absent where an interrupt came first
        if memory is not None and not self._device.closed:
            self._left.append(self)


class Piece:
    """An allocation: a range of a block.

    Attributes
    ----------
    nbytes : int
    address : int
        The device address.
    host : int | None
        Where the host may read and write it; None for the kind ``device``, though transfers may know better.
    lock : threading.RLock
        Held by a thread that copies to or from it; to free it takes the lock, too.
    freed : bool
        It was given back by its holder.
    holds : bool
        The range is its own still.
    """

    __slots__ = (
        "address", "block", "buffer", "freed", "holds", "host", "lock", "mapped", "nbytes", "offset", "size",
    )  # fmt: skip

    block: Block

    def __init__(self, size: int, nbytes: int) -> None:
        self.buffer: Any = None
        self.holds = False
        self.freed = False
        self.offset = 0
        self.size = size
        self.nbytes = nbytes
        self.address = 0
        self.mapped: int | None = None
        self.host: int | None = None
        self.lock = threading.RLock()

    def locate(self) -> Piece:
        """Work out where its range lies."""
        block = self.block
        assert block.handles is not None
        self.buffer = block.handles.buffer[0]
        self.address = block.address + self.offset
        self.mapped = None if block.mapped is None else block.mapped + self.offset
        self.host = None if block.kind == "device" else self.mapped
        return self

    def __del__(self) -> None:
        if getattr(self, "holds", False):
            owner = self.block.owner
            if owner is not None:
                owner.dropped.append(self)

    @staticmethod
    def gone() -> LaunchError:
        """The error of a copy that finds it freed."""
        return LaunchError("the memory of a copy was freed by another thread before the copy began")


class MemoryManager:
    """All memory of one device.  Thread-safe."""

    def __init__(self, logical: LogicalDevice) -> None:
        self._logical = logical
        self._lock = threading.RLock()
        self._blocks: dict[Block, None] = {}
        self.dropped: deque[Piece] = deque()  # that nobody has, and nobody gave back
        self._left: deque[Handles] = deque()  # of blocks that nobody has
        self._ending: list[Block] = []  # that are being given back
        physical = logical.physical
        allowed = self._allowed_types()
        types = [
            (n, flags, heap) for n, (flags, heap) in enumerate(physical.memory_types) if allowed >> n & 1
        ]
        heaps = physical.heaps

        def best(wanted: int, prefer: int, avoid: int = 0) -> tuple[int, int, int] | None:
            fitting = [t for t in types if t[1] & wanted == wanted and not t[1] & ~0x1F]
            if not fitting:
                return None
            return max(
                fitting,
                key=lambda t: (
                    bin(t[1] & prefer).count("1") - bin(t[1] & avoid).count("1"), heaps[t[2]][0], -t[0]
                ),
            )  # fmt: skip

        coherent = HOST_VISIBLE | HOST_COHERENT
        local = best(DEVICE_LOCAL, 0) or best(0, 0)
        if local is None:
            raise OutOfMemoryError(f"{physical.info.name} has no memory type for buffers")
        # where all memory is one and cached, the host writes it directly
        shared = best(DEVICE_LOCAL | coherent | HOST_CACHED, 0)
        if shared is not None and heaps[shared[2]][0] >= heaps[local[2]][0]:
            local = shared
        unified = best(DEVICE_LOCAL | coherent, HOST_CACHED)
        if unified is not None and heaps[unified[2]][0] < heaps[local[2]][0]:
            unified = None  # a small window into device memory is not unified memory
        self.types: dict[str, tuple[int, int, int] | None] = {
            "device": local,
            "pinned": best(coherent | HOST_CACHED, 0, DEVICE_LOCAL) or best(coherent, 0, DEVICE_LOCAL),
            "unified": unified,
        }
        self.device_heap = local[2]
        self.direct = bool(local[1] & HOST_CACHED and local[1] & coherent == coherent)
        # all of a graphics card's memory in the host's sight (resizable BAR): small arrays go there, where small
        # copies need no command
        window = best(DEVICE_LOCAL | coherent, 0, HOST_CACHED)
        self.window = None if self.direct or window is None or window[2] != local[2] else window

    @property
    def used(self) -> list[int]:
        """Bytes taken from each heap."""
        taken = [0] * len(self._logical.physical.heaps)
        for block in list(self._blocks):
            taken[block.heap] += block.size
        return taken

    def _allowed_types(self) -> int:
        """The memory types that a buffer of our usage may live in."""
        device = self._logical
        handles = Handles(device, self._left)
        self._make_buffer(ALIGNMENT, handles.buffer)
        requirements = device.bound.new("VkMemoryRequirements")
        device.vk.vkGetBufferMemoryRequirements(device.handle, handles.buffer[0], requirements)
        handles.destroy()
        return int(requirements.memoryTypeBits)

    def _make_buffer(self, size: int, out: Any) -> None:
        device = self._logical
        # storage, transfer source and destination, shader device address
        info = device.bound.new(
            "VkBufferCreateInfo", "BUFFER_CREATE_INFO", size=size, usage=0x20 | 0x1 | 0x2 | 0x20000
        )
        families = list({queue.family for queue in (*device.queues, *device.copy_queues)})
        if len(families) > 1:
            shared = device.bound.ffi.new("uint32_t[]", families)
            info.sharingMode, info.queueFamilyIndexCount, info.pQueueFamilyIndices = 1, len(families), shared
        code = device.vk.vkCreateBuffer(device.handle, info, device.null, out)
        if code in OUT_OF_MEMORY:
            raise self._exhausted(size)
        device.check(code, "vkCreateBuffer")

    def _exhausted(self, size: int) -> OutOfMemoryError:
        used = sum(self.used)
        total = self._logical.physical.heaps[self.device_heap][0]
        return OutOfMemoryError(
            f"out of memory on {self._logical.physical.info.name}: {size} bytes wanted, {used} of {total} taken",
            requested=size,
            used=used,
            limit=total,
        )

    def _new_block(self, kind: str, size: int, shared: bool) -> Block:
        """A block that is known only once its first piece is taken."""
        device = self._logical
        chosen = self.types[kind]
        if chosen is None:
            raise NotSupportedError(
                f"{device.physical.info.name} has no {kind} memory", capability=f"{kind}_memory"
            )
        in_sight = self.direct
        if kind == "device" and size == BLOCK_BYTES[kind] and self.window is not None:
            chosen, in_sight = self.window, True
        number, flags, heap = chosen
        limit = device.physical.heaps[heap][0]
        if size > device.physical.max_buffer or self.used[heap] + size > limit:
            raise self._exhausted(size)
        handles = Handles(device, self._left)
        try:
            self._make_buffer(size, handles.buffer)
            return self._filled_block(Block(kind, heap, size, handles, shared), number, flags, in_sight)
        except GpucoreError:
            handles.destroy()  # an error keeps its frames, and so all that they hold
            raise

    def _filled_block(self, block: Block, number: int, flags: int, in_sight: bool) -> Block:
        """The block with memory of the type of that number."""
        device, bound, handles = self._logical, self._logical.bound, block.handles
        assert handles is not None
        requirements = bound.new("VkMemoryRequirements")
        device.vk.vkGetBufferMemoryRequirements(device.handle, handles.buffer[0], requirements)
        address_flag = bound.new("VkMemoryAllocateFlagsInfo", "MEMORY_ALLOCATE_FLAGS_INFO", flags=0x2)
        info = bound.new(
            "VkMemoryAllocateInfo", "MEMORY_ALLOCATE_INFO", pNext=address_flag,
            allocationSize=requirements.size, memoryTypeIndex=number,
        )  # fmt: skip
        code = device.vk.vkAllocateMemory(device.handle, info, device.null, handles.memory)
        if code in OUT_OF_MEMORY:
            raise self._exhausted(block.size)
        device.check(code, "vkAllocateMemory")
        memory = handles.memory[0]
        code = device.vk.vkBindBufferMemory(device.handle, handles.buffer[0], memory, 0)
        device.check(code, "vkBindBufferMemory")
        which = bound.new("VkBufferDeviceAddressInfo", "BUFFER_DEVICE_ADDRESS_INFO", buffer=handles.buffer[0])
        block.address = int(device.vk.vkGetBufferDeviceAddress(device.handle, which))
        if flags & HOST_VISIBLE and (block.kind != "device" or in_sight):
            where = bound.ffi.new("void**")
            code = device.vk.vkMapMemory(device.handle, memory, 0, (1 << 64) - 1, 0, where)
            # memory across the bus is only better in sight, and a part of the bus may be all there is
            if code == 0 or block.kind != "device" or self.direct:
                device.check(code, "vkMapMemory")
                block.mapped = int(bound.ffi.cast("uintptr_t", where[0]))
        block.owner, block.cached = self, bool(flags & HOST_CACHED)
        return block

    def _drop(self, block: Block) -> None:
        """Destroy a block that nobody has."""
        handles = block.handles
        block.handles = block.owner = None
        self._blocks.pop(block, None)
        if handles is not None:  # an interrupt before this leaves them to their finalizer
            handles.destroy()

    def alloc(self, nbytes: int, kind: str) -> Piece:
        """Take memory.

        Raises
        ------
        OutOfMemoryError
        NotSupportedError
        """
        self._logical.alive()
        size = max(nbytes, 1)
        size += -size % ALIGNMENT
        standard = BLOCK_BYTES.get(kind, 0)
        if not standard:
            raise NotSupportedError(f"there is no memory kind {kind!r}", capability=f"{kind}_memory")
        with self._lock:
            shared = size <= standard // 4
            piece = Piece(size, nbytes)
            if shared:
                for block in list(self._blocks):
                    if block.shared and block.kind == kind and block.take(piece):
                        return piece.locate()
            try:
                block = self._new_block(kind, standard if shared else size, shared)
            except OutOfMemoryError:
                if not shared:
                    raise
                block = self._new_block(kind, size, shared)
            block.take(piece)  # before others see it
            self._blocks[block] = None
            return piece.locate()

    def free(self, piece: Piece) -> None:
        """Give memory back; a block that empties returns to the driver, save one of its kind."""
        block = piece.block
        with piece.lock:
            if piece.freed or block.owner is not self or self._logical.closed:
                return  # it went with the device that it came from
            piece.freed = True
        self._take_back(piece)

    def _take_back(self, piece: Piece) -> None:
        block = piece.block
        with self._lock:
            self._ending.append(block)  # until it is dropped, or is not: an interrupt may come in between
            block.give(piece)
            self._end(block)

    def _end(self, block: Block) -> None:
        """Drop a block if nobody has it, save one of its kind."""
        others = [b for b in self._blocks if b is not block and b.shared and b.kind == block.kind]
        if (not block.shared or not all(b.pieces for b in others)) and block.retire():
            self._drop(block)
        if block in self._ending:
            self._ending.remove(block)

    @property
    def has_dropped(self) -> bool:
        """Whether finalizers noted anything that :meth:`collect` gives back."""
        return bool(self.dropped or self._left or self._ending)

    def collect(self) -> None:
        """Give back what nobody has; no work is pending."""
        with self._lock:
            while self.dropped:
                piece = self.dropped[0]  # it stays until it is given back: an interrupt may end this
                piece.freed = True
                self._take_back(piece)
                if self.dropped and self.dropped[0] is piece:  # else a finalizer was faster
                    self.dropped.popleft()
            for block in list(self._ending):
                self._end(block)
            while self._left:
                handles = self._left[0]
                handles.destroy()
                if self._left and self._left[0] is handles:
                    self._left.popleft()

    def close(self) -> None:
        """Give everything back, also what its takers still hold."""
        with self._lock:
            for block in (*self._blocks, *(piece.block for piece in self.dropped)):
                self._drop(block)
            self.dropped.clear()
            while self._left:
                self._left.popleft().destroy()
