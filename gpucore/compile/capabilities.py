"""What a device can do, which version of the IR a module needs, and the refusal of kernels that need more.

``IR_VERSION`` rises by one when the IR gets a node or an operation that a renderer has to know, and the new thing gets its
version in :data:`SINCE`. What core lowers away before a renderer sees it needs no version.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

from gpucore.errors import LaunchError, NotSupportedError
from gpucore.hookspecs import DeviceCapabilities
from gpucore.ir import nodes
from gpucore.ir.dtypes import DType, DTypeLike, as_dtype
from gpucore.ir.nodes import IR_VERSION, Module, walk
from gpucore.ir.records import negative_extent

__all__ = ["IR_VERSION", "SINCE", "Capabilities", "newest_part", "refuse", "refuse_newer", "shared_elements"]


SINCE: dict[type | str, int] = {}
"""Statements by their class, and operations by their name, that came after version 1."""


def newest_part(module: Module) -> tuple[int, str]:
    """The version of the IR that a low-level module needs, and the statement or operation that needs it."""
    newest, part = 1, ""
    for function in (module.kernel, *module.functions):
        for statement in walk(function.body):
            for what in (type(statement), getattr(statement, "op", "")):
                since = SINCE.get(what, 1)
                if since > newest:
                    newest, part = since, what if isinstance(what, str) else what.__name__
    return newest, part


Operation = Literal["storage", "arithmetic", "atomic", "shared", "subgroup", "tile"]


class Capabilities:
    """What a device can do.

    ``name in capabilities`` asks for a named capability: ``"strict"``, ``"unified_memory"``, ``"peer_copy"``,
    ...

    Attributes
    ----------
    names : frozenset[str]
    subgroup_sizes : tuple[int, ...]
        Widths that a kernel may ask for, the default first.
    max_block, max_grid : tuple[int, int, int]
        In array order.
    max_threads_per_block : int
    shared_memory : int
        Bytes a block.
    atomics : frozenset[str]
        Atomics that the device does itself, as ``"add.f32"``.
    loop_limit : int | None
        Iterations of a thread's loops, all together, after which the device ends them, where it does; a kernel whose
        loop was ended raises :class:`~gpucore.errors.KernelRuntimeError` at the next call that waits.
    """

    def __init__(self, raw: DeviceCapabilities) -> None:
        self._raw = raw
        self.names = raw.names
        self.subgroup_sizes = raw.subgroup_sizes
        self.max_block = raw.max_block
        self.max_grid = raw.max_grid
        self.max_threads_per_block = raw.max_threads_per_block
        self.shared_memory = raw.shared_memory
        self.preferred_block = raw.preferred_block
        self.range_items = raw.range_items
        self.atomics = raw.atomics
        # memory that the host can address is host memory to DLPack
        self.dlpack = raw.dlpack or ((1, 0) if "host_addressable" in raw.names else None)
        self.array_interface = raw.array_interface
        self.loop_limit = raw.loop_limit

    def supports(self, dtype: DTypeLike, op: Operation = "arithmetic") -> bool:
        """Whether the device can store, compute with, or do atomics, block memory or subgroup operations on
        ``dtype``, a dtype such as ``gpucore.f32`` or what NumPy takes for one; ``"tile"``: whether it has instructions for
        products of tiles of it, which otherwise are made of others.

        Raises
        ------
        TypeError, ValueError
            For what is no dtype or no such operation.
        """
        if not isinstance(dtype, DType):
            dtype = as_dtype(dtype)
        if op not in get_args(Operation):
            raise ValueError(f"op is one of {', '.join(map(repr, get_args(Operation)))}, not {op!r}")
        return op in self._raw.dtypes.get(dtype.name, ())

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __repr__(self) -> str:
        return f"Capabilities({', '.join(sorted(self.names))})"


# --- refusals --------------------------------------------------------------------------------------
def refuse(module: nodes.Module, capabilities: Capabilities, where: str, name: str) -> None:
    """Raise where the device, which messages call ``where``, lacks what the kernel needs."""
    if module.math == "strict" and "strict" not in capabilities:
        missing = capabilities._raw.strict_missing or "strict arithmetic"
        raise NotSupportedError(
            f"{where} cannot run the kernel {name!r} with math='strict': {missing}; use math='fast' "
            "where that will do",
            capability="strict",
        )
    needs = _needs(module)
    for dtype, op in sorted(needs, key=lambda need: (need[0].name, need[1])):
        if not capabilities.supports(dtype, op):
            raise NotSupportedError(
                f"{where} has no {op} for {dtype}, which the kernel {name!r} uses", capability=f"{dtype}.{op}"
            )
    _refuse_atomics(module, capabilities, where, name)
    if module.subgroup is not None and module.subgroup not in capabilities.subgroup_sizes:
        raise NotSupportedError(
            f"{where} has subgroups of {', '.join(map(str, capabilities.subgroup_sizes))} threads, and "
            "the kernel "
            f"{name!r} asks for {module.subgroup}",
            capability="subgroup_sizes",
        )
    shared = sum(_nbytes(memory) for memory in module.kernel.memories if memory.space == "shared")
    if shared > capabilities.shared_memory:
        raise _too_much_shared(shared, capabilities, where, name)


_LEAST_SHARED = 1024


def shared_elements(
    module: nodes.Module,
    shapes: tuple[tuple[int, ...], ...] | None,
    capabilities: Capabilities,
    where: str,
    name: str,
) -> tuple[int, ...]:
    """How many elements each shared array that the launch gives one of ``shapes`` is compiled for.

    A power of two of bytes, so that a few programs serve every size; closer to the shape where the device has not so much.

    Raises
    ------
    LaunchError
        For a negative extent; without shapes, where the kernel's arithmetic wraps around on the way to one.
    NotSupportedError
        Where a block has not so much shared memory.
    """
    memories = [m for m in module.kernel.memories if m.space == "shared"]
    sized = [m for m in memories if not m.shape]
    if shapes is None:
        raise LaunchError(
            f"{name}: the shape of a shared array is past the integers that the kernel computes it with"
        )
    for memory, shape in zip(sized, shapes, strict=True):
        if min(shape) < 0:
            raise negative_extent(name, memory.name, shape)
    wanted = [max(math.prod(shape) * m.dtype.itemsize, 1) for m, shape in zip(sized, shapes, strict=True)]
    free = capabilities.shared_memory - sum(-(-_nbytes(m) // 16) * 16 for m in memories if m.shape)
    for parts in (1, 8, 0):
        units = [max(_LEAST_SHARED, 1 << (n - 1).bit_length()) // parts if parts else 16 for n in wanted]
        given = [-(-n // unit) * unit for n, unit in zip(wanted, units, strict=True)]
        if sum(given) <= free:
            return tuple(n // m.dtype.itemsize for m, n in zip(sized, given, strict=True))
    raise _too_much_shared(capabilities.shared_memory - free + sum(wanted), capabilities, where, name)


def _too_much_shared(nbytes: int, capabilities: Capabilities, where: str, name: str) -> NotSupportedError:
    return NotSupportedError(
        f"the kernel {name!r} wants {nbytes:,} bytes of shared memory a block; {where} has "
        f"{capabilities.shared_memory:,}",
        capability="shared_memory",
    )


def _nbytes(memory: nodes.Memory) -> int:
    return memory.dtype.itemsize * math.prod(memory.shape)


def _needs(module: nodes.Module) -> set[tuple[DType, Operation]]:
    """The dtypes that the user's kernel uses, and how; ``index`` and ``bool`` are everywhere."""
    needs: set[tuple[DType, Operation]] = {(memory.dtype, "storage") for memory in module.arrays}
    for memory in module.kernel.memories:
        if memory.space == "shared":
            needs.add((memory.dtype, "shared"))
    for function in (module.kernel, *module.functions):
        for statement in nodes.walk(function.body):
            match statement:
                case nodes.Op(result=result, args=args):
                    needs.update((value.dtype, "arithmetic") for value in (result, *args))
                case nodes.Atomic(memory=memory) | nodes.AtomicCas(memory=memory):
                    needs.add((memory.dtype, "atomic"))
                case nodes.Subgroup(result=result, op=op) if op not in (
                    "size",
                    "lane",
                    "ballot",
                    "any",
                    "all",
                ):
                    needs.add((result.dtype, "subgroup"))
                case _:
                    pass
    return {(dtype, op) for dtype, op in needs if dtype.name not in ("index", "bool")}


def _refuse_atomics(module: nodes.Module, capabilities: Capabilities, where: str, name: str) -> None:
    for statement in nodes.walk(module.kernel.body):
        if isinstance(statement, nodes.Atomic):
            op = statement.op
        elif isinstance(statement, nodes.AtomicCas):
            op = "cas"
        else:
            continue
        dtype = statement.memory.dtype
        buildable = any(f"cas.{kind}{dtype.bits}" in capabilities.atomics for kind in "ui")
        if f"{op}.{dtype.name}" not in capabilities.atomics and not buildable:
            raise NotSupportedError(
                f"{where} has no atomic {op} on {dtype}, which the kernel {name!r} uses",
                capability=f"atomic.{op}.{dtype.name}",
            )


def refuse_newer(low: nodes.Module, ir_version: int, where: str, name: str) -> None:
    """Raise for a kernel with parts of the IR that its backend's plugin was made before.

    Parameters
    ----------
    low : Module
        After lowering: what the plugin would get.
    ir_version : int
        The version of the IR that the plugin was made for.
    """
    if ir_version >= nodes.IR_VERSION:
        return
    newest, part = newest_part(low)
    if newest > ir_version:
        raise NotSupportedError(
            f"kernel {name!r} needs {part} of IR {newest}, but the plugin of {where} was made for IR {ir_version}; "
            "update the plugin",
            capability=f"ir_{newest}",
        )
