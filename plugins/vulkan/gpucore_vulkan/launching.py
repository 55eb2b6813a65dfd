"""The launch path: functions written once for a kernel; pipeline and grid are data of a launch shape.

A launch packs its arguments, and records a barrier, the push constants and a dispatch.
"""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING, Any, ClassVar, Final

from gpucore.errors import LaunchError
from gpucore.hookspecs import LaunchConfig

if TYPE_CHECKING:
    from gpucore_vulkan.executables import Executable
    from gpucore_vulkan.memory import Piece
    from gpucore_vulkan.streams import Stream

__all__ = ["BoundLaunch", "PreparedLaunch", "prepare_launch"]

_AXES: Final = ("x", "y", "z")


def _array_to_device(values: tuple[int, ...]) -> tuple[int, int, int]:
    """Array order, last axis fastest, to x, y, z."""
    x, y, z = (*reversed(values), 1, 1)[:3]
    return x, y, z


def _check_block(executable: Executable, block: tuple[int, int, int]) -> None:
    """Refuse a block that the device cannot run; Vulkan drivers need not."""
    physical, meta, name = executable.logical.physical, executable.meta, executable.name
    for axis, (size, limit) in enumerate(zip(block, physical.group_sizes, strict=True)):
        if not 1 <= size <= limit:
            raise LaunchError(
                f"{name}: a block of {size} along {_AXES[axis]}; the device allows 1 to {limit}"
            )
    threads = block[0] * block[1] * block[2]
    if threads > physical.invocations:
        raise LaunchError(f"{name}: a block of {threads} threads; the device allows {physical.invocations}")
    if meta["linear"] and threads > physical.group_sizes[0]:
        raise LaunchError(
            f"{name}: {threads} threads along one axis; the device allows {physical.group_sizes[0]}"
        )
    if meta["shared"] > physical.shared_memory:
        raise LaunchError(
            f"{name}: {meta['shared']} bytes of shared memory; a block has {physical.shared_memory}"
        )
    fixed = meta.get("local_size")
    if fixed and tuple(fixed) != block:
        raise LaunchError(
            f"{name}: its SPIR-V fixes the block at {tuple(reversed(fixed))} (slowest axis first)"
        )


def _check_grid(executable: Executable, grid: tuple[int, int, int]) -> None:
    """Refuse a grid that the device cannot run."""
    counts, name = executable.logical.physical.group_counts, executable.name
    for axis in (1, 2):
        if grid[axis] > counts[axis]:
            raise LaunchError(
                f"{name}: a grid of {grid[axis]} along {_AXES[axis]}; the device allows {counts[axis]}"
            )
    if grid[0] > counts[0] and executable.meta["native"]:
        raise LaunchError(
            f"{name}: a grid of {grid[0]} along x; the device allows {counts[0]} to native kernels"
        )


def _dispatches(ndim: int, grid: tuple[int, int, int], limit: int) -> list[tuple[tuple[int, int, int], int]]:
    """The dispatches of a grid and the first x of each.

    A grid whose x is past the limit has the rest of x on the next axis while one is free; grids on three
    axes are split.
    """
    if grid[0] <= limit:
        return [(grid, 0)]
    if ndim < 3:
        rest = -(-grid[0] // limit)
        shape = [*grid]
        shape[0], shape[ndim] = -(-grid[0] // rest), rest
        return [((shape[0], shape[1], shape[2]), 0)]
    return [((min(limit, grid[0] - x), grid[1], grid[2]), x) for x in range(0, grid[0], limit)]


_TEMPLATE = """\
def enqueue(prepared, stream, {arguments}):
    try:
        data = pack({values})
    except OverflowError:
        data = pack_rounded({values})
    {record}


def bind(prepared, {arguments}):
    try:
        data = pack({values})
    except OverflowError:
        data = pack_rounded({values})
    return BoundLaunch(prepared, data)


def enqueue_bound(bound, stream):
    prepared, data = bound.prepared, bound.data
    {record}
"""

# an interrupt may come after any of these: what is remembered of the buffer is never more than what it holds; a finalizer may
# record and send here, too: see Stream
_RECORD = """\
with stream.lock:
    while True:
        stream.turn = turn = stream.turn + 1
        buffer = stream.open
        if buffer is None:
            stream.begin()
            continue
        count = stream.count
        if count:
            barrier(buffer, BARRIER)
        pipeline = prepared.pipeline
        if stream.pipeline is not pipeline:
            stream.pipeline = None
            if stream.turn != turn:
                continue
            bind_pipeline(buffer, 1, pipeline)
            if stream.turn != turn:
                continue
            stream.pipeline = pipeline
        recent(NAME)
        if stream.turn != turn:
            continue
        stream.count = count = count + 1
        {send}
        if stream.turn == turn:
            dispatch(buffer, prepared.x, prepared.y, prepared.z)
            break
    if count < stream.limit:
        return
    full = stream.after()
if full:
    stream.make_room()
"""
_RECORD_FOLDED = """\
with stream.lock:
    recent(NAME)
    for words, (x, y, z) in prepared.groups:
        while True:
            stream.turn = turn = stream.turn + 1
            buffer = stream.open
            if buffer is None:
                stream.begin()
                continue
            if stream.count:
                barrier(buffer, BARRIER)
            stream.pipeline = None
            if stream.turn != turn:
                continue
            bind_pipeline(buffer, 1, prepared.pipeline)
            if stream.turn != turn:
                continue
            stream.count = count = stream.count + 1
            {send}
            if stream.turn != turn:
                continue
            push(buffer, LAYOUT, 32, FOLD, 8, words)
            if stream.turn == turn:
                dispatch(buffer, x, y, z)
                break
    if count < stream.limit:
        return
    full = stream.after()
if full:
    stream.make_room()
"""

_SEND_CONSTANTS = """\
push(buffer, LAYOUT, 32, 0, SIZE, data)
"""
_SEND_ADDRESS = """\
where, host = stream.argument_room(SIZE)
memmove(host, data, SIZE)
where = address(where, 0)
if stream.turn != turn:
    continue
push(buffer, LAYOUT, 32, 0, 12, where)
"""


class PreparedLaunch:
    """A kernel with its launch shape; each kernel has a subclass with the functions of :data:`_TEMPLATE`, and another for
    grids that are past the device's limit along x.

    Attributes
    ----------
    pipeline : VkPipeline
    groups : tuple
        The grid, x first; past the limit the words and the grid of each dispatch.
    x, y, z : int
        The grid, where it is not past the limit: each launch reads them, which takes longer from a tuple.
    executable : Executable
        The kernel.
    folded : bool
        Whether the grid is past the limit.
    """

    __slots__ = ("groups", "pipeline", "x", "y", "z")
    executable: ClassVar[Executable]
    folded: ClassVar[bool]

    def __init__(self, pipeline: Any, groups: tuple[Any, ...]) -> None:
        self.pipeline = pipeline
        self.groups = groups
        if not self.folded:
            self.x, self.y, self.z = groups

    def __call__(self, stream: Stream, *arguments: Any) -> None:
        """Pack the arguments and record the launch."""
        raise NotImplementedError

    def bind(self, *arguments: Any) -> BoundLaunch:
        """The launch with its arguments packed."""
        raise NotImplementedError

    def record(self, buffer: Any, data: bytes, room: Piece | None) -> None:
        """Record the launch into a command buffer in which the pipeline is bound.

        ``room`` takes the packed arguments where they do not fit the push constants.
        """
        executable = self.executable
        vk, layout = executable.logical.vk, executable.pipelines.layout
        if room is not None:
            assert room.mapped is not None
            ctypes.memmove(room.mapped, data, len(data))
            vk.vkCmdPushConstants(buffer, layout, 32, 0, 12, struct.pack("<QI", room.address, 0))
        elif data:
            vk.vkCmdPushConstants(buffer, layout, 32, 0, len(data), data)
        if not self.folded:
            vk.vkCmdDispatch(buffer, *self.groups)
            return
        for words, groups in self.groups:
            vk.vkCmdPushConstants(buffer, layout, 32, executable.meta["fold_offset"], 8, words)
            vk.vkCmdDispatch(buffer, *groups)


class BoundLaunch:
    """A launch with its arguments packed."""

    __slots__ = ("data", "prepared")

    def __init__(self, prepared: PreparedLaunch, data: bytes) -> None:
        self.prepared = prepared
        self.data = data

    def __call__(self, stream: Stream) -> None:
        """Record the launch."""
        raise NotImplementedError


def _launch_class(executable: Executable, folded: bool) -> type[PreparedLaunch]:
    """The class of a kernel's prepared launches, with its launch functions."""
    device, meta = executable.logical, executable.meta
    vk, packer = device.vk, executable.packer
    bound = type("BoundLaunch", (BoundLaunch,), {"__slots__": ()})
    values: dict[str, Any] = {
        "BoundLaunch": bound,
        "barrier": vk.vkCmdPipelineBarrier2,
        "bind_pipeline": vk.vkCmdBindPipeline,
        "push": vk.vkCmdPushConstants,
        "dispatch": vk.vkCmdDispatch,
        "recent": device.recent.append,
        "memmove": ctypes.memmove,
        "address": struct.Struct("<QI").pack,
        "BARRIER": device.barrier,
        "LAYOUT": executable.pipelines.layout,
        "NAME": executable.name,
        "SIZE": packer.size,
        "FOLD": meta["fold_offset"],
    }
    sections = {
        "record": _RECORD_FOLDED if folded else _RECORD,
        "send": _SEND_ADDRESS if meta["indirect"] else _SEND_CONSTANTS if packer.size else "",
    }
    what = f"Vulkan launch of {executable.name}"
    functions = packer.functions(_TEMPLATE, values, what, sections=sections)
    bound.__call__ = functions["enqueue_bound"]  # type: ignore[method-assign]
    members = {
        "__slots__": (), "__call__": functions["enqueue"], "bind": functions["bind"], "executable": executable, "folded": folded,
    }  # fmt: skip
    return type("PreparedLaunch", (PreparedLaunch,), members)


def prepare_launch(executable: Executable, config: LaunchConfig) -> PreparedLaunch:
    """The launch path of a kernel and a launch shape.  The last axis becomes x.

    Returns
    -------
    PreparedLaunch
        ``call(stream, *arguments)``; its method ``bind(*arguments)`` gives ``bound(stream)``.

    Raises
    ------
    LaunchError
        Where the device cannot run the grid or the block.
    """
    grid = _array_to_device(config.grid)
    limit = executable.logical.physical.group_counts[0]
    folded = grid[0] > limit
    ready = executable.ready.get((config.block, folded))
    if ready is None:
        block = _array_to_device(config.block)
        _check_block(executable, block)
        _check_grid(executable, grid)
        made = executable.launch_classes.get(folded)
        if made is None:
            made = executable.launch_classes[folded] = _launch_class(executable, folded)
        pipeline = executable.pipeline(block, folded)
        executable.ready[config.block, folded] = made, pipeline
    else:
        _check_grid(executable, grid)
        made, pipeline = ready
    groups: tuple[Any, ...] = grid
    if folded:
        ndim = executable.meta["ndim"] or len(config.grid)
        groups = tuple(
            (struct.pack("<II", grid[0], base), shape) for shape, base in _dispatches(ndim, grid, limit)
        )
    return made(pipeline, groups)
