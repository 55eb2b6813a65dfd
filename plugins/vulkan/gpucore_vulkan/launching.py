"""The launch path.

``prepare`` writes one small Python function for a kernel and a launch shape: it packs the slots, records a
barrier, the push constants and a dispatch.  All that can be known before is a constant of that function.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpucore.errors import LaunchError
from gpucore.hookspecs import LaunchConfig

if TYPE_CHECKING:
    from gpucore_vulkan.executables import Executable

__all__ = ["prepare_launch"]

_AXES: Final = ("x", "y", "z")


def _array_to_device(values: tuple[int, ...]) -> tuple[int, int, int]:
    """Array order, last axis fastest, to x, y, z."""
    x, y, z = (*reversed(values), 1, 1)[:3]
    return x, y, z


def _check(executable: Executable, block: tuple[int, int, int], grid: tuple[int, int, int]) -> None:
    """Refuse what the device cannot run; Vulkan drivers need not."""
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
    counts = physical.group_counts
    for axis in (1, 2):
        if grid[axis] > counts[axis]:
            raise LaunchError(
                f"{name}: a grid of {grid[axis]} along {_AXES[axis]}; the device allows {counts[axis]}"
            )
    if grid[0] > counts[0] and meta["native"]:
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


def prepare_launch(executable: Executable, config: LaunchConfig) -> Callable[..., None]:
    """The launch path of a kernel and a launch shape: ``call(stream, *slots)``.

    Its attribute ``bind`` packs slots once: ``call.bind(*slots)`` gives ``call(stream)``.
    """
    meta = executable.meta
    block, grid = _array_to_device(config.block), _array_to_device(config.grid)
    _check(executable, block, grid)
    limit = executable.logical.physical.group_counts[0]
    dispatches = _dispatches(meta["ndim"] or len(config.grid), grid, limit)
    folded = grid[0] > limit
    pipeline = executable.pipeline(block, folded)
    namespace, source = _launch_source(executable, pipeline, grid[0], dispatches, folded)
    exec(compile(source, f"<launch of {executable.name}>", "exec"), namespace)
    call: Any = namespace["call"]
    call.bind = namespace["bind"]
    made: Callable[..., None] = call
    return made


def _packing(fields: list[list[Any]], slots: int, size: int) -> tuple[str, str, str]:
    """The struct format, the expressions of its values, and the names of the slots."""
    names = [f"s{n}" for n in range(slots)]
    form, at = "<", 0
    values: list[str] = []
    for kind, slot, code, offset in fields:
        form += "x" * (offset - at) + code
        at = offset + struct.calcsize(code)
        if kind == "pointer":
            values.append(f"(s{slot}.address + s{slot + 1} if s{slot} is not None else 0)")
        else:
            values.append(f"s{slot}")
    form += "x" * (size - at)
    return form, ", ".join(values), ", ".join(names)


def _launch_source(
    executable: Executable,
    pipeline: Any,
    extent: int,
    dispatches: list[tuple[tuple[int, int, int], int]],
    folded: bool,
) -> tuple[dict[str, Any], str]:
    """The text of the launch functions and the constants they use."""
    device, meta = executable.logical, executable.meta
    vk, ffi = device.vk, device.bound.ffi
    size, indirect, fold = meta["size"], meta["indirect"], meta["fold_offset"]
    form, values, names = _packing(meta["fields"], meta["slots"], size)
    packer = struct.Struct(form)

    def careful(*numbers: Any) -> bytes:
        # struct refuses what rounds to infinity
        codes = [code for _, _, code, _ in meta["fields"]]
        rounded: dict[str, Any] = {"f": np.float32, "e": np.float16}
        with np.errstate(over="ignore"):
            return packer.pack(
                *(float(rounded[c](n)) if c in rounded else n for c, n in zip(codes, numbers, strict=True))
            )

    (x, y, z), _ = dispatches[0]
    namespace: dict[str, Any] = {
        "pack": packer.pack,
        "careful": careful,
        "barrier2": vk.vkCmdPipelineBarrier2,
        "bind_pipeline": vk.vkCmdBindPipeline,
        "push": vk.vkCmdPushConstants,
        "dispatch": vk.vkCmdDispatch,
        "BARRIER": device.barrier,
        "PIPELINE": pipeline,
        "LAYOUT": executable.pipelines.layout,
        "recent": device.recent.append,
        "NAME": executable.name,
        "memmove": ctypes.memmove,
        "address": struct.Struct("<QI").pack,
        "ffi": ffi,
        "FOLDS": [(struct.pack("<II", extent, base), shape) for shape, base in dispatches],
    }
    send: list[str] = []
    if indirect:
        send += [
            f"where, host = stream.argument_room({size})",
            f"memmove(host, data, {size})",
            "push(buffer, LAYOUT, 32, 0, 12, address(where, 0))",
        ]
    elif size:
        send += [f"push(buffer, LAYOUT, 32, 0, {size}, data)"]
    if folded:
        send += [
            "for words, (x, y, z) in FOLDS:",
            f"    push(buffer, LAYOUT, 32, {fold}, 8, words)",
            "    dispatch(buffer, x, y, z)",
        ]
    else:
        send += [f"dispatch(buffer, {x}, {y}, {z})"]
    # an interrupt may come after any of these: what is remembered of the buffer is never more than what it holds
    record = [
        "with stream.lock:",
        "    buffer = stream.open",
        "    if buffer is None:",
        "        buffer = stream.begin()",
        "    elif stream.count:",
        "        barrier2(buffer, BARRIER)",
        "    if stream.pipeline is not PIPELINE:",
        "        stream.pipeline = None",
        "        bind_pipeline(buffer, 1, PIPELINE)",
        "        stream.pipeline = PIPELINE",
        "    recent(NAME)",
        "    stream.count = count = stream.count + 1",
        *(f"    {line}" for line in send),
        "    if count < stream.limit:",
        "        return",
        "    full = stream.after()",
        "if full:",
        "    stream.make_room()",
    ]
    packing = [
        "try:",
        f"    data = pack({values})",
        "except OverflowError:",
        f"    data = careful({values})",
    ]
    comma = ", " if names else ""
    source = "\n".join([
        f"def call(stream{comma}{names}):",
        *(f"    {line}" for line in packing),
        *(f"    {line}" for line in record),
        f"def bind({names}):",
        *(f"    {line}" for line in packing),
        "    def bound(stream):",
        *(f"        {line}" for line in record),
        "    return bound",
        "",
    ])  # fmt: skip
    return namespace, source
