"""Launch shapes: grids, blocks and ranges as a user writes them, and the block and grid of a range launch."""

from __future__ import annotations

import functools
import math
import operator
from typing import TYPE_CHECKING, Any, NamedTuple

from gpucore.compile.capabilities import Capabilities
from gpucore.compile.pipeline import RangeKind, Variant
from gpucore.errors import LaunchError
from gpucore.hookspecs import LaunchConfig
from gpucore.ir.nodes import MOST_AXES
from gpucore.runtime.host_numbers import shortened

if TYPE_CHECKING:
    from gpucore.ir.passes.checks import Check
    from gpucore.launch.kernel import Specialization
    from gpucore.runtime.device import Device

__all__ = [
    "MOST_RANGE_AXES",
    "LaunchShape",
    "LaunchShapes",
    "RangeShapes",
    "ShapeKind",
    "as_axes",
    "is_plain",
    "shape_kind",
]

MOST_RANGE_AXES = MOST_AXES
_LIMIT = 2**31
_ROW = 32
"""Threads of a range launch along the fastest axis, where there are several axes: consecutive addresses for a subgroup."""


def as_axes(value: Any, what: str, kernel: str) -> tuple[int, ...]:
    """A grid, a block or a range as a tuple of ints.

    Raises
    ------
    LaunchError
        Naming the kernel, where an extent is no int or negative.
    """
    if type(value) is int and value >= 0:
        return (value,)
    axes = []
    for part in value if isinstance(value, (tuple, list)) else (value,):
        try:
            if isinstance(part, bool):
                raise TypeError
            axes.append(operator.index(part))
        except TypeError:  # ndarrays have __index__ too, and refuse
            raise LaunchError(f"{kernel}: a {what} is an int or a tuple of ints, not {value!r}") from None
    for axis in axes:
        if axis < 0:
            raise LaunchError(f"{kernel}: the {what} {tuple(axes)} has a negative extent")
    return tuple(axes)


def is_plain(*parts: Any) -> bool:
    """Whether parts of a configuration are ints and tuples of ints: then equal ones mean the same (2.0 and True are equal
    to 2 and 1, but are no extents).
    """
    for part in parts:
        if type(part) is tuple:
            for axis in part:
                if type(axis) is not int:
                    return False
        elif type(part) is not int:
            return False
    return True


def check_multiple(kernel: str, block: tuple[int, ...], multiple: int) -> None:
    """Raise where a kernel with tiles is launched on blocks with a group of fewer threads than hold a tile."""
    if multiple > 1 and (threads := math.prod(block)) % multiple:
        raise LaunchError(
            f"{kernel}: tiles are held by groups of {multiple} threads, so a block has a multiple of {multiple} threads; "
            f"{shortened(block)} has {shortened(threads)}"
        )


class Limits:
    """The device's limits of grids and blocks.

    Most launch shapes that a program comes to differ in the grid alone: the block that fitted last is not looked at again.
    """

    __slots__ = ("_axis", "_capabilities", "_device", "_fitting", "_kernel")

    def __init__(self, capabilities: Capabilities, device: str, kernel: str) -> None:
        self._capabilities = capabilities
        self._device = device
        self._kernel = kernel
        self._fitting: tuple[int, ...] | None = None
        self._axis = capabilities.max_grid[2]  # the limit of a grid with one axis

    def check(self, grid: tuple[int, ...], block: tuple[int, ...]) -> None:
        """Compare a grid and a block with the limits.

        Raises
        ------
        LaunchError
        """
        if block != self._fitting:
            self._check_axes("block", block, self._capabilities.max_block)
            threads = math.prod(block)
            if threads > self._capabilities.max_threads_per_block:
                raise LaunchError(
                    f"{self._kernel}: the block {shortened(block)} has {shortened(threads)} threads; {self._device} allows "
                    f"{self._capabilities.max_threads_per_block}"
                )
            self._fitting = block
        if len(grid) != 1 or grid[0] > self._axis:
            self._check_axes("grid", grid, self._capabilities.max_grid)

    def _check_axes(self, what: str, extents: tuple[int, ...], limits: tuple[int, ...]) -> None:
        limits = limits[3 - len(extents) :]
        if not any(map(operator.gt, extents, limits)):
            return
        for axis, (extent, limit) in enumerate(zip(extents, limits, strict=True)):
            if extent > limit:
                shown = f"{limit:,}" if what == "grid" else limit
                raise LaunchError(
                    f"{self._kernel}: the {what} {shortened(extents)} is past the limit of {self._device}, {shown} on axis {axis}"
                )


class RangeShapes:
    """Chooses block and grid of range launches on a device.

    Parameters
    ----------
    items : int
        Elements that a thread may take along axis 0.
    """

    __slots__ = ("_device", "_items", "_kernel", "_max_block", "_max_grid", "_threads")

    def __init__(self, capabilities: Capabilities, device: str, kernel: str, items: int = 1) -> None:
        self._threads = max(1, min(capabilities.preferred_block, capabilities.max_threads_per_block))
        self._max_block = capabilities.max_block
        self._max_grid = capabilities.max_grid
        self._items = items
        self._device = device
        self._kernel = kernel

    def choose(self, shape: tuple[int, ...]) -> tuple[RangeKind, LaunchConfig, int]:
        """For a range without a zero: which of its ids are unravelled from one axis, grid and block, elements a thread.

        Raises
        ------
        LaunchError
            Where the range has more threads than the device can launch.
        """
        items, limits = self._items, self._max_grid
        if len(shape) == 1:
            size = min(self._threads, self._max_block[2])
            blocks = -(-shape[0] // (size * items))
            if blocks <= limits[2]:
                return "nd", LaunchConfig((blocks,), (size,)), items
        elif len(shape) <= 3:
            block = self._block(shape)
            grid = [-(-extent // span) for extent, span in zip(shape, block, strict=True)]
            grid[0] = -(-shape[0] // (block[0] * items))
            if all(extent <= limit for extent, limit in zip(grid, limits[3 - len(shape) :], strict=True)):
                return "nd", LaunchConfig(tuple(grid), block), items
        else:
            # the last two axes stay axes of the launch, so that neighbours in memory are neighbours in a block
            folded = (math.prod(shape[:-2]), *shape[-2:])
            block = self._block(folded)
            grid = [-(-extent // span) for extent, span in zip(folded, block, strict=True)]
            if all(extent <= limit for extent, limit in zip(grid, limits, strict=True)):
                return "folded", LaunchConfig(tuple(grid), block), 1
        size = min(self._threads, self._max_block[2])
        blocks = -(-math.prod(shape) // size)
        if blocks > limits[2]:
            raise LaunchError(
                f"{self._kernel}: the range {shortened(shape)} has more threads than {self._device} can launch"
            )
        return "linear", LaunchConfig((blocks,), (size,)), 1

    def _block(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A block for several axes: a row along the fastest one, the rest for the next ones, none much more than its
        extent.
        """
        block = [1] * len(shape)
        left, last = self._threads, len(shape) - 1
        limits = self._max_block[3 - len(shape) :]
        for axis in range(last, -1, -1):
            fit = 1 << (shape[axis] - 1).bit_length()
            block[axis] = max(1, min(_ROW if axis == last else left, fit, left, limits[axis]))
            left //= block[axis]
        if left > 1:
            fit = 1 << (shape[last] - 1).bit_length()
            block[last] = max(block[last], min(block[last] * left, fit, limits[last]))
        return tuple(block)


class ShapeKind(NamedTuple):
    """What launch functions know of launch shapes.

    Attributes
    ----------
    ndim : int
    is_range : bool
    is_empty : bool
        An extent is zero: nothing runs.
    """

    ndim: int
    is_range: bool
    is_empty: bool


shape_kind = functools.cache(ShapeKind)
"""The kind of a shape; each new launch shape asks for one of the few that there are."""


class LaunchShape(NamedTuple):
    """A launch shape on a device: grid and block, and what compiled code depends on.

    Attributes
    ----------
    kind : {None, "nd", "folded", "linear"}
        As in ``LowerOptions.range_launch``.
    items : int
        Elements that a thread of a range launch takes.
    small : bool
        Every array and every axis of the launch has fewer than 2**31 elements.
    """

    config: LaunchConfig
    kind: RangeKind
    items: int
    small: bool


class LaunchShapes:
    """Launch shapes of a kernel on a device, and how it is compiled for them.

    Parameters
    ----------
    check : Check
        What it checks.
    small : bool
        Whether each of its arrays has fewer than 2**31 elements.
    """

    __slots__ = ("_check", "_kernel", "_limits", "_ranges", "_small", "_specialization")

    def __init__(
        self, kernel: str, specialization: Specialization, device: Device, *, check: Check, small: bool, is_range: bool
    ) -> None:  # fmt: skip
        self._kernel = kernel
        self._specialization = specialization
        self._limits = Limits(device.capabilities, f"{device.backend}:{device.ordinal}", kernel)
        self._check = check
        self._small = small
        preferred = device.capabilities.range_items
        # a checked launch names the thread at fault, so there a thread stays one element
        items = preferred if is_range and preferred > 1 and not check and specialization.can_coarsen else 1
        self._ranges = RangeShapes(device.capabilities, device.backend, kernel, items)

    def of(self, grid: tuple[int, ...], block: tuple[int, ...], over: tuple[int, ...] | None) -> LaunchShape:
        """The shape of a launch that is not empty: of a grid and a block, or over a range.

        Raises
        ------
        LaunchError
            Where the device cannot launch the shape, or the kernel not over it.
        """
        if over is None:
            self._limits.check(grid, block)
            check_multiple(self._kernel, block, self._specialization.block_multiple)
            kind, config, items = None, LaunchConfig(grid, block), 1
        else:
            self._specialization.check_range(self._kernel, over)
            kind, config, items = self._ranges.choose(over)
            grid, block = config.grid, config.block
        threads = grid[0] * block[0] if len(grid) == 1 else math.prod(grid) * math.prod(block)
        small = self._small and threads * items < _LIMIT
        return LaunchShape(config, kind, items, small)

    def variant(self, shape: LaunchShape, noalias: bool) -> Variant:
        """How the kernel is compiled for a shape, and for arrays that do not overlap or that may."""
        config = shape.config
        return self._specialization.variant(
            self._check, shape.kind, shape.small, noalias, config.block, shape.items
        )

    def key(self, shape: LaunchShape, noalias: bool) -> tuple[Any, ...]:
        """Equal keys have equal variants; costs less than the variant."""
        block = shape.config.block if shape.items > 1 or self._specialization.needs_block else None
        return (shape.kind, shape.items, shape.small, noalias, block)
