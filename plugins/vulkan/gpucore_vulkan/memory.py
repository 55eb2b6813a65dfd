"""Device memory: large blocks of the driver's, cut into pieces, each with a device address.

A driver allocation costs tens of microseconds and some drivers allow only 4096 of them, so small requests
share blocks.  Every block is one VkDeviceMemory under one VkBuffer with a device address; host-visible ones
stay mapped.
"""

from __future__ import annotations

import bisect
import threading
from typing import TYPE_CHECKING, Any, Final

from gpucore.errors import LaunchError, NotSupportedError, OutOfMemoryError
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
    """

    __slots__ = (
        "address",
        "buffer",
        "cached",
        "free",
        "heap",
        "kind",
        "mapped",
        "memory",
        "owner",
        "pieces",
        "size",
    )

    def __init__(
        self, kind: str, heap: int, buffer: Any, memory: Any, address: int, mapped: int | None, size: int
    ):
        self.owner: MemoryManager | None = None
        self.cached = False
        self.kind = kind
        self.heap = heap
        self.buffer = buffer
        self.memory = memory
        self.address = address
        self.mapped = mapped
        self.size = size
        self.free: list[tuple[int, int]] = [(0, size)]
        self.pieces = 0

    def take(self, size: int) -> int | None:
        """The offset of the best fitting range, or None."""
        while True:
            free = self.free
            best = -1
            for number, (_, length) in enumerate(free):
                if length >= size and (best < 0 or length < free[best][1]):
                    best = number
            if best < 0:
                return None
            offset, length = free[best]
            rest = [] if length == size else [(offset + size, length - size)]
            changed = free[:best] + rest + free[best + 1 :]
            # in one step: see Stream for where others may come in between
            if self.free is free:
                self.free = changed
                self.pieces += 1
                return offset

    def give(self, offset: int, size: int) -> None:
        """Give a range back and join it with its neighbours."""
        while True:
            free, start, length = self.free, offset, size
            first = last = bisect.bisect_left(free, (start, 0))
            if last < len(free) and free[last][0] == start + length:
                length += free[last][1]
                last += 1
            if first > 0 and sum(free[first - 1]) == start:
                first -= 1
                start = free[first][0]
                length += free[first][1]
            changed = free[:first] + [(start, length)] + free[last:]
            if self.free is free:
                self.free = changed
                self.pieces -= 1
                return

    def retire(self) -> bool:
        """Let nobody take from it any more; False where it is in use."""
        if self.pieces:
            return False
        self.free = []
        return True


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
    """

    __slots__ = (
        "address",
        "block",
        "buffer",
        "freed",
        "host",
        "lock",
        "mapped",
        "nbytes",
        "offset",
        "size",
    )

    def __init__(self, block: Block, offset: int, size: int, nbytes: int) -> None:
        self.block = block
        self.buffer = block.buffer
        self.offset = offset
        self.size = size
        self.nbytes = nbytes
        self.address = block.address + offset
        self.mapped = None if block.mapped is None else block.mapped + offset
        self.host = None if block.kind == "device" else self.mapped
        self.lock = threading.RLock()
        self.freed = False

    @staticmethod
    def gone() -> LaunchError:
        """The error of a copy that finds it freed."""
        return LaunchError("the memory of a copy was freed by another thread before the copy began")


class MemoryManager:
    """All memory of one device.  Thread-safe."""

    def __init__(self, logical: LogicalDevice) -> None:
        self._logical = logical
        self._lock = threading.RLock()
        self._blocks: list[Block] = []
        self._all: set[Block] = set()
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
        self.used = [0] * len(heaps)

    def _allowed_types(self) -> int:
        """The memory types that a buffer of our usage may live in."""
        device = self._logical
        buffer = self._make_buffer(ALIGNMENT)
        requirements = device.bound.new("VkMemoryRequirements")
        device.vk.vkGetBufferMemoryRequirements(device.handle, buffer, requirements)
        device.vk.vkDestroyBuffer(device.handle, buffer, device.null)
        return int(requirements.memoryTypeBits)

    def _make_buffer(self, size: int) -> Any:
        device = self._logical
        # storage, transfer source and destination, shader device address
        info = device.bound.new(
            "VkBufferCreateInfo", "BUFFER_CREATE_INFO", size=size, usage=0x20 | 0x1 | 0x2 | 0x20000
        )
        families = list({queue.family for queue in (*device.queues, *device.copy_queues)})
        if len(families) > 1:
            shared = device.bound.ffi.new("uint32_t[]", families)
            info.sharingMode, info.queueFamilyIndexCount, info.pQueueFamilyIndices = 1, len(families), shared
        out = device.bound.ffi.new("VkBuffer*")
        code = device.vk.vkCreateBuffer(device.handle, info, device.null, out)
        if code in OUT_OF_MEMORY:
            raise self._exhausted(size)
        device.check(code, "vkCreateBuffer")
        return out[0]

    def _exhausted(self, size: int) -> OutOfMemoryError:
        used = sum(self.used)
        total = self._logical.physical.heaps[self.device_heap][0]
        return OutOfMemoryError(
            f"out of memory on {self._logical.physical.info.name}: {size} bytes wanted, {used} of {total} taken",
            requested=size,
            used=used,
            limit=total,
        )

    def _new_block(self, kind: str, size: int) -> Block:
        device, bound = self._logical, self._logical.bound
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
        buffer = self._make_buffer(size)
        requirements = bound.new("VkMemoryRequirements")
        device.vk.vkGetBufferMemoryRequirements(device.handle, buffer, requirements)
        address_flag = bound.new("VkMemoryAllocateFlagsInfo", "MEMORY_ALLOCATE_FLAGS_INFO", flags=0x2)
        info = bound.new(
            "VkMemoryAllocateInfo", "MEMORY_ALLOCATE_INFO", pNext=address_flag,
            allocationSize=requirements.size, memoryTypeIndex=number,
        )  # fmt: skip
        out = bound.ffi.new("VkDeviceMemory*")
        code = device.vk.vkAllocateMemory(device.handle, info, device.null, out)
        if code < 0:
            device.vk.vkDestroyBuffer(device.handle, buffer, device.null)
            if code in OUT_OF_MEMORY:
                raise self._exhausted(size)
            device.check(code, "vkAllocateMemory")
        device.check(device.vk.vkBindBufferMemory(device.handle, buffer, out[0], 0), "vkBindBufferMemory")
        which = bound.new("VkBufferDeviceAddressInfo", "BUFFER_DEVICE_ADDRESS_INFO", buffer=buffer)
        address = int(device.vk.vkGetBufferDeviceAddress(device.handle, which))
        mapped = None
        if flags & HOST_VISIBLE and (kind != "device" or in_sight):
            where = bound.ffi.new("void**")
            code = device.vk.vkMapMemory(device.handle, out[0], 0, (1 << 64) - 1, 0, where)
            # memory across the bus is only better in sight, and a part of the bus may be all there is
            if code == 0 or kind != "device" or self.direct:
                device.check(code, "vkMapMemory")
                mapped = int(bound.ffi.cast("uintptr_t", where[0]))
        self.used[heap] += size
        block = Block(kind, heap, buffer, out[0], address, mapped, size)
        block.owner, block.cached = self, bool(flags & HOST_CACHED)
        self._all.add(block)
        return block

    def _drop(self, block: Block) -> None:
        device = self._logical
        self._all.discard(block)
        self.used[block.heap] -= block.size
        device.vk.vkDestroyBuffer(device.handle, block.buffer, device.null)
        device.vk.vkFreeMemory(device.handle, block.memory, device.null)

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
            if size <= standard // 4:
                for block in self._blocks:
                    if block.kind == kind:
                        offset = block.take(size)
                        if offset is not None:
                            return Piece(block, offset, size, nbytes)
                try:
                    block = self._new_block(kind, standard)
                except OutOfMemoryError:
                    block = self._new_block(kind, size)
                offset = block.take(size) or 0  # before others see it
                self._blocks.append(block)
            else:
                block = self._new_block(kind, size)
                offset = block.take(size) or 0
            return Piece(block, offset, size, nbytes)

    def free(self, piece: Piece) -> None:
        """Give memory back; a block that empties returns to the driver, save one of its kind."""
        block = piece.block
        with piece.lock:
            if piece.freed or block.owner is not self or self._logical.closed:
                return  # it went with the device that it came from
            piece.freed = True
        with self._lock:
            block.give(piece.offset, piece.size)
            shared = block in self._blocks
            if shared and not any(
                b is not block and b.kind == block.kind and not b.pieces for b in self._blocks
            ):
                return
            if block.retire() and block in self._all:
                if shared:
                    self._blocks.remove(block)
                self._drop(block)

    def close(self) -> None:
        """Give everything back, also what its takers still hold."""
        with self._lock:
            for block in list(self._all):
                self._drop(block)
            self._blocks.clear()
